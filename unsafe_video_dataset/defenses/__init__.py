"""Defences for text-to-video pipelines: prompt filters, the Latent Variable Defense, output filters.

    lvd = LatentVariableDefense(detector, eta=5, lam=0.6)
    with lvd.guard(pipe):
        video = pipe(prompt)  # raises GenerationBlocked, before anything is decoded, where the detector says so

The names are loaded on demand: importing this imports neither torch nor diffusers.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..errors import DefenseNotAttached as DefenseNotAttached
    from ..errors import GenerationBlocked as GenerationBlocked
    from .adapters import CosmosGuardrail as CosmosGuardrail
    from .adapters import GuardModel as GuardModel
    from .adapters import SafetyChecker as SafetyChecker
    from .adapters import as_safety_checker as as_safety_checker
    from .adapters import parse_guard_answer as parse_guard_answer
    from .around import CallReport as CallReport
    from .base import Defense as Defense
    from .base import GenerationInfo as GenerationInfo
    from .base import LatentDefense as LatentDefense
    from .base import OutputDefense as OutputDefense
    from .base import PromptDefense as PromptDefense
    from .base import Verdict as Verdict
    from .chain import Chain as Chain
    from .chain import as_latent_defense as as_latent_defense
    from .chain import as_output_defense as as_output_defense
    from .chain import as_prompt_defense as as_prompt_defense
    from .evidence import Evidence as Evidence
    from .evidence import fit_evidence as fit_evidence
    from .guard import Guard as Guard
    from .guard import guard as guard
    from .lvd import LatentVariableDefense as LatentVariableDefense
    from .rule import EtaLambda as EtaLambda
    from .rule import StepRule as StepRule
    from .rule import replay as replay
    from .sequential import SequentialTest as SequentialTest
    from .steering import LatentSteering as LatentSteering

_HOMES = {
    "CallReport": "around",
    "Chain": "chain",
    "CosmosGuardrail": "adapters",
    "Defense": "base",
    "DefenseNotAttached": ".errors",
    "EtaLambda": "rule",
    "Evidence": "evidence",
    "GenerationBlocked": ".errors",
    "GenerationInfo": "base",
    "Guard": "guard",
    "GuardModel": "adapters",
    "LatentDefense": "base",
    "LatentSteering": "steering",
    "LatentVariableDefense": "lvd",
    "OutputDefense": "base",
    "PromptDefense": "base",
    "SafetyChecker": "adapters",
    "SequentialTest": "sequential",
    "StepRule": "rule",
    "Verdict": "base",
    "as_latent_defense": "chain",
    "as_output_defense": "chain",
    "as_prompt_defense": "chain",
    "as_safety_checker": "adapters",
    "fit_evidence": "evidence",
    "guard": "guard",
    "parse_guard_answer": "adapters",
    "replay": "rule",
}
__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        return getattr(import_module(f".{_HOMES[name]}", __name__), name)
    except ModuleNotFoundError as error:
        from ..errors import MissingDependency, missing_extra

        missing = missing_extra(error, name)
        if isinstance(missing, MissingDependency):
            missing = MissingDependency(f"{name} needs {error.name}: pip install 'unsafe-video-dataset[defenses]'")
        raise missing from error


def __dir__() -> list[str]:
    return list(__all__)


class _Package(ModuleType):
    """Importing the module `guard` would put it in the place of the function `guard`: the public name stays."""

    def __setattr__(self, name: str, value: Any) -> None:
        if not (name in _HOMES and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
