"""Filters of prompts and of finished videos. `KeywordFilter` and `normalise` need numpy alone; the others an extra each."""

from .keyword import KeywordFilter as KeywordFilter
from .spelling import normalise as normalise
