"""The base of encoders that run in PyTorch, and where their weights are found."""

from __future__ import annotations

import hashlib
import os
import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fillgap.encoders.base import Picture, check_texts, load_picture, prefetch
from fillgap.errors import InputError, InputTypeError, check_integer, require, unit_rows
from fillgap.files import missing_path
from fillgap.runtime import choose_device

#: What a model is read from; formats that execute what they hold (.bin, .pt) are not.
_FILES: Final = ("*.json", "*.safetensors", "*.txt", "*.model", "*.jinja")
_HUB_NAME = re.compile(r"[\w.-]+(/[\w.-]+)?")


class Weights(NamedTuple):
    """A folder with a model, what to call it, and the commit on the hub or a hash of the files."""

    folder: Path
    name: str
    revision: str


def find_weights(model: str | Path, revision: str | None = None) -> Weights:
    """Return the local folder of a model; one on the hub is fetched where that is possible.

    It is refused at once, if there is no such folder, nothing in the cache, and the hub cannot be
    reached. `revision` is a branch, tag or commit on the hub.
    """
    path = Path(model).expanduser()
    if path.is_dir():
        digest = hashlib.sha256()
        # Those of subfolders too: sentence-transformers keeps weights there.
        for file in sorted({file for pattern in _FILES for file in path.rglob(pattern)}):
            digest.update(file.relative_to(path).as_posix().encode())
            with file.open("rb") as opened:
                digest.update(hashlib.file_digest(opened, "sha256").digest())
        return Weights(path, path.resolve().name, digest.hexdigest())
    if not _HUB_NAME.fullmatch(str(model)):
        raise missing_path(path)
    folder = _from_hub(str(model), revision)
    return Weights(folder, str(model), folder.name)


def _from_hub(model: str, revision: str | None) -> Path:
    """Return the snapshot in the cache, or fetch it if one short question finds the model."""
    hub: Any = require("huggingface_hub", "encoders", "a model of the Hugging Face hub")
    options = {"revision": revision, "allow_patterns": list(_FILES)}
    try:
        cached = Path(hub.snapshot_download(model, local_files_only=True, **options))
        if any(cached.rglob("*.safetensors")):
            return cached
    except Exception:  # noqa: S110  (whatever the reason, it is not in the cache)
        pass
    reason = _why_not_to_ask(model, hub)
    if not reason:
        try:
            return Path(hub.snapshot_download(model, **options))
        except Exception as error:
            reason = " ".join(str(error).split())[:150]
    place = os.path.join(hub.constants.HF_HUB_CACHE, f"models--{model.replace('/', '--')}")  # noqa: PTH118
    raise InputError(
        f"{model} must be a local folder, or a model that is in the cache or on the hub, got "
        f"neither: no config.json and model.safetensors in {place}, and {reason}. "
        "Fetch the model on a machine with a network, and name its folder instead."
    )


def _why_not_to_ask(model: str, hub: Any) -> str:
    """Ask the hub once whether it has a model: its own client would try again for minutes."""
    from urllib.error import HTTPError
    from urllib.request import Request, urlopen

    if hub.constants.HF_HUB_OFFLINE:
        return "HF_HUB_OFFLINE is set"
    address = f"{hub.constants.ENDPOINT}/api/models/{model}"
    request = Request(address, headers={"User-Agent": "fillgap"})  # noqa: S310
    try:
        with urlopen(request, timeout=5):  # noqa: S310
            return ""
    except HTTPError as error:
        # Gated or private: the client knows the user's token.
        return "" if error.code in {401, 403} else f"{address} answers {error.code}"
    except OSError:
        return f"{hub.constants.ENDPOINT} cannot be reached"


