"""Pseudonyms: stable, keyed, without collisions; keys that are missing, short, or open to others."""

from __future__ import annotations

import hashlib
import hmac
import os
import stat
import subprocess
import sys
import unicodedata
from pathlib import Path

import pytest

from unsafe_video_dataset.builders.raters.pseudonyms import create_key, pseudonyms, read_key
from unsafe_video_dataset.errors import InputError

KEY = b"a key of the tests, not a secret"


def test_a_pseudonym_is_a_keyed_hash() -> None:
    found = pseudonyms(["anna@example.org", " Zoë"], KEY)
    digest = hmac.new(KEY, b"anna@example.org", hashlib.sha256).hexdigest()
    assert found["anna@example.org"] == f"r{digest[:12]}"
    assert pseudonyms(["anna@example.org"], KEY + b"!") != {"anna@example.org": found["anna@example.org"]}
    assert pseudonyms([unicodedata.normalize("NFD", "Zoë")], KEY) == {unicodedata.normalize("NFD", "Zoë"): found[" Zoë"]}
    assert len(pseudonyms(["a"], KEY, digits=16)["a"]) == 17


def test_a_collision_is_refused_without_naming_anybody() -> None:
    ids = [f"person{number}" for number in range(60)]
    with pytest.raises(InputError, match="Two rater ids get one pseudonym") as caught:
        pseudonyms(ids, KEY, digits=1)
    assert "person" not in str(caught.value)
    assert len(set(pseudonyms([f"person{number}" for number in range(20_000)], KEY).values())) == 20_000


def test_a_new_key_is_for_its_owner_alone(tmp_path: Path) -> None:
    file = tmp_path / "raters.key"
    code = "from unsafe_video_dataset.builders.raters.pseudonyms import main; raise SystemExit(main())"
    done = subprocess.run([sys.executable, "-c", code, str(file)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    key = read_key(file=file, variable="NO_SUCH_VARIABLE")
    assert len(key) == 64
    assert key.decode() not in done.stdout + done.stderr
    if os.name == "posix":
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    with pytest.raises(InputError, match="exists already"):
        create_key(file)
    with pytest.raises(InputError, match="can't be written"):
        create_key(tmp_path / "nowhere" / "raters.key")


def test_a_key_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RATER_KEY", f" {KEY.decode()}\n")
    assert read_key(file=None, variable="RATER_KEY") == KEY


def test_no_key_says_how_to_make_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RATER_KEY", raising=False)
    for file in (None, tmp_path / "raters.key"):
        with pytest.raises(InputError, match=r"python -m unsafe_video_dataset\.builders\.raters\.pseudonyms FILE"):
            read_key(file=file, variable="RATER_KEY")


def test_keys_that_are_short_or_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RATER_KEY", "password")
    with pytest.raises(InputError, match="has 8 bytes") as caught:
        read_key(file=None, variable="RATER_KEY")
    assert "password" not in str(caught.value)
    file = tmp_path / "raters.key"
    create_key(file)
    if os.name == "posix":
        file.chmod(0o644)
        with pytest.raises(InputError, match=r"chmod 600 raters\.key"):
            read_key(file=file, variable="RATER_KEY")
