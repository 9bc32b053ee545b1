"""What clusters are made from: an `Embedder` gives a video one vector. The default has no weights; a checkpoint is yours."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from unsafe_video_dataset.errors import InputError, MissingDependency

from . import descriptor
from .measure import SIDE, spread
from .resample import grey, resize

_KINDS = ("videomae", "clip")


class Embedder(Protocol):
    """Frames of one video -> one vector. The same frames give the same vector."""

    name: str
    version: str

    @property
    def dim(self) -> int:
        """Length of a vector."""

    def embed(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        """uint8 [T, 3, H, W] (RGB), T at least 1 -> float32 [dim]."""


class ShapeDescriptor:
    """The default: colours, layout, edge directions and motion (`descriptor.py`). No weights, so no meaning.

    A pipeline takes it from the probe's table and decodes nothing.
    """

    name = descriptor.NAME
    version = str(descriptor.VERSION)
    dim = descriptor.DIM

    def embed(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        """The probe's `descriptor` of these frames."""
        small = resize(frames, SIDE)
        return np.array(descriptor.describe(small, grey(small)), np.float32)


class TransformersEmbedder:
    """VideoMAE or CLIP from a local checkpoint folder (`save_pretrained`), on the CPU; nothing is downloaded.

    VideoMAE: the mean of the last hidden states over its `num_frames` evenly spread frames. CLIP (and its like with
    `get_image_features`): the mean of the projected features of 16 evenly spread frames. Vectors have length 1 and 4 decimals.
    Frames are resized to the model's square and normalised with the folder's `preprocessor_config.json`, or the ImageNet
    (VideoMAE) or CLIP means where there is none. Raises `InputError` for a folder that is not such a checkpoint,
    `MissingDependency` without transformers or torch.
    """

    def __init__(self, folder: Path) -> None:
        torch, transformers = _libraries()
        if not (folder / "config.json").is_file():
            raise InputError(f"{folder.name} is no checkpoint folder: it has no config.json. Save one with `save_pretrained`.")
        config = transformers.AutoConfig.from_pretrained(str(folder), local_files_only=True)
        if config.model_type not in _KINDS:
            raise InputError(
                f"{folder.name} holds a {config.model_type} model. Give a checkpoint of one of: {', '.join(_KINDS)}."
            )
        self._torch, self._kind = torch, config.model_type
        self._model = transformers.AutoModel.from_pretrained(str(folder), local_files_only=True).eval()
        vision = config if self._kind == "videomae" else config.vision_config
        self._side, self._frames = int(vision.image_size), int(getattr(vision, "num_frames", 16))
        self.dim = int(config.hidden_size if self._kind == "videomae" else config.projection_dim)
        self.name, self.version = f"{self._kind}:{folder.name}", _fingerprint(folder)
        self._mean, self._spread = _normalisation(folder, self._kind)

    def embed(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        """See the class."""
        torch = self._torch
        chosen = np.linspace(0, len(frames) - 1, self._frames).round().astype(int)
        if self._kind == "clip":
            chosen = np.array(spread(len(frames), self._frames))
        pixels = (resize(frames[chosen], self._side).astype(np.float32) / 255 - self._mean) / self._spread
        threads = torch.get_num_threads()
        torch.set_num_threads(1)  # sums in another order give other last digits
        try:
            with torch.inference_mode():
                values = torch.from_numpy(np.ascontiguousarray(pixels, np.float32))
                if self._kind == "videomae":
                    vector = self._model(pixel_values=values[None]).last_hidden_state[0].mean(dim=0)
                else:
                    found = self._model.get_image_features(pixel_values=values)
                    vector = getattr(found, "pooler_output", found).mean(dim=0)
        finally:
            torch.set_num_threads(threads)
        out: NDArray[np.float32] = vector.numpy().astype(np.float32)
        rounded: NDArray[np.float32] = np.round(out / max(float(np.linalg.norm(out)), 1e-12), 4)
        return rounded


def _libraries() -> tuple[Any, Any]:
    try:
        import torch
        import transformers
    except ModuleNotFoundError as error:
        raise MissingDependency(f"A checkpoint needs {error.name}: pip install transformers torch") from error
    return torch, transformers


def _fingerprint(folder: Path) -> str:
    """First 16 hex digits over the names and contents of the configuration and weights."""
    import hashlib

    total = hashlib.sha256()
    for path in sorted([*folder.glob("*.json"), *folder.glob("*.safetensors"), *folder.glob("*.bin")]):
        with path.open("rb") as file:
            digest = hashlib.sha256()
            while block := file.read(1 << 20):
                digest.update(block)
        total.update(path.name.encode() + digest.digest())
    return total.hexdigest()[:16]


def _normalisation(folder: Path, kind: str) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Means and standard deviations of R, G, B for pixels from 0 to 1, [3, 1, 1]."""
    import json

    mean, deviation = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
    if kind == "clip":
        mean, deviation = [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]
    file = folder / "preprocessor_config.json"
    if file.is_file():
        settings = json.loads(file.read_text(encoding="utf-8"))
        mean, deviation = settings.get("image_mean", mean), settings.get("image_std", deviation)
    return tuple(np.array(one, np.float32).reshape(3, 1, 1) for one in (mean, deviation))  # type: ignore[return-value]


@functools.lru_cache(maxsize=1)
def load_embedder(checkpoint: str | None) -> Embedder:
    """The default, or the checkpoint in a folder; a worker process loads it once."""
    return ShapeDescriptor() if checkpoint is None else TransformersEmbedder(Path(checkpoint))
