"""Opened traces: verified, read lazily, and only by detectors of their kind."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from trace_support import planted

from unsafe_video_dataset.defenses.traces import Traces
from unsafe_video_dataset.errors import ChecksumError, DetectorMismatch, InputError, IntegrityError, SchemaError


@pytest.fixture(scope="module")
def traces(tmp_path_factory: pytest.TempPathFactory) -> Traces:
    """Read only."""
    return planted(tmp_path_factory.mktemp("traces") / "t", 50, groups=10)


@pytest.fixture
def folder(traces: Traces, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(traces.folder, tmp_path / "copy"))


def test_rows_are_found_by_sample_and_step_over_shards(traces: Traces) -> None:
    assert len(list(traces.folder.glob("x0-*"))) == 2
    assert len(traces) == 50
    whole = torch.cat([load_file(path)["x0"] for path in sorted(traces.folder.glob("x0-*"))]).float()
    assert torch.equal(traces.x0([0, 41, 41], [1, 2, 4]), whole[[0, 41 * 4 + 1, 41 * 4 + 3]])
    part = traces.select([traces.sample_ids[41], traces.sample_ids[3]])
    assert torch.equal(part.x0([0, 1], [2, 3]), whole[[3 * 4 + 1, 41 * 4 + 2]])
    batches = list(traces.batches(size=64))
    assert torch.equal(torch.cat([x0 for *_, x0 in batches]), whole)
    assert batches[1][0][0] == 16


def test_nothing_is_read_before_it_is_asked_for(folder: Path) -> None:
    traces = Traces.open(folder)
    for shard in folder.glob("x0-*"):
        shard.unlink()
    assert traces.categories == ("bright", "wide")  # the index is enough
    with pytest.raises(FileNotFoundError):
        traces.x0([0], [1])


def test_every_damage_is_found(folder: Path) -> None:
    for path in sorted(folder.iterdir()):
        if path.name == "manifest.json":
            continue
        good = path.read_bytes()
        path.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
        with pytest.raises(ChecksumError, match=path.name):
            Traces.open(folder)
        path.write_bytes(good[:-1])
        with pytest.raises(ChecksumError, match=path.name):
            Traces.open(folder, verify=False)
        path.write_bytes(good)
    Traces.open(folder)


def test_a_manifest_of_another_kind(folder: Path, tmp_path: Path) -> None:
    file = folder / "manifest.json"
    manifest = json.loads(file.read_text())
    for bad in (
        "{",
        "[]",
        json.dumps({**manifest, "format": 99}),
        json.dumps({**manifest, "files": []}),
        json.dumps({**manifest, "files": [*manifest["files"], {"path": "../x", "bytes": 0, "sha256": ""}]}),
    ):
        file.write_text(bad)
        with pytest.raises(IntegrityError):
            Traces.open(folder)
    file.unlink()
    with pytest.raises(InputError, match="was not finished"):
        Traces.open(folder)
    with pytest.raises(InputError, match="no traces"):
        Traces.open(tmp_path / "nothing")


def test_an_index_of_other_columns(folder: Path) -> None:
    import hashlib

    import pyarrow.parquet as pq

    index = folder / "index.parquet"
    pq.write_table(pq.read_table(index).drop_columns(["sigma"]), index)
    data, file = index.read_bytes(), folder / "manifest.json"
    manifest = json.loads(file.read_text())
    for entry in manifest["files"]:
        if entry["path"] == index.name:
            entry.update(bytes=len(data), sha256=hashlib.sha256(data).hexdigest())
    file.write_text(json.dumps(manifest))
    with pytest.raises(SchemaError, match="other columns"):
        Traces.open(folder)


def test_labels_and_what_lacks_them(traces: Traces) -> None:
    targets = traces.targets(("bright", "wide"))
    assert targets.shape == (50, 2)
    assert np.array_equal(traces.unsafe(), targets.any(axis=1))
    with pytest.raises(InputError, match="name wide, which are not among bright"):
        traces.targets(("bright",))
    relabelled = traces.with_labels({traces.sample_ids[0]: ["red"]})
    assert relabelled.categories == ("bright", "red", "wide")
    assert relabelled.labels_sha256() != traces.labels_sha256()
    blank = traces.index.set_column(traces.index.column_names.index("categories"), "categories", [[None] * 200])
    unlabelled = Traces(traces.folder, traces.settings, blank.cast(traces.index.schema), traces.sha256)
    with pytest.raises(InputError, match="50 of 50 samples have no label"):
        unlabelled.unsafe()
    with pytest.raises(InputError, match="No sample"):
        unlabelled.labelled()
    some = unlabelled.with_labels({traces.sample_ids[7]: ["bright"], traces.sample_ids[8]: []}).labelled()
    assert some.sample_ids == traces.sample_ids[7:9]


def test_what_is_not_there(traces: Traces) -> None:
    with pytest.raises(InputError, match=r"Steps \[9\] were not recorded"):
        traces.x0([0], [9])
    with pytest.raises(InputError, match="1 of 1 asked samples"):
        traces.select(["unknown"])


def test_a_detector_of_another_kind_is_refused(traces: Traces) -> None:
    kind = traces.kind()
    traces.check_kind(kind)
    with pytest.raises(DetectorMismatch, match="x0_convention 'uvd', here 'scheduler'") as caught:
        traces.check_kind({**kind, "x0_convention": "uvd"}, any_scheduler=True)
    assert "any_scheduler" not in str(caught.value)
    with pytest.raises(DetectorMismatch, match=r"scheduler 'EulerDiscreteScheduler'.*any_scheduler=True"):
        traces.check_kind({**kind, "scheduler": "EulerDiscreteScheduler"})
    traces.check_kind({**kind, "scheduler": "EulerDiscreteScheduler"}, any_scheduler=True)
    with pytest.raises(DetectorMismatch, match="channels 16, here 4"):
        traces.check_kind({**kind, "channels": 16}, any_scheduler=True)
