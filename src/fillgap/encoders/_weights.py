"""Where the weights of a model are: a local folder, the cache of the Hugging Face hub, the hub."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

from fillgap._checks import InputError, InputTypeError, require
from fillgap._files import missing_path

__all__ = ["Weights", "find_weights", "loading"]

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
