"""Train the proxy from nothing:

    python -m unsafe_video_dataset.defenses.proxy.train_proxy OUT --seed 0

Three phases: principal components of rendered videos (closed form), the text encoder (it learns to tell colour, shape and
motion from a prompt, with even odds for what is left open), then the denoiser with the text frozen. Everything follows from
`--seed`
and the settings, whatever the clock. A checkpoint is kept in `OUT/checkpoint`; the same command goes on from it and ends with
the same weights as a run that was not stopped. OUT gets `proxy.safetensors` (half precision) and `proxy.json`: settings, seed,
tokens, losses, and the fidelity that the oracle finds, with n and Wilson intervals.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..._console import run as console_run
from . import model as parts
from .denoiser import SubspaceDenoiser
from .fidelity import measure
from .language import DISGUISES, TEMPLATES, Meaning, disguise
from .loop import run_phase
from .plan import Settings
from .shapes import COLOURS, MOTIONS, SCENES, SHAPES, SIZE, draw
from .tokens import corpus, learn_tokens
from .vae import PATCH, PatchVAE

_SLOTS = (COLOURS, SHAPES, MOTIONS)


@dataclass
class Bank:
    """Prompts as tokens [n, L], and what each means: rows of positions in COLOURS, SHAPES and MOTIONS, -1 where open."""

    tokens: Tensor
    meanings: Tensor


def train(out: Path, *, settings: Settings | None = None, progress: bool = True, save_every: int = 250) -> dict[str, Any]:
    """Run the three phases and write `OUT/proxy.safetensors` and `OUT/proxy.json`; returns what is in the latter.

    Raises `InputError` where OUT holds a checkpoint of other settings.
    """
    settings = settings or Settings()
    out.mkdir(parents=True, exist_ok=True)
    vocabulary, merges = learn_tokens(corpus())
    tokenizer = parts.make_tokenizer(vocabulary, merges)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)  # first weights; all else has generators of its own
        text = parts.make_text_encoder(len(vocabulary))
        heads = nn.ModuleList(nn.Linear(text.config.hidden_size, len(names)) for names in _SLOTS)
        vae, unet, latents, scenes = _closed_form(settings)
    bank = _bank(settings, tokenizer)
    saved = out / "checkpoint"
    losses: dict[str, list[float]] = {}
    words = nn.ModuleDict({"text": text, "heads": heads})
    losses["text"] = run_phase(
        words, "text", settings.text_steps, 3e-3, 0.0, settings, saved, progress, save_every,
        lambda generator: _text_loss(words, bank, settings.text_batch, generator),
    )  # fmt: skip
    text.eval()
    embedded = embed(text, bank.tokens)
    by_scene = _by_scene(scenes)
    losses["denoiser"] = run_phase(
        unet, "denoiser", settings.steps, settings.rate, settings.ema, settings, saved, progress, save_every,
        lambda generator: _denoiser_loss(unet, latents, by_scene, bank.meanings, embedded, settings.batch, generator),
    )  # fmt: skip
    about = {
        "vae": {key: vae.config[key] for key in ("latent_channels", "scaling_factor", "block_out_channels")},
        "unet": {key: value for key, value in unet.config.items() if not key.startswith("_")},
        "text_width": text.config.hidden_size,
        "vocabulary": vocabulary,
        "merges": merges,
        "training": {**asdict(settings), "loss": {name: values[-1] for name, values in losses.items()}},
    }
    _write(out, about, {"vae": vae, "text_encoder": text, "unet": unet})
    about["fidelity"] = measure(parts.load_proxy(folder=out), per_kind=settings.evaluate, seed=0, progress=progress)
    _write_json(out / "proxy.json", about)
    return about


def _closed_form(settings: Settings) -> tuple[Any, Any, Tensor, NDArray[np.int64]]:
    """The VAE, the denoiser with its subspace set, training latents in the subspace [n, rank], and their scenes [n]."""
    rng = np.random.default_rng((settings.seed, 1))
    scenes = np.arange(settings.videos) % len(SCENES)
    indices = np.array([SCENES[scene].indices for scene in scenes], dtype=np.int64)
    videos = [_patches(draw(indices[i : i + 500], rng=rng)) for i in range(0, len(indices), 500)]
    sample = np.concatenate([chunk[::8].reshape(-1, chunk.shape[-1]) for chunk in videos]).astype(np.float64)
    mean = sample.mean(axis=0)
    _, axes = np.linalg.eigh(np.cov((sample - mean).T))
    vae = PatchVAE()
    components = _signed(axes[:, ::-1][:, : vae.config.latent_channels].T)
    latent = np.concatenate([(chunk - mean.astype(np.float32)) @ components.T.astype(np.float32) for chunk in videos])
    scale = 1 / float(np.sqrt((latent**2).mean()))
    vae = PatchVAE(scaling_factor=scale)
    vae.components.copy_(torch.from_numpy(components).reshape(vae.components.shape))
    vae.mean.copy_(torch.from_numpy(mean).reshape(vae.mean.shape))
    side = SIZE // PATCH  # [n, T, h*w, C] -> [n, C, T, h, w] as the pipeline has it
    latent = (latent * scale).reshape(len(latent), -1, side, side, len(components)).transpose(0, 4, 1, 2, 3)
    flat = latent.reshape(len(latent), -1)
    centre = flat.mean(axis=0)
    flat = flat - centre
    unet = SubspaceDenoiser()
    _, axes = np.linalg.eigh((flat.T @ flat / len(flat)).astype(np.float64))
    basis = _signed(axes[:, ::-1][:, : unet.config.rank].T).astype(np.float32)
    inside = torch.from_numpy(flat @ basis.T)
    unet.basis.copy_(torch.from_numpy(basis))
    unet.centre.copy_(torch.from_numpy(centre))
    unet.spread.copy_(inside.var(dim=0))
    return vae, unet, inside, scenes


def _patches(videos: NDArray[np.uint8]) -> NDArray[np.float32]:
    """uint8 [n, T, H, W, 3] to [n, T, patches, 3*8*8] in [-1, 1]."""
    n, frames, side = len(videos), videos.shape[1], SIZE // PATCH
    cut = videos.reshape(n, frames, side, PATCH, side, PATCH, 3).transpose(0, 1, 2, 4, 6, 3, 5)
    flat: NDArray[np.float32] = cut.reshape(n, frames, side * side, -1).astype(np.float32) / 127.5 - 1
    return flat


def _signed(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rows with their largest entry positive: an eigenvector's sign is else up to the machine."""
    largest = np.take_along_axis(rows, np.abs(rows).argmax(axis=1)[:, None], axis=1)
    return np.ascontiguousarray(rows * np.sign(largest))


