"""The page of an index and its JSON interface: who may ask, how much, and what is answered."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Awaitable, Callable, Collection, Mapping, MutableMapping
from dataclasses import replace
from importlib import resources
from typing import Annotated, Any, Literal, get_args
from urllib.parse import urlsplit

import numpy as np
from fastapi import FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool
from starlette.routing import Route

import fillgap
from fillgap.errors import InputError, InputTypeError, unit_rows
from fillgap.search.backend import Kind
from fillgap.search.index import Hit, MixedIndex, Stage
from fillgap.serve.queries import MAX_BYTES, MAX_PIXELS, QueryEncoder, open_query_encoder

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


#: An absolute path, of any system, with the kind of a model before it or without.
_PLACE = re.compile(
    r"(?P<kind>[a-z0-9-]+:(?!//))?(file://)?"
    r"([A-Za-z]:[\\/]([^\n]*[\\/])?|(\\\\|~?/)[^\n]*[\\/])(?P<last>[^\n\\/]+)[\\/]*"
)


def without_place(value: Any) -> Any:
    """Return a value of a payload or a description; of a path only its last part.

    Paths of pictures and of models would tell how this machine is laid out.
    """
    path = _PLACE.fullmatch(value) if isinstance(value, str) else None
    return value if path is None else (path["kind"] or "") + path["last"]


class AsciiJSON(JSONResponse):
    """JSON that holds any text, half of a pair of surrogates too: payloads come as they were."""

    def render(self, content: Any) -> bytes:
        """Return an answer as bytes."""
        return json.dumps(content, allow_nan=False, separators=(",", ":")).encode("ascii")


def without(hits: list[Hit], identity: str | None) -> list[Hit]:
    """Return the hits less one document, ranked as if it were not there."""
    gone = next((hit for hit in hits if hit.id == identity), None)
    if gone is None:
        return hits
    kept = []
    for hit in hits:
        later = hit.rank > gone.rank
        rank = hit.rank_in_modality - (later and hit.modality == gone.modality)
        kept.append(replace(hit, rank=hit.rank - later, rank_in_modality=rank))
    return [hit for hit in kept if hit.id != identity]


Array = NDArray[Any]
#: Documents of each modality on the map.
_SAMPLE = 500


class Atlas:
    """Two maps of one sample, within −1 to 1: `raw`, and `aligned` where there is an aligner.

    `points` has a list of [x, y] for each map, in the order of `modalities`.
    """

    def __init__(self, index: MixedIndex) -> None:
        self.index = index
        kinds = [kind for kind in get_args(Kind) if kind in index.count()]
        found = [one for kind in kinds for one in index.sample(kind, _SAMPLE)]
        self.modalities = [one.modality for one in found]
        self._maps: dict[str, _Plane] = {}
        self.points: dict[str, list[list[float]]] = {}
        for name in ("raw", "aligned"):
            if name not in index.stages:
                continue
            self.points[name] = []
            if len(found) > 2:
                rows = np.stack([one.vectors[name] for one in found])
                self._maps[name] = _Plane(rows)
                self.points[name] = self._maps[name](rows)

    def place_query(self, sides: Mapping[Any, Array]) -> dict[str, list[float]]:
        """Return where a query lies on each map; of one of both kinds, the mean."""
        space = self.index.space
        one = {side: np.asarray(vector)[None] for side, vector in sides.items()}
        rows = {
            "raw": [unit_rows(row, "the query") for row in one.values()],
            "aligned": [space.align_queries(row, side) for side, row in one.items()],
        }
        return {name: plane(np.mean(rows[name], axis=0))[0] for name, plane in self._maps.items()}

    def place_documents(self, ids: list[str]) -> dict[str, dict[str, list[float]]]:
        """Return where documents lie on each map, by their ids."""
        found = self.index.fetch(ids) if ids else []
        return {
            name: {one.id: plane(one.vectors[name][None])[0] for one in found}
            for name, plane in self._maps.items()
        }


class _Plane:
    """The plane of the two first principal components, scaled to the sample."""

    def __init__(self, rows: Array) -> None:
        self.centre = rows.mean(axis=0)
        _, axes = np.linalg.eigh(np.cov(rows.T, dtype=np.float64))
        axes = axes[:, :-3:-1]
        self.axes = axes * np.sign(axes[np.abs(axes).argmax(axis=0), [0, 1]])
        self.scale = float(np.abs((rows - self.centre) @ self.axes).max()) or 1.0

    def __call__(self, rows: Array) -> list[list[float]]:
        places = (rows - self.centre) @ self.axes / self.scale
        return [[round(float(x), 4), round(float(y), 4)] for x, y in places]


_FILES = {
    "/": ("page.html", "text/html; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
    "/map.js": ("map.js", "text/javascript; charset=utf-8"),
}
_PICTURE = re.compile(r"data:image/(png|jpeg|webp);base64,[A-Za-z0-9+/=]+")
#: How far down the raw ranking a hit is looked for.
_DEPTH = 1000
_MOST = 100


class SearchRequest(BaseModel):
    """A query by text, by a document of the index, or by a vector."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

    text: str | None = Field(None, max_length=2000, description="Encoded by the index's encoder.")
    document: str | None = Field(None, description="Id of a document to find others like it.")
    vector: list[float] | None = Field(None, description="An embedding of the index's model.")
    vector_modality: Literal["image", "text"] = Field("image", description="Of `vector`.")
    k: int = Field(10, ge=1, le=_MOST)
    stage: Stage | None = None
    modality: Kind | None = Field(None, description="Only documents of this modality.")


