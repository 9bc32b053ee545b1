"""A prompt filter that learns: character n-grams, pairs of words, one logistic regression a category. No pickle."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..._console import write_text
from ...errors import InputError, IntegrityError, missing_extra
from ...integrity import sha256_file
from ..base import Verdict
from .spelling import normalise

FORMAT = 1
WEIGHTS, CARD = "ngram.safetensors", "ngram.json"


class NgramFilter:
    """A `PromptDefense`: hashed character n-grams (within words, of `sizes` letters) and pairs of words, counts scaled to
    length 1, and a weight each a category. Make it with `NgramFilter.fit` or `load`.

    `weights` float32 [K, buckets], `bias` float32 [K], `thresholds` by category. Words themselves are not stored.
    """

    def __init__(
        self,
        weights: NDArray[np.float32],
        bias: NDArray[np.float32],
        *,
        categories: Sequence[str],
        thresholds: Mapping[str, float] | None = None,
        sizes: tuple[int, int] = (2, 5),
        name: str = "ngram",
    ) -> None:
        self.weights, self.bias = np.asarray(weights, np.float32), np.asarray(bias, np.float32)
        self.categories, self.sizes, self.name = tuple(categories), (int(sizes[0]), int(sizes[1])), name
        self.thresholds = dict.fromkeys(self.categories, 0.5) if thresholds is None else dict(thresholds)
        if self.weights.ndim != 2 or len(self.weights) != len(self.categories) or self.bias.shape != (len(self.categories),):
            raise InputError(
                f"weights {self.weights.shape} and bias {self.bias.shape} don't fit {len(self.categories)} categories."
            )
        if set(self.thresholds) != set(self.categories) or not 1 <= self.sizes[0] <= self.sizes[1] <= 10:
            raise InputError("Give a threshold for each category, and sizes from 1 to 10, the smaller first.")

    @classmethod
    def fit(
        cls,
        prompts: Sequence[str],
        targets: ArrayLike,
        *,
        categories: Sequence[str],
        buckets: int = 4096,
        sizes: tuple[int, int] = (2, 5),
        strength: float = 10.0,
        name: str = "ngram",
    ) -> NgramFilter:
        """Fit on training prompts, one row a video: `targets` bool [n, K] says what came out.

        `strength` is scikit-learn's C (inverse of the L2 penalty). A category with one class only is never (always) found.
        Raises `InputError` on wrong shapes, `MissingDependency` without scikit-learn.
        """
        truth = np.asarray(targets, dtype=bool)
        if truth.shape != (len(prompts), len(categories)) or not len(prompts):
            raise InputError(f"targets {truth.shape} for {len(prompts)} prompts and {len(categories)} categories.")
        try:
            from sklearn.linear_model import LogisticRegression
        except ModuleNotFoundError as error:
            raise missing_extra(error, "NgramFilter.fit") from error
        # the same prompt with many seeds is one row with weights: fewer rows, the same fit
        unique, member = np.unique(np.asarray(prompts, dtype=object).astype(str), return_inverse=True)
        features = _features(list(unique), buckets, sizes)
        weights = np.zeros((len(categories), buckets), np.float32)
        bias = np.zeros(len(categories), np.float32)
        total = np.bincount(member, minlength=len(unique)).astype(np.float64)
        for k in range(len(categories)):
            positive = np.bincount(member, weights=truth[:, k], minlength=len(unique))
            if not 0 < positive.sum() < len(truth):
                bias[k] = 30.0 if truth[:, k].all() else -30.0
                continue
            rows = np.concatenate([features, features])
            answers = np.r_[np.ones(len(unique), int), np.zeros(len(unique), int)]
            counts = np.r_[positive, total - positive]
            model = LogisticRegression(C=strength, max_iter=1000)
            model.fit(rows[counts > 0], answers[counts > 0], sample_weight=counts[counts > 0])
            weights[k], bias[k] = model.coef_[0], model.intercept_[0]
        return cls(weights, bias, categories=categories, sizes=sizes, name=name)

    def probabilities(self, prompts: Sequence[str]) -> NDArray[np.float64]:
        """float64 [n, K]: what each category's regression says."""
        logits = _features(prompts, self.weights.shape[1], self.sizes) @ self.weights.T.astype(np.float64) + self.bias
        return np.asarray(1 / (1 + np.exp(-logits)))

    def check_prompt(self, prompt: str) -> Verdict:
        """Block where a category's probability reaches its threshold; the score is the highest probability."""
        scores = self.probabilities([prompt])[0]
        found = tuple(name for name, score in zip(self.categories, scores, strict=True) if score >= self.thresholds[name])
        return Verdict("block" if found else "allow", float(scores.max()), found, stage="prompt", decided_by=self.name)

    def save(self, folder: str | Path) -> None:
        """Write `ngram.json` and `ngram.safetensors`; nothing in them is run when they are read."""
        from safetensors.numpy import save_file

        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        partial = folder / f".{WEIGHTS}.{os.getpid()}"
        try:
            save_file({"weights": self.weights, "bias": self.bias}, partial)
            partial.replace(folder / WEIGHTS)
        finally:
            partial.unlink(missing_ok=True)
        about = {
            "format": FORMAT,
            "categories": self.categories,
            "thresholds": self.thresholds,
            "sizes": self.sizes,
            "weights_sha256": sha256_file(folder / WEIGHTS),
        }
        write_text(folder / CARD, json.dumps(about, indent=1) + "\n")

    @classmethod
    def load(cls, folder: str | Path, *, name: str = "ngram") -> NgramFilter:
        """Read what `save` wrote. Raises `InputError` where there is none, `IntegrityError` where it is damaged."""
        from safetensors.numpy import load_file

        folder = Path(folder)
        try:
            about: dict[str, Any] = json.loads((folder / CARD).read_text(encoding="utf-8"))
            if about["format"] != FORMAT or about["weights_sha256"] != sha256_file(folder / WEIGHTS):
                raise IntegrityError(f"{folder} is of another version or its weights are damaged. Fit the filter anew.")
            tensors = load_file(folder / WEIGHTS)
            low, high = about["sizes"]
            return cls(
                tensors["weights"],
                tensors["bias"],
                categories=about["categories"],
                thresholds=about["thresholds"],
                sizes=(low, high),
                name=name,
            )
        except OSError:
            raise InputError(f"{folder} holds no n-gram filter: NgramFilter.save writes {CARD} and {WEIGHTS}.") from None
        except (KeyError, TypeError, ValueError) as error:
            if isinstance(error, (IntegrityError, InputError)):
                raise
            raise IntegrityError(f"{folder} is no n-gram filter of this version ({type(error).__name__}).") from None


def _features(prompts: Sequence[str], buckets: int, sizes: tuple[int, int]) -> NDArray[np.float64]:
    """float64 [n, buckets], rows of length 1 (or 0): n-grams of each word between two marks and pairs of words, hashed."""
    made = np.zeros((len(prompts), buckets))
    places: dict[str, int] = {}
    for row, prompt in zip(made, prompts, strict=True):
        for gram in _grams(normalise(prompt).split(), sizes):
            if gram not in places:
                digest = hashlib.blake2b(gram.encode("utf-8", "surrogatepass"), digest_size=8).digest()
                places[gram] = int.from_bytes(digest, "big") % buckets
            row[places[gram]] += 1
    length = np.linalg.norm(made, axis=1, keepdims=True)
    return np.asarray(made / np.maximum(length, 1e-12))


def _grams(words: Sequence[str], sizes: tuple[int, int]) -> Iterator[str]:
    for word in words:
        marked = f"<{word}>"
        for size in range(sizes[0], sizes[1] + 1):
            yield from (marked[start : start + size] for start in range(max(1, len(marked) - size + 1)))
    for first, second in combinations(sorted(set(words)), 2):  # "red" and "square", wherever they stand
        yield f"{first} {second}"
