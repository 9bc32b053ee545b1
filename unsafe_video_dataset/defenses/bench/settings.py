"""What a benchmark does, all of it in one frozen object; the result follows from it and from the world."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from ...errors import InputError


@dataclass(frozen=True)
class BenchSettings:
    """The defaults are the full benchmark.

    `sampling_steps`: evaluations of the denoiser in a generation. `record`: the steps whose x0 is kept, the first `early` of
    them from step 1 on without a gap: eta goes up to `early`, single steps may be any. `seeds`: one trained detector each.
    `epochs`, `filter_epochs`: of the detector's and the output filters' training. `guarded`: test samples that are generated
    again with the guard in place, to see that replay tells the same. `rounds`: alternating rounds guarded and unguarded, for
    the overhead. `bootstrap`: replicates. `scale`: share of each prompt set that is generated.
    """

    sampling_steps: int = 50
    early: int = 20
    record: tuple[int, ...] = (*range(1, 21), 25, 30, 40, 50)
    train_steps: tuple[int, ...] = (1, 2, 3, 5, 7, 10, 14, 20, 30, 50)
    seeds: tuple[int, ...] = (0, 1, 2)
    epochs: int = 8
    filter_epochs: int = 20
    guarded: int = 64
    rounds: int = 15
    bootstrap: int = 1000
    batch_size: int = 32
    scale: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        steps = set(self.record)
        faults = []
        if not steps >= set(range(1, self.early + 1)) or max(steps, default=0) > self.sampling_steps:
            faults.append(f"record must hold 1 to early={self.early} and nothing above sampling_steps={self.sampling_steps}")
        if not set(self.train_steps) <= steps or not self.train_steps:
            faults.append("train_steps must be among the recorded steps")
        if not self.seeds or len(set(self.seeds)) != len(self.seeds):
            faults.append("seeds must be different, at least one")
        if not 0 < self.scale <= 1:
            faults.append(f"scale={self.scale!r} must be above 0, at most 1")
        if min(self.epochs, self.filter_epochs, self.batch_size, self.rounds, self.bootstrap) < 1 or self.guarded < 0:
            faults.append("epochs, filter_epochs, batch_size, rounds and bootstrap must be 1 or more, guarded 0 or more")
        if faults:
            raise InputError(f"BenchSettings: {'; '.join(faults)}.")

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}


def fast(*, seed: int = 0) -> BenchSettings:
    """Less of everything: a quarter of the prompts, one detector, eta up to 10. Under three minutes on two cores."""
    return BenchSettings(
        early=10,
        record=(*range(1, 11), 15, 20, 30, 50),
        train_steps=(1, 2, 3, 5, 7, 10, 15, 20, 30, 50),
        seeds=(0,),
        epochs=6,
        filter_epochs=20,
        guarded=16,
        rounds=5,
        bootstrap=400,
        scale=0.25,
        seed=seed,
    )
