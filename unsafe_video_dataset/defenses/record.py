"""Record what a pipeline's x0 looks like step by step, through the same guard that will judge it later."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

from tqdm import tqdm

from ..errors import DefenseNotAttached, InputError, one_of
from .base import Frames, GenerationInfo, X0Convention
from .calls import check_accepted, checked_call
from .lock import alone
from .recorder import Caller, Seen
from .scrub import videos_of
from .trace_labels import AnyLabels, categories_of, join_labels, read_labels
from .trace_requests import Request, as_requests
from .trace_size import Precision, SizePlan, free_bytes
from .trace_store import FORMAT, TraceStore, check_folder, index_table
from .traces import Traces

Labeller = Callable[[Frames], object]
SHARD_BYTES = 256 * 2**20


def record(
    pipe: Any,
    prompts: Iterable[str | Request | Mapping[str, Any]],
    out: str | Path,
    *,
    seeds: Sequence[int] = (0,),
    steps: Sequence[int] | int | None = None,
    labels: Labeller | AnyLabels | None = None,
    call: Mapping[str, Any] | None = None,
    encode: Callable[[Frames], bytes] | None = None,
    suffix: str = ".mp4",
    finish: bool = True,
    precision: Precision = "fp16",
    x0_convention: X0Convention = "scheduler",
    batch_size: int = 1,
    max_bytes: int | None = None,
    shard_samples: int | None = None,
    model: str = "",
    progress: bool = True,
    say: Callable[[str], object] | None = None,
) -> Traces:
    """Generate each prompt with each seed and keep x0 of the chosen steps in the folder `out`; returns the opened traces.

    `prompts`: see `as_requests`. `steps`: numbers from 1, or how many of the first ones, or None for all. `labels`: a callable
    of the final frames (uint8 [T, H, W, 3]; see `categories_of` for what it gives; None: no label) or
    a table joined by id. `call`:
    further arguments of the pipeline (plain JSON values). `encode`: makes MP4 bytes of the frames (or a file with another
    `suffix`); they are kept as `videos/<video_id>.mp4`, the id being the first 16 hex digits of their sha256. `finish=False`
    stops each generation after the last chosen step, where labels come from elsewhere. `model` names the weights, so that
    others' aren't mixed in.

    The sizes go to `say` (print, where progress is shown) before anything is generated, from one step of one generation.
    A recording that was stopped goes on: what is done isn't generated again. One process at a time records into a folder. A
    sample's noise comes from its seed alone.
    Raises `InputError` for steps that the pipeline doesn't take or a folder of other settings, `StorageError` where `max_bytes`
    or the disk is too small, `DefenseNotAttached` where the pipeline's x0 can't be read.
    """
    one_of(precision, get_args(Precision), "record(precision)")
    one_of(x0_convention, get_args(X0Convention), "record(x0_convention)")
    if batch_size < 1 or (shard_samples is not None and shard_samples < 1):
        raise InputError("batch_size and shard_samples must be at least 1.")
    labeller = labels if callable(labels) else None
    if not finish and (labeller or encode):
        raise InputError("finish=False makes no frames to label or to encode: use finish=True, or a label table.")
    if labels is not None and labeller is None:
        read_labels(labels)  # a bad table is refused before hours of generation
    requests = as_requests(prompts, seeds=seeds)
    arguments = checked_call(call)
    check_accepted(pipe, arguments)
    caller = Caller(pipe, arguments, x0_convention, frames=bool(labeller or encode))
    check_folder(Path(out))  # before a lock is left there
    with alone(Path(out)), caller.quiet():
        info = caller.probe(requests[0])
        chosen = chosen_steps(steps, info.num_steps)
        settings = _settings(info, chosen, arguments, precision, finish, model)
        store = TraceStore(Path(out), settings)
        identity = {name: settings[name] for name in ("pipeline", "model", "scheduler", "prediction_type", "num_steps", "call")}
        ids = {_sample_id(request, identity): request for request in requests}
        done = store.done()
        todo = sorted(set(ids) - done)
        plan = SizePlan(len(todo), len(done), chosen, info.num_steps, info.shape, precision, free_bytes(Path(out)))
        shard_samples = shard_samples or max(1, SHARD_BYTES // plan.sample_bytes)
        tell = say or (print if progress else None)
        if tell is not None:
            tell(plan.to_text())
        plan.check(max_bytes=max_bytes, shard_samples=shard_samples)
        with tqdm(total=len(ids), initial=len(ids) - len(todo), desc="recording", unit="sample", disable=not progress) as bar:
            for start in range(0, len(todo), batch_size):
                batch = todo[start : start + batch_size]
                _record_batch(caller, store, {name: ids[name] for name in batch}, chosen, labeller, encode, suffix, finish)
                bar.update(len(batch))
        if labels is not None and labeller is None:
            _join(store, labels)
        store.finish(shard_samples=shard_samples)
    return Traces.open(Path(out), verify=False)


def chosen_steps(steps: Sequence[int] | int | None, num_steps: int) -> tuple[int, ...]:
    """Step numbers, sorted, from a list, a count of first ones, or None for all; `InputError` outside 1 to `num_steps`."""
    if isinstance(steps, int):
        steps = range(1, steps + 1)
    chosen = tuple(sorted(set(range(1, num_steps + 1) if steps is None else steps)))
    if not chosen or chosen[0] < 1 or chosen[-1] > num_steps:
        raise InputError(
            f"steps {list(chosen)[:3]}…{list(chosen)[-1:]}: the pipeline evaluates its denoiser {num_steps} times; choose from "
            f"1 to {num_steps}."
        )
    return chosen


def _record_batch(
    caller: Caller,
    store: TraceStore,
    batch: Mapping[str, Request],
    steps: Sequence[int],
    labeller: Labeller | None,
    encode: Callable[[Frames], bytes] | None,
    suffix: str,
    finish: bool,
) -> None:
    import torch

    seen = Seen(frozenset(steps), last=None if finish else steps[-1])
    output = caller.run(list(batch.values()), seen)
    videos = videos_of(output) if labeller or encode else [None] * len(batch)
    if len(seen.kept) != len(batch) or len(videos) != len(batch):
        raise DefenseNotAttached(
            f"{len(seen.kept)} samples and {len(videos)} videos came out of {len(batch)} prompts: use batch_size=1 and "
            "no num_videos_per_prompt."
        )
    dtype = {"fp16": torch.float16, "fp32": torch.float32}[store.settings["precision"]]
    for number, (sample_id, request) in enumerate(batch.items()):
        info, kept, frames = seen.infos[number], seen.kept[number], videos[number]
        if sorted(kept) != list(steps) or list(info.shape) != store.settings["shape"]:
            raise InputError(
                f"Sample {sample_id}: steps {sorted(kept)} of shape {list(info.shape)}, where {list(steps)} of "
                f"{store.settings['shape']} were expected. Every sample must be generated in the same way."
            )
        x0 = torch.stack([kept[step][2] for step in steps])
        limit = torch.finfo(dtype).max
        x0 = x0.clamp(-limit, limit).to(dtype)  # the guess of a step without signal can be larger than half precision holds
        facts = {
            "sample_id": sample_id,
            "video_id": request.video_id,
            "prompt_sha256": request.prompt_sha256,
            "group_id": request.group_id,
            "prompt_kind": request.prompt_kind,
            "split": request.split,
            "seed": request.seed,
            **{
                name: getattr(info, name) for name in ("pipeline", "scheduler", "prediction_type", "x0_convention", "num_steps")
            },
            "categories": None,
            "steps": [[step, kept[step][0], kept[step][1], math.exp(-kept[step][1] / 2)] for step in steps],
        }
        if labeller is not None and frames is not None:
            answer = labeller(frames)
            facts["categories"] = None if answer is None else categories_of(answer)
        if encode is not None and frames is not None:
            facts["video_id"] = _save_video(store.folder / "videos", encode(frames), suffix)
        store.add(facts, x0)


def _save_video(folder: Path, data: bytes, suffix: str) -> str:
    video_id = hashlib.sha256(data).hexdigest()[:16]
    folder.mkdir(exist_ok=True)
    partial = folder / f".{video_id}.part"
    partial.write_bytes(data)
    partial.replace(folder / f"{video_id}{suffix}")
    return video_id


def _join(store: TraceStore, labels: AnyLabels) -> None:
    """Put a table's labels beside the traces; `Traces.open` joins them."""
    files = [*store.shards(), *sorted(store.parts.glob("*.safetensors"))]
    index = join_labels(index_table(files), labels)
    found = dict(zip(index["sample_id"].to_pylist(), index["categories"].to_pylist(), strict=True))
    store.label({name: value for name, value in found.items() if value is not None})