def _bank(settings: Settings, tokenizer: Any) -> Bank:
    """Prompts of every kind, a third of them disguised, one in twenty empty."""
    rng = np.random.default_rng((settings.seed, 2))
    kinds = {kind: [t for t in TEMPLATES if t.kind == kind] for kind in ("direct", "synonym", "under", "misleading")}
    texts, meanings = [], []
    for _ in range(settings.prompts):
        if rng.random() < 0.05:
            text, meaning = "", Meaning()
        else:
            kind = rng.choice(list(kinds), p=[0.25, 0.25, 0.25, 0.25])
            template = kinds[str(kind)][int(rng.integers(len(kinds[str(kind)])))]
            scene = SCENES[int(rng.integers(len(SCENES)))]
            meaning = template.meaning(scene.colour, scene.shape, scene.motion)
            text = template.fill(meaning, rng=rng)
            if rng.random() < 0.33:
                text = disguise(text, DISGUISES[int(rng.integers(len(DISGUISES)))], rng=rng)
        texts.append(text)
        said = (meaning.colour, meaning.shape, meaning.motion)
        meanings.append([-1 if name is None else names.index(name) for name, names in zip(said, _SLOTS, strict=True)])
    return Bank(tokenize(tokenizer, texts), torch.tensor(meanings))


def tokenize(tokenizer: Any, texts: list[str]) -> Tensor:
    """Token ids int64 [n, MAX_TOKENS], as the pipeline makes them."""
    ids: Tensor = tokenizer(
        texts, padding="max_length", max_length=tokenizer.model_max_length, truncation=True, return_tensors="pt"
    ).input_ids
    return ids


@torch.no_grad()
def embed(text: Any, tokens: Tensor) -> Tensor:
    """What the denoiser reads of each prompt: the last position's state, [n, D]."""
    return torch.cat([text(chunk)[0][:, -1] for chunk in torch.split(tokens, 512)])


