"""The names of a release: which reading is taken, and an error that says so where both may be meant."""

from __future__ import annotations

from pathlib import Path

import pytest

from unsafe_video_dataset.errors import AccessPending, RateLimited, RepositoryMissing
from unsafe_video_dataset.naming import is_repo_id, taken_for_a_repository
from unsafe_video_dataset.release import Release


def test_a_folder_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert is_repo_id("org/data")
    (tmp_path / "org" / "data").mkdir(parents=True)
    assert not is_repo_id("org/data")
    assert not is_repo_id("sample")
    assert not is_repo_id("a/b/c")


def test_both_readings_are_told() -> None:
    with (
        pytest.raises(RateLimited, match=r"Wait\. \(There is no folder 'org/data' here") as caught,
        taken_for_a_repository("org/data"),
    ):
        raise RateLimited("Wait.", 3.0)
    assert caught.value.seconds == 3.0
    with pytest.raises(RepositoryMissing, match="no folder"), taken_for_a_repository("org/data"):
        raise RepositoryMissing("There is none.")


def test_a_repository_that_answers_is_one() -> None:
    with pytest.raises(AccessPending) as caught, taken_for_a_repository("org/data"):
        raise AccessPending("Wait for the owner.")
    assert "folder" not in str(caught.value)


def test_the_release_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    from unsafe_video_dataset import hub

    def none(*_: object, **__: object) -> None:
        raise RepositoryMissing("There is none.")

    monkeypatch.setattr(hub, "open_release", none)
    with pytest.raises(RepositoryMissing, match="no folder 'a/mistyped'"):
        Release.open("a/mistyped")
