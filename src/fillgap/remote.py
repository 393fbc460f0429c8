"""Paths of stores that fsspec reaches: answered in time, or refused in one sentence."""

from __future__ import annotations

import posixpath
import re
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from errno import ENOENT
from io import BufferedReader, RawIOBase, TextIOWrapper
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile
from types import SimpleNamespace
from typing import IO, Any, TypeVar, cast

from fillgap.errors import InputError, require

T = TypeVar("T")

#: Seconds in which a store must answer a question, and bring a block, or bring or take a file.
PATIENCE = 30.0
PATIENCE_FOR_BYTES = 300.0
PATIENCE_FOR_FILES = 3600.0


def _first_line(error: BaseException) -> str:
    """Return what an error, or what caused it, says in a line."""
    error = error.__cause__ or error
    return (str(error).strip() or type(error).__name__).splitlines()[0][:160]


def _says_missing(error: FileNotFoundError) -> bool:
    """Tell an answer that nothing is there from what fsspec makes of a web server's silence."""
    cause = error.__cause__
    if cause is None:
        return True
    silent = "Connect" in type(cause).__name__ or isinstance(cause, TimeoutError)
    return not silent and getattr(cause, "status", 404) in {404, 410}


class _Ranges(RawIOBase):
    """A stream of one remote file in which each read asks for just these bytes."""

    def __init__(self, path: RemotePath) -> None:
        super().__init__()
        self._path = path
        self._system, self._name = path.store()
        # Blocks are larger than the caches of fsspec, which would read most bytes twice.
        self._file: Any = path.ask(lambda: self._system.open(self._name, "rb", cache_type="none"))
        self._size: int = -1 if self._file.size is None else self._file.size
        self._place = 0
        if self._size < 0:  # a stream of unknown length
            self._keep_copy()

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def tell(self) -> int:
        """Return the place of the next byte."""
        return self._place

    def seek(self, offset: int, whence: int = 0) -> int:
        """Move to a place, counted from the start (0), from here (1) or from the end (2)."""
        place = offset + (0, self._place, self._size)[whence]
        if place < 0:
            raise ValueError("negative seek position")
        self._place = place
        return place

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer, and return how many bytes there were."""
        count = min(len(buffer), self._size - self._place)
        if count <= 0:
            return 0
        try:
            data = self._path.ask(self._read, self._place, count, seconds=PATIENCE_FOR_BYTES)
        except InputError as error:
            # What fsspec raises where a web server sends the file from its start, whatever is asked
            if "range" not in str(error.__cause__) or not isinstance(error.__cause__, ValueError):
                raise
            self._keep_copy()
            data = self._read(self._place, count)
        buffer[: len(data)] = data
        self._place += len(data)
        return len(data)

    def _read(self, place: int, count: int) -> bytes:
        self._file.seek(place)
        return bytes(self._file.read(count))

    def _keep_copy(self) -> None:
        """Read the whole file into a temporary one."""
        self._file.close()
        copy: IO[bytes] = TemporaryFile()  # noqa: SIM115  (closed with this stream)
        self._path.ask(self._system.get_file, self._name, copy, seconds=PATIENCE_FOR_FILES)
        self._file, self._size = copy, copy.seek(0, 2)

    def close(self) -> None:
        """Let go of the connection, and of the copy."""
        if not self.closed:
            with suppress(Exception):
                self._file.close()
        super().close()


_PROTOCOL = r"([A-Za-z][A-Za-z0-9+.\-]+):/"
#: What an entry of a store may say about its last change.
_MARKS = ("etag", "lastmodified", "last-modified", "mtime", "created", "generation", "blob_id")
#: Stores in which a file that is being written is not seen; elsewhere it gets its name at the end.
_WHOLE = frozenset({"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "hf", "oss", "memory"})


def as_path(spec: str | Path) -> Path:
    """Return a path, or what behaves like one where `spec` names a protocol, as s3:// does."""
    if isinstance(spec, RemotePath):
        return cast("Path", spec)
    # A path that went through pathlib has lost one of the slashes.
    found = re.match(_PROTOCOL + ("(?!/)" if isinstance(spec, Path) else "/"), str(spec))
    if found is None:
        return Path(spec)
    protocol, rest = found.group(1).lower(), str(spec)[found.end() :]
    if protocol in {"file", "local"}:
        return Path("/", rest)
    return cast("Path", RemotePath(f"{protocol}://{rest}"))


