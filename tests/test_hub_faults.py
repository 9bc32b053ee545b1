"""Each fault of the loopback Hub does what its line in `FAULTS` says, seen with nothing between but `http.client`."""

from __future__ import annotations

import http.client
import json
import socket
import threading
import time
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
from hub import FAULTS, Account, LoopbackHub, Repo

DATA = bytes(range(256)) * 400
URL = "/datasets/org/data/resolve/main/"


@pytest.fixture
def hub() -> Iterator[LoopbackHub]:
    with LoopbackHub() as hub:
        hub.account("reader")
        hub.repo("org/data", {"a.mp4": DATA, "b.txt": DATA}).tag("v1")
        yield hub


@pytest.fixture
def repo(hub: LoopbackHub) -> Repo:
    return hub.find("org/data")


@pytest.fixture
def reader(hub: LoopbackHub) -> Account:
    return next(iter(hub.accounts.values()))


def ask(
    base: str, path: str, method: str = "GET", *, timeout: float = 5, **headers: str
) -> tuple[http.client.HTTPResponse, bytes]:
    """One request on one connection: the response and its body."""
    connection = http.client.HTTPConnection(urlsplit(base).netloc, timeout=timeout)
    try:
        connection.request(method, path, headers=headers)
        response = connection.getresponse()
        return response, response.read()
    finally:
        connection.close()


def read_out(response: http.client.HTTPResponse) -> None:
    """Read in small pieces to the end."""
    while response.read(500):
        pass


def signed(hub: LoopbackHub, file: str = "a.mp4") -> str:
    """The path and query of a signed URL, from the HEAD's redirect."""
    response, _ = ask(hub.endpoint, URL + file, "HEAD")
    url = urlsplit(response.headers["Location"])
    assert f"http://{url.netloc}" == hub.cdn
    return f"{url.path}?{url.query}"


def test_every_fault_is_listed_and_checked(hub: LoopbackHub) -> None:
    here = {name for name in globals() if name.startswith("test_")}
    assert {f"test_{name}" for name in FAULTS} <= here
    assert all(text for text, _ in FAULTS.values())
    with pytest.raises(ValueError, match="fault must be one of"):
        hub.fault("flood")
    with pytest.raises(TypeError, match="takes"):
        hub.fault("stall", minutes=3)
    with pytest.raises(ValueError, match="on must be one of"):
        hub.fault("stall", on="bodies")


def test_reset(hub: LoopbackHub) -> None:
    hub.fault("reset", on="body", after=1000)
    connection = http.client.HTTPConnection(urlsplit(hub.endpoint).netloc, timeout=5)
    connection.request("GET", URL + "b.txt")
    response = connection.getresponse()
    assert response.headers["Content-Length"] == str(len(DATA))
    with pytest.raises(ConnectionResetError):
        read_out(response)
    connection.close()
    hub.fault("reset", on="refs", after=None)
    with pytest.raises(ConnectionError):
        ask(hub.endpoint, "/api/datasets/org/data/refs")
    assert hub.log.select(kind="body")[0].sent == 1000


def test_fin(hub: LoopbackHub) -> None:
    hub.fault("fin", on="body", after=1000)
    with pytest.raises(http.client.IncompleteRead) as caught:
        ask(hub.cdn, signed(hub))
    assert caught.value.partial == DATA[:1000]
    assert caught.value.expected == len(DATA) - 1000
    hub.fault("fin", on="refs", after=None)
    with pytest.raises(http.client.RemoteDisconnected):
        ask(hub.endpoint, "/api/datasets/org/data/refs")


def test_stall(hub: LoopbackHub) -> None:
    hub.fault("stall", on="body", after=10, seconds=30)
    with pytest.raises(TimeoutError):
        ask(hub.endpoint, URL + "b.txt", timeout=0.2)
    hub.fault("stall", on="refs", after=None, seconds=0.2)
    began = time.monotonic()
    assert ask(hub.endpoint, "/api/datasets/org/data/refs")[0].status == 200
    assert time.monotonic() - began >= 0.2


