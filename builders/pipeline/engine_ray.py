"""The engine for more than one machine: Ray Data maps the items, and this process gathers the answers by id.

A task gets a few items and is never retried in the first round: a worker that dies (or a node that is lost) costs the
answers of its tasks, which Ray Data leaves out. Items without an answer are then tried alone, with two retries, where Ray
says why there is none: an item is a `Failure` only if its process died each time. What is the cluster's fault (a node
without this package, or without the raw files, which must lie at the same place everywhere) is no item's: each node is
looked at before the first task, and an error of a task itself ends the run.
"""

from __future__ import annotations

import logging
import os
import pickle
import socket
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from unsafe_video_dataset.errors import FilterError, InputError, MissingDependency

from .pool import call, usable_cores
from .ray_nodes import Alone, look_at_nodes
from .stage import Failure

In = TypeVar("In")
Out = TypeVar("Out")
_ROWS = 16  # items a task in the first round
_SLICE = 50_000  # items a dataset: what is handed to Ray at a time
_OBJECT_STORE = 256 * 2**20  # of a cluster that is started here: answers are small
# Lost blocks are made up for here.
_CONTEXT = {"max_errored_blocks": -1, "enable_progress_bars": False, "print_on_execution_start": False}
_INSTALL = "pip install 'unsafe-video-dataset[ray]'"


class RayData:
    """A context manager. Uses the cluster that this process is connected to, else `address` or RAY_ADDRESS, else its own."""

    def __init__(
        self, address: str | None = None, *, workers: int | None = None, folders: Sequence[str | os.PathLike[str]] = ()
    ) -> None:
        """`folders` are those of the raw files; every node must see them."""
        if workers is not None and workers < 1:
            raise FilterError(f"workers={workers}: give at least 1.")
        try:
            import ray
            import ray.data
        except ImportError as error:
            raise MissingDependency(f"--engine ray needs Ray: {_INSTALL}") from error
        self._ray: Any = ray
        self._workers = workers
        self._folders = tuple(str(Path(folder).absolute()) for folder in folders)
        self._looked: set[str] = set()  # nodes
        self._own = not ray.is_initialized()
        if self._own:
            self._connect(address or os.environ.get("RAY_ADDRESS"))
        context = ray.data.DataContext.get_current()
        self._before = {name: getattr(context, name) for name in _CONTEXT}
        for name, value in _CONTEXT.items():
            setattr(context, name, value)
        log = logging.getLogger("ray.data")
        self._level = log.level
        log.setLevel(logging.CRITICAL)  # it tells of each block that is lost; `_alone` says why, where it matters

    def __enter__(self) -> RayData:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Leave the cluster; one that was started here ends."""
        context = self._ray.data.DataContext.get_current()
        for name, value in self._before.items():
            setattr(context, name, value)
        logging.getLogger("ray.data").setLevel(self._level)
        if self._own and self._ray.is_initialized():
            self._ray.shutdown()

    def map(self, function: Callable[[In], Out], items: Sequence[tuple[str, In]]) -> Iterator[tuple[str, Out | Failure]]:
        """(id, answer) for each (id, argument), as they are done. `function` must pickle (`pickle.PicklingError` if not).

        Raises `MissingDependency` or `InputError` for a node that can't work, and where even a task without an item dies.
        """
        task = _Task(pickle.dumps(function), self._folders)
        look_at_nodes(self._ray, self._folders, self._looked)
        for start in range(0, len(items), _SLICE):
            missing = dict(items[start : start + _SLICE])
            for item, answer in self._round(task, list(missing.items())):
                if item in missing:  # a task that Ray ran twice answers twice
                    del missing[item]
                    yield item, answer
            yield from Alone(self._ray, task, ahead=self._workers).map(list(missing.items()))

    def _connect(self, address: str | None) -> None:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        quiet: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False, "include_dashboard": False}
        try:
            if address and address != "local":
                _knock(address)
                self._ray.init(address=address, logging_level=logging.ERROR, log_to_driver=False)
            else:
                cores = self._workers or usable_cores()
                self._ray.init(address="local", num_cpus=cores, object_store_memory=_OBJECT_STORE, **quiet)
        except (OSError, RuntimeError, ValueError) as error:
            why = str(error).splitlines()[0] if str(error) else type(error).__name__
            fix = "Start a cluster (ray start --head), set RAY_ADDRESS to it, or unset RAY_ADDRESS for a local one."
            raise InputError(f"No Ray cluster at {address or 'local'} ({why}). {fix}") from error

    def _round(self, task: _Task, items: Sequence[tuple[str, Any]]) -> Iterator[tuple[str, Any]]:
        """The answers that come, a few items a task. Answers that are lost with their worker or node just don't come."""
        if not items:
            return
        packed = [_packed(item, argument) for item, argument in items]
        blocks = -(-len(packed) // _ROWS)
        data = self._ray.data.from_items(packed, override_num_blocks=blocks)
        compute = self._ray.data.TaskPoolStrategy(size=min(self._workers, blocks)) if self._workers else None
        with warnings.catch_warnings():  # `max_retries` goes away in Ray 2.64, which names no successor yet
            warnings.simplefilter("ignore")
            mapped = data.map(task, num_cpus=1, max_retries=0, compute=compute)
        try:
            for row in mapped.iter_rows():
                yield row["item"], pickle.loads(row["answer"])
        except self._ray.exceptions.RayError:
            return  # an answer was lost on its way; those that did not come are tried alone


def _knock(address: str) -> None:
    """Raise `OSError` where nobody listens: Ray itself tries for minutes. "auto" and the like have no port."""
    host, _, port = address.rpartition("//")[2].rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()


def _packed(item: str, argument: Any) -> dict[str, Any]:
    return {"item": item, "argument": pickle.dumps(argument)}


class _Task:
    """What runs on a node: pickled arguments in, pickled answers out, so that Arrow changes nothing in them."""

    def __init__(self, function: bytes, folders: tuple[str, ...]) -> None:
        self._function = function
        self._folders = folders

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        for folder in self._folders:  # a node that joined later, or lost its mount: no file is to blame
            Path(folder).stat()
        answer = call(_unpickled, (self._function, row["argument"]))
        return {"item": row["item"], "answer": pickle.dumps(answer)}


def _unpickled(packed: tuple[bytes, bytes]) -> Any:
    function, argument = (pickle.loads(one) for one in packed)
    return function(argument)