def is_remote(path: object) -> bool:
    """Tell whether a path is in a store that fsspec reaches."""
    return isinstance(path, RemotePath)


class RemotePath:
    """A file or folder in a store: as much of `pathlib.Path` as reading and writing need.

    Only its address travels to workers. Credentials are those of fsspec's own configuration.
    """

    def __init__(self, url: str, kind: str | None = None) -> None:
        protocol, _, rest = url.partition("://")
        self.protocol, self._kind = protocol, kind
        self._is_web = protocol in {"http", "https"}
        path, mark, query = rest.partition("?") if self._is_web else (rest, "", "")
        self._marked_folder = path.endswith("/")
        self._path, self._query = path.rstrip("/"), mark + query
        self.name = posixpath.basename(self._path)
        self.stem, self.suffix = posixpath.splitext(self.name)

    @property
    def url(self) -> str:
        """The whole address."""
        slash = "/" if self._marked_folder and self._is_web else ""
        return f"{self.protocol}://{self._path}{slash}{self._query}"

    def __str__(self) -> str:  # what follows a question mark may be a signature
        return f"{self.protocol}://{self._path}"

    def __repr__(self) -> str:
        return f"RemotePath({str(self)!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RemotePath) and self.url == other.url

    def __hash__(self) -> int:
        return hash(self.url)

    def __truediv__(self, name: str | Path) -> RemotePath:
        return RemotePath(f"{self.protocol}://{self._path}/{name}")

    @property
    def parent(self) -> RemotePath:
        """The folder."""
        return RemotePath(f"{self.protocol}://{posixpath.dirname(self._path)}")

    def absolute(self) -> RemotePath:
        """Return the same: an address is absolute."""
        return self

    def store(self) -> tuple[Any, str]:
        """Return the file system and the name that the file has there."""
        fsspec = require("fsspec", "remote", f"Reading {self.protocol}://")
        try:
            system, name = fsspec.core.url_to_fs(self.url)
        except ImportError as error:
            raise ImportError(
                f"{self.protocol}:// needs a package that is not installed ({error}). "
                "Run: pip install 'fillgap[remote]'"
            ) from error
        except ValueError as error:
            raise InputError(
                f"{self} must be of a protocol that fsspec knows, got {self.protocol!r}. "
                "Write for example s3://bucket/folder."
            ) from error
        return system, name

    def ask(self, question: Callable[..., T], *args: Any, seconds: float | None = None) -> T:
        """Return question(*args), which the store must answer in time, `PATIENCE` by default.

        It is asked in a thread of its own, since libraries of stores wait for minutes. Raises
        FileNotFoundError where nothing is there, and InputError where the store cannot be reached,
        refuses or does not answer.
        """
        limit = PATIENCE if seconds is None else seconds
        answer: Future[T] = Future()

        def run() -> None:
            try:
                answer.set_result(question(*args))
            except BaseException as error:
                answer.set_exception(error)

        threading.Thread(target=run, daemon=True).start()
        try:
            error = answer.exception(limit)
        except TimeoutError as late:
            error = late
        if error is None:
            return answer.result()
        if isinstance(error, FileNotFoundError) and _says_missing(error):
            raise FileNotFoundError(ENOENT, "No such file or directory", str(self)) from error
        if isinstance(error, (InputError, ImportError)):
            raise error
        waited = isinstance(error, TimeoutError) and not str(error)
        reason = f"no answer in {limit:.0f} s" if waited else _first_line(error)
        raise InputError(
            f"{self} must be reachable, got {reason!r}. Check the address, the network, and the "
            "credentials in fsspec's own configuration."
        ) from error

    def info(self) -> dict[str, Any] | None:
        """Return what the store knows about the file, or None where nothing is there."""
        system, name = self.store()
        try:
            return self.ask(system.info, name)
        except FileNotFoundError:
            return None

    def stat(self) -> Any:
        """Return the size; raises FileNotFoundError where nothing is there."""
        found = self.info()
        if found is None:
            raise FileNotFoundError(str(self))
        return SimpleNamespace(st_size=found.get("size"))

    def _kind_of(self) -> str | None:
        """Return "file", "directory", or None where nothing is there."""
        if self._kind is not None:
            return self._kind
        if self._is_web and not self._query and (self._marked_folder or not self.suffix):
            # A page that lists files looks like any file, but for its links.
            return "directory" if any(True for _ in self.iterdir()) else None
        found = self.info()
        self._kind = None if found is None else str(found["type"])
        return self._kind

    def exists(self) -> bool:
        """Tell whether something is there."""
        return self._kind_of() is not None

    def is_file(self) -> bool:
        """Tell whether a file is there."""
        return self._kind_of() == "file"

    def is_dir(self) -> bool:
        """Tell whether a folder is there."""
        return self._kind_of() == "directory"

    def samefile(self, other: object) -> bool:
        """Tell whether both are one address."""
        return self == other

    def iterdir(self) -> Iterator[RemotePath]:
        """Yield what is in the folder."""
        system, name = self.store()
        system.invalidate_cache()
        try:
            entries = self.ask(system.ls, name + "/" if self._is_web else name, True)
        except FileNotFoundError:
            return
        for entry in entries:
            child = posixpath.basename(str(entry["name"]).rstrip("/"))
            if child != self.name or entry["type"] == "file":
                yield RemotePath(f"{self.protocol}://{self._path}/{child}", kind=entry["type"])

    def glob(self, pattern: str) -> list[RemotePath]:
        """Return the files that match a pattern below this folder."""
        system, base = self.store()
        system.invalidate_cache()
        found = self.ask(lambda: system.glob(f"{base.rstrip('/')}/{pattern}", detail=True))
        return [
            RemotePath(f"{self}/{name[len(base) :].lstrip('/')}", kind=entry["type"])
            for name, entry in found.items()
        ]

    def open(self, mode: str = "rb", **text: Any) -> Any:
        """Open for reading, by ranges of bytes; with mode "r" as text."""
        stream = BufferedReader(_Ranges(self), 1 << 16)
        return stream if mode == "rb" else TextIOWrapper(stream, **text)

    def read_bytes(self) -> bytes:
        """Return the whole content."""
        with self.open() as stream:
            return bytes(stream.read())

    def read_text(self, encoding: str = "utf-8") -> str:
        """Return the whole content as text."""
        return self.read_bytes().decode(encoding)

    def mkdir(self, **_: Any) -> None:
        """Do nothing: folders of a store come with their files."""

    def unlink(self, *, missing_ok: bool = False) -> None:
        """Remove the file."""
        system, name = self.store()
        try:
            self.ask(system.rm_file, name)
        except FileNotFoundError:
            if not missing_ok:
                raise


