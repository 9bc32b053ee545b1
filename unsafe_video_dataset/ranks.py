"""Several training processes: which one this is, on which device, and what they tell each other. One is the special case."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
import torch.distributed as dist

from .errors import InputError

T = TypeVar("T")

# What processes tell each other goes through a group of its own. DistributedDataParallel keeps the default group, and with it
# gloo's threads, alive for ever, and a thread that lets go of a tensor while Python ends aborts the process
# (pytorch/pytorch#179291). This group ends with `process_group`, which joins its threads. None: the default group.
_talk: dist.ProcessGroup | None = None


def here(num_replicas: int | None = None, rank: int | None = None) -> tuple[int, int]:
    """(number of processes, rank of this one): as given, or of the process group, or (1, 0) without one.

    Raises `InputError` for a rank that is not below the number of processes, or only one of both.
    """
    if (num_replicas is None) != (rank is None):
        raise InputError("Give both num_replicas= and rank=, or neither.")
    if num_replicas is None or rank is None:
        num_replicas, rank = (dist.get_world_size(), dist.get_rank()) if _joined() else (1, 0)
    if num_replicas < 1 or not 0 <= rank < num_replicas:
        raise InputError(f"rank={rank} must be from 0 to num_replicas - 1, and num_replicas={num_replicas} at least 1.")
    return num_replicas, rank


@contextmanager
def process_group(device: str = "cpu") -> Iterator[torch.device]:
    """Join the processes that `torchrun` started, for the duration; yields this process's device.

    Without torchrun, or where a group exists already, nothing is joined. `cuda` becomes `cuda:LOCAL_RANK` under torchrun; the
    group talks through gloo on the CPU and NCCL on GPUs. Raises `InputError` for a device that is not there.
    """
    launched = "LOCAL_RANK" in os.environ and int(os.environ.get("WORLD_SIZE", "1")) > 1
    if launched and device == "cuda":
        device = f"cuda:{os.environ['LOCAL_RANK']}"
    where = find_device(device)
    if where.type == "cuda":
        torch.cuda.set_device(where)
    if not launched or _joined():
        yield where
        return
    global _talk
    dist.init_process_group("nccl" if where.type == "cuda" else "gloo")
    try:
        _talk = dist.new_group()
        yield where
    finally:
        _talk = None
        dist.destroy_process_group()


def total(value: float, device: torch.device) -> float:
    """The sum of a number over all processes. Every process must call it."""
    if not _joined():
        return value
    summed = torch.tensor(value, dtype=torch.float64, device=device)
    dist.all_reduce(summed, group=_talk)
    return float(summed)


def gather(mine: list[T]) -> list[T]:
    """The items of all processes, those of rank 0 first. Every process must call it, and each gets all of them."""
    if not _joined():
        return mine
    parts: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(parts, mine, group=_talk)
    return [item for part in parts for item in part]


def wait() -> None:
    """Return when all processes have come here."""
    if _joined():
        dist.barrier(group=_talk)


def find_device(name: str) -> torch.device:
    """The torch device of that name. Raises `InputError` for an unknown one, or a GPU that is not there."""
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise InputError(f"device={name!r} is not known to torch. Use cpu, cuda or cuda:0.") from error
    if device.type not in ("cpu", "cuda"):
        raise InputError(f"device={name!r} is not supported here. Use cpu, cuda or cuda:0.")
    if device.type == "cuda" and not torch.cuda.is_available():
        raise InputError("device='cuda', but torch sees no GPU here. Use --device cpu, or install a CUDA build of torch.")
    return device


def _joined() -> bool:
    return dist.is_available() and dist.is_initialized()
