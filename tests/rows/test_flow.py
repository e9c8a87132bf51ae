"""Scale space and warp: against an oracle in exact fractions, on every engine, instruction set and thread count."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import tinyvideo

from intcodec import engines
from intcodec.base.errors import InputError, ModelError
from intcodec.clips.framecodec import REFERENCE_HI, REFERENCE_LO
from intcodec.engines.native import NativeEngine, isa_levels
from intcodec.network.graph import Graph, Network
from intcodec.network.proof import prove
from intcodec.rows.row import TensorSpec
from intcodec.rows.scale_space import ScaleSpace
from intcodec.rows.warp import Warp

TAPS = (17, 124, 590, 1792, 3490, 4358, 3490, 1792, 590, 124, 17)


def rounded(value: Fraction) -> int:
    """To nearest, ties up."""
    return int((value + Fraction(1, 2)).__floor__())


def clamp(value: int, last: int) -> int:
    return min(max(value, 0), last)


def slow_blur(rows: list[list[Fraction]]) -> list[list[int]]:
    """One channel, edges repeated, rounded after each direction."""

    def line(values: list[Fraction]) -> list[int]:
        last = len(values) - 1
        sums = (sum(t * values[clamp(i + k - 5, last)] for k, t in enumerate(TAPS)) for i in range(len(values)))
        return [rounded(Fraction(s) / 2**14) for s in sums]

    along = [line(row) for row in rows]
    across = [line([Fraction(v) for v in column]) for column in zip(*along, strict=True)]
    return [list(row) for row in zip(*across, strict=True)]


def slow_double(rows: list[list[int]]) -> list[list[int]]:
    """Bilinear at the places (i + 1/2) / 2 - 1/2, edges repeated, rounded once."""
    height, width = len(rows), len(rows[0])
    out = []
    for y in range(2 * height):
        line = []
        v = Fraction(2 * y + 1, 4) - Fraction(1, 2)
        for x in range(2 * width):
            u = Fraction(2 * x + 1, 4) - Fraction(1, 2)
            total = Fraction(0)
            for dy in (0, 1):
                for dx in (0, 1):
                    y0, x0 = v.__floor__() + dy, u.__floor__() + dx
                    weight = (1 - abs(v - y0)) * (1 - abs(u - x0))
                    total += weight * rows[clamp(y0, height - 1)][clamp(x0, width - 1)]
            line.append(rounded(total))
        out.append(line)
    return out


def slow_space(plane: np.ndarray) -> list[list[list[int]]]:
    """The six levels of one channel."""
    small = [[Fraction(4 * int(v)) for v in row] for row in plane]
    levels = [[[int(v) for v in row] for row in small]]
    for level in range(1, 6):
        if level > 1:
            small = [
                [sum(small[2 * y + dy][2 * x + dx] for dy in (0, 1) for dx in (0, 1)) / Fraction(4)
                 for x in range(len(small[0]) // 2)]
                for y in range(len(small) // 2)
            ]  # fmt: skip
        blurred = slow_blur(small)
        small = [[Fraction(v) for v in row] for row in blurred]
        full = blurred
        for _ in range(level - 1):
            full = slow_double(full)
        levels.append(full)
    return levels


def slow_warp(levels: list[list[list[int]]], motion: np.ndarray) -> np.ndarray:
    """One channel: the place in 1/256, then planes rounded to 8 more bits, then between them."""
    height, width, _ = motion.shape
    out = np.empty((height, width), int)
    for y in range(height):
        for x in range(width):
            m = [int(v) for v in motion[y, x]]
            # a motion of 1 is 2**16, and half of the side rounded up to 128s
            px = 256 * x + rounded(Fraction(m[0] * -(-width // 128) * 64 * 256, 2**16))
            py = 256 * y + rounded(Fraction(m[1] * -(-height // 128) * 64 * 256, 2**16))
            pz = rounded(Fraction(m[2] * 3 * 256, 2**16)) + 640
            px, py, pz = clamp(px, 256 * (width - 1)), clamp(py, 256 * (height - 1)), clamp(pz, 1280)
            planes = []
            for z in (pz // 256, min(pz // 256 + 1, 5)):
                total = Fraction(0)
                for dy in (0, 1):
                    for dx in (0, 1):
                        y0, x0 = clamp(py // 256 + dy, height - 1), clamp(px // 256 + dx, width - 1)
                        wy, wx = (
                            Fraction(p % 256, 256) if d else 1 - Fraction(p % 256, 256) for p, d in ((py, dy), (px, dx))
                        )
                        total += wy * wx * levels[z][y0][x0]
                planes.append(rounded(total * 256))
            between = Fraction(pz % 256, 256)
            out[y, x] = rounded((planes[0] * (1 - between) + planes[1] * between) / (256 * 4))
    return out


def reference_picture(height: int, width: int, seed: int, extreme: bool = False) -> np.ndarray:
    rng = np.random.default_rng(seed)
    if extreme:
        return rng.choice([REFERENCE_LO, REFERENCE_HI], (height, width, 3)).astype(np.int16)
    return rng.integers(REFERENCE_LO, REFERENCE_HI + 1, (height, width, 3)).astype(np.int16)


def motion_field(height: int, width: int, seed: int) -> np.ndarray:
    """Motions of all sizes, out of the picture as well, and the very ends."""
    rng = np.random.default_rng(seed)
    size = 2.0 ** rng.uniform(6, 17, (height, width, 3))
    out = np.clip(np.rint(size * rng.choice([-1, 1], size.shape)), -(2**17), 2**17).astype(np.int32)
    out[0, 0], out[-1, -1], out[0, -1] = -(2**17), 2**17, 0
    return out


def scale_space(x: np.ndarray) -> np.ndarray:
    """Return the row's exact form of x int64[H, W, 3]; its range does not matter to it."""
    return ScaleSpace("volume", "x").compute((), x)


