"""Undo the spelling that hides a word from a list of words. Pure text; no list of confusable letters is complete."""

from __future__ import annotations

import re
import unicodedata

_LEET = str.maketrans({"0": "o", "1": "i", "3": "e", "4": "a", "5": "s", "7": "t", "@": "a", "$": "s", "!": "i", "|": "l"})
_LOOKS = str.maketrans(  # Cyrillic and Greek letters that look like Latin ones and that Unicode keeps apart
    {
        **dict(zip("авекмнорстухіјѕԁɡ", "abekmhopctyxijsdg", strict=True)),
        **dict(zip("αεικνορτυχ", "aeiknoptux", strict=True)),
        "ı": "i",
        "ß": "ss",
    }
)
_TOKEN = re.compile(r"[^\W_]+")
_SPELT = re.compile(r"(?<![^\W_])(?:[^\W_][\s._\-*]+){2,}[^\W_](?![^\W_])")


def normalise(text: str) -> str:
    """`text` in lower case Latin words with one space between: width, case, accents, look-alike letters, digits for letters,
    invisible characters and words spelt out ("r e d", "r.e.d") are undone. Pure digits stay digits.

    NFKC and NFKD are those of Unicode Standard Annex #15.
    """
    shown = "".join(c for c in unicodedata.normalize("NFKC", text) if unicodedata.category(c) != "Cf")
    bare = "".join(c for c in unicodedata.normalize("NFKD", shown.casefold()) if not unicodedata.combining(c))
    joined = _SPELT.sub(lambda found: re.sub(r"[\s._\-*]+", "", found[0]), bare.translate(_LOOKS))
    return " ".join(_TOKEN.findall(" ".join(_letters(word) for word in joined.split())))


def _letters(word: str) -> str:
    """Digits and signs within a word that has letters, read as letters; a sign at its end is punctuation."""
    core = word.rstrip("!|")
    return core.translate(_LEET) if any(c.isalpha() for c in core) else word