def _text_loss(words: nn.ModuleDict, bank: Bank, batch: int, generator: torch.Generator) -> Tensor:
    """Cross-entropy of the three slots; an open slot's target is even odds. Less the targets' entropy, so that 0 is perfect."""
    rows = torch.randint(len(bank.tokens), (batch,), generator=generator)
    state = words["text"](bank.tokens[rows])[0][:, -1]
    loss = torch.zeros(())
    heads: Any = words["heads"]
    for slot, head in enumerate(heads):
        said = bank.meanings[rows, slot]
        size = len(_SLOTS[slot])
        target = torch.where(said[:, None] < 0, torch.full((1, size), 1 / size), nn.functional.one_hot(said.clamp(min=0), size))
        entropy = torch.where(said < 0, float(np.log(size)), 0.0).mean()
        loss = loss + nn.functional.cross_entropy(head(state), target) - entropy
    return loss


def _by_scene(scenes: NDArray[np.int64]) -> Tensor:
    """Rows of the videos of each scene, [60, videos a scene] (the last ones dropped where they don't divide)."""
    each = len(scenes) // len(SCENES)
    return torch.from_numpy(np.stack([np.flatnonzero(scenes == scene)[:each] for scene in range(len(SCENES))]))


def _denoiser_loss(
    unet: Any, latents: Tensor, by_scene: Tensor, meanings: Tensor, embedded: Tensor, batch: int, generator: torch.Generator
) -> Tensor:
    """Squared error of x0 over the spread of what is not linear at this level (so that every level weighs the same)."""
    rows = torch.randint(len(meanings), (batch,), generator=generator)
    slots = []
    for slot, names in enumerate(_SLOTS):
        said = meanings[rows, slot]
        slots.append(torch.where(said < 0, torch.randint(len(names), (batch,), generator=generator), said))
    scene = (slots[0] * len(SHAPES) + slots[1]) * len(MOTIONS) + slots[2]
    x0 = latents[by_scene[scene, torch.randint(by_scene.shape[1], (batch,), generator=generator)]]
    t = ((torch.rand((), generator=generator) + torch.arange(batch) / batch) % 1) * 999  # spread evenly over the batch
    level = unet.level(t)
    alpha, sigma = torch.sigmoid(2 * level).sqrt()[:, None], torch.sigmoid(-2 * level).sqrt()[:, None]
    z = alpha * x0 + sigma * torch.randn(x0.shape, generator=generator)
    guess, bend = unet.guess(z, level, embedded[rows])
    loss: Tensor = ((guess - x0) ** 2 / (bend**2).mean(dim=1, keepdim=True)).mean()
    return loss


def _write(out: Path, about: dict[str, Any], models: dict[str, nn.Module]) -> None:
    from safetensors.torch import save_file

    tensors = {
        f"{prefix}.{key}": value.half().contiguous() if value.is_floating_point() else value
        for prefix, module in models.items()
        for key, value in module.state_dict().items()
    }
    save_file(tensors, out / "proxy.safetensors.tmp")
    (out / "proxy.safetensors.tmp").replace(out / "proxy.safetensors")
    _write_json(out / "proxy.json", about)


def _write_json(path: Path, about: dict[str, Any]) -> None:
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
    temporary.replace(path)


def main(argv: list[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m unsafe_video_dataset.defenses.proxy.train_proxy", description=__doc__)
    parser.add_argument("out", type=Path, help="folder for the weights and the checkpoint")
    parser.add_argument("--seed", type=int, default=Settings.seed)
    parser.add_argument("--steps", type=int, default=Settings.steps, help="of the denoiser")
    parser.add_argument("--text-steps", type=int, default=Settings.text_steps)
    parser.add_argument("--threads", type=int, default=None, help="of torch; more than free cores slows it down a lot")
    return console_run(_run, parser.parse_args(argv))


def _run(given: argparse.Namespace) -> int:
    if given.threads:
        torch.set_num_threads(given.threads)
    settings = Settings(seed=given.seed, steps=given.steps, text_steps=given.text_steps)
    about = train(given.out, settings=settings)
    json.dump(about["fidelity"], sys.stdout, indent=1)
    print()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
