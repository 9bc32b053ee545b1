"""The exception tree of DESIGN section 4: its shape, and that errors cross processes whole."""

from __future__ import annotations

import inspect
import pickle

import pytest

from unsafe_video_dataset import errors as e

TREE = {
    e.AccessError: PermissionError,
    e.OfflineError: ConnectionError,
    e.HubUnavailable: ConnectionError,
    e.RevisionError: LookupError,
    e.IntegrityError: ValueError,
    e.DecodeError: RuntimeError,
    e.MissingDependency: ImportError,
    e.FilterError: ValueError,
    e.InputError: ValueError,
}
CHILDREN = {
    e.AccessError: {e.NotLoggedIn, e.InvalidToken, e.TokenScope, e.AccessNotRequested, e.AccessPending, e.AccessRejected}
    | {e.TermsNotAccepted, e.RepositoryMissing, e.RepositoryDisabled},
    e.IntegrityError: {e.ChecksumError, e.SchemaError, e.TombstonedError},
    e.DecodeError: {e.UnsupportedVideo},
}
ALL = [kind for _, kind in inspect.getmembers(e, inspect.isclass) if issubclass(kind, Exception)]


def test_the_tree() -> None:
    for kind, builtin in TREE.items():
        assert issubclass(kind, (e.UnsafeVideoError,))
        assert issubclass(kind, (builtin,))
    for parent, children in CHILDREN.items():
        assert set(parent.__subclasses__()) == children
    assert issubclass(e.FaultsError, e.InputError)
    assert issubclass(e.FaultsError, e.SchemaError)
    assert all(issubclass(kind, e.UnsafeVideoError) and kind.__doc__ for kind in ALL)


def test_a_block_pickles_with_its_verdicts() -> None:
    from unsafe_video_dataset.defenses.base import Verdict

    verdicts = (Verdict("allow"), Verdict("block", 0.9, ("terrifying",), step=3, decided_by="lvd"))
    error = pickle.loads(pickle.dumps(e.GenerationBlocked(verdicts[1], verdicts)))
    assert (error.verdict, error.verdicts) == (verdicts[1], verdicts)
    assert "Blocked by lvd at the latent stage, step 3, score 0.900 (terrifying)" in str(error)


@pytest.mark.parametrize("kind", [kind for kind in ALL if kind not in (e.FaultsError, e.GenerationBlocked)])
def test_errors_pickle(kind: type[Exception]) -> None:
    error = pickle.loads(pickle.dumps(kind("what happened; the fix")))
    assert type(error) is kind
    assert str(error) == "what happened; the fix"


def test_a_list_of_faults() -> None:
    faults = [e.Fault("a.csv", "found 7", 3, "col", "at most 5"), e.Fault("b.mp4", "missing")]
    error = e.FaultsError("Can't be used", faults, fix="Mend them.")
    assert str(error) == (
        "Can't be used (2 faults):\n  - a.csv:3 [col]: found 7; expected at most 5\n  - b.mp4: missing\nMend them."
    )
    assert str(e.FaultsError("No", faults[:1])).startswith("No (1 fault):")
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.faults, again.fix) == (str(error), faults, "Mend them.")
    assert faults[0].to_dict() == {"file": "a.csv", "message": "found 7", "line": 3, "field": "col", "expected": "at most 5"}
    assert faults[1].to_dict() == {"file": "b.mp4", "message": "missing"}


def test_the_same_finding_in_many_lines_is_said_once_and_counted() -> None:
    many = [e.Fault("a.jsonl", "'x' is missing", line, "scores", "x") for line in range(1, 13)]
    few = [e.Fault("a.jsonl", "invalid JSON", line) for line in (3, 5)]
    nowhere = [e.Fault("b.mp4", "missing") for _ in range(6)]
    error = e.FaultsError("No", [many[0], few[0], *many[1:], few[1], *nowhere])
    assert str(error).splitlines() == [
        "No (20 faults):",
        "  - a.jsonl:1, 2, 3, 4, 5, … (12 times) [scores]: 'x' is missing; expected x",
        "  - a.jsonl:3: invalid JSON",
        "  - a.jsonl:5: invalid JSON",
        "  - b.mp4 (6 times): missing",
    ]
    assert len(error.faults) == 20  # each of them, for a program


def test_one_of() -> None:
    assert e.one_of("a", ("a", "b"), "letter") == "a"
    with pytest.raises(e.FilterError, match=r"letter='c' is not known\. Choose one of: a, b\."):
        e.one_of("c", ("a", "b"), "letter")


def test_a_missing_module_names_its_extra() -> None:
    error = e.missing_extra(ModuleNotFoundError("No module named 'torch'", name="torch"), "UnsafeVideoDataset")
    assert isinstance(error, e.MissingDependency)
    assert str(error) == "UnsafeVideoDataset needs torch: pip install 'unsafe-video-dataset[train]'"
    other = ModuleNotFoundError("No module named 'yaml'", name="yaml")
    assert e.missing_extra(other, "x") is other
