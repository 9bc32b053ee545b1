"""Output filters: a small network that looks at each frame alone, or at the whole clip. Saved as JSON and safetensors."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn
from tqdm import tqdm

from ..._console import write_text
from ...errors import InputError, IntegrityError, one_of
from ...integrity import sha256_file
from ..base import Frames, Verdict
from ..detectors.latent import LatentConfig, LatentNet

Sees = Literal["frame", "clip"]
FORMAT = 1
WEIGHTS, CARD = "video.safetensors", "video.json"


@dataclass(frozen=True)
class FitSettings:
    """How a `VideoFilter` is trained. `width` is a multiple of 8; frames are averaged over `shrink` x `shrink` pixels first."""

    epochs: int = 20
    batch_size: int = 64
    learning_rate: float = 3e-3
    weight_decay: float = 0.02
    width: int = 16
    shrink: int = 1
    seed: int = 0


class VideoFilter:
    """An `OutputDefense`: one network for all categories. Make it with `VideoFilter.fit` or `load`.

    `sees="frame"`: every frame is judged alone and a clip's probability is the mean of its frames', so that motion is out of
    its sight. `sees="clip"`: the network sees all frames at once. The network is the latent detector's, on RGB.
    """

    def __init__(
        self,
        net: LatentNet,
        *,
        sees: Sees,
        categories: Sequence[str],
        thresholds: Mapping[str, float] | None = None,
        shrink: int = 1,
        name: str = "",
    ) -> None:
        self.net, self.sees, self.categories = (
            net.eval().requires_grad_(False),
            one_of(sees, get_args(Sees), "sees"),
            tuple(categories),
        )
        self.thresholds = dict.fromkeys(self.categories, 0.5) if thresholds is None else dict(thresholds)
        self.name, self.shrink = name or f"{sees} filter", shrink
        if set(self.thresholds) != set(self.categories):
            raise InputError("Give a threshold for each category.")

    @classmethod
    def fit(
        cls,
        videos: NDArray[np.uint8],
        targets: ArrayLike,
        *,
        sees: Sees,
        categories: Sequence[str],
        settings: FitSettings | None = None,
        progress: bool = True,
    ) -> VideoFilter:
        """Train on uint8 videos [N, T, H, W, 3] and bool targets [N, K]; a frame inherits its clip's labels.

        The result follows from the data and the settings; the global random generator is left as it was. Raises `InputError` on
        shapes that don't fit.
        """
        settings = settings or FitSettings()
        truth = np.asarray(targets, dtype=bool)
        if (
            videos.ndim != 5
            or videos.shape[-1] != 3
            or videos.dtype != np.uint8
            or truth.shape != (len(videos), len(categories))
        ):
            raise InputError(
                f"videos {videos.dtype}{list(videos.shape)} and targets {list(truth.shape)}: give uint8 [N, T, H, W, 3] and "
                f"bool [N, {len(categories)}]."
            )
        pixels = _pixels(videos, settings.shrink)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.seed)
            net = LatentNet(LatentConfig.for_shape(pixels.shape[1:], len(categories), width=settings.width))
        net.set_scale(pixels.mean(dim=(0, 2, 3, 4)), pixels.std(dim=(0, 2, 3, 4)))
        labels = torch.tensor(truth, dtype=torch.float32)
        net.set_prior(labels.mean(dim=0))
        optimizer = torch.optim.AdamW(net.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay)
        net.train()
        total, done = settings.epochs * -(-len(videos) // settings.batch_size), 0
        with tqdm(total=total, desc=f"training the {sees} filter", unit="batch", disable=not progress) as bar:
            for epoch in range(settings.epochs):
                rng = np.random.default_rng([settings.seed, epoch])
                order = rng.permutation(len(videos))
                for start in range(0, len(order), settings.batch_size):
                    share = done / total
                    for group in optimizer.param_groups:
                        group["lr"] = settings.learning_rate * min(1.0, 20 * share + 0.05) * (1 + np.cos(np.pi * share)) / 2
                    at = torch.from_numpy(order[start : start + settings.batch_size])
                    x, y = pixels[at], labels[at]
                    if sees == "frame":  # one frame of each clip a pass; over the passes it sees them all
                        frame = torch.from_numpy(rng.integers(0, x.shape[2], len(x)))
                        x = x[torch.arange(len(x)), :, frame].unsqueeze(2)
                    loss = nn.functional.binary_cross_entropy_with_logits(net(x, log_snr=_clean(len(x))), y)
                    optimizer.zero_grad()
                    torch.autograd.backward(loss)
                    nn.utils.clip_grad_norm_(net.parameters(), 1.0)
                    optimizer.step()
                    done += 1
                    bar.update()
        return cls(net, sees=sees, categories=categories, shrink=settings.shrink)

    @torch.no_grad()
    def probabilities(self, videos: NDArray[np.uint8], *, batch_size: int = 64) -> NDArray[np.float64]:
        """float64 [N, K] of uint8 videos [N, T, H, W, 3]."""
        made = []
        for start in range(0, len(videos), batch_size):
            x = _pixels(videos[start : start + batch_size], self.shrink)
            if self.sees == "clip":
                made.append(self.net(x, log_snr=_clean(len(x))).double().sigmoid())
                continue
            frames = x.transpose(1, 2).flatten(0, 1)  # [N * T, 3, H, W]
            found = self.net(frames, log_snr=_clean(len(frames))).double().sigmoid()
            made.append(found.reshape(len(x), x.shape[2], -1).mean(dim=1))
        return np.asarray(torch.cat(made).numpy()) if made else np.empty((0, len(self.categories)))

    def check_video(self, frames: Frames) -> Verdict:
        """Block where a category's probability reaches its threshold; the score is the highest probability."""
        scores = self.probabilities(np.asarray(frames)[None])[0]
        found = tuple(name for name, score in zip(self.categories, scores, strict=True) if score >= self.thresholds[name])
        return Verdict("block" if found else "allow", float(scores.max()), found, stage="output", decided_by=self.name)

    def save(self, folder: str | Path) -> None:
        """Write `video.json` and `video.safetensors`; nothing in them is run when they are read."""
        from safetensors.torch import save_file

        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        partial = folder / f".{WEIGHTS}.{os.getpid()}"
        try:
            save_file({name: value.contiguous() for name, value in self.net.state_dict().items()}, partial)
            partial.replace(folder / WEIGHTS)
        finally:
            partial.unlink(missing_ok=True)
        about = {
            "format": FORMAT,
            "sees": self.sees,
            "categories": self.categories,
            "thresholds": self.thresholds,
            "config": asdict(self.net.config),
            "shrink": self.shrink,
            "weights_sha256": sha256_file(folder / WEIGHTS),
        }
        write_text(folder / CARD, json.dumps(about, indent=1) + "\n")

    @classmethod
    def load(cls, folder: str | Path, *, name: str = "") -> VideoFilter:
        """Read what `save` wrote. Raises `InputError` where there is none, `IntegrityError` where it is damaged."""
        from safetensors.torch import load_file

        folder = Path(folder)
        try:
            about: dict[str, Any] = json.loads((folder / CARD).read_text(encoding="utf-8"))
            if about["format"] != FORMAT or about["weights_sha256"] != sha256_file(folder / WEIGHTS):
                raise IntegrityError(f"{folder} is of another version or its weights are damaged. Train the filter anew.")
            net = LatentNet(LatentConfig(**about["config"]))
            net.load_state_dict(load_file(folder / WEIGHTS))
            return cls(
                net,
                sees=about["sees"],
                categories=about["categories"],
                thresholds=about["thresholds"],
                shrink=int(about["shrink"]),
                name=name,
            )
        except OSError:
            raise InputError(f"{folder} holds no video filter: VideoFilter.save writes {CARD} and {WEIGHTS}.") from None
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            if isinstance(error, (IntegrityError, InputError)):
                raise
            raise IntegrityError(f"{folder} is no video filter of this version ({type(error).__name__}).") from None


def _pixels(videos: NDArray[np.uint8], shrink: int) -> Tensor:
    """float32 [N, 3, T, H / shrink, W / shrink] in [-1, 1]."""
    pixels = torch.from_numpy(np.ascontiguousarray(videos)).permute(0, 4, 1, 2, 3).float() / 127.5 - 1
    return nn.functional.avg_pool3d(pixels, (1, shrink, shrink)) if shrink > 1 else pixels


def _clean(count: int) -> Tensor:
    """The log-SNR of a finished video: no noise."""
    return torch.full((count,), 30.0)
