"""The default engine: a process pool of the standard library that outlives its workers' deaths.

An exception comes back as a `Failure`. A process that dies breaks the pool of `concurrent.futures`; the few items that
were in work then run alone, one after the other, so that only the item that kills its process costs a `Failure`.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import multiprocessing.connection
import os
import pickle
import re
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

from unsafe_video_dataset.errors import FilterError, InputError, plain

from .stage import Failure

In = TypeVar("In")
Out = TypeVar("Out")
DIED = "the process that worked on this item died"
_PROOFS = 3  # harmless calls that must all die before the machine is to blame
_AHEAD = 4  # items a worker that are handed out at a time: few, as each of them is tried alone when a process dies


class ProcessPool:
    """Worker processes on this machine; a context manager. They end with it, and also when its process is killed."""

    def __init__(self, workers: int | None = None) -> None:
        if workers is not None and workers < 1:
            raise FilterError(f"workers={workers}: give at least 1.")
        self.workers = workers or usable_cores()
        self._pools: dict[int, ProcessPoolExecutor] = {}

    def __enter__(self) -> ProcessPool:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def map(self, function: Callable[[In], Out], items: Sequence[tuple[str, In]]) -> Iterator[tuple[str, Out | Failure]]:
        """(id, answer) for each (id, argument), as they are done. `function` must pickle (`pickle.PicklingError` if not)."""
        pickle.dumps(function)
        waiting = iter(items)
        running: dict[Future[Any], tuple[str, In]] = {}
        try:
            while True:
                suspects = self._fill(function, waiting, running)
                if not running and not suspects:
                    return
                done = wait(running, return_when=FIRST_COMPLETED).done
                if suspects or any(_broken(future) for future in done):
                    done = wait(running).done  # the pool is broken: the others end at once
                for future in done:
                    item = running.pop(future)
                    if _broken(future):
                        suspects.append(item)
                    else:
                        yield item[0], _result(future)
                if suspects:
                    self.close()
                    for item in suspects:
                        yield item[0], self._alone(function, item[1])
                    self.close()
        finally:
            if running:  # an error, or Ctrl-C, or nobody wants the rest
                self.close()

    def close(self) -> None:
        """End all workers now."""
        for size in list(self._pools):
            self._kill(size)

    def _fill(
        self, function: Callable[[In], Out], waiting: Iterator[tuple[str, In]], running: dict[Future[Any], tuple[str, In]]
    ) -> list[tuple[str, In]]:
        """Hand out items until enough are in work. The item at which the pool turns out to be broken is returned."""
        while len(running) < _AHEAD * self.workers:
            item = next(waiting, None)
            if item is None:
                break
            try:
                running[self._pool(self.workers).submit(call, function, item[1])] = item
            except BrokenProcessPool:
                return [item]
        return []

    def _alone(self, function: Callable[[In], Out], argument: In) -> Out | Failure:
        """Try an item that may have killed a process, in a process of its own."""
        future = self._one(call, function, argument)
        if future is not None:
            answer: Out | Failure = _result(future)
            return answer
        for _ in range(_PROOFS):  # the item is to blame only if a process without it lives; one may be killed by chance
            if self._one(usable_cores) is not None:
                return Failure(DIED)
        raise InputError("The worker processes do not start, or die at once. Try --workers 1, or free some memory.")

    def _one(self, function: Callable[..., Any], *arguments: Any) -> Future[Any] | None:
        """A call in a process by itself; None where that process died."""
        try:
            future = self._pool(1).submit(function, *arguments)
        except BrokenProcessPool:  # it died while it had nothing to do
            self._kill(1)
            future = self._pool(1).submit(function, *arguments)
        wait([future])
        if _broken(future):
            self._kill(1)
            return None
        return future

    def _pool(self, size: int) -> ProcessPoolExecutor:
        if size not in self._pools:
            methods = multiprocessing.get_all_start_methods()
            # Not fork: the parent has threads (pyarrow, tqdm), and nothing may be owned across a fork.
            context = multiprocessing.get_context("forkserver" if "forkserver" in methods else "spawn")
            self._pools[size] = ProcessPoolExecutor(size, mp_context=context, initializer=_begin)
        return self._pools[size]

    def _kill(self, size: int) -> None:
        pool = self._pools.pop(size, None)
        if pool is None:
            return
        processes = list((getattr(pool, "_processes", None) or {}).values())  # from Python 3.14 on: pool.kill_workers()
        pool.shutdown(wait=False, cancel_futures=True)
        for process in processes:
            process.kill()
        for process in processes:
            process.join()


def usable_cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def call(function: Callable[[In], Out], argument: In) -> Out | Failure:
    """The function's answer, or its exception as a `Failure`: what runs in a worker, of whatever engine."""
    try:
        return function(argument)
    except Exception as error:
        return failure(error)


def failure(error: BaseException) -> Failure:
    """An exception in one line of at most 300 characters without paths of this machine."""
    text = (error.strerror or "") if isinstance(error, OSError) and error.strerror else str(error)
    line = next((line.strip() for line in text.splitlines() if line.strip()), "")
    line = re.sub(r"(?<![\w.])(?:[A-Za-z]:)?[/\\](?:[^\s/\\'\":]+[/\\])+", "", line)  # /a/b/name -> name
    text = plain(f"{type(error).__name__}: {line}" if line else type(error).__name__)
    return Failure(text if len(text) <= 300 else f"{text[:297]}...")


def _broken(future: Future[Any]) -> bool:
    return isinstance(future.exception(), BrokenProcessPool)


def _result(future: Future[Any]) -> Any:
    """The answer; an exception here means that the argument or the answer does not pickle, or `sys.exit` was called."""
    error = future.exception()
    return future.result() if error is None else failure(error)


def _begin() -> None:
    """In a worker: Ctrl-C is the parent's to handle, and when the parent is gone, however it went, so is the worker.

    Its libraries compute in one thread, as there are as many workers as cores: with two workers of two threads each on two
    cores, measuring frames took more than twice as long.
    """
    with contextlib.suppress(ImportError):
        from threadpoolctl import threadpool_limits

        threadpool_limits(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()


def _end_with(sentinel: int) -> None:
    multiprocessing.connection.wait([sentinel])
    os._exit(1)