@contextmanager
def loading(weights: Weights) -> Iterator[None]:
    """Turn what the loader of a model raises into one sentence; keep its progress bars off."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    except (InputError, InputTypeError, ImportError, MemoryError):
        raise
    except Exception as error:  # a missing file, a damaged one, code that would be executed, ...
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise InputError(
            f"{weights.folder} must be a whole model of this kind with safetensors weights, got "
            f"one that cannot be loaded ({reason}). Name a folder that holds config.json, "
            "model.safetensors and the files of tokenizer and image processor."
        ) from error
    finally:
        if shown:
            logging.enable_progress_bar()


class TorchEncoder:
    """Base of the encoders that run in PyTorch, with the options of `open_encoder`.

    A kind of model derives from it with `_load(weights)`, which sets up the model, and with
    `_encode_images(inputs)` and `_encode_texts(texts)`, which return a tensor with one row for each
    item of one batch; with `_prepare(picture)` where its inputs are not RGB pictures. On CUDA it
    runs in half precision, elsewhere in float32.
    """

    _kind: ClassVar[str] = "a model"

    def __init__(
        self,
        model: str | Path,
        *,
        device: str | None = None,
        batch_size: int = 64,
        revision: str | None = None,
    ) -> None:
        torch: Any = require("torch", "encoders", self._kind)
        require("transformers", "encoders", self._kind)
        self._torch = torch
        self.batch_size = check_integer(batch_size, "batch_size", low=1)
        if device is None:
            mps = torch.backends.mps.is_available()
            device = "cuda" if torch.cuda.is_available() else "mps" if mps else "cpu"
        self.device = choose_device(device)
        self.half = self.device.type == "cuda"
        self._dtype = torch.float16 if self.half else torch.float32
        weights = find_weights(model, revision)
        self.name, self.revision = weights.name, weights.revision
        self._said = False
        with loading(weights):
            self._load(weights)
        self.n_features = int(self.encode_texts(["a"]).shape[1])

    def _load(self, weights: Weights) -> None:
        raise NotImplementedError

    def _prepare(self, picture: Any) -> Any:
        return picture

    def _encode_images(self, inputs: Sequence[Any]) -> Any:
        raise NotImplementedError

    def _encode_texts(self, texts: Sequence[str]) -> Any:
        raise NotImplementedError

    def prepare_image(self, picture: Picture) -> _Prepared:
        """Return what `encode_images` takes in place of a picture, with everything done to it."""
        return _Prepared(self._prepare(load_picture(picture)))

    def encode_images(self, pixels: Iterable[Any]) -> NDArray[np.float32]:
        """Return one unit row a picture; pictures are read ahead by threads.

        They are paths, encoded pictures (bytes), uint8 pixels, PIL images, or what `prepare_image`
        returned.
        """
        ready = prefetch(
            lambda item: item if isinstance(item, _Prepared) else self.prepare_image(item),
            pixels,
            n_threads=4,
            ahead=2 * self.batch_size,
        )
        blocks = []
        while batch := [item.value for item in islice(ready, self.batch_size)]:
            blocks.append(self._within_memory(self._encode_images, batch))
        if not blocks:
            raise InputError("images must be at least one picture, got none. Pass a list of them.")
        return unit_rows(np.concatenate(blocks), f"the images of {self.name}")

    def encode_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return one unit row a text; texts of similar length share a batch."""
        check_texts(texts)
        order = np.argsort([len(text) for text in texts], kind="stable")
        ordered, blocks, start = [texts[i] for i in order], [], 0
        while start < len(ordered):
            stop = start + self.batch_size  # as it is by now
            blocks.append(self._within_memory(self._encode_texts, ordered[start:stop]))
            start = stop
        rows = np.concatenate(blocks)
        return unit_rows(rows[np.argsort(order)], f"the texts of {self.name}")

    def _batch(self, inputs: Sequence[dict[str, NDArray[Any]]]) -> dict[str, Any]:
        """Return inputs of the same shapes as one batch on the device, floats in its precision."""
        batch = {}
        for key in inputs[0]:
            tensor = self._torch.from_numpy(np.stack([item[key] for item in inputs]))
            dtype = self._dtype if tensor.is_floating_point() else tensor.dtype
            batch[key] = tensor.to(self.device, dtype)
        return batch

    def _within_memory(self, encode: Callable[[Any], Any], batch: Sequence[Any]) -> NDArray[Any]:
        """Encode a batch; when memory runs out, halve it, and all later ones."""
        try:
            with self._torch.inference_mode():
                return np.asarray(encode(batch).float().cpu().numpy())
        except (RuntimeError, MemoryError) as error:
            if not _is_out_of_memory(error):
                raise
            if len(batch) == 1:
                raise InputError(
                    f"{self.name} must fit into the memory of {self.device} with one item, got "
                    "more. Use another device or a smaller model."
                ) from error
        # Out of the handler: until then the error holds on to the memory of the failed attempt.
        if self.device.type == "cuda":
            self._torch.cuda.empty_cache()
        half = len(batch) // 2
        # Not half of what it is by now: both halves of one batch may fail.
        self.batch_size = min(self.batch_size, half)
        if not self._said:
            self._said = True
            warnings.warn(
                f"a batch of {len(batch)} did not fit into the memory of {self.device}: smaller "
                "ones are used",
                UserWarning,
                stacklevel=2,
            )
        halves = batch[:half], batch[half:]
        return np.concatenate([self._within_memory(encode, part) for part in halves])


class _Prepared(NamedTuple):
    """A picture that `prepare_image` has dealt with."""

    value: Any


def _is_out_of_memory(error: BaseException) -> bool:
    """Tell memory that ran out, on a GPU or not, from other failures of PyTorch."""
    said = ("out of memory", "can't allocate memory", "not enough memory")
    kind = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
    return kind or any(words in str(error).lower() for words in said)
