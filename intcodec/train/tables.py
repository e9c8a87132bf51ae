"""What makes weights a checkpoint that others can use: settled quantiles and filled CDF tables.

The auxiliary optimiser moves the bottleneck's quantiles towards the tails and the median of a density that keeps
changing. The density's logit is monotone, so at any moment they can be found exactly, by bisection: no need to wait.

CompressAI's table buffers are ours with another padding: a row of `_quantized_cdf` is a row of `CdfTables`, its last
slot the escape; `_offset` is the symbol of its first slot.
"""

from __future__ import annotations

import copy

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from intcodec.entropy import cdf
from intcodec.entropy.cdf import CdfTables
from intcodec.zoo import EntropyBottleneck, GaussianConditional

#: Quantiles are looked for in [-REACH, REACH]; symbols are int16.
_REACH = 32768.0
_HALVINGS = 60


def settle_quantiles(net: nn.Module) -> None:
    """Put the quantiles of every bottleneck where `EntropyBottleneck.loss` is least, in place."""
    for module in net.modules():
        if isinstance(module, EntropyBottleneck):
            with torch.no_grad():
                module.quantiles.copy_(_solve(module))


def _solve(bottleneck: EntropyBottleneck) -> Tensor:
    """Return where the density's logit is -t, 0 and t: float64 [C, 1, 3]."""
    density = copy.deepcopy(bottleneck).to("cpu", torch.float64)
    target = density.target.reshape(1, 1, 3)
    low = torch.full((density.channels, 1, 3), -_REACH, dtype=torch.float64)
    high = -low
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        above = density.logits(middle) > target
        low, high = torch.where(above, low, middle), torch.where(above, middle, high)
    return (low + high) / 2


def fill_tables(net: nn.Module) -> None:
    """Fill the CDF buffers of every entropy model from its weights, in place, as CompressAI's `update` does."""
    for module in net.modules():
        if isinstance(module, EntropyBottleneck):
            matrices, biases, factors = map(_arrays, (module.matrices, module.biases, module.factors))
            quantiles = module.quantiles.detach().cpu().numpy()
            _store(module, cdf.factorized_tables(matrices, biases, factors, quantiles))
        elif isinstance(module, GaussianConditional):
            scales = cdf.default_scale_table()
            module.scale_table = torch.from_numpy(scales).float()
            _store(module, cdf.gaussian_tables(scales))


def _arrays(parameters: nn.ParameterList) -> list[NDArray[np.float64]]:
    return [p.detach().double().cpu().numpy() for p in parameters]


def _store(module: EntropyBottleneck | GaussianConditional, tables: CdfTables) -> None:
    lengths = np.diff(tables.starts)
    rows = np.zeros((tables.rows, int(lengths.max())), np.int32)
    for k in range(tables.rows):
        rows[k, : lengths[k]] = tables.row(k)
    module._quantized_cdf = torch.from_numpy(rows)
    module._cdf_length = torch.from_numpy(lengths.astype(np.int32))
    module._offset = torch.from_numpy(np.array(tables.offsets))
