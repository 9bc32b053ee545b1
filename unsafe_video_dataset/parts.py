"""Which files of a release a config and split need: what a download brings, and what a release opened by it holds."""

from __future__ import annotations

from dataclasses import dataclass

from .taxonomy import SPLITS

ALWAYS = ("manifest.json", "tombstones.parquet")
_FOLDERS = {
    "metadata": ("metadata",),
    "annotations": ("metadata", "annotations"),
    "unsafe": ("metadata", "unsafe"),
    "reviewed": ("metadata", "unsafe", "not_unsafe"),
}
_CONFIG_OF = {"annotations": "annotations", "not_unsafe": "reviewed", "unsafe": "unsafe"}  # by folder of data/


@dataclass(frozen=True)
class Part:
    """The part of a release that one config (`all`: every file) needs, of one split or of all."""

    config: str
    split: str | None = None

    def holds(self, path: str) -> bool:
        """Whether the part has this file of the release."""
        if self.config == "all":
            return not path.startswith(".git")
        splits = SPLITS if self.split is None else (self.split,)
        starts = tuple(
            f"data/{folder}/{name}{end}" for folder in _FOLDERS[self.config] for name in splits for end in ("-", ".")
        )
        metadata = tuple(f"data/metadata/{name}." for name in SPLITS)  # a video is found through the metadata of all splits
        return path in ALWAYS or path.startswith(starts + metadata)

    def fix(self, path: str) -> str:
        """How to open a release so that it has this file too."""
        folder = path.removeprefix("data/").partition("/")[0] if path.startswith("data/") else ""
        wanted = Part(_CONFIG_OF.get(folder, "all"), self.split)
        if wanted.config in _FOLDERS and set(_FOLDERS[wanted.config]) < set(_FOLDERS.get(self.config, ())):
            wanted = Part(self.config, self.split)  # the config is right, the split is not
        options = [f"config={wanted.config!r}"]
        if self.split is not None:
            options.append(f"split={self.split!r}" if wanted.holds(path) else "no split=")
        return f"Open it with {' and '.join(options)}."

    def __str__(self) -> str:
        return f"config {self.config!r}" + (f", split {self.split!r}" if self.split else "")
