"""A pipeline from what a person types: `proxy`, a local diffusers folder, or `module:function`. Nothing is downloaded."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..errors import InputError, MissingDependency
from .base import Frames
from .trace_requests import SPLITS, Request

PROXY = "proxy"


def load_pipeline(name: str, *, device: str = "cpu") -> Any:
    """The pipeline, on the device.

    A folder is opened with `DiffusionPipeline.from_pretrained`, local files and safetensors weights only (no pickle, no code of
    the folder). `module:function` is imported (the working folder counts) and called without arguments.
    Raises `InputError` where it isn't there or can't be loaded, or the device isn't; `MissingDependency` without diffusers.
    """
    from ..ranks import find_device

    where = find_device(device)
    if name == PROXY:
        pipe = load_function("unsafe_video_dataset.defenses.proxy.model:load_proxy")()
    elif Path(name).is_dir():
        pipe = _from_folder(Path(name))
    elif ":" in name:
        pipe = load_function(name)()
    else:
        raise InputError(f"{name!r} is no pipeline. Give 'proxy', a local diffusers folder, or module:function.")
    if not callable(pipe):
        raise InputError(f"{name} gave a {type(pipe).__name__}, which is no pipeline: it can't be called.")
    return pipe.to(where) if hasattr(pipe, "to") else pipe


def decoder_of(pipe: Any) -> Callable[[Any], Any] | None:
    """What shows a detector the frames of one x0, by the pipeline's own VAE; None where it has none."""
    from .detectors.videomae import frames_decoder

    vae = getattr(pipe, "vae", None)
    return None if vae is None else frames_decoder(vae)


def load_function(name: str) -> Any:
    """What `module:function` names. Raises `InputError` where there is none; errors inside the module pass on."""
    module, _, attribute = name.partition(":")
    sys.path.insert(0, str(Path.cwd()))
    try:
        return getattr(importlib.import_module(module), attribute)
    except ModuleNotFoundError as error:
        if error.name and not module.startswith(error.name):
            raise
        raise InputError(
            f"There is no module {module}. Give module:function of something that Python can import here."
        ) from None
    except (AttributeError, ValueError):
        raise InputError(f"{module} has no {attribute or 'function'}. Give module:function.") from None
    finally:
        sys.path.pop(0)


def proxy_requests() -> list[Request]:
    """The proxy's own prompts, of all splits, with their seeds. The kind is that of its main prompts, else the stratum."""
    from .proxy.prompts import prompt_set

    prompts = [prompt for split in SPLITS for prompt in prompt_set(split)]
    return [Request(p.text, p.seed, "p" + p.group, p.kind if p.stratum == "main" else p.stratum, p.split) for p in prompts]


def proxy_call() -> dict[str, Any]:
    """The arguments of every call of the proxy: size, frames, steps."""
    from .proxy.model import settings

    return {name: value for name, value in settings().items() if name != "output_type"}


def proxy_oracle() -> Callable[[Frames], tuple[str, ...] | None]:
    """The proxy's labeller: the blocked concepts that a video shows, None where it can't be told."""
    from .proxy.oracle import read

    def label(frames: Frames) -> tuple[str, ...] | None:
        reading = read(frames)[0]
        return None if reading.unclear else reading.categories

    return label


def _from_folder(folder: Path) -> Any:
    try:
        from diffusers import DiffusionPipeline
    except ModuleNotFoundError as error:
        raise MissingDependency("A pipeline needs diffusers: pip install 'unsafe-video-dataset[defenses]'") from error
    if not (folder / "model_index.json").is_file():
        raise InputError(f"{folder} is no diffusers pipeline: it has no model_index.json.")
    try:
        load: Any = DiffusionPipeline.from_pretrained
        return load(folder, local_files_only=True, use_safetensors=True)
    except (OSError, ValueError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0][:300]
        raise InputError(f"{folder} can't be loaded from local safetensors files ({reason}).") from None
