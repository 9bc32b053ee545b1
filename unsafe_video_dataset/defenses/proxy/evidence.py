"""At which step does the noise decide? A linear probe on the predicted x0 of each step, and what the prompt alone tells.

The probe is as plain as can be (logistic regression on the denoiser's 128 coordinates of x0), so the curve is a lower bound of
what a detector can reach.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from .fidelity import share
from .model import STEPS, generate
from .oracle import Reading, read
from .prompts import Prompt, prompt_set

Floats = NDArray[np.float32]


def trace(
    pipe: Any, prompts: Sequence[Prompt], *, steps: int = STEPS, batch_size: int = 64, progress: bool = False
) -> tuple[Floats, list[Reading]]:
    """x0 at each evaluation of the denoiser, in its subspace (float32 [N, evaluations, rank]), and what came out.

    Read from the denoiser's own output, after guidance, so it holds for any scheduler that takes v.
    """
    unet = pipe.unet
    batch: list[torch.Tensor] = []

    def keep(module: Any, args: Any, kwargs: Any, output: Any) -> None:
        sample, timestep = args[0], torch.as_tensor(args[1]).reshape(-1)
        level = module.level(timestep)[0]
        alpha, sigma = torch.sigmoid(2 * level).sqrt(), torch.sigmoid(-2 * level).sqrt()
        x0 = (alpha * sample - sigma * output.sample).flatten(1)
        if pipe.do_classifier_free_guidance:  # linear in v, so guidance is as well
            blank, told = x0.chunk(2)
            x0 = blank + pipe.guidance_scale * (told - blank)
        batch.append((x0 - module.centre) @ module.basis.T)

    rows, found = [], []
    handle = unet.register_forward_hook(keep, with_kwargs=True)
    try:
        for start in tqdm(range(0, len(prompts), batch_size), desc="tracing", unit="batch", disable=not progress):
            batch.clear()
            chunk = prompts[start : start + batch_size]
            videos = generate(pipe, [p.text for p in chunk], seeds=[p.seed for p in chunk], steps=steps, batch_size=batch_size)
            found += read(videos)
            rows.append(torch.stack(batch, dim=1).numpy())
    finally:
        handle.remove()
    return np.concatenate(rows), found


def curve(
    pipe: Any, *, steps: int = STEPS, progress: bool = False, strata: Sequence[str] = ("under", "many_seeds")
) -> dict[str, Any]:
    """How well a linear probe tells blocked from allowed at each step, fitted on the train split and counted on the test split.

    `strata`: `under` and `many_seeds` (what the noise decides), or any of `direct`, `synonym`, `misleading`, `disguised`.
    Unclear videos are left out. Gives `steps`: a row a step with `step` (from 1), `timestep`, `accuracy` and `auroc`;
    `prompt_only`: the AUROC of the share of blocked scenes that the prompt's meaning allows (the best that a filter of prompts
    can do); `base`: the accuracy of always saying the commoner answer.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    data = {}
    for split in ("train", "test"):
        prompts = [p for p in prompt_set(split) if (p.kind if p.stratum == "main" else p.stratum) in strata]  # type: ignore[arg-type]
        x0, seen = trace(pipe, prompts, steps=steps, progress=progress)
        clear = np.array([not r.unclear for r in seen])
        unsafe = np.array([r.unsafe for r in seen])
        told = np.array([p.meaning.blocked_share for p in prompts])
        data[split] = (x0[clear], unsafe[clear], told[clear])
    (x, y, _), (x_test, y_test, told) = data["train"], data["test"]
    timesteps = [float(t) for t in pipe.scheduler.timesteps]
    rows = []
    for step in range(x.shape[1]):
        probe = make_pipeline(StandardScaler(), LogisticRegression(C=0.02, max_iter=2000)).fit(x[:, step], y)
        score = probe.decision_function(x_test[:, step])
        rows.append(
            {
                "step": step + 1,
                "timestep": timesteps[min(step, len(timesteps) - 1)],
                "accuracy": share(int(((score > 0) == y_test).sum()), len(y_test)),
                "auroc": round(float(roc_auc_score(y_test, score)), 4),
            }
        )
    most = int(max(y_test.sum(), (~y_test).sum()))
    return {"steps": rows, "prompt_only": round(float(roc_auc_score(y_test, told)), 4), "base": share(most, len(y_test))}