class _Service:
    """One index with its encoder and its map, as answers."""

    def __init__(self, index: MixedIndex, encoder: QueryEncoder | None) -> None:
        self.index, self.encoder, self.atlas = index, encoder, Atlas(index)

    def about(self) -> dict[str, Any]:
        index, encoder = self.index, self.encoder
        texts = index.sample("text", 4) if index.count().get("text") else []
        images = index.sample("image", 6) if index.count().get("image") else []
        return {
            "name": index.manifest.name,
            "count": index.count(),
            "stages": index.stages,
            "model": without_place(index.manifest.model),
            "fingerprint": index.space.fingerprint,
            "encoder": without_place(index.manifest.encoder) if encoder else None,
            "notes": index.manifest.notes,
            "examples": [self._shown(index.get(one.id)) for one in [*images, *texts]],
            "version": fillgap.__version__,
        }

    def by_request(self, request: SearchRequest) -> dict[str, Any]:
        given = (request.text, request.document, request.vector)
        n_given = sum(value is not None for value in given)
        if n_given != 1:
            raise InputError(
                "a query must be one of text, document and vector, got "
                f"{n_given} of them. Send one."
            )
        sides: dict[Any, Any]
        unknown: list[str] = []
        if request.text is not None:
            sides, unknown = self.encoded(request.text, None)
        elif request.vector is not None:
            sides = {request.vector_modality: np.asarray(request.vector, dtype=np.float64)}
        else:
            found = self.index.fetch([str(request.document)])
            if not found or found[0].modality == "image+text":
                raise InputError(
                    "document must be the id of an image or a text of the index, got another. "
                    "Choose one of the hits."
                )
            sides = {found[0].modality: found[0].vectors["raw"]}
        asked = request.k, request.stage, request.modality
        return self.answer(sides, unknown, *asked, leave_out=request.document)

    def encoded(self, text: str | None, picture: bytes | None) -> tuple[dict[Any, Any], list[str]]:
        """Return the vectors of a query by modality, and words that the encoder does not know."""
        if self.encoder is None:
            raise InputError(
                "a query must be a vector or a document of this index, which names no encoder, got "
                "a text or a picture. Build the index with --encoder."
            )
        sides: dict[Any, Any] = {}
        if picture is not None:
            sides["image"] = self.encoder.image(picture)
        if text is not None:
            sides["text"] = self.encoder.text(text)
        return sides, [] if text is None else self.encoder.unknown_words(text)

    def answer(
        self,
        sides: Mapping[Any, Any],
        unknown: list[str],
        k: int,
        stage: Stage | None,
        modality: Kind | None,
        *,
        leave_out: str | None = None,
    ) -> dict[str, Any]:
        """Return the raw ranking and the chosen one, with what was moved, and all on the map."""
        start = time.perf_counter()
        chosen = self.index.check_stage(stage)
        common: dict[str, Any] = {**sides, "modalities": modality}
        deep = self.index.search(stage="raw", k=max(_DEPTH, k + 1), **common)
        best = self.index.search(stage=chosen, k=k + 1, explain=True, **common)
        raw = self.index.search(stage="raw", k=k + 1, explain=True, **common)
        raw, best = (without(hits, leave_out)[:k] for hits in (raw, best))
        seconds = time.perf_counter() - start
        places = {hit.id: hit.rank for hit in without(deep, leave_out)}
        counts = self.index.count()
        ids = list({hit.id for hit in [*raw, *best]})
        return {
            "stage": chosen,
            "kinds": list(sides),
            "unknown_words": unknown,
            "raw": [self._shown(hit, places) for hit in raw],
            "chosen": [self._shown(hit, places) for hit in best],
            "raw_depth": len(deep),
            "fair": {kind: n / max(1, sum(counts.values())) for kind, n in counts.items()},
            "query_place": self.atlas.place_query(sides),
            "places": self.atlas.place_documents(ids),
            "seconds": round(seconds, 4),
        }

    def _shown(self, hit: Hit, places: Mapping[str, int] | None = None) -> dict[str, Any]:
        """Return a hit for the page; pictures only as data that can be nothing but a picture."""
        payload = dict(hit.payload)
        picture, owner = payload.pop("thumbnail", None), payload.get("image")
        if picture is None and isinstance(owner, str) and hit.modality == "text":
            found = self.index.fetch([owner])  # the image that a text says it belongs to
            picture = self.index.get(owner).payload.get("thumbnail") if found else None
        safe = isinstance(picture, str) and _PICTURE.fullmatch(picture)
        return {
            **vars(hit),
            "score": None if np.isnan(hit.score) else hit.score,
            "payload": {key: without_place(value) for key, value in payload.items()},
            "thumbnail": picture if safe else None,
            "explanation": None if hit.explanation is None else vars(hit.explanation),
            "raw_rank": None if places is None else places.get(hit.id),
        }


