"""How fast clips come out of this package, beside other loaders on the same clips: `unsafe-video bench`.

Every measurement runs in a process of its own, rounds alternate over the loaders, and what is reported are medians and
ratios. `run` does it all; `summary` holds the arithmetic, `peers` the loaders.
"""

from .run import run
from .settings import BenchSettings

__all__ = ["BenchSettings", "run"]
