"""Harmless raw material of the paper's shape, its ground truth beside it, and the comparison of a run with that truth."""
