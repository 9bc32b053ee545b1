"""`load_dataset` and the `datasets` builder under it.

Rows come from a checked `Release`; the `video` column is a lazy `VideoHandle`. The Arrow cache is keyed by the manifest's
hash and the selection, not by a path or a date, so it can't hand out another release's rows; its files are hashed each time
before they are opened (`arrow_cache`), and made anew if they were changed.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, cast

import datasets
import pyarrow as pa
import pyarrow.compute as pc
from datasets.builder import Key
from datasets.exceptions import DatasetGenerationError

from .arrow_cache import damage, drop_if_damaged, one_at_a_time, write_record
from .errors import ChecksumError, FilterError, IntegrityError, UnsafeVideoError, one_of
from .filters import checked_filters, checked_names
from .hub.copies import remember_copy
from .lazy_video import LazyVideo
from .parquet import check_videos, reading
from .records import SCHEMA_VERSION, arrow_schema, features
from .release import SAMPLE, Release
from .taxonomy import CONFIGS, SPLITS
from .values import check_values

_TABLES: dict[str, Any] = {"unsafe": "video", "reviewed": "video", "metadata": "metadata", "annotations": "annotation"}


class ReleaseBuilder(datasets.ArrowBasedBuilder):  # type: ignore[misc]
    """A `datasets` builder over one `Release`, used in process (dataset scripts are gone).

    `filters` are those of `Release.metadata`. Each row group is read with page checksums, each video's bytes are checked
    against its sha256.
    """

    VERSION = datasets.Version(SCHEMA_VERSION)
    BUILDER_CONFIGS: ClassVar[list[Any]] = [datasets.BuilderConfig(name=name) for name in CONFIGS]
    DEFAULT_CONFIG_NAME = "unsafe"
    _sound: str | None = None  # the folder whose files were just checked

    def __init__(
        self,
        release: Release,
        config_name: str = "unsafe",
        *,
        cache_dir: str | os.PathLike[str] | None = None,
        columns: Sequence[str] | None = None,
        filters: dict[str, Any] | None = None,
    ) -> None:
        one_of(config_name, release.manifest["configs"], "name")
        table = _TABLES[config_name]
        names = arrow_schema(table).names
        self.release = release
        self.columns = names if columns is None else list(dict.fromkeys(checked_names(columns, names, "columns")))
        if not self.columns:
            raise FilterError(f"columns is empty. Name some of: {', '.join(names)}.")
        self.ids = _chosen_ids(release, config_name, filters or {})
        selection = [release.manifest_sha256, config_name, self.columns, sorted((filters or {}).items())]
        digest = hashlib.sha256(json.dumps(selection, default=str).encode()).hexdigest()
        # An explicit name and hash: by default the cache folder is named after this module's file, as is any other hf.py's.
        super().__init__(
            config_name=config_name,
            dataset_name="unsafe_video_dataset",
            hash=digest[:32],
            cache_dir=None if cache_dir is None else os.fspath(cache_dir),
        )

    def _info(self) -> datasets.DatasetInfo:
        full = features(_TABLES[self.config.name])
        chosen = {name: LazyVideo() if name == "video" else full[name] for name in self.columns}
        return datasets.DatasetInfo(features=datasets.Features(chosen))

    def _split_generators(self, dl_manager: Any) -> list[datasets.SplitGenerator]:
        """The splits that have rows: `datasets` can't hold a split without any."""
        return [
            datasets.SplitGenerator(
                name=split,
                gen_kwargs={"files": [str(path) for path in self._files(split)]},
            )
            for split in SPLITS
            if self._has_rows(split)
        ]

    def _files(self, split: str) -> list[Path]:
        files = self.release.data_files(self.config.name, split)
        if not files:
            raise IntegrityError(
                f"The manifest of {self.release.path} lists no file of {self.config.name}/{split}. Get it anew."
            )
        return files

    def _has_rows(self, split: str) -> bool:
        if self.config.name == "annotations":
            ids = self.release.annotations()
            ids = ids.filter(pc.equal(ids["split"], split))["video_id"]
        else:
            unsafe_only: dict[str, Any] = {"is_unsafe": True} if self.config.name == "unsafe" else {}
            try:
                ids = self.release.metadata(split, columns=["video_id"], **unsafe_only)["video_id"]
            except FilterError:  # no row at all
                return False
        return bool(len(ids) if self.ids is None else pc.any(pc.is_in(ids, value_set=self.ids)).as_py())

    def _generate_tables(self, files: list[str]) -> Iterator[tuple[Key, pa.Table]]:
        arrow = self.info.features.arrow_schema
        needed = {*self.columns, "video_id"} | ({"sha256"} if "video" in self.columns else set())
        columns = [name for name in arrow_schema(_TABLES[self.config.name]).names if name in needed]
        kind: Any = "annotation" if self.config.name == "annotations" else "video"
        seen: set[str] = set()
        for number, path in enumerate(map(Path, files)):
            for group in range(len(self.release.footer(path).row_groups)):
                with reading(path):
                    rows = self.release.keep(self.release.read_group(path, group, columns))
                    check_values(kind, rows, path)
                    if kind == "video":
                        new = set(rows["video_id"].to_pylist())
                        if len(new) != rows.num_rows or new & seen:
                            raise IntegrityError(f"{path} holds a video_id that came before. Get the release anew.")
                        seen |= new
                    if self.ids is not None:
                        rows = rows.filter(pc.is_in(rows["video_id"], value_set=self.ids))
                    if "video" in self.columns:
                        check_videos(rows, path)
                    chosen = rows.select(self.columns).cast(arrow)
                yield Key(number, group), chosen

    def download_and_prepare(self, output_dir: str | None = None, *args: Any, **kwargs: Any) -> None:
        """As in `datasets`, but files in the cache that were changed since they were made are made anew, the folder is
        recorded for `purge` before the first byte, and an error of ours comes as itself, not wrapped.
        """
        self._sound = None
        remember_copy(self.release.path, output_dir or self.cache_dir)
        try:
            with one_at_a_time(Path(self.cache_dir)):
                if output_dir is None:  # a folder that the user named is not ours to remove
                    drop_if_damaged(Path(self.cache_dir))
                super().download_and_prepare(output_dir, *args, **kwargs)
        except DatasetGenerationError as error:
            if isinstance(error.__cause__, UnsafeVideoError):
                raise error.__cause__ from None
            raise
        if output_dir is None:
            self._sound = self._output_dir

    def as_dataset(self, *args: Any, **kwargs: Any) -> Any:
        """As in `datasets`. Raises `ChecksumError` for files that were changed since they were made."""
        folder = Path(self._output_dir)
        if self._output_dir != self._sound and folder.is_dir() and (found := damage(folder)):
            raise ChecksumError(f"The rows in {folder} are not as they were written ({found}). Run download_and_prepare anew.")
        return super().as_dataset(*args, **kwargs)

    def _build_cache_dir(self) -> str:
        """`datasets` reads a kept `dataset_info.json` as soon as a builder is made: one that was changed goes before that."""
        folder = str(super()._build_cache_dir())
        if Path(folder).is_dir():
            with one_at_a_time(Path(folder)):
                drop_if_damaged(Path(folder), info_only=True)
        return folder

    def _save_info(self) -> None:
        """The last thing that `datasets` writes before the folder gets its name."""
        super()._save_info()
        if Path(self._output_dir).is_dir():
            write_record(Path(self._output_dir))


