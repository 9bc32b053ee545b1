"""Perceptual hashes: altered copies are near, other scenes far, and flat frames say that they can't tell."""

from __future__ import annotations

import builtins
import importlib.util
from typing import Any

import numpy as np
import pytest

pytest.importorskip("av")

from unsafe_video_dataset.builders.vision import phash as module
from unsafe_video_dataset.builders.vision.measure import measure
from unsafe_video_dataset.builders.vision.phash import BITS, choose_hash, hash_frames, phash
from unsafe_video_dataset.builders.vision.resample import grey, resize
from unsafe_video_dataset.builders.vision.synthetic import encode, lit, scene
from unsafe_video_dataset.errors import FilterError, MissingDependency
from unsafe_video_dataset.video import decode_frames

HAVE_PDQ = importlib.util.find_spec("pdqhash") is not None
KINDS = ["phash", pytest.param("pdq", marks=pytest.mark.skipif(not HAVE_PDQ, reason="needs pdqhash"))]


def bits(hashes: list[bytes]) -> np.ndarray:
    return np.unpackbits(np.frombuffer(b"".join(hashes), np.uint8).reshape(len(hashes), -1), axis=1)


def distances(left: list[bytes], right: list[bytes]) -> np.ndarray:
    return (bits(left)[:, None] != bits(right)[None]).sum(axis=2)


def test_phash_is_the_dct_of_the_published_method() -> None:
    fft = pytest.importorskip("scipy.fft")
    frames = scene(1)[:3]
    light = resize(grey(frames), 32).astype(float)
    values = fft.dctn(light, axes=(1, 2), norm="ortho")[:, 1:9, 1:9].reshape(3, 64)
    expected = values > np.median(values, axis=1, keepdims=True)
    hashes, quality = phash(frames)
    assert (
        bits(hashes) != expected
    ).sum() <= 1  # cosines are rounded to 1/4096: a coefficient at the median may fall either way
    stable = (abs(values - np.median(values, axis=1, keepdims=True)) >= 2).mean(axis=1) * 100
    assert np.allclose(quality, stable, atol=2)


@pytest.mark.parametrize("kind", KINDS)
def test_a_copy_is_near_and_another_scene_is_far(kind: str) -> None:
    films = [decode_frames(encode(scene(seed))) for seed in range(4)]
    hashes = [hash_frames(film, kind)[0] for film in films]  # type: ignore[arg-type]
    assert all(len(one) == BITS[kind] // 8 for one in hashes[0])
    for number, film in enumerate(films):
        for copy in (lit(film, 1.2, 10), decode_frames(encode(film, crf=30))):
            near = distances(hash_frames(copy, kind)[0], hashes[number])  # type: ignore[arg-type]
            assert np.median(np.diag(near)) <= BITS[kind] // 8
        for other in range(number):
            assert np.median(distances(hashes[number], hashes[other])) > BITS[kind] // 4


@pytest.mark.parametrize("kind", KINDS)
def test_flat_frames_have_no_quality_and_scenes_have(kind: str) -> None:
    rng = np.random.default_rng(0)
    plain = np.full((1, 3, 128, 128), 90, np.uint8)
    noisy = plain + rng.integers(0, 3, plain.shape, dtype=np.uint8)
    ramp = np.broadcast_to(np.linspace(60, 120, 128).astype(np.uint8), (1, 3, 128, 128))
    for frames in (plain, plain * 0, noisy, ramp):
        assert hash_frames(frames, kind)[1] == [0]  # type: ignore[arg-type]
    assert min(hash_frames(scene(3), kind)[1]) >= 50  # type: ignore[arg-type]


def test_auto_is_pdq_where_it_is_installed_and_the_kind_is_stored(monkeypatch: pytest.MonkeyPatch) -> None:
    assert choose_hash("auto") == ("pdq" if HAVE_PDQ else "phash")
    assert measure(scene(1)[:2], hash="phash")["hash_kind"] == "phash"
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: None)  # as on a machine without pdqhash
    assert choose_hash("auto") == "phash"
    assert measure(scene(1)[:2])["hash_kind"] == "phash"
    with pytest.raises(MissingDependency, match=r"pip install 'unsafe-video-dataset\[pdq\]'"):
        choose_hash("pdq")


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(FilterError, match="Choose one of: auto, phash, pdq"):
        measure(scene(1)[:1], hash="md5")


def test_nothing_heavy_is_imported_for_phash(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def guarded(name: str, *rest: Any, **more: Any) -> Any:
        assert name.split(".")[0] not in ("pdqhash", "torch", "faiss", "sklearn"), name
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", guarded)
    assert measure(scene(1)[:1], hash="phash")["hash_kind"] == "phash"
