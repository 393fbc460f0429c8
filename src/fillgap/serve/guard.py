"""What stands before the page: who may ask, how much, and what a browser may load."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, MutableMapping
from typing import Any
from urllib.parse import urlsplit

Scope = MutableMapping[str, Any]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
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
    the answers. The Host header then holds the name of that site, and is refused.

    Parameters
    ----------
    app : ASGI application
    hosts : collection of str
        Names under which the page may be asked.
    max_bytes : int
        Longest body of a request.
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
        guarded = _with_headers(send)
        if not self._known("//" + headers.get("host", "")):
            await _refuse(guarded, 421, "the Host header must name this machine.")
        elif "origin" in headers and not self._known(headers["origin"]):
            await _refuse(guarded, 403, "requests of other sites are not answered.")
        elif _length(headers) > self.max_bytes:
            await self._refuse_length(guarded)
        else:
            await self._limited(scope, receive, guarded)

    async def _limited(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on; a body of unknown length is cut off where it exceeds the limit."""
        seen = 0

        async def counted() -> MutableMapping[str, Any]:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > self.max_bytes:
                raise _TooLong
            return message

        try:
            await self.app(scope, counted, send)
        except _TooLong:  # nothing was answered yet: an answer begins when the body is read
            await self._refuse_length(send)

    async def _refuse_length(self, send: Send) -> None:
        await _refuse(send, 413, f"a request must be of at most {self.max_bytes} bytes.")

    def _known(self, address: str) -> bool:
        try:
            return (urlsplit(address).hostname or "") in self.hosts
        except ValueError:
            return False


def _length(headers: dict[str, str]) -> int:
    length = headers.get("content-length", "0")
    return int(length) if length.isdigit() else 0


def _with_headers(send: Send) -> Send:
    async def sending(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message.get("headers", []), *_HEADERS]
        await send(message)

    return sending


async def _refuse(send: Send, status: int, reason: str) -> None:
    import json

    body = json.dumps({"detail": reason}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
