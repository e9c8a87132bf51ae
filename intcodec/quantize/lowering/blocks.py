"""Lowering of blocks of several layers: residual blocks and attention."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

from intcodec.base.errors import InputError
from intcodec.quantize.lowering.layers import lower_conv, lower_gdn
from intcodec.quantize.lowering.registry import lower_module, lower_sequence, lowers
from intcodec.quantize.precision import GATE
from intcodec.quantize.rows.add import FloatAdd
from intcodec.quantize.rows.conv import FloatConv
from intcodec.quantize.rows.gate import FloatGate
from intcodec.quantize.rows.row import FloatRow
from intcodec.zoo.layers import (
    AttentionBlock,
    ResidualBlock,
    ResidualBlockUpsample,
    ResidualBlockWithStride,
    ResidualUnit,
)


@lowers(ResidualBlock)
def _residual(module: ResidualBlock, name: str, src: str) -> list[FloatRow]:
    rows: list[FloatRow] = []
    if module.skip is not None:
        rows.append(lower_conv(module.skip, f"{name}_skip", src))
    shortcut = rows[-1].name if rows else src
    first = replace(lower_conv(module.conv1, f"{name}_1", src), activation="leaky")
    second = replace(lower_conv(module.conv2, f"{name}_2", first.name), activation="leaky", align=shortcut)
    return [*rows, first, second, FloatAdd(name, second.name, shortcut)]


@lowers(ResidualBlockWithStride)
def _residual_strided(module: ResidualBlockWithStride, name: str, src: str) -> list[FloatRow]:
    if module.skip is None:
        raise InputError(f"{name}: a strided residual block without a strided shortcut is not supported")
    skip = lower_conv(module.skip, f"{name}_skip", src)
    first = replace(lower_conv(module.conv1, f"{name}_1", src), activation="leaky")
    second = lower_conv(module.conv2, f"{name}_2", first.name)
    gdn = replace(lower_gdn(module.gdn, f"{name}_gdn", second.name), align=skip.name)
    return [skip, first, second, gdn, FloatAdd(name, gdn.name, skip.name)]


@lowers(ResidualBlockUpsample)
def _residual_upsampled(module: ResidualBlockUpsample, name: str, src: str) -> list[FloatRow]:
    (skip,) = lower_module(module.upsample, f"{name}_skip", src)
    (first,) = lower_module(module.subpel_conv, f"{name}_1", src)
    first = replace(cast(FloatConv, first), activation="leaky")
    second = lower_conv(module.conv, f"{name}_2", first.name)
    gdn = replace(lower_gdn(module.igdn, f"{name}_gdn", second.name), align=skip.name)
    return [skip, first, second, gdn, FloatAdd(name, gdn.name, skip.name)]


@lowers(ResidualUnit)
def _residual_unit(module: ResidualUnit, name: str, src: str) -> list[FloatRow]:
    *rows, last = lower_sequence(module.conv, src, name)
    return [*rows, replace(last, align=src), FloatAdd(name, last.name, src, relu=True)]


@lowers(AttentionBlock)
def _attention(module: AttentionBlock, name: str, src: str) -> list[FloatRow]:
    trunk = lower_sequence(module.conv_a, src, f"{name}_a")
    *branch, last = lower_sequence(module.conv_b, src, f"{name}_b")
    gate = FloatGate(f"{name}_gate", trunk[-1].name, last.name)
    return [*trunk, *branch, replace(cast(FloatConv, last), fixed=GATE), gate, FloatAdd(name, gate.name, src)]
