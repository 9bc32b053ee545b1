"""Import an export of this package into the real Label Studio, look at what it took, and play a video from it.

In the environment of `make_export.py`:

    unsafe-video export sample OUT --to labelstudio --config reviewed && ls/bin/python tests/label_studio/check_import.py OUT
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import make_export
from make_export import post, session


def check(url: str, out: Path) -> None:
    """Project, storage, import; then every task, vote, label and one file compared with the export."""
    tasks: list[dict[str, Any]] = json.loads((out / "tasks.json").read_text(encoding="utf-8"))
    client = session(url, make_export.USERS[0])
    config = (out / "labeling_config.xml").read_text(encoding="utf-8")
    project = post(client, f"{url}/api/projects", {"title": "import", "label_config": config})["id"]
    post(client, f"{url}/api/storages/localfiles", {"project": project, "path": str(out / "media"), "use_blob_urls": True})
    print("imported", post(client, f"{url}/api/projects/{project}/import", tasks))
    params = {"exportType": "JSON", "download_all_tasks": "true"}
    back = {task["data"]["video_id"]: task for task in client.get(f"{url}/api/projects/{project}/export", params=params).json()}
    assert back.keys() == {task["data"]["video_id"] for task in tasks}
    for task in tasks:
        found = back[task["data"]["video_id"]]
        assert votes(found) == votes(task), task["data"]["video_id"]
        assert len(found["predictions"]) == 1
        assert not any(one["ground_truth"] for one in found["annotations"])
    data = client.get(url + tasks[0]["data"]["video"]).content
    assert hashlib.sha256(data).hexdigest() == tasks[0]["data"]["sha256"]
    print(f"{len(tasks)} tasks, {sum(len(task['annotations']) for task in tasks)} votes, a video: as exported")


def votes(task: dict[str, Any]) -> Counter[tuple[str, ...]]:
    """(rater, choices) of a task."""
    results = [one["result"][0] for one in task["annotations"]]
    return Counter((one["meta"]["text"][0], *one["value"]["choices"]) for one in results)


if __name__ == "__main__":
    folder = Path(sys.argv[1]).resolve()
    serving = {
        "LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED": "true",
        "LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT": str(folder),
    }
    with make_export.server(**serving) as address:
        check(address, folder)
