"""Every loader that the benchmark compares gives each clip once, and the same frames as ours but for its resize filter.

A loader that is not installed is skipped, with the sentence that the benchmark prints for it.
"""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("av")
pytest.importorskip("psutil")

from unsafe_video_dataset.bench.clips import Layout, generate_clips, write_layout
from unsafe_video_dataset.bench.peers import PEERS, Load, cache_folder
from unsafe_video_dataset.bench.readers import picks
from unsafe_video_dataset.bench.settings import FRAMES
from unsafe_video_dataset.mp4 import inspect_mp4
from unsafe_video_dataset.video import decode_frames

SIZE, CLIPS = 64, 10
MEAN = 6.0
"""Grey levels between two resize filters on moving textures with noise. Frames one off from ours differ by 20 and more."""

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory) -> Layout:
    return write_layout(tmp_path_factory.mktemp("peers") / "layout", generate_clips(CLIPS, size=128, seed=1))


@pytest.fixture(scope="module")
def expected(layout: Layout) -> dict[str, np.ndarray]:
    found = {}
    for index, video_id in enumerate(layout.ids):
        data = layout.file(index).read_bytes()
        found[video_id] = decode_frames(data, picks(inspect_mp4(data).num_frames), size=SIZE)
    return found


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("name", list(PEERS))
def test_every_clip_once_with_the_same_frames(
    name: str, workers: int, layout: Layout, expected: dict[str, np.ndarray], request: pytest.FixtureRequest
) -> None:
    peer = PEERS[name]
    said = peer.missing()
    if said is not None:
        pytest.skip(said)
    load = Load(workers=workers, batch_size=4, size=SIZE, cache=str(cache_folder(layout)) if peer.cached else None)
    prepared = layout.root / f"prepared-{name}"
    if peer.prepare is not None and not prepared.exists():
        peer.prepare(layout, load)
        prepared.touch()
    seen: list[str] = []
    for ids, video in peer.open(layout, load):
        seen += ids
        if not peer.pixels:
            continue
        assert str(video.dtype) == "torch.uint8"
        assert tuple(video.shape) == (len(ids), FRAMES, 3, SIZE, SIZE)
        for video_id, clip in zip(ids, video.numpy(), strict=True):
            difference = np.abs(clip.astype(np.int16) - expected[video_id]).mean()
            assert difference <= (0 if peer.kind == "ours" else MEAN), name
    assert sorted(seen) == sorted(layout.ids)


def test_another_frame_is_farther_away_than_any_filter(layout: Layout, expected: dict[str, np.ndarray]) -> None:
    for clip in expected.values():
        assert np.abs(clip[1:].astype(np.int16) - clip[:-1]).mean() > MEAN
