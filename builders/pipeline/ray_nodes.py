"""Whose fault is it that there is no answer? The nodes of a Ray cluster, looked at; and single items, tried one by one.

A worker that crashes or a node that is lost may be the item's doing, or nobody's: try again. A node that lacks this package
or the raw files fails every item that it gets, and none of them is to blame.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator, Sequence
from importlib import metadata
from typing import Any

from unsafe_video_dataset.errors import InputError, MissingDependency, UnsafeVideoError

from .pool import DIED, failure, usable_cores
from .stage import Failure

_RETRIES = 2  # of a task with a single item
_AHEAD = 256  # such tasks at a time
_PACKAGE = "unsafe-video-dataset"
_DEATHS = (
    "WorkerCrashedError",
    "NodeDiedError",
    "LocalRayletDiedError",
    "OutOfMemoryError",
    "ObjectLostError",
    "OwnerDiedError",
)
_INSTALL = f"Install the same {_PACKAGE} (and Python) on every node, or leave that node out of the cluster."
_MOUNT = "Raw files must lie at the same place on every node: mount their folder there, or leave that node out of the cluster."


def look_at_nodes(ray: Any, folders: Sequence[str], looked: set[str]) -> None:
    """Run a small task on each node that computes and is not in `looked` yet; those that can work are added.

    Raises `MissingDependency` for a node without this very version of the package, `InputError` for one that does not see
    a folder.
    """
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    task = ray.remote(_canary())
    nodes = {node["NodeID"]: node for node in _computing(ray) if node["NodeID"] not in looked}
    asked = {}
    for node_id in nodes:
        where = NodeAffinitySchedulingStrategy(node_id, soft=False)
        options = {"num_cpus": 0, "max_retries": 0, "scheduling_strategy": where}
        asked[node_id] = task.options(**options).remote(_PACKAGE, __package__, tuple(folders))
    for node_id, answer in asked.items():
        name = nodes[node_id].get("NodeManagerAddress") or node_id[:8]
        try:
            version, wrong, missing = ray.get(answer)
        except ray.exceptions.RayError as error:
            if node_id not in {node["NodeID"] for node in _computing(ray)}:
                continue  # lost in the meantime
            raise InputError(f"Node {name} runs no task ({failure(error).error}). Mend it, or leave it out.") from error
        if wrong:
            raise MissingDependency(f"Node {name} can't work: {wrong}. {_INSTALL}")
        if version != metadata.version(_PACKAGE):
            message = f"Node {name} has {_PACKAGE} {version}, this machine {metadata.version(_PACKAGE)}."
            raise MissingDependency(f"{message} {_INSTALL}")
        if missing:
            raise InputError(f"Node {name} does not see {missing}, a folder of raw videos. {_MOUNT}")
        looked.add(node_id)


def _computing(ray: Any) -> list[dict[str, Any]]:
    return [node for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU", 0) > 0]


def _canary() -> Callable[[str, str, Sequence[str]], tuple[str, str, str]]:
    """The task of `look_at_nodes`. Defined in here, so that it travels as code: a node without the package can run it."""

    def look(package: str, module: str, folders: Sequence[str]) -> tuple[str, str, str]:
        """(version of the package, why it can't be imported, the first folder that is not there)."""
        import importlib
        import os
        from importlib import metadata

        try:
            importlib.import_module(module)
            version = metadata.version(package)
        except Exception as error:
            return "", f"{type(error).__name__}: {error}", ""
        missing = [folder for folder in folders if not os.path.isdir(folder)]  # noqa: PTH112
        return version, "", missing[0] if missing else ""

    return look


class Alone:
    """Tries items one by one with a task of `engine_ray`, where it matters why there is no answer."""

    def __init__(self, ray: Any, task: Callable[[dict[str, Any]], dict[str, Any]], *, ahead: int | None = None) -> None:
        self._ray, self._task, self._ahead = ray, task, ahead or _AHEAD
        self._run = ray.remote(_runner).options(num_cpus=1, max_retries=0)
        self._deaths = tuple(getattr(ray.exceptions, name) for name in _DEATHS)

    def map(self, items: Sequence[tuple[str, Any]]) -> Iterator[tuple[str, Any]]:
        """(id, answer) for each item: a `Failure` where its process died each time. Raises for what is not an item's fault."""
        sound = False
        for start in range(0, len(items), self._ahead):
            chunk = items[start : start + self._ahead]
            asked = [self._ask(item, argument) for item, argument in chunk]
            for (item, argument), reference in zip(chunk, asked, strict=True):
                answer = self._answer(item, argument, reference)
                if isinstance(answer, Failure) and answer.error == DIED and not sound:
                    self._prove_sound()
                    sound = True
                yield item, answer

    def _ask(self, item: str, argument: Any) -> Any:
        return self._run.remote(self._task, {"item": item, "argument": pickle.dumps(argument)})

    def _answer(self, item: str, argument: Any, reference: Any) -> Any:
        for left in reversed(range(_RETRIES + 1)):
            try:
                return pickle.loads(self._ray.get(reference)["answer"])
            except self._deaths:
                if left:
                    reference = self._ask(item, argument)
            except self._ray.exceptions.RayError as error:
                raise self._not_the_items(error) from error
        return Failure(DIED)

    def _prove_sound(self) -> None:
        """A death is the item's doing only if a task without any item lives. Raises `InputError` if not."""
        try:
            self._ray.get(self._ray.remote(usable_cores).options(num_cpus=1, max_retries=_RETRIES).remote())
        except self._ray.exceptions.RayError as error:
            message = f"No worker of the Ray cluster lives long enough to answer ({failure(error).error})."
            raise InputError(f"{message} Look at its nodes and their memory; no video was judged.") from error

    def _not_the_items(self, error: Any) -> UnsafeVideoError:
        """A task catches what an item makes it raise; what comes through is the node's fault."""
        cause = getattr(error, "cause", None) or error
        why = failure(cause).error
        if isinstance(cause, OSError):
            missing = f"({getattr(cause, 'filename', None) or 'a folder of raw videos'})"
            return InputError(f"A node can't reach the raw files: {why} {missing}. {_MOUNT}")
        return MissingDependency(f"A node can't run the tasks of this stage: {why}. {_INSTALL}")


def _runner(task: Callable[[dict[str, Any]], dict[str, Any]], row: dict[str, Any]) -> dict[str, Any]:
    return task(row)
