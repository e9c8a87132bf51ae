"""Weights of another architecture, quality or width, as far as names and shapes match."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from intcodec.base.errors import InputError
from intcodec.zoo import ARCHITECTURES, Model, canonical_name, guess_architecture, read_state
from intcodec.zoo.entropy import TABLE_BUFFERS

#: Where the layers of cheng2020_anchor stand in cheng2020_attn, whose attention blocks lie between them.
_ATTENTION = {
    "g_a": {0: 0, 1: 1, 2: 2, 3: 4, 4: 5, 5: 6, 6: 7},
    "g_s": {0: 1, 1: 2, 2: 3, 3: 4, 4: 6, 5: 7, 6: 8, 7: 9},
}


#: N and M where neither a quality nor a checkpoint names them.
_CHANNELS = (128, 192)


def choose_channels(arch: str, quality: int | None, init: Path | None) -> tuple[int, int]:
    """Return (N, M) of a quality, else of the checkpoint to start from, else the usual ones.

    Raises:
        InputError: no such architecture or quality, or the checkpoint cannot be read.
    """
    table = ARCHITECTURES[canonical_name(arch)].channels
    if quality is not None:
        if not 1 <= quality <= len(table):
            raise InputError(f"quality {quality}: {arch} has 1 to {len(table)}")
        return table[quality - 1]
    if init is not None:
        encoders = ("g_a.", "img_encoder.")
        weights = [v for k, v in read_state(init).items() if k.startswith(encoders) and v.ndim == 4]
        if weights:
            return weights[0].shape[0], weights[-1].shape[0]
    return (_CHANNELS[0],) * 2 if arch.startswith("cheng2020") else _CHANNELS


def warm_start(net: Model, path: Path) -> str:
    """Copy into a model what a checkpoint has for it.

    Args:
        net: the model to train; what is not copied stays as it was.
        path: a checkpoint in CompressAI's format, of any architecture and width.

    Returns:
        One line that says what was copied and what was not.

    Raises:
        InputError: it cannot be read, holds NaN or infinity, or nothing in it fits.
    """
    state = read_state(path)
    found = guess_architecture(state) or "an unknown architecture"
    state = _renumbered(state, found, net.arch)
    own = dict(net.named_parameters())
    fitting = {k: v for k, v in state.items() if k in own and v.shape == own[k].shape}
    if not fitting:
        raise InputError(f"{path}: no tensor of this checkpoint ({found}) fits {net.arch} with N {net.N}, M {net.M}")
    if not all(bool(value.isfinite().all()) for value in fitting.values()):
        raise InputError(f"{path}: holds NaN or infinity; take a checkpoint from before training diverged")
    rest = {k: v for k, v in net.state_dict().items() if k not in fitting}
    net.load_state_dict({**rest, **fitting})
    total = sum(value.numel() for value in own.values())
    percent = 100 * sum(value.numel() for value in fitting.values()) / total
    new = sorted({".".join(key.split(".")[:2]) for key in own if key not in fitting})
    left = f"; random: {', '.join(new)}" if new else ""
    return f"{path.name} ({found}): {len(fitting)} of {len(own)} tensors, {percent:.1f} % of the weights{left}"


def _renumbered(state: dict[str, Tensor], found: str, arch: str) -> dict[str, Tensor]:
    """Give layers the numbers that they have in `arch`; drop the tables, which belong to the old weights."""
    state = {k: v for k, v in state.items() if not k.endswith(TABLE_BUFFERS)}
    if (found, arch) == ("cheng2020_anchor", "cheng2020_attn"):
        numbers = _ATTENTION
    elif (found, arch) == ("cheng2020_attn", "cheng2020_anchor"):
        numbers = {chain: {new: old for old, new in table.items()} for chain, table in _ATTENTION.items()}
    else:
        return state
    out = {}
    for key, value in state.items():
        chain, _, rest = key.partition(".")
        if chain not in numbers:
            out[key] = value
            continue
        number, _, leaf = rest.partition(".")
        if int(number) in numbers[chain]:
            out[f"{chain}.{numbers[chain][int(number)]}.{leaf}"] = value
    return out
