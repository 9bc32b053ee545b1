"""One guarded generation as a service makes it: what was allowed is kept, of what was blocked a verdict only."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..errors import GenerationBlocked, UnsafeVideoError
from .base import Frames
from .guard import Guard
from .scrub import videos_of
from .trace_requests import Request


def serve(
    watched: Guard, pipe: Any, request: Request, *, call: Mapping[str, Any] | None = None, out: Path | None = None
) -> dict[str, Any]:
    """Generate a request under a guard: its verdict as plain JSON values, with an id of prompt and seed (`video`), evaluations
    of the denoiser (`denoised`) and seconds, also those of decoder and defences.

    `call` are more arguments of the pipeline. An allowed video goes to `out/videos/<id>.npy`, uint8 [T, H, W, 3]; that of an
    earlier run is gone where this one blocks. Raises `UnsafeVideoError` with the id where the pipeline fails: the text of its
    own error may hold the prompt.
    """
    name = f"{request.prompt_sha256[:12]}-{request.seed}"
    given = {"output_type": "np", **(call or {})}
    frames = None
    try:
        with watched, contextlib.suppress(GenerationBlocked):
            output = pipe(prompt=request.prompt, generator=torch.Generator("cpu").manual_seed(request.seed), **given)
            frames = videos_of(output)[0]
    except UnsafeVideoError:
        raise
    except Exception as error:
        failed = type(error).__name__
    else:
        failed = ""
    if failed:  # raised here, so that it has no frame of the pipeline and nothing of its error
        raise UnsafeVideoError(f"The pipeline failed on video {name} with {failed}. The verdicts before it are kept.")
    if out is not None:
        _keep(out / "videos" / f"{name}.npy", frames)
    report = watched.last
    verdict = report.verdicts[0].to_dict()
    del verdict["seconds"]
    return {
        "video": name,
        **verdict,
        "denoised": report.steps,
        "seconds": report.seconds,
        "decode_seconds": report.decode_seconds,
        "detect_seconds": report.detect_seconds,
    }


def _keep(path: Path, frames: Frames | None) -> None:
    """Write the video, whole or not at all; without one there is none afterwards."""
    if frames is None:
        path.unlink(missing_ok=True)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.stem}.{os.getpid()}")
    try:
        with partial.open("wb") as file:
            np.save(file, frames, allow_pickle=False)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
