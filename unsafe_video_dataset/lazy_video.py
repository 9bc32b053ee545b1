"""`LazyVideo`: the `datasets` feature behind the `video` column. Its values are `VideoHandle`s, proved when they are read."""

from __future__ import annotations

import hashlib
import re
import warnings
from dataclasses import dataclass, field
from typing import Any, ClassVar

import datasets
import pyarrow as pa
from datasets.features.features import register_feature

from .errors import ChecksumError
from .video import VideoHandle

_VIDEO_ID = re.compile(r"[0-9a-f]{16}")


@dataclass
class LazyVideo:
    """A `datasets` feature whose value is a `VideoHandle`: facts from the MP4 header, frames only when asked for.

    A cell is MP4 bytes and a file name. A name that is a `video_id` is a promise about the bytes, and is held to it when the
    cell is read: an Arrow file that was changed on disk gives `ChecksumError`, not another video.
    """

    decode: bool = True
    id: str | None = field(default=None, repr=False)
    dtype: ClassVar[str] = "unsafe_video_dataset.VideoHandle"
    pa_type: ClassVar[Any] = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    _type: str = field(default="LazyVideo", init=False, repr=False)

    def __call__(self) -> pa.DataType:
        return self.pa_type

    def encode_example(self, value: Any) -> dict[str, Any]:
        """A handle, bytes, or `{"bytes", "path"}` as Arrow stores it. A path alone is refused: nothing is opened by name."""
        if isinstance(value, VideoHandle):
            return {"bytes": bytes(value), "path": _true_name(value, f"{value.name}.mp4")}
        if isinstance(value, (bytes, bytearray)):
            return {"bytes": bytes(value), "path": _name_of(value)}
        if isinstance(value, dict) and value.get("bytes") is not None:
            return {"bytes": value["bytes"], "path": _true_name(value["bytes"], value.get("path"))}
        raise TypeError(f"A video column takes MP4 bytes or a VideoHandle, not {type(value).__name__}.")

    def decode_example(self, value: dict[str, Any], token_per_repo_id: Any = None) -> VideoHandle:
        """The stored struct as a `VideoHandle`. Raises `ChecksumError` if its bytes are not those of the id in its name."""
        name = (value["path"] or "video").removesuffix(".mp4")[:200]
        if _true_name(value["bytes"], value["path"]) != value["path"]:
            raise ChecksumError(
                f"Video {name} has other bytes in this dataset than its id says: its Arrow file was changed on disk. Call "
                "load_dataset again: it checks the file and writes it anew."
            )
        return VideoHandle(value["bytes"], name=name)

    def cast_storage(self, storage: pa.Array) -> pa.Array:
        """Arrow values of this feature: the struct, or plain MP4 bytes."""
        if pa.types.is_binary(storage.type) or pa.types.is_large_binary(storage.type):
            paths = pa.array([_name_of(data.as_buffer()) if data.is_valid else None for data in storage], pa.string())
            storage = pa.StructArray.from_arrays([storage.cast(pa.binary()), paths], ["bytes", "path"])
        return storage.cast(self.pa_type)

    def flatten(self) -> dict[str, Any]:
        """Columns after `Dataset.flatten()`."""
        return {"bytes": datasets.Value("binary"), "path": datasets.Value("string")}


def _name_of(data: Any) -> str:
    """`map` hands back bytes without their name; a video's name follows from its content."""
    return f"{hashlib.sha256(data).hexdigest()[:16]}.mp4"


def _true_name(data: Any, path: str | None) -> str | None:
    """The name that bytes may have: `path`, unless it is the id of other bytes; then the one that follows from these."""
    claims_an_id = path is not None and _VIDEO_ID.fullmatch(path.removesuffix(".mp4"))
    return _name_of(data) if claims_an_id else path


with warnings.catch_warnings():
    warnings.simplefilter("ignore", UserWarning)  # 'register_feature is experimental': constraints.txt pins it, tests use it
    register_feature(LazyVideo, "LazyVideo")
