"""What the fault table's client does with `load_dataset`: load, let the test change the cached rows, load again."""

from __future__ import annotations

from fault_cases import RELEASE

from unsafe_video_dataset.release import Release

LOAD = """
import hashlib, json, sys, urllib.error, urllib.request
import datasets
from unsafe_video_dataset import load_dataset
datasets.disable_progress_bars()
job = json.loads(sys.argv[2])

def rows(**options):
    found = load_dataset(job["repo"], split="test", cache_dir=job["cache"], accept_terms=True, **options)
    return [[row["video_id"], row["sha256"], hashlib.sha256(row["video"]).hexdigest()] for row in found]

rows()
try:
    urllib.request.urlopen(job["switch"])
except urllib.error.HTTPError:
    pass
result = attempt(lambda: rows(local_files_only=job["offline"]))
"""


def the_rows() -> list[list[str]]:
    """Id, recorded sha256 and sha256 of the bytes of each video that the release itself holds."""
    table = Release.open(RELEASE).metadata("test", columns=["video_id", "sha256"], is_unsafe=True)
    return [[row["video_id"], row["sha256"], row["sha256"]] for row in table.to_pylist()]
