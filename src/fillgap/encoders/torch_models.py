"""Where the weights of a model are: a local folder, the cache of the Hugging Face hub, the hub."""

from __future__ import annotations

import hashlib
import os
import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fillgap.encoders.base import Picture, load_picture, prefetch
from fillgap.errors import InputError, InputTypeError, check_integer, require, unit_rows
from fillgap.files import missing_path

#: What a model is read from; formats that execute what they hold (.bin, .pt) are not.
_FILES: Final = ("*.json", "*.safetensors", "*.txt", "*.model", "*.jinja")
_HUB_NAME = re.compile(r"[\w.-]+(/[\w.-]+)?")


class Weights(NamedTuple):
    """A folder with a model, and what to call it."""

    folder: Path
    name: str
    revision: str


def find_weights(model: str | Path, revision: str | None = None) -> Weights:
    """Return the local folder of a model; one on the hub is fetched where that is possible.

    Parameters
    ----------
    model : str or path
        A folder, or a name on the Hugging Face hub.
    revision : str, optional
        Branch, tag or commit on the hub.

    Returns
    -------
    Weights
        The revision is the commit on the hub, or the hash of the files of a folder.

    Raises
    ------
    InputError
        At once, if there is no such folder, nothing in the cache, and the hub cannot be reached.
    """
    path = Path(model).expanduser()
    if path.is_dir():
        return Weights(path, path.resolve().name, _hash(path))
    if not _HUB_NAME.fullmatch(str(model)):
        raise missing_path(path)
    folder = _from_hub(str(model), revision)
    return Weights(folder, str(model), folder.name)


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


def _hash(folder: Path) -> str:
    """Return a SHA-256 over the files that a model is read from."""
    digest = hashlib.sha256()
    # Those of subfolders too: sentence-transformers keeps weights there.
    for path in sorted({path for pattern in _FILES for path in folder.rglob(pattern)}):
        digest.update(path.relative_to(folder).as_posix().encode())
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


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
    _ask(model, hub)
    try:
        return Path(hub.snapshot_download(model, **options))
    except Exception as error:
        raise _not_had(model, " ".join(str(error).split())[:150], hub) from error


def _ask(model: str, hub: Any) -> None:
    """Ask the hub once whether it has a model: its own client would try again for minutes."""
    from urllib.error import HTTPError
    from urllib.request import Request, urlopen

    if hub.constants.HF_HUB_OFFLINE:
        raise _not_had(model, "HF_HUB_OFFLINE is set", hub)
    address = f"{hub.constants.ENDPOINT}/api/models/{model}"
    request = Request(address, headers={"User-Agent": "fillgap"})  # noqa: S310
    try:
        with urlopen(request, timeout=5):  # noqa: S310
            return
    except HTTPError as error:
        if error.code in {401, 403}:  # gated or private: the client knows the user's token
            return
        raise _not_had(model, f"{address} answers {error.code}", hub) from error
    except OSError as error:
        raise _not_had(model, f"{hub.constants.ENDPOINT} cannot be reached", hub) from error


def _not_had(model: str, reason: str, hub: Any) -> InputError:
    place = os.path.join(hub.constants.HF_HUB_CACHE, f"models--{model.replace('/', '--')}")  # noqa: PTH118
    return InputError(
        f"{model} must be a local folder, or a model that is in the cache or on the hub, got "
        f"neither: no config.json and model.safetensors in {place}, and {reason}. "
        "Fetch the model on a machine with a network, and name its folder instead."
    )