def make_app(
    index: MixedIndex,
    *,
    encoder: QueryEncoder | None = None,
    hosts: Collection[str] = (),
    max_bytes: int = MAX_BYTES,
    max_pixels: int = MAX_PIXELS,
) -> FastAPI:
    """Return the application; see `create_app`."""
    chosen = encoder or open_query_encoder(index.manifest.encoder)
    if chosen is not None:
        chosen.max_bytes, chosen.max_pixels = max_bytes, max_pixels
    service = _Service(index, chosen)
    app = FastAPI(
        title="fillgap", version=fillgap.__version__, default_response_class=AsciiJSON,
        description="Search an index of images and texts by either.",
        openapi_url="/api/openapi.json", docs_url=None, redoc_url=None,
    )  # fmt: skip
    folder = resources.files("fillgap.serve") / "page"
    for path, (name, kind) in _FILES.items():
        content = Response((folder / name).read_bytes(), media_type=kind)
        app.router.routes.append(Route(path, content, methods=["GET"]))
    _add_interface(app, service)

    @app.exception_handler(InputError)
    @app.exception_handler(InputTypeError)
    async def refuse(_: Request, error: Exception) -> AsciiJSON:
        # A damaged index names its file: the place on this machine is nobody's business.
        text = str(error)
        for place in (str(index.path.resolve()), str(index.path)):
            text = text.replace(place, "the index")
        model = str(index.manifest.encoder).partition(":")[2]
        if model:
            text = text.replace(model, str(without_place(model)))
        return AsciiJSON({"detail": text}, 422)

    @app.exception_handler(RequestValidationError)
    async def refuse_form(_: Request, error: RequestValidationError) -> AsciiJSON:
        # Without what was sent: it may be NaN, which JSON cannot hold.
        told = [{name: one[name] for name in ("loc", "msg", "type")} for one in error.errors()]
        return AsciiJSON({"detail": told}, 422)

    app.add_middleware(Guard, hosts=hosts, max_bytes=max_bytes)
    return app


def _add_interface(app: FastAPI, service: _Service) -> None:
    @app.get("/api/index", summary="What is in the index")
    def about() -> dict[str, Any]:
        return service.about()

    @app.get("/api/map", summary="A sample of both modalities in two dimensions")
    def places() -> dict[str, Any]:
        return {"points": service.atlas.points, "modalities": service.atlas.modalities}

    @app.post("/api/search", summary="Search by text, by a document, or by a vector")
    def search(request: SearchRequest) -> dict[str, Any]:
        return service.by_request(request)

    @app.post("/api/search/image", summary="Search by a picture, sent as the body")
    async def search_image(
        request: Request,
        text: Annotated[str | None, Query(max_length=2000)] = None,
        k: Annotated[int, Query(ge=1, le=_MOST)] = 10,
        stage: Stage | None = None,
        modality: Kind | None = None,
    ) -> dict[str, Any]:
        def answer(picture: bytes) -> dict[str, Any]:
            return service.answer(*service.encoded(text or None, picture), k, stage, modality)

        return await run_in_threadpool(answer, await request.body())
