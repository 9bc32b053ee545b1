"""A denial of the Hub is kept wherever it comes up, and closes every copy of the repository on this machine."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from ..errors import AccessError, StorageError, TermsNotAccepted
from .store import Store, stores_of


@contextmanager
def denials_kept(store: Store) -> Iterator[None]:
    """Keep what an `AccessError` from inside the block says; it goes on as it is."""
    try:
        yield
    except TermsNotAccepted:  # our question, not the Hub's answer
        raise
    except AccessError as error:
        keep_denial(store.repo_id, error, store)
        raise


def keep_denial(repo_id: str, error: AccessError, store: Store | None = None) -> None:
    """Close the copies of a repository, those in `store` and those in every other root that was used."""
    for one in stores_of(repo_id, store):
        if not (one.folder / "commits").is_dir():
            continue
        try:
            one.update(access={"granted": False, "denied": type(error).__name__})
        except StorageError as failure:  # a state that can't be read keeps its copy closed; a disk that is read-only does not
            warnings.warn(f"The Hub denied access to {repo_id}, and that could not be noted: {failure}", stacklevel=3)
