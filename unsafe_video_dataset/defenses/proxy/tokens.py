"""The proxy's tokens: byte pairs learned from every sentence of its grammar."""

from __future__ import annotations

import string
from collections.abc import Iterable
from itertools import pairwise

from .language import COLOUR_WORDS, MOTION_WORDS, SHAPE_WORDS, TEMPLATES


def corpus() -> list[str]:
    """Every sentence of the grammar with every word in its slots once: what the tokens are learned from."""
    words = [word for table in (COLOUR_WORDS, SHAPE_WORDS) for group in table.values() for word in group]
    words += [form for group in MOTION_WORDS.values() for forms in group for form in forms]
    return words * 4 + [template.text.format(c="", s="", f="", p="", x="", g="") for template in TEMPLATES]


def learn_tokens(texts: Iterable[str]) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """(vocabulary, merges) of byte-pair tokens as CLIP uses them: every word of `texts` in the end one token, every other
    word pieces or letters. Ties go to the first in the alphabet, so the same texts give the same tokens."""
    counts: dict[tuple[str, ...], int] = {}
    for text in texts:
        for word in "".join(c if c.isalpha() else " " for c in text.lower()).split():
            pieces = (*word[:-1], word[-1] + "</w>")
            counts[pieces] = counts.get(pieces, 0) + 1
    letters = string.ascii_lowercase + string.digits + string.punctuation
    vocabulary = [*letters, *(letter + "</w>" for letter in letters)]
    merges: list[tuple[str, str]] = []
    while True:
        pairs: dict[tuple[str, str], int] = {}
        for pieces, count in counts.items():
            for pair in pairwise(pieces):
                pairs[pair] = pairs.get(pair, 0) + count
        if not pairs:
            break
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        merges.append(best)
        vocabulary.append("".join(best))
        counts = {_merge(pieces, best): count for pieces, count in counts.items()}
    names = [*dict.fromkeys(vocabulary), "<|startoftext|>", "<|endoftext|>"]
    return {name: i for i, name in enumerate(names)}, merges


def _merge(pieces: tuple[str, ...], pair: tuple[str, str]) -> tuple[str, ...]:
    out: list[str] = []
    for piece in pieces:
        if out and (out[-1], piece) == pair:
            out[-1] += piece
        else:
            out.append(piece)
    return tuple(out)
