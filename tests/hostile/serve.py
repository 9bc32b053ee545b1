"""A loopback Hub in a process of its own, so that the watched one holds no server: `Hub` starts it and gives it folders.

Run as a program: one line of JSON with its addresses, then for each line `{"repo": …, "folder": …}` one line of answer.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

sys.path.insert(0, str(Path(__file__).parents[1]))


class Hub:
    """The Hub, seen from the watched process."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )
        addresses = self._answer()
        self.endpoint: str = addresses["endpoint"]
        self.ports = {int(urlsplit(address).port or 0) for address in addresses.values()}

    def serve(self, repo_id: str, folder: Path) -> None:
        """Make a repository of a folder's files. They are served from there: leave it alone."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"repo": repo_id, "folder": str(folder)}) + "\n")
        self._answer()

    def close(self) -> None:
        """End it."""
        self._process.communicate()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer


def main() -> None:
    """Serve until standard input ends."""
    from hub import LoopbackHub

    with LoopbackHub() as hub:
        print(json.dumps({"endpoint": hub.endpoint, "cdn": hub.cdn}), flush=True)
        for line in sys.stdin:
            asked = json.loads(line)
            hub.repo(asked["repo"], folder=Path(asked["folder"]))
            print("{}", flush=True)


if __name__ == "__main__":
    main()
