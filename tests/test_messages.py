"""Messages are part of the product: docs/messages.md shows each, as the package says it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gate_support as support
import message_table
import pytest

from unsafe_video_dataset.hub.access import _NEXT


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], dict[str, list[str]]]:
    root = tmp_path_factory.mktemp("messages")
    support.write_sound(root / "release", videos=12)
    return message_table.collect(root / "release", root)


def test_every_state_is_told(said: tuple[dict[str, Any], dict[str, list[str]]]) -> None:
    states, _ = said
    assert set(states) == set(_NEXT)
    for state, status in states.items():
        assert status["state"] == state
        assert status["granted"] == (state == "granted")


def test_the_readme_shows_each_answer(said: tuple[dict[str, Any], dict[str, list[str]]]) -> None:
    text = message_table.README.read_text(encoding="utf-8")
    assert "(docs/messages.md)" in text
    chapter = text.partition("\n## Access\n")[2].partition("\n## ")[0]
    assert all(f"| {state.replace('_', ' ')} | " in chapter for state in _NEXT)
    assert text == message_table.readme(text, said[0]), "run: python tests/message_table.py"


def test_the_page_shows_each_message(said: tuple[dict[str, Any], dict[str, list[str]]]) -> None:
    assert message_table.DOCS.read_text(encoding="utf-8") == message_table.page(*said), "run: python tests/message_table.py"


def test_every_error_says_the_next_step(said: tuple[dict[str, Any], dict[str, list[str]]]) -> None:
    steps = ("unsafe-video", "hf auth login", "Try again", "tell the owner", "Free some room", "Open http", "/tree/main",
             "/discussions", "accept_terms=True")  # fmt: skip
    for title, (error, message) in said[1].items():
        assert error == "UserWarning" or any(step in message for step in steps), f"{title}: {error}: {message}"
        assert "hf_" not in message
        assert str(Path.home()) not in message


def test_samples_come_from_one_place(said: tuple[dict[str, Any], dict[str, list[str]]]) -> None:
    kinds = {error for error, _ in said[1].values()}
    expected = {"TermsNotAccepted", "OfflineError", "RevisionError", "ChecksumError", "AccessRejected", "AccessError",
                "HubUnavailable", "IntegrityError", "StorageError", "UserWarning"}  # fmt: skip
    assert kinds == expected