class TorchEncoder:
    """Base of the encoders that run in PyTorch.

    A kind of model derives from it with four methods: `_load(weights)` sets up the model,
    `_prepare(picture)` makes an input of one RGB picture, and `_encode_images(inputs)` and
    `_encode_texts(texts)` return a tensor with one row for each item of one batch.

    Parameters
    ----------
    model : str or path
        A local folder, or a name on the Hugging Face hub.
    device : str, optional
        "cpu", "cuda", "cuda:1", "mps", ...; a GPU where there is one.
    batch_size : int
        Pictures or texts at a time. Halved, with a warning, when memory runs out.
    revision : str, optional
        Branch, tag or commit on the hub.

    Attributes
    ----------
    name, revision, n_features
        As for `Encoder`.
    half : bool
        Whether the model runs in half precision: on CUDA it does, elsewhere in float32.

    Raises
    ------
    InputError
        If the weights cannot be had, are incomplete, or are of another kind of model.
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
        self._torch: Any = require("torch", "encoders", self._kind)
        require("transformers", "encoders", self._kind)
        self.batch_size = check_integer(batch_size, "batch_size", low=1)
        self.device = self._choose_device(device)
        self.half = self.device.type == "cuda"
        self._dtype = self._torch.float16 if self.half else self._torch.float32
        weights = find_weights(model, revision)
        self.name, self.revision = weights.name, weights.revision
        self._said = False
        with loading(weights):
            self._load(weights)
        self.n_features = int(self.encode_texts(["a"]).shape[1])

    def _load(self, weights: Weights) -> None:
        raise NotImplementedError

    def _prepare(self, picture: Any) -> Any:
        raise NotImplementedError

    def _encode_images(self, inputs: Sequence[Any]) -> Any:
        raise NotImplementedError

    def _encode_texts(self, texts: Sequence[str]) -> Any:
        raise NotImplementedError

    def prepare_image(self, picture: Picture) -> _Prepared:
        """Return what `encode_images` takes in place of a picture, with everything done to it.

        Raises
        ------
        InputError
            If the picture cannot be read.
        """
        return _Prepared(self._prepare(load_picture(picture)))

    def encode_images(self, pixels: Iterable[Any]) -> NDArray[np.float32]:
        """Return one unit row a picture.

        Parameters
        ----------
        pixels : iterable
            Paths, encoded pictures (bytes), uint8 pixels, PIL images, or what `prepare_image`
            returned. They are read ahead by threads.

        Raises
        ------
        InputError
            If a picture cannot be read, or if there is none.
        """
        ready = prefetch(
            lambda item: item if isinstance(item, _Prepared) else self.prepare_image(item),
            pixels,
            n_threads=4,
            ahead=2 * self.batch_size,
        )
        blocks, batch = [], []
        for item in ready:
            batch.append(item.value)
            if len(batch) >= self.batch_size:
                blocks.append(self._within_memory(self._encode_images, batch))
                batch = []
        if batch:
            blocks.append(self._within_memory(self._encode_images, batch))
        if not blocks:
            raise InputError("images must be at least one picture, got none. Pass a list of them.")
        return unit_rows(np.concatenate(blocks), f"the images of {self.name}")

    def encode_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return one unit row a text; texts of similar length share a batch.

        Raises
        ------
        InputError
            If there is none.
        InputTypeError
            If `texts` is not a sequence of strings.
        """
        if isinstance(texts, str) or not all(isinstance(text, str) for text in texts):
            raise InputTypeError(
                f"texts must be a list of strings, got {type(texts).__name__}. "
                "Put one caption into a list of its own."
            )
        if not len(texts):
            raise InputError("texts must be at least one caption, got none. Pass a list of them.")
        order = np.argsort([len(text) for text in texts], kind="stable")
        ordered, blocks, start = [texts[i] for i in order], [], 0
        while start < len(ordered):
            stop = start + self.batch_size
            blocks.append(self._within_memory(self._encode_texts, ordered[start:stop]))
            start = stop
        rows = np.concatenate(blocks)
        return unit_rows(rows[np.argsort(order)], f"the texts of {self.name}")

    def _choose_device(self, device: str | None) -> Any:
        """Return a device that works: the one asked for, or a GPU where there is one."""
        torch = self._torch
        if device is None:
            mps = torch.backends.mps.is_available()
            device = "cuda" if torch.cuda.is_available() else "mps" if mps else "cpu"
        try:
            chosen = torch.device(device)
            torch.zeros(1, device=chosen)
        except (RuntimeError, AssertionError, NotImplementedError) as error:
            reason = (str(error) or type(error).__name__).splitlines()[0][:120]
            raise InputError(
                f"device must be one that PyTorch can use here, got {device!r} ({reason}). "
                "Write cpu, or cuda where PyTorch was installed for it."
            ) from error
        return chosen

    def _batch(self, inputs: Sequence[dict[str, NDArray[Any]]]) -> dict[str, Any]:
        """Return inputs of the same shapes as one batch on the device, floats in its precision."""
        stacked = {
            key: self._torch.from_numpy(np.stack([item[key] for item in inputs]))
            for key in inputs[0]
        }
        return {
            key: tensor.to(self.device, self._dtype if tensor.is_floating_point() else tensor.dtype)
            for key, tensor in stacked.items()
        }

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
        # Not half of what it is by now: both halves of one batch may fail.
        self.batch_size = min(self.batch_size, len(batch) // 2)
        if not self._said:
            self._said = True
            warnings.warn(
                f"a batch of {len(batch)} did not fit into the memory of {self.device}: smaller "
                "ones are used",
                UserWarning,
                stacklevel=2,
            )
        half = len(batch) // 2
        return np.concatenate(
            [self._within_memory(encode, part) for part in (batch[:half], batch[half:])]
        )


class _Prepared:
    """A picture that `prepare_image` has dealt with."""

    def __init__(self, value: Any) -> None:
        self.value = value


def _is_out_of_memory(error: BaseException) -> bool:
    """Tell memory that ran out, on a GPU or not, from other failures of PyTorch."""
    text = str(error).lower()
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or "out of memory" in text
        or "can't allocate memory" in text
        or "not enough memory" in text
    )