@pytest.mark.parametrize("status", [500, 502, 503, 504])
@pytest.mark.parametrize(("on", "method", "path"), [("head", "HEAD", URL + "b.txt"), ("body", "GET", URL + "b.txt")])
def test_status(hub: LoopbackHub, status: int, on: str, method: str, path: str) -> None:
    hub.fault("status", on=on, status=status)
    response, _ = ask(hub.endpoint, path, method)
    assert response.status == status
    assert "X-Error-Code" not in response.headers
    assert ask(hub.endpoint, path, method)[0].status == 200


def test_rate_limit(hub: LoopbackHub) -> None:
    hub.fault("rate_limit", on="repo_info", retry_after=86400)
    hub.fault("rate_limit", on="tree", retry_after=None, window=7)
    response, _ = ask(hub.endpoint, "/api/datasets/org/data")
    assert (response.status, response.headers["Retry-After"]) == (429, "86400")
    response, _ = ask(hub.endpoint, "/api/datasets/org/data/tree/main")
    assert (response.status, response.headers["RateLimit"]) == (429, '"api";r=0;t=7')
    assert "Retry-After" not in response.headers


def test_expired(hub: LoopbackHub) -> None:
    hub.fault("expired", on="body")
    path = signed(hub)
    response, body = ask(hub.cdn, path)
    assert (response.status, response.headers["Content-Type"]) == (403, "application/xml")
    assert b"<Code>AccessDenied</Code>" in body
    assert ask(hub.cdn, path)[0].status == 200
    hub.expire_urls()
    assert ask(hub.cdn, path)[0].status == 403
    assert ask(hub.cdn, signed(hub))[0].status == 200
    assert ask(hub.cdn, path.replace("Signature=", "Signature=0"))[0].status == 403
    assert ask(hub.cdn, path, Authorization="Bearer x")[0].status == 400


def test_ignore_range(hub: LoopbackHub) -> None:
    hub.fault("ignore_range", on="body")
    path = signed(hub)
    response, body = ask(hub.cdn, path, Range="bytes=10-19")
    assert (response.status, body, response.headers["Content-Range"]) == (200, DATA, None)
    response, body = ask(hub.cdn, path, Range="bytes=10-19")
    assert (response.status, body) == (206, DATA[10:20])


def test_wrong_range(hub: LoopbackHub) -> None:
    hub.fault("wrong_range", on="body", shift=3)
    hub.fault("wrong_range", on="body", shift=3, lie=True, nth=2)
    response, body = ask(hub.cdn, signed(hub), Range="bytes=10-19")
    assert (response.status, body, response.headers["Content-Range"]) == (206, DATA[13:23], f"bytes 13-22/{len(DATA)}")
    response, body = ask(hub.cdn, signed(hub), Range="bytes=10-19")
    assert (response.status, body, response.headers["Content-Range"]) == (206, DATA[13:23], f"bytes 10-19/{len(DATA)}")


def test_truncate(hub: LoopbackHub) -> None:
    hub.fault("truncate", on="body", keep=100)
    hub.fault("truncate", on="body", keep=100, length="absent", nth=2)
    response, body = ask(hub.endpoint, URL + "b.txt")
    assert (body, response.headers["Content-Length"]) == (DATA[:100], "100")
    response, body = ask(hub.endpoint, URL + "b.txt")
    assert (body, response.headers["Content-Length"], response.headers["Connection"]) == (DATA[:100], None, "close")


def test_corrupt(hub: LoopbackHub) -> None:
    hub.fault("corrupt", on="body", times=None, offset=50, flips=2)
    clean, _ = ask(hub.endpoint, URL + "b.txt", "HEAD")
    response, body = ask(hub.endpoint, URL + "b.txt")
    assert [i for i in range(len(DATA)) if body[i] != DATA[i]] == [50, 51]
    assert (response.headers["ETag"], len(body)) == (clean.headers["ETag"], len(DATA))
    _, part = ask(hub.endpoint, URL + "b.txt", Range="bytes=51-60")
    assert part == bytes([DATA[51] ^ 0xFF]) + DATA[52:61]
    assert ask(hub.endpoint, URL + "b.txt", Range="bytes=60-70")[1] == DATA[60:71]


