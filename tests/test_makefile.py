"""The environment that `make` creates: made once, made anew after a try that failed, kept where it works."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="needs make")

# A stand-in for `python3`: creates bin/python, and stops before pip is there while the file `broken` exists.
PYTHON = """#!/bin/sh
if [ "$1" = -c ]; then exit 0; fi
echo made >> {log}
mkdir -p "$3/bin"
printf '#!/bin/sh\\nexit 1\\n' > "$3/bin/python"; chmod +x "$3/bin/python"
if [ -e {broken} ]; then echo "ensurepip is not available" >&2; exit 1; fi
printf '#!/bin/sh\\nexit 0\\n' > "$3/bin/python"
"""


class Trial:
    def __init__(self, folder: Path) -> None:
        self.venv, self.log, self.broken, self.python = (folder / name for name in ("venv", "log", "broken", "python3"))
        self.python.write_text(PYTHON.format(log=self.log, broken=self.broken))
        self.python.chmod(0o755)

    def make(self) -> subprocess.CompletedProcess[str]:
        stamp = f"{self.venv}/.created"
        command = ["make", "-f", str(ROOT / "Makefile"), f"VENV={self.venv}", f"PYTHON={self.python}", stamp]
        return subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=self.venv.parent)

    @property
    def made(self) -> int:
        return len(self.log.read_text().splitlines()) if self.log.exists() else 0


@pytest.fixture
def trial(tmp_path: Path) -> Trial:
    return Trial(tmp_path)


def test_it_is_made_once(trial: Trial) -> None:
    assert [trial.make().returncode, trial.make().returncode] == [0, 0]
    assert trial.made == 1


def test_after_a_try_that_failed_it_is_made_anew(trial: Trial) -> None:
    trial.broken.touch()
    failed = trial.make()
    assert failed.returncode != 0
    assert "python3-venv" in failed.stderr
    assert (trial.venv / "bin" / "python").is_file()
    (trial.venv / "leftover").touch()
    trial.broken.unlink()
    assert trial.make().returncode == 0
    assert trial.made == 2
    assert not (trial.venv / "leftover").exists()


def test_one_without_the_stamp_is_kept_where_its_pip_works(trial: Trial) -> None:
    assert trial.make().returncode == 0
    (trial.venv / ".created").unlink()
    (trial.venv / ".train").touch()
    assert trial.make().returncode == 0
    assert trial.made == 1
    assert (trial.venv / ".train").exists()


def test_every_install_waits_for_the_stamp() -> None:
    lines = (ROOT / "Makefile").read_text(encoding="utf-8").splitlines()
    installs = [line for line in lines if line.startswith(("$(VENV)/.train:", "$(VENV)/.dev:"))]
    assert len(installs) == 2
    assert all(line.endswith("| $(VENV)/.created") for line in installs)
