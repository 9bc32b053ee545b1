"""Made-up results for tests of figures: the shape of a real one, and round numbers."""

from __future__ import annotations

from typing import Any

from unsafe_video_dataset.bench.peers import PEERS
from unsafe_video_dataset.defenses.bench.cells import STRATA
from unsafe_video_dataset.defenses.bench.plot import OUTPUT, RULES, SHOWN


def loaders() -> dict[str, Any]:
    """A result of `bench`: every loader, with 0 and 2 workers."""
    summary = [
        {
            "workers": workers,
            "peer": name,
            "kind": peer.kind,
            "cpu_ms_a_clip": _between(100 + place),
            "clips_per_second": _between(10 + place),
        }
        for workers in (0, 2)
        for place, (name, peer) in enumerate(PEERS.items())
    ]
    titles = {name: {"title": peer.title} for name, peer in PEERS.items()}
    return {"settings": {"workers": [0, 2]}, "summary": summary, "peers": titles}


def defenses() -> dict[str, Any]:
    """A result of the defence benchmark, with the sizes of four models."""
    etas = (1, 2, 3, 5, 10, 20, 50)
    curve = [{"eta": eta, "strata": {name: _point(eta) for name in ("specified", "open")}} for eta in etas]
    strata = dict.fromkeys(STRATA, 100)
    size = {
        "video": "16 x 512 x 512",
        "steps": 50,
        "denoise_step": 10**13,
        "decode": 10**13,
        "small_decode": 10**11,
        "videomae": 10**11,
        "latent_detector": 10**8,
    }
    one = {"strata": {name: _point(3) for name in strata}, "within_prompt": _between(0.8)}
    return {
        "settings": {"sampling_steps": 50},
        "curves": dict.fromkeys(RULES, curve),
        "samples": {"strata": strata},
        "defenses": dict.fromkeys([*SHOWN, *OUTPUT], one),
        "real_sizes": [{"name": name, **size} for name in ("AnimateDiff", "CogVideoX 2B", "Wan 2.1 1.3B", "HunyuanVideo")],
    }


def _point(eta: int) -> dict[str, Any]:
    return {"auroc": _between(0.9), "accuracy": _between(0.8 + eta / 300), "blocked_at": float(eta)}


def _between(value: float) -> dict[str, float]:
    return {"value": value, "median": value, "low": 0.95 * value, "high": 1.05 * value}