def _settings(
    info: GenerationInfo, steps: Sequence[int], call: dict[str, Any], precision: str, finish: bool, model: str
) -> dict[str, Any]:
    if info.layout == "raw":
        raise DefenseNotAttached(f"{info.pipeline} packs its latents in a way that isn't known: extend defenses.layout first.")
    return {
        "format": FORMAT,
        "pipeline": info.pipeline,
        "model": model,
        "scheduler": info.scheduler,
        "prediction_type": info.prediction_type,
        "x0_convention": info.x0_convention,
        "num_steps": info.num_steps,
        "steps": list(steps),
        "shape": list(info.shape),
        "layout": info.layout,
        "precision": precision,
        "finished": finish,
        "call": {name: _private(name, value) for name, value in call.items()},
    }


def _private(name: str, value: Any) -> Any:
    """Prompts are kept as hashes, the negative one too."""
    if "prompt" in name and value is not None:
        return "sha256:" + hashlib.sha256(json.dumps(value).encode()).hexdigest()
    return value


def _sample_id(request: Request, identity: Mapping[str, Any]) -> str:
    """16 hex digits that follow from the prompt, the seed and how it is generated; not from what of it is kept."""
    key = json.dumps([request.prompt_sha256, request.seed, identity], sort_keys=True)
    return hashlib.sha256(key.encode()).hexdigest()[:16]