def warp(volume: np.ndarray, motion: np.ndarray) -> np.ndarray:
    return Warp("out", "volume", "motion").compute((), volume, motion)


def test_scale_space_is_the_oracles() -> None:
    x = reference_picture(16, 32, 1)
    volume = scale_space(x.astype(np.int64))
    for channel in range(3):
        levels = slow_space(x[:, :, channel])
        for level in range(6):
            np.testing.assert_array_equal(volume[:, :, 3 * level + channel], levels[level], err_msg=f"level {level}")


def test_warp_is_the_oracles() -> None:
    x, motion = reference_picture(16, 48, 2), motion_field(16, 48, 3)
    made = warp(scale_space(x.astype(np.int64)), motion.astype(np.int64))
    for channel in range(3):
        np.testing.assert_array_equal(made[:, :, channel], slow_warp(slow_space(x[:, :, channel]), motion))


def test_no_motion_at_the_sharpest_level_changes_nothing() -> None:
    x = reference_picture(32, 16, 4)
    motion = np.zeros((32, 16, 3), np.int64)
    motion[..., 2] = -(1 << 16)
    np.testing.assert_array_equal(warp(scale_space(x.astype(np.int64)), motion), x)


def predict_network() -> Network:
    return Network("predict", {"predict": tinyvideo.predict()}, {}, {})


@pytest.mark.parametrize("isa", [name for name, here in isa_levels() if here])
@pytest.mark.parametrize("size", [(16, 16), (16, 144), (80, 48), (208, 32)])
def test_native_equals_reference(isa: str, size: tuple[int, int]) -> None:
    net = predict_network()
    reference = engines.reference.ReferenceEngine(net)
    for extreme in (False, True):
        inputs = {"reference": reference_picture(*size, 5, extreme), "motion": motion_field(*size, 6)}
        expected = reference.trace("predict", inputs)
        for threads in (1, 2, 3, 7):
            made = NativeEngine(net, threads, isa=isa, workspace=1).trace("predict", inputs)
            for name, value in expected.items():
                np.testing.assert_array_equal(made[name], value, err_msg=f"{name}, {threads} threads")


@pytest.mark.parametrize("engine", ["native", "reference"])
def test_sides_that_do_not_halve_are_refused(engine: str) -> None:
    net = predict_network()
    make = NativeEngine if engine == "native" else engines.reference.ReferenceEngine
    inputs = {"reference": np.zeros((16, 24, 3), np.int16), "motion": np.zeros((16, 24, 3), np.int32)}
    with pytest.raises(InputError, match="multiples of 16"):
        make(net, 1).run("predict", inputs)


def graph(rows: tuple[ScaleSpace | Warp, ...], lo: int, hi: int, reach: int, channels: int = 3) -> Graph:
    inputs = (TensorSpec("reference", channels, lo, hi), TensorSpec("motion", 3, -reach, reach))
    return Graph("predict", inputs, rows, (rows[-1].name,))


ROWS = (ScaleSpace("volume", "reference"), Warp("prediction", "volume", "motion"))


@pytest.mark.parametrize(
    ("rows", "lo", "hi", "reach", "channels", "message"),
    [
        (ROWS, -8192, 8192, 2**17, 3, "int16"),
        (ROWS, -100, 100, 2**18, 3, "reaches too far"),
        (ROWS, -100, 100, 100, 3, "motion must be int32"),
        (ROWS, -1000, 100, 2**17, 4, "int16"),
        ((ROWS[0], Warp("prediction", "reference", "motion")), -1000, 100, 2**17, 3, "scale space"),
    ],
)
def test_rows_that_do_not_fit_are_refused(
    rows: tuple[ScaleSpace | Warp, ...], lo: int, hi: int, reach: int, channels: int, message: str
) -> None:
    with pytest.raises(ModelError, match=message):
        graph(rows, lo, hi, reach, channels)


def test_bounds_are_reached_by_no_input() -> None:
    """The proof's figures are above what the widest inputs make, and below 2**31."""
    net = predict_network()
    bounds = prove(net)
    assert set(bounds) == {"predict/volume", "predict/prediction"}
    assert all(4 * 65536 * REFERENCE_HI <= b < 2**31 for b in bounds.values())