def test_captive(hub: LoopbackHub) -> None:
    hub.fault("captive", times=None)
    for path in ("/api/whoami-v2", "/api/datasets/org/data", URL + "b.txt"):
        response, body = ask(hub.endpoint, path)
        assert (response.status, response.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
        assert body.startswith(b"<!DOCTYPE html>")
        assert "X-Repo-Commit" not in response.headers


def test_etag(hub: LoopbackHub) -> None:
    hub.fault("etag", on="head", times=None)
    assert ask(hub.endpoint, URL + "b.txt", "HEAD")[0].headers["ETag"] == '"../../../../evil"'
    assert ask(hub.endpoint, URL + "a.mp4", "HEAD")[0].headers["X-Linked-ETag"] == '"../../../../evil"'


def test_headers(hub: LoopbackHub) -> None:
    hub.fault("headers", on="head", set={"x-repo-commit": None, "Location": "http://127.0.0.1:9/x"})
    response, _ = ask(hub.endpoint, URL + "a.mp4", "HEAD")
    assert (response.headers["X-Repo-Commit"], response.headers["Location"]) == (None, "http://127.0.0.1:9/x")


def test_rewrite(hub: LoopbackHub, repo: Repo) -> None:
    def rename(reply):  # type: ignore[no-untyped-def]
        reply.body = reply.body.replace(b"a.mp4", b"../up")
        return reply

    hub.fault("rewrite", on="tree", edit=rename)
    _, body = ask(hub.endpoint, "/api/datasets/org/data/tree/main")
    assert "../up" in [item["path"] for item in json.loads(body)]


def test_move(hub: LoopbackHub, repo: Repo) -> None:
    old = repo.head
    new = repo.commit({"b.txt": b"new"})
    repo.move("main", old)
    hub.fault("move", on="head", nth=2, repo="org/data", revision=new)
    commits = [ask(hub.endpoint, URL + "b.txt", "HEAD")[0].headers["X-Repo-Commit"] for _ in range(3)]
    assert commits == [old, new, new]


def test_gate(hub: LoopbackHub, repo: Repo, reader: Account) -> None:
    repo.gated = "manual"
    repo.gate("reader", "granted")
    hub.fault("gate", on="body", nth=2, repo="org/data", account="reader")
    bearer = {"Authorization": f"Bearer {reader.token}"}
    answers = [ask(hub.endpoint, URL + "b.txt", **bearer) for _ in range(2)]
    assert [response.status for response, _ in answers] == [200, 403]
    assert answers[1][0].headers["X-Error-Code"] == "GatedRepo"
    assert hub.log.count(account="reader", authorized=True) == 2


def test_call(hub: LoopbackHub) -> None:
    calls: list[int] = []
    fault = hub.fault("call", on="refs", nth=2, times=2, run=lambda: calls.append(1))
    for _ in range(5):
        ask(hub.endpoint, "/api/datasets/org/data/refs")
    assert (len(calls), fault.fired, fault.seen) == (2, 2, 5)


def test_faults_hit_only_what_they_name(hub: LoopbackHub) -> None:
    hub.repo("org/other", {"b.txt": DATA})
    hub.fault("status", on="body", of="org/other", path="*.txt", times=None)
    assert ask(hub.endpoint, URL + "b.txt")[0].status == 200
    assert ask(hub.cdn, signed(hub))[0].status == 200
    assert ask(hub.endpoint, "/datasets/org/other/resolve/main/b.txt")[0].status == 503
    hub.clear_faults()
    assert ask(hub.endpoint, "/datasets/org/other/resolve/main/b.txt")[0].status == 200


def test_close_ends_threads_and_ports() -> None:
    before = set(threading.enumerate())
    with LoopbackHub() as hub:
        hub.repo("org/data", {"b.txt": DATA})
        hub.fault("stall", on="body", after=10, seconds=60)
        ports = [urlsplit(url).port for url in (hub.endpoint, hub.cdn)]
        idle = http.client.HTTPConnection(urlsplit(hub.endpoint).netloc, timeout=5)
        idle.request("GET", "/api/datasets/org/data")
        idle.getresponse().read()
        stalled = http.client.HTTPConnection(urlsplit(hub.endpoint).netloc, timeout=5)
        stalled.request("GET", URL + "b.txt")
        stalled.getresponse()
        began = time.monotonic()
    assert time.monotonic() - began < 30  # the stall is 60
    assert set(threading.enumerate()) <= before
    idle.close()
    stalled.close()
    for port in ports:
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), timeout=1)
