"""The fault table: for every fault either the right bytes or a typed error, never silence; `docs/faults.md` says the same."""

from __future__ import annotations

import re
import sys

import fault_table
import pytest
import stock_outcomes
from fault_cases import CASES, OK, FaultCase
from fault_table import CLEAN_RUN, DOCS, TRIES, Outcome
from filelock import FileLock

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL, hard links and file size limits are POSIX")


@pytest.fixture(scope="session")
def outcomes(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> dict[str, Outcome]:
    """What came of every case. Run once: the workers of a parallel run share it."""
    base = tmp_path_factory.getbasetemp()
    shared = (base if worker_id == "master" else base.parent) / "fault-table.json"
    with FileLock(f"{shared}.lock"):
        if not shared.exists():
            shared.write_text(fault_table.to_json(fault_table.run_all(tmp_path_factory.mktemp("faults"))))
    return fault_table.from_json(shared.read_text())


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_right_bytes_or_a_typed_error(case: FaultCase, outcomes: dict[str, Outcome]) -> None:
    found = outcomes[case.id]
    assert found.problems == []
    assert found.outcome == case.expected, found.message
    assert case.words in found.message
    assert "X-Amz" not in found.message
    assert found.heads == 0, "the package sends no HEAD"
    # A fault costs at most the tries that are allowed, each of a link and a body.
    assert found.requests <= CLEAN_RUN * found.calls + 2 * TRIES


def test_the_document_says_what_happens(outcomes: dict[str, Outcome]) -> None:
    def rows(text: str) -> list[str]:
        return [re.sub(r"\| \d+ \|$", "|", line) for line in text.splitlines()]  # requests may vary with timing

    assert rows(DOCS.read_text(encoding="utf-8")) == rows(fault_table.document(outcomes)), "run: python tests/fault_table.py"


def test_the_table_is_whole() -> None:
    assert len({case.id for case in CASES}) == len(CASES)
    unknown = {case.stock for case in CASES if case.stock and case.stock not in stock_outcomes.CASES}
    assert {
        name for name in unknown if not re.search("whoami|auth-check|tree|resolve|429 for a day|500|503|429", name)
    } == set()
    assert {case.expected for case in CASES} >= {OK, "HubUnavailable", "RateLimited", "ChecksumError", "StorageError"}
