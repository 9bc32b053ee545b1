"""Run a detector over traces."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from ..traces import Traces
from .detector import Detector


def logits_of(detector: Detector, traces: Traces, *, batch_size: int = 64, progress: bool = True) -> NDArray[np.float32]:
    """Raw logits float32 [samples, steps, categories], samples in the order of their ids."""
    place = {step: i for i, step in enumerate(traces.steps)}
    log_snr = traces.log_snr
    made = np.empty((len(traces), len(traces.steps), len(detector.categories)), dtype=np.float32)
    with tqdm(total=len(traces) * len(traces.steps), desc="scoring", unit="x0", disable=not progress) as bar:
        for samples, steps, x0 in traces.batches(batch_size):
            at = [place[int(step)] for step in steps]
            made[samples, at] = detector.logits(x0, log_snr=log_snr[samples, at].tolist(), step=steps.tolist()).numpy()
            bar.update(len(samples))
    return made
