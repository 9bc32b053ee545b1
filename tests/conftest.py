"""Shared fixtures. The Hugging Face libraries read their environment when they are imported, so it is set here, first."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

_HOME = tempfile.mkdtemp(prefix="unsafe-video-tests-")
atexit.register(shutil.rmtree, _HOME, ignore_errors=True)
os.environ.update(HF_HOME=_HOME, HF_DATASETS_CACHE=f"{_HOME}/datasets", HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false")
os.environ["OMP_NUM_THREADS"] = "1"  # each worker of pytest-xdist is a process; more threads would only get in their way

import hypothesis  # noqa: E402
import pytest  # noqa: E402
import releases  # noqa: E402

from unsafe_video_dataset.release import Release  # noqa: E402


@pytest.fixture(scope="session")
def sample() -> Release:
    """The embedded sample."""
    return Release.open()


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A release of 24 tiny videos with votes in all three splits; read only."""
    return releases.build(tmp_path_factory.mktemp("small") / "release")


@pytest.fixture(scope="session")
def unvoted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A release without votes, without prompts and without prompt sources; read only."""
    return releases.build(tmp_path_factory.mktemp("unvoted") / "release", votes=False, prompts=False)


@pytest.fixture(scope="session")
def big(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A release of 160 videos of 20 kB: several shards and row groups a split; read only."""
    return releases.build(tmp_path_factory.mktemp("big") / "release", 160, pad=20_000, shard_bytes=900_000, votes=False)


@pytest.fixture
def copy(small: Path, tmp_path: Path) -> Path:
    """A copy of `small` that a test may damage."""
    return Path(shutil.copytree(small, tmp_path / "copy"))


@pytest.fixture
def copy_of(tmp_path: Path) -> Callable[[Path], Path]:
    """Copies a release, to damage it."""
    return lambda release: Path(shutil.copytree(release, tmp_path / f"copy-{len(list(tmp_path.iterdir()))}"))


# A first call may import a library, and the machine may be busy: time says nothing about right or wrong here.
hypothesis.settings.register_profile("suite", deadline=None)
hypothesis.settings.load_profile("suite")
