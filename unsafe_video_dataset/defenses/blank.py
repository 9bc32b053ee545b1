"""What stands for the decoder's output where everything is blocked: zeros of the right shape, without decoding."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode


def blank_decode(plain: Callable[..., Any], vae: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """What `vae.decode(...)` would return, all zero: its shape comes from a run on fake tensors, which compute nothing.

    A decoder that can't run on those (offloading hooks move real weights; some code reads values) decodes latents of zeros:
    the session has put them in place of the blocked ones.
    """
    if not any(hasattr(module, "_hf_hook") for module in vae.modules()):
        try:
            with FakeTensorMode(allow_non_fake_inputs=True) as mode:
                fake_args, fake_kwargs = _map((args, kwargs), lambda tensor: mode.from_tensor(tensor))
                decoded = plain(vae, *fake_args, **fake_kwargs)
            return _map(decoded, _zeros)
        except Exception:
            pass  # the way below is as safe, only slower
    zero_args, zero_kwargs = _map((args, kwargs), torch.zeros_like)
    return plain(vae, *zero_args, **zero_kwargs)


def _zeros(tensor: torch.Tensor) -> torch.Tensor:
    device = tensor.fake_device if isinstance(tensor, FakeTensor) else tensor.device
    return torch.zeros(tuple(tensor.shape), dtype=tensor.dtype, device=device)


def _map(value: Any, change: Callable[[torch.Tensor], torch.Tensor]) -> Any:
    if isinstance(value, torch.Tensor):
        return change(value)
    if isinstance(value, tuple):
        return tuple(_map(item, change) for item in value)
    if isinstance(value, list):
        return [_map(item, change) for item in value]
    if isinstance(value, dict):
        made = {name: _map(item, change) for name, item in value.items()}
        return made if type(value) is dict else type(value)(**made)
    return value
