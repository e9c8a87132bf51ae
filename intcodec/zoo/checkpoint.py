"""Float checkpoints: from any file that CompressAI wrote to one of our models, or one line that says why not.

What may live here: reading, renaming and judging state dicts. The channel counts come from the tensors, never from a
quality number, and the tables a checkpoint carries are kept but never needed.

    file -> unwrap {"state_dict": ...} -> rename old keys -> compare with the architecture -> model in eval mode
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from os import PathLike, fspath
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, TypeAlias

import torch
from torch import Tensor

from intcodec.base.errors import InputError
from intcodec.zoo.architectures import build, canonical_name
from intcodec.zoo.entropy import TABLE_BUFFERS
from intcodec.zoo.models import Model

StateDict: TypeAlias = dict[str, Tensor]
Source: TypeAlias = str | PathLike[str] | Mapping[str, Any]

#: Prefixes that DataParallel and torch.compile put before every key.
WRAPPERS = ("module.", "_orig_mod.")
#: Two earlier spellings of the bottleneck's parameters: `_matrix0` and, before it, `_matrices.0`.
_OLD_BOTTLENECK = re.compile(r"^(\w+_hyperprior\.)?entropy_bottleneck\._(matri|bias|factor)(?:x|ces|es|s)?\.?(\d+)$")
_PLURALS = {"matri": "matrices", "bias": "biases", "factor": "factors"}


def load_checkpoint(arch: str, source: Source) -> Model:
    """Load a float checkpoint in CompressAI's format.

    Args:
        arch: architecture name, such as "mbt2018_mean" (or CompressAI's "mbt2018-mean").
        source: path of a file written by torch.save, or what it held: a state dict, or a mapping with one under
            "state_dict". Keys may start with "module."; the CDF tables may be of any size or missing.

    Returns:
        The model in eval mode, float32, on the CPU, with N and M as the tensors have them.

    Raises:
        InputError: no such file or architecture, not a checkpoint, another architecture's checkpoint, or tensors that
            are missing, of the wrong shape or not finite.
    """
    name = canonical_name(arch)
    label = _label(source)
    state = read_state(source)
    found = guess_architecture(state)
    if found is not None and found != name:
        raise InputError(f"{label}: a checkpoint of {found}, not of {name}; load it as {found!r}")
    model = build(name, *_channels(state, name, label))
    _check(state, model, label)
    model.load_state_dict(_with_defaults(state, model))
    return model.eval()


def read_state(source: Source) -> StateDict:
    """Read a state dict in CompressAI's format under its current key names, whatever architecture it belongs to.

    Args:
        source: as for `load_checkpoint`.

    Raises:
        InputError: no such file, or not a checkpoint.
    """
    content = source if isinstance(source, Mapping) else _read(Path(source))
    return _normalize(content, _label(source))


def guess_architecture(state: Mapping[str, Tensor]) -> str | None:
    """Name the architecture whose checkpoints look like this state dict (current key names), or return None."""
    if "g_a.0.conv1.weight" in state:
        return "cheng2020_attn" if "g_a.3.conv_a.0.conv.0.weight" in state else "cheng2020_anchor"
    if "img_encoder.0.weight" in state:
        return "ssf2020"
    if "g_a.0.weight" not in state or "g_a.6.weight" not in state:
        return None
    if "h_s.4.weight" not in state:
        return "bmshj2018_factorized"
    if "context_prediction.weight" in state:
        return "mbt2018"
    twice = state["h_s.4.weight"].shape[0] == 2 * state["g_a.6.weight"].shape[0]
    return "mbt2018_mean" if twice else "bmshj2018_hyperprior"


def _label(source: Source) -> str:
    return "state dict" if isinstance(source, Mapping) else fspath(source)


def _read(path: Path) -> Mapping[str, Any]:
    try:
        file = path.open("rb")
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from None
    with file:
        try:
            content = torch.load(file, map_location="cpu", weights_only=True)
        except UnpicklingError:
            advice = "save only net.state_dict() with torch.save"
            raise InputError(f"{path}: not a checkpoint, or one with Python objects inside; {advice}") from None
        except Exception:  # a damaged file raises whatever the unpickler stumbles on: KeyError, struct.error, ...
            raise InputError(f"{path}: not a checkpoint, or a damaged one; download or save it again") from None
    if not isinstance(content, Mapping):
        raise InputError(f"{path}: holds a {type(content).__name__}; expected a state dict saved with torch.save")
    return content


def _normalize(content: Mapping[str, Any], label: str) -> StateDict:
    """Unwrap, check that the values are tensors, and bring the keys to their current names."""
    inner = content.get("state_dict", content)
    if not isinstance(inner, Mapping) or not inner:
        raise InputError(f"{label}: holds no tensors; expected a state dict, or one under 'state_dict'")
    state: StateDict = {}
    for key, value in inner.items():
        if not isinstance(key, str) or not isinstance(value, Tensor):
            raise InputError(f"{label}: entry {key!r} is no tensor; expected a state dict, or one under 'state_dict'")
        state[_current_key(key)] = value
    return state


def _current_key(key: str) -> str:
    while key.startswith(WRAPPERS):
        key = key.partition(".")[2]
    match = _OLD_BOTTLENECK.match(key)
    if match:
        return f"{match[1] or ''}entropy_bottleneck.{_PLURALS[match[2]]}.{match[3]}"
    return key.replace(".downsample.", ".skip.")


def _channels(state: StateDict, name: str, label: str) -> tuple[int, int]:
    """Read (N, M) off the first and the last layer of the (key frame's) encoder."""
    chain = "img_encoder" if name == "ssf2020" else "g_a"
    first, last = f"{chain}.0.weight", f"{chain}.6.weight"
    if "cheng" in name:
        first = last = "g_a.0.conv1.weight"
    sizes = []
    for key in (first, last):
        if key not in state or state[key].ndim != 4:
            raise InputError(f"{label}: no tensor {key!r}, so not a checkpoint of {name}; check the file and the name")
        sizes.append(state[key].shape[0])
    return sizes[0], sizes[1]


def _check(state: StateDict, model: Model, label: str) -> None:
    """Compare names, shapes and values with the model's, so that a wrong file fails with its reason."""
    expected = model.state_dict()
    required = {key for key, _ in model.named_parameters()}
    missing, unexpected = sorted(required - state.keys()), sorted(state.keys() - expected.keys())
    if missing:
        raise InputError(f"{label}: not a complete checkpoint of {model.arch}: {_some(missing)} missing")
    if unexpected:
        raise InputError(f"{label}: not a checkpoint of {model.arch} as published: {_some(unexpected)} unknown")
    for key, value in state.items():
        want, have = tuple(expected[key].shape), tuple(value.shape)
        if want != have and not key.endswith(TABLE_BUFFERS):
            raise InputError(f"{label}: {key} has shape {have}, {model.arch} needs {want}; check the architecture")
        if value.is_complex() or not bool(torch.isfinite(value).all()):
            raise InputError(f"{label}: {key} holds NaN or infinity; take a checkpoint from before training diverged")
    mask = state.get("context_prediction.mask")
    if mask is not None and not torch.equal(mask.to(torch.float32), expected["context_prediction.mask"]):
        raise InputError(f"{label}: context_prediction.mask is not the raster-order mask of {model.arch}")


def _with_defaults(state: StateDict, model: Model) -> StateDict:
    """Fill in the constant buffers (bounds, mask, target) that a checkpoint left out."""
    return {**{k: v for k, v in model.state_dict().items() if not k.endswith(TABLE_BUFFERS)}, **state}


def _some(keys: list[str]) -> str:
    more = f" and {len(keys) - 3} more" if len(keys) > 3 else ""
    return ", ".join(keys[:3]) + more
