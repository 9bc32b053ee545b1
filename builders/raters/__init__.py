"""Raters' answers: read them from three formats, control their quality, put pseudonyms for the raters."""