def change_mark(path: Path) -> int | str:
    """Return what differs when a file has changed."""
    if not isinstance(path, RemotePath):
        return path.stat().st_mtime_ns
    found = {str(key).lower(): value for key, value in (path.info() or {}).items()}
    return " ".join(f"{key}={found[key]}" for key in _MARKS if found.get(key) is not None)


@contextmanager
def local_copy(path: Path) -> Iterator[Path]:
    """Yield a file of this machine with the content of `path`, which may be in a store."""
    if not isinstance(path, RemotePath):
        yield path
        return
    with TemporaryDirectory(prefix="fillgap-") as folder:
        copy = Path(folder, path.name)
        copy.write_bytes(path.read_bytes())
        yield copy


@contextmanager
def uploaded(target: RemotePath) -> Iterator[Path]:
    """Yield a temporary file of this machine; at the end it is sent to `target` in one step."""
    with TemporaryDirectory(prefix="fillgap-") as folder:
        made = Path(folder, target.name)
        yield made
        system, name = target.store()
        whole = target.protocol in _WHOLE
        part = name if whole else posixpath.join(posixpath.dirname(name), f".fillgap-{made.name}")
        try:
            target.ask(system.put_file, str(made), part, seconds=PATIENCE_FOR_FILES)
            if not whole:
                target.ask(system.mv, part, name, seconds=PATIENCE_FOR_FILES)
        except (InputError, FileNotFoundError) as error:
            reason = _first_line(error)
            raise InputError(
                f"{target} must be writable, got {reason!r}. Check the address and the "
                "credentials; no half-written file is left."
            ) from error
