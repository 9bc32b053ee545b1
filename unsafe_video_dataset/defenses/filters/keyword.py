"""A prompt filter of words: it blocks where a category's words all stand in the prompt."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from ..._console import write_text
from ...errors import InputError
from ..base import Verdict
from .spelling import normalise

Terms = Sequence[str | Sequence[str]]


class KeywordFilter:
    """A `PromptDefense` from lists of words.

    `terms`: category -> terms. A term is a word or phrase ("red square": these words in a row), or a list of such of which all
    must stand in the prompt, anywhere (["red", "square"]). Prompt and terms are normalised in the same way (`normalise`), which
    `spelling=False` reduces to lower case. `joined=True` also finds terms of 5 letters or more inside of other words, and so
    words run together ("bluesquare"); it blocks more harmless prompts too. Raises `InputError` on an empty list or term.
    """

    def __init__(
        self, terms: Mapping[str, Terms], *, name: str = "keyword", spelling: bool = True, joined: bool = False
    ) -> None:
        self.name, self.spelling, self.joined = name, spelling, joined
        self._clean = normalise if spelling else _plain
        self.terms: dict[str, tuple[tuple[str, ...], ...]] = {
            category: tuple(tuple(self._clean(part) for part in ([term] if isinstance(term, str) else term)) for term in listed)
            for category, listed in terms.items()
        }
        empty = [category for category, listed in self.terms.items() if not listed or any(not t or "" in t for t in listed)]
        if empty or not self.terms:
            raise InputError(f"No terms, or an empty one, in {', '.join(empty) or 'the filter'}: give words with letters.")

    @property
    def categories(self) -> tuple[str, ...]:
        """Names of the categories, as given."""
        return tuple(self.terms)

    def check_prompt(self, prompt: str) -> Verdict:
        """Block where any category's term is found; the score is 1 or 0."""
        text = self._clean(prompt)
        found = tuple(category for category, listed in self.terms.items() if any(self._has(text, term) for term in listed))
        return Verdict("block" if found else "allow", float(bool(found)), found, stage="prompt", decided_by=self.name)

    def save(self, path: str | Path) -> None:
        """Write the lists as JSON."""
        about = {"terms": self.terms, "spelling": self.spelling, "joined": self.joined}
        write_text(Path(path), json.dumps(about, indent=1, ensure_ascii=False) + "\n")

    @classmethod
    def load(cls, path: str | Path, *, name: str = "keyword") -> KeywordFilter:
        """Read what `save` wrote, or plain JSON {category: [terms]}. Raises `InputError` where it is neither."""
        try:
            about = json.loads(Path(path).read_text(encoding="utf-8"))
            if "terms" not in about:
                about = {"terms": about}
            return cls(about["terms"], name=name, spelling=about.get("spelling", True), joined=about.get("joined", False))
        except (OSError, ValueError, TypeError, AttributeError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(f"{path} is no list of words ({type(error).__name__}): give JSON {{category: [terms]}}.") from None

    def _has(self, text: str, term: Iterable[str]) -> bool:
        padded = f" {text} "
        return all(f" {part} " in padded or (self.joined and len(part) >= 5 and part in text) for part in term)


def _plain(text: str) -> str:
    return " ".join("".join(c if c.isalnum() else " " for c in text.lower()).split())
