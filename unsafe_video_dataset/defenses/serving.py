"""One guarded generation as a service makes it: what was allowed is kept, of what was blocked a verdict only."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..errors import GenerationBlocked
from .guard import Guard
from .scrub import videos_of
from .trace_requests import Request


def serve(
    watched: Guard, pipe: Any, request: Request, *, call: Mapping[str, Any] | None = None, out: Path | None = None
) -> dict[str, Any]:
    """Generate a request under a guard: its verdict as plain JSON values, with an id of prompt and seed (`video`), evaluations
    of the denoiser (`denoised`) and seconds, also those of decoder and defences.

    `call` are more arguments of the pipeline. An allowed video goes to `out/videos/<id>.npy`, uint8 [T, H, W, 3].
    """
    name = f"{request.prompt_sha256[:12]}-{request.seed}"
    given = {"output_type": "np", **(call or {})}
    frames = None
    with watched, contextlib.suppress(GenerationBlocked):
        output = pipe(prompt=request.prompt, generator=torch.Generator("cpu").manual_seed(request.seed), **given)
        frames = videos_of(output)[0]
    if frames is not None and out is not None:
        (out / "videos").mkdir(parents=True, exist_ok=True)
        partial = out / "videos" / f".{name}.{os.getpid()}"
        with partial.open("wb") as file:
            np.save(file, frames, allow_pickle=False)
        partial.replace(out / "videos" / f"{name}.npy")
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
