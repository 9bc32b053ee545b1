"""`write_report`: the folder of a report, which appears whole or not at all."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..errors import FilterError
from ..export.place import refuse_git
from ..hub.copies import remember_copy
from ..release import SAMPLE, Release, locate
from . import chunks, models, rows
from .facts import gather
from .page import ASSETS, Page, asset, index_html, palette_css, release_script_data
from .place import appearing, refuse_existing
from .thumbnails import Sheets, describe, write_sheets


def write_report(
    release: Release,
    out: str | os.PathLike[str],
    *,
    predictions: Sequence[str | os.PathLike[str]] = (),
    thumbnails: bool = True,
    reveal: bool = False,
    overwrite: bool = False,
    progress: bool = False,
    bootstrap: int = 1000,
) -> Path:
    """Write a static page about a release into the folder `out`; returns the path of its `index.html`.

    It opens from disk and asks for nothing else. Thumbnails are small, grey and blurred in the files themselves, and there
    are no prompts; `reveal` writes clear frames and prompts, and marks the page. `predictions`: files of `read_predictions`,
    whose scores stand beside the votes. `bootstrap`: replicates for the intervals of the raters' agreement (0: none).
    The folder appears whole or not at all: it is made beside `out` as `.<name>.partial`, and a run that was stopped goes on
    with the thumbnails that are there. With `reveal` it is for the user alone, may not lie in a git work tree that doesn't
    ignore it (the sample may), and nothing is kept of a run that was stopped: what a killed one leaves as `.<name>.revealed`
    is removed by the next run, revealed or not. `purge` removes the report of a release that was downloaded, together with
    the download. `overwrite` replaces a report, and nothing else, and takes over its thumbnails.

    Raises `FilterError` for a release without videos (unless `thumbnails=False`), `InputError` where `out` may not be
    replaced, another process writes to it or the release is too large, `FaultsError` for predictions that don't fit,
    `ChecksumError` for a video that is not what the release says, `MissingDependency` without Pillow or a decoder.
    """
    refuse_existing(Path(out), overwrite=overwrite)
    if reveal and release.path.resolve() != locate(SAMPLE).resolve():
        refuse_git(Path(out))
    if thumbnails and "reviewed" not in release.manifest["configs"]:
        raise FilterError(f"Release {release.name} has metadata alone, no videos. Add --no-thumbnails (thumbnails=False).")
    table = rows.read_rows(release, reveal=reveal)
    read = models.read_models(predictions, table)  # faults before the long work
    facts = gather(release, table, bootstrap=bootstrap)
    curves = models.curve_sets(release, read)
    place = Path(out).resolve()
    remember_copy(release.path, place, kind="reports")  # before the first byte: what a killed run left is found too
    with appearing(place, reveal=reveal, overwrite=overwrite) as folder:
        sheets = Sheets()
        if thumbnails:
            old = place / "thumbs"
            sheets = write_sheets(release, table.ids, folder / "thumbs", reveal=reveal, progress=progress, reuse=old)
        _drop_others(folder / "thumbs", sheets.names)
        page = Page(release, table, facts, read, curves, reveal, bool(sheets.names), len(sheets.broken))
        _write_data(folder, page, sheets)
    return Path(out) / "index.html"


# --- inside -----------------------------------------------------------------------------------------------------------


def _write_data(folder: Path, page: Page, sheets: Sheets) -> None:
    data = folder / "data"
    shutil.rmtree(data, ignore_errors=True)  # of a run that was stopped
    data.mkdir()
    described = describe(sheets)
    columns = list(rows.column_chunks(page.rows, sheets.broken))
    scripts = {"release.js": chunks.call("release", release_script_data(page, described))}
    scripts |= {f"rows-{number:04d}.js": text for number, text in enumerate(columns)}
    scripts |= {
        f"scores-{number}.js": models.score_script(number, model, page.rows) for number, model in enumerate(page.models)
    }
    at_start = ["release.js", "rows-0000.js", *(f"scores-{number}.js" for number in range(len(page.models)))]
    scripts |= {f"detail-{number:04d}.js": text for number, text in enumerate(rows.detail_chunks(page.rows))}
    scripts["croissant.js"] = chunks.call("croissant", _croissant(page.release))
    for name, text in scripts.items():
        (data / name).write_text(text, encoding="ascii")
    for name in ASSETS:
        (folder / name).write_text(asset(name), encoding="utf-8")
    (folder / "palette.css").write_text(palette_css(), encoding="utf-8")
    (folder / "index.html").write_text(index_html(page, at_start), encoding="utf-8")


def _croissant(release: Release) -> dict[str, Any] | None:
    """The release's own Croissant file, without examples; None where it has none."""
    try:
        found = json.loads((release.path / "croissant.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return _without_examples(found) if isinstance(found, dict) else None


def _without_examples(value: Any) -> Any:
    """Example values of fields may be prompts; the context's entry for the word stays."""
    if isinstance(value, dict):
        kept = {key: one for key, one in value.items() if key not in ("examples", "cr:examples", "cr:data")}
        return {key: one if key == "@context" else _without_examples(one) for key, one in kept.items()}
    return [_without_examples(one) for one in value] if isinstance(value, list) else value


def _drop_others(folder: Path, names: Sequence[str]) -> None:
    """Sheets of other settings, that a stopped run left behind, do not go into the report: they may be clear ones."""
    if folder.is_dir():
        for path in folder.iterdir():
            if path.name not in names:
                path.unlink()
