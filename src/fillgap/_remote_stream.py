"""The bytes of a remote file, by ranges; of a server that knows none, by a temporary copy."""

from __future__ import annotations

from contextlib import suppress
from io import RawIOBase
from tempfile import TemporaryFile
from typing import IO, Any

from fillgap._checks import InputError
from fillgap._remote_store import PATIENCE_FOR_BYTES, PATIENCE_FOR_FILES, ask

__all__ = ["Ranges"]


class Ranges(RawIOBase):
    """A stream of one remote file in which each read asks for just these bytes.

    Parameters
    ----------
    shown : str
        What messages call the file.
    system, name : file system of fsspec, and str
        Where it is, and its name there.

    Raises
    ------
    InputError
        If it cannot be reached.
    FileNotFoundError
        If it is not there.
    """

    def __init__(self, shown: str, system: Any, name: str) -> None:
        super().__init__()
        self._shown, self._system, self._name = shown, system, name
        self._file: Any = ask(shown, self._open)
        self._size: int = -1 if self._file.size is None else self._file.size
        self._place = 0
        if self._size < 0:  # a stream of unknown length
            self._keep_copy()

    def _open(self) -> Any:
        # Blocks are larger than the caches of fsspec, which would read most bytes twice.
        return self._system.open(self._name, "rb", cache_type="none")

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
            data = ask(self._shown, self._read, self._place, count, seconds=PATIENCE_FOR_BYTES)
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
        ask(self._shown, self._system.get_file, self._name, copy, seconds=PATIENCE_FOR_FILES)
        self._file, self._size = copy, copy.seek(0, 2)

    def close(self) -> None:
        """Let go of the connection, and of the copy."""
        if not self.closed:
            with suppress(Exception):
                self._file.close()
        super().close()
