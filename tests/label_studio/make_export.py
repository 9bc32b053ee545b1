"""Make `export.json` and `export_min.json` with the real Label Studio: start it, annotate as several users, export.

Run it in an environment of its own (it pins other versions than this package does), then look at the difference:

    python -m venv ls && ls/bin/pip install label-studio && ls/bin/python tests/label_studio/make_export.py

Everything stays on loopback, in a temporary folder. Users, video ids and answers are made up.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import requests

HERE = Path(__file__).parent
PASSWORD = "only-on-loopback-1"
USERS = [f"rater{number}@example.org" for number in (1, 2, 3)]
CONFIG = """<View>
  <Video name="video" value="$video"/>
  <Choices name="categories" toName="video" choice="multiple">
    <Choice value="Distorted/Weird"/><Choice value="Terrifying"/><Choice value="Pornographic"/>
    <Choice value="Violent/Bloody"/><Choice value="Political"/><Choice value="None of these"/>
  </Choices>
  <Choices name="moves" toName="video" choice="single"><Choice value="yes"/><Choice value="no"/></Choices>
</View>"""
# (user, task) -> choices, lead time, whether it was skipped. Task 3 is answered by one user only, task 4 by nobody.
ANSWERS: list[tuple[int, int, list[str], float, bool]] = [
    (0, 0, ["Distorted/Weird", "Terrifying"], 12.5, False),
    (1, 0, ["Distorted/Weird"], 8.25, False),
    (2, 0, ["None of these"], 6.0, False),
    (0, 1, ["None of these"], 4.0, False),
    (1, 1, ["None of these", "Political"], 5.5, False),
    (2, 1, [], 3.0, True),
    (0, 2, [], 9.0, False),
    (0, 2, ["Political"], 7.0, False),
]


def session(url: str, email: str) -> requests.Session:
    """A logged-in user: signed up first, where there is no such user yet."""
    client = requests.Session()
    for page, extra in (("signup", {"how_find_us": "Other"}), ("login", {"persist_session": "on"})):
        client.cookies.clear()
        client.get(f"{url}/user/{page}/").raise_for_status()
        data = {"email": email, "password": PASSWORD, "csrfmiddlewaretoken": client.cookies["csrftoken"], **extra}
        client.post(f"{url}/user/{page}/", data=data, headers={"Referer": f"{url}/user/{page}/"}).raise_for_status()
    assert client.get(f"{url}/api/current-user/whoami").json()["email"] == email
    return client


def post(client: requests.Session, url: str, body: Any) -> Any:
    """The answer to a JSON POST."""
    headers = {"X-CSRFToken": client.cookies["csrftoken"], "Referer": url}
    done = client.post(url, json=body, headers=headers)
    assert done.ok, (url, done.status_code, done.text[:500])
    return done.json()


def result(choices: list[str], name: str = "categories") -> dict[str, Any]:
    """One region as the labelling page sends it."""
    return {"from_name": name, "to_name": "video", "type": "choices", "value": {"choices": choices}}


def make(url: str) -> None:
    """Users, project, tasks, annotations, a draft, a prediction; then both exports."""
    clients = [session(url, email) for email in USERS]
    project = post(clients[0], f"{url}/api/projects", {"title": "moving shapes", "label_config": CONFIG})["id"]
    tasks = [{"data": {"video": f"/data/{number:016x}.mp4", "video_id": f"{number:016x}"}} for number in range(1, 6)]
    post(clients[0], f"{url}/api/projects/{project}/import", tasks)
    listed = clients[0].get(f"{url}/api/tasks", params={"project": project, "page_size": 100}).json()["tasks"]
    ids = sorted(task["id"] for task in listed)
    for user, task, choices, seconds, skipped in ANSWERS:
        answer = [result(choices)] if choices else []
        answer += [result(["yes"], "moves")] if user == 0 else []
        body = {"result": answer, "lead_time": seconds, "was_cancelled": skipped}
        post(clients[user], f"{url}/api/tasks/{ids[task]}/annotations/", body)
    post(clients[1], f"{url}/api/tasks/{ids[3]}/annotations/", {"result": [result(["Terrifying"])], "lead_time": 2.0})
    post(clients[1], f"{url}/api/tasks/{ids[4]}/drafts", {"result": [result(["Political"])], "lead_time": 1.0})
    prediction = {"task": ids[4], "result": [result(["Political"])], "model_version": "none"}
    post(clients[0], f"{url}/api/predictions", prediction)
    for kind, name in (("JSON", "export.json"), ("JSON_MIN", "export_min.json")):
        params = {"exportType": kind, "download_all_tasks": "true"}
        done = clients[0].get(f"{url}/api/projects/{project}/export", params=params)
        assert done.ok, done.text[:500]
        (HERE / name).write_text(json.dumps(done.json(), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


@contextlib.contextmanager
def server(**more: str) -> Iterator[str]:
    """A server of its own on loopback with an empty database, started and stopped: its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    with tempfile.TemporaryDirectory() as data:
        command = [str(Path(sys.executable).parent / "label-studio"), "start", "--no-browser", "--internal-host", "127.0.0.1"]
        command += ["--port", str(port), "--data-dir", data, "--log-level", "ERROR"]
        environment = {**os.environ, "COLLECT_ANALYTICS": "False", "SENTRY_DSN": "", "FRONTEND_SENTRY_DSN": ""}
        with (Path(data) / "server.log").open("wb") as log:
            process = subprocess.Popen(
                command, stdout=log, stderr=log, env={**environment, "LATEST_VERSION_CHECK": "False", **more}
            )
        try:
            for _ in range(240):
                with contextlib.suppress(requests.ConnectionError):
                    if requests.get(f"{url}/health", timeout=5).ok:
                        break
                assert process.poll() is None, (Path(data) / "server.log").read_text()[-3000:]
                time.sleep(1)
            version = requests.get(f"{url}/api/version", timeout=30).json()
            print("Label Studio", version.get("release") or version)
            yield url
        finally:
            process.terminate()
            process.wait(30)


def main() -> None:
    """Make the exports with a server."""
    with server() as url:
        make(url)


if __name__ == "__main__":
    main()
