"""What stands before the page: who may ask, how much, and what a browser may load."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Collection, MutableMapping
from typing import Any
from urllib.parse import urlsplit

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Send = Callable[[Message], Awaitable[None]]
Receive = Callable[[], Awaitable[Message]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

LOCAL_NAMES = frozenset({"127.0.0.1", "localhost", "::1"})

_HEADERS = [
    (
        b"content-security-policy",
        b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
        b"connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cache-control", b"no-store"),
]


class _TooLong(Exception):  # noqa: N818  (no error of ours: it ends the reading of a body)
    """More came than may come."""


class Guard:
    """ASGI middleware: refuse foreign hosts and origins and long bodies; add headers.

    A web site can make a browser send requests here, and by a changed name (DNS rebinding) read
    the answers. The Host header then holds the name of that site, and is refused: `hosts` are the
    names under which the page may be asked.
    """

    def __init__(self, app: App, hosts: Collection[str], max_bytes: int) -> None:
        self.app, self.max_bytes = app, max_bytes
        self.hosts = {host.lower().strip("[]") for host in hosts} | LOCAL_NAMES

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer it with a refusal."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = {
            name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]
        }
        length = headers.get("content-length", "0")
        too_long = f"a request must be of at most {self.max_bytes} bytes."
        seen = 0

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", []), *_HEADERS]
            await send(message)

        async def counted() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > self.max_bytes:
                raise _TooLong
            return message

        if not self._known("//" + headers.get("host", "")):
            await _refuse(guarded, 421, "the Host header must name this machine.")
        elif "origin" in headers and not self._known(headers["origin"]):
            await _refuse(guarded, 403, "requests of other sites are not answered.")
        elif length.isdigit() and int(length) > self.max_bytes:
            await _refuse(guarded, 413, too_long)
        else:
            try:
                await self.app(scope, counted, guarded)
            except _TooLong:  # nothing was answered yet: an answer begins when the body is read
                await _refuse(guarded, 413, too_long)

    def _known(self, address: str) -> bool:
        try:
            return (urlsplit(address).hostname or "") in self.hosts
        except ValueError:
            return False


async def _refuse(send: Send, status: int, reason: str) -> None:
    body = json.dumps({"detail": reason}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