def load_dataset(
    path: str | os.PathLike[str] = SAMPLE,
    name: str = "unsafe",
    *,
    split: str | None = None,
    streaming: bool = False,
    revision: str | None = None,
    token: str | bool | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    local_files_only: bool = False,
    allow_cached: bool = False,
    accept_terms: bool = False,
    columns: Sequence[str] | None = None,
    categories: Sequence[str] | None = None,
    generators: Sequence[str] | None = None,
    prompt_sources: Sequence[str] | None = None,
    is_unsafe: bool | None = None,
    min_raters: int | None = None,
    min_agreement: float | None = None,
) -> Any:
    """Load a release with `datasets`: a `DatasetDict`, or a `Dataset` for a `split`; their iterable twins if `streaming`.

    `path` is `"sample"`, a release folder, or a repository on the Hub (`"org/repo"`), which is downloaded and verified first,
    as far as `name` needs, or with `streaming` read over checked ranges; `revision` to `accept_terms` are those of
    `hub.download`, and are for repositories. `name` is one of `unsafe`, `reviewed`, `metadata`, `annotations`; `split` one of
    `train`, `validation`, `test`, or any expression of `datasets` such as `"train[:10%]"`. Filters as in
    `Release.metadata`. The `video` column holds `VideoHandle`s: `row["video"].num_frames`, `.frames([0, 8], size=224)`.
    Without `streaming` the rows are copied once into the Arrow cache under `cache_dir` (default: that of `datasets`), whose
    files are hashed at each call and made anew if they were changed.

    Raises `FilterError` for an unknown name, split, column or value, and for an empty result; `IntegrityError` for a release
    that is not sound.
    """
    filters = {
        "categories": categories,
        "generators": generators,
        "prompt_sources": prompt_sources,
        "is_unsafe": is_unsafe,
        "min_raters": min_raters,
        "min_agreement": min_agreement,
    }
    one_of(name, CONFIGS, "name")
    if not isinstance(split, str | None):
        raise FilterError(f"split={split!r} must be text, such as 'train' or 'train+test'.")
    for base in re.findall(r"[A-Za-z_]\w*", re.sub(r"\[[^\]]*\]|\([^)]*\)", "", split or "")):
        one_of(base, (*SPLITS, "all"), "split")
    given: dict[str, Any] = {key: value for key, value in filters.items() if value is not None}
    how: dict[str, Any] = {
        "revision": revision,
        "token": token,
        "local_files_only": local_files_only,
        "allow_cached": allow_cached,
    }
    how |= {"cache_dir": cache_dir, "accept_terms": accept_terms, "config": name, "stream": streaming}
    release = Release.open(path, **how)
    builder = ReleaseBuilder(release, name, cache_dir=cache_dir, columns=columns, filters=given)
    if split in SPLITS:  # says now, and for streams too, that nothing would come
        release.metadata(split, columns=["video_id"], **(given | ({"is_unsafe": True} if name == "unsafe" else {})))
    if streaming:
        if split not in (None, *SPLITS):
            raise FilterError(f"split={split!r}: a stream takes whole splits ({', '.join(SPLITS)}); use .skip() and .take().")
        return builder.as_streaming_dataset(split=split)
    builder.download_and_prepare()
    try:
        loaded = builder.as_dataset(split=split)
    except (ValueError, AssertionError) as error:
        raise FilterError(f"split={split!r} can't be used: {error}. Write it as in 'train[:10%]' or 'train+test'.") from error
    if split is not None and not loaded.num_rows:
        sizes = release.manifest["counts"]["splits"]
        raise FilterError(f"split={split!r} of config {name!r} holds no row. Sizes: {sizes}.")
    return loaded


def _chosen_ids(release: Release, config: str, filters: dict[str, Any]) -> pa.Array | None:
    """Ids that pass the filters, or None where all rows do. Raises `FilterError` for an empty result."""
    if not filters:
        return None
    filters = checked_filters(release.manifest["counts"], **filters)
    if config == "unsafe":
        if filters.get("is_unsafe") is False:
            raise FilterError("Config 'unsafe' holds unsafe videos only; use name='reviewed' with is_unsafe=False.")
        filters = {**filters, "is_unsafe": True}
    table = release.metadata(columns=["video_id"], **filters)
    return cast("pa.Array", table["video_id"].combine_chunks())
