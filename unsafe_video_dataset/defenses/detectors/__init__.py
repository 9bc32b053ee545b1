"""Detectors of unsafe content in a predicted x0: the default, the paper's layout, and anything that can be called.

`train`, `calibrate` and `replay` are functions of traces; `Detector.load(...).defense()` goes into a guard.
"""

from .card import Calibration as Calibration
from .card import Card as Card
from .detector import Detector as Detector
from .latent import LatentConfig as LatentConfig
from .latent import LatentNet as LatentNet
from .wrapped import wrap as wrap
