"""All stages in order. Every stage leaves files, and a stage whose files are there is only read."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..._console import write_text
from ...errors import InputError
from ..base import Defense
from ..chain import Chain
from ..detectors.card import versions
from .contenders import LVD, SEQUENTIAL, Contenders, contend
from .costs import count_parts
from .files import clocked, read_json, stored
from .generate import Generated, generate
from .guarded import allowed_call, defense_of, overhead, parity
from .score import score
from .settings import BenchSettings
from .targets import targets
from .world import World, proxy_world

RESULT = "result.json"


def run(
    out: str | Path,
    settings: BenchSettings | None = None,
    *,
    world: World | None = None,
    extra: Sequence[Defense | Chain] = (),
    heavy: bool = True,
    real_sizes: bool = False,
    threads: int | None = 1,
    progress: bool = True,
    say: Callable[[str], object] | None = None,
) -> dict[str, Any]:
    """Run the benchmark into the folder `out`; returns what `out/result.json` then holds.

    `world`: what is benchmarked, by default the shipped proxy. `extra`: defences of your own. `heavy` times the guard on a
    generator with the weight of a real one too; `real_sizes` counts FLOPs at the sizes of published models (minutes);
    `threads` of torch while it runs (None: as they are): the proxy's tensors are small, and more than there are free cores
    slows it down a lot. A run that was stopped goes on; what was damaged is named (`IntegrityError`), what is gone is made
    anew. Raises `InputError` where the folder is of other settings or another world.
    """
    out, settings = Path(out), settings or BenchSettings()
    world = world or proxy_world(sampling_steps=settings.sampling_steps, scale=settings.scale, seed=settings.seed)
    _check_folder(out, settings, world)
    with _threads(threads), clocked(out / "took.json"):
        result = _run(out, settings, world, extra, heavy, real_sizes, progress, say or (lambda text: None))
    result["took"] = read_json(out / "took.json")
    write_text(out / RESULT, json.dumps(result, indent=1, allow_nan=False) + "\n")
    return result


@contextmanager
def _threads(count: int | None) -> Iterator[None]:
    import torch

    before = torch.get_num_threads()
    try:
        torch.set_num_threads(count or before)
        yield
    finally:
        torch.set_num_threads(before)


def _run(
    out: Path,
    settings: BenchSettings,
    world: World,
    extra: Sequence[Defense | Chain],
    heavy: bool,
    real_sizes: bool,
    progress: bool,
    tell: Callable[[str], object],
) -> dict[str, Any]:
    tell(f"generating {len(world.items)} videos")
    generated = generate(world, out / "generated", steps=settings.record, batch_size=settings.batch_size, progress=progress)
    tell("training and choosing on validation")
    contenders = contend(world, generated, settings, out, extra=extra, progress=progress)
    part, pipe = generated.part("test"), world.load()
    if hasattr(pipe, "set_progress_bar_config"):
        pipe.set_progress_bar_config(disable=True)
    tell("counting FLOPs")
    filters = {name: contenders.filters[name] for name in ("frame filter", "clip filter")}
    parts = count_parts(world, pipe, detector=contenders.detectors[0], filters=filters)
    result: dict[str, Any] = {
        "world": {
            **{"name": world.name, "model": world.model, "categories": list(world.categories), "call": dict(world.call)},
            "fidelity": dict(world.fidelity),
        },
        "settings": settings.to_dict(),
        "versions": versions(),
        "generated": {"n": generated.samples.num_rows, "unclear": generated.unclear},
        **score(world, part, contenders, settings, parts),
    }
    tell("guarded generations")
    result["parity"], result["overhead"] = _guarded(world, pipe, generated, contenders, settings, out, heavy, progress)
    if real_sizes:
        tell("FLOPs at real sizes")
        result["real_sizes"] = stored(out / "real_sizes.json", lambda: _real_sizes(progress))
    result["targets"] = targets(result)
    return result


def _check_folder(out: Path, settings: BenchSettings, world: World) -> None:
    known, about = {"world": world.name, "model": world.model, **settings.to_dict()}, out / "bench.json"
    out.mkdir(parents=True, exist_ok=True)
    if not about.is_file():
        write_text(about, json.dumps(known, indent=1) + "\n")
        return
    found = read_json(about)
    other = sorted(name for name in known if found.get(name) != known[name])
    if other:
        raise InputError(f"{out} holds a benchmark with other settings ({', '.join(other)}). Use another folder, or delete it.")


def _guarded(
    world: World,
    pipe: Any,
    generated: Generated,
    contenders: Contenders,
    settings: BenchSettings,
    out: Path,
    heavy: bool,
    progress: bool,
) -> tuple[dict[str, Any], dict[str, Any]]:
    part, detector = generated.part("test"), contenders.detectors[0]
    of = {"detector": detector.card.weights_sha256, "points": contenders.first_points()}
    rules = {"eta-lambda": LVD, "sequential": SEQUENTIAL}
    defenses = {rule: defense_of(detector, contenders.points[name][0], name=name) for rule, name in rules.items()}
    same = {}
    for rule, name in rules.items():
        same[rule] = stored(
            out / f"parity-{rule}.json",
            lambda rule=rule, name=name: parity(  # type: ignore[misc]
                world, pipe, part, defenses[rule], contenders.verdicts[name][0], count=settings.guarded, progress=progress
            ),
            of=of,
        )
    call = allowed_call(world, pipe, part, contenders.verdicts[LVD][0])
    timed = {
        "proxy": stored(
            out / "overhead-proxy.json",
            lambda: overhead(call, pipe, {"eta-lambda": defenses["eta-lambda"]}, rounds=settings.rounds, progress=progress),
            of=of,
        )
    }
    if heavy:
        eta = min(10, contenders.points[LVD][0].eta)
        timed["heavy"] = stored(out / "overhead-heavy.json", lambda: _heavy(eta, settings, progress), of={"eta": eta})
    return same, timed


def _heavy(eta: int, settings: BenchSettings, progress: bool) -> dict[str, Any]:
    """The guard with an untrained detector of the default make (what it says doesn't matter to the clock; it never blocks)."""
    from ..detectors.latent import LatentConfig
    from ..lvd import LatentVariableDefense
    from ..rule import EtaLambda
    from .heavy import heavy_call

    pipe, call, shape = heavy_call()
    net = _net(LatentConfig.for_shape(shape, 5))

    def detector(x0: Any, *, step: int, log_snr: float) -> list[float]:
        import torch

        with torch.no_grad():
            found = net(x0[None], log_snr=torch.tensor([log_snr])).sigmoid()[0]
        return [0.0 * float(value) for value in found]

    names = [str(i) for i in range(5)]
    rule = EtaLambda(eta, f"1/{eta}")  # a safe video is looked at eta times: the most that eta can cost
    defense = LatentVariableDefense(detector, rule=rule, threshold=0.5, categories=names)
    found = overhead(call, pipe, {"eta-lambda": defense}, rounds=settings.rounds, progress=progress)
    return {**found, "eta": eta, "latent": list(shape)}


def _net(config: Any) -> Any:
    import torch

    from ..detectors.latent import LatentNet

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return LatentNet(config).eval().requires_grad_(False)


def _real_sizes(progress: bool) -> list[dict[str, Any]]:
    from tqdm import tqdm

    from .. import flops

    sizes = tqdm(flops.sizes().values(), desc="real sizes", unit="model", disable=not progress)
    return [asdict(flops.measure(size, detector=look_of)) for size in sizes]


def look_of(shape: tuple[int, int, int, int]) -> Any:
    """The default detector for latents of a shape [C, T, H, W], called as `flops.measure` calls one."""
    import torch

    from .. import flops
    from ..detectors.latent import LatentConfig, LatentNet

    class Look(torch.nn.Module):
        """`LatentNet` with its log-SNR by position."""

        def __init__(self) -> None:
            super().__init__()
            self.net = LatentNet(LatentConfig.for_shape(shape, flops.CATEGORIES))

        def forward(self, x0: Any, log_snr: Any) -> Any:
            return self.net(x0, log_snr=log_snr)

    return Look()
