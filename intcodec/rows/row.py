"""What every kind of row says about itself.

A row reads one or two tensors [H, W, C], C innermost, and writes one, named like the row. Everything that walks a
network - the proof, the limits, the description, the engines - asks a row and knows no kind by name. A new kind is a
subclass in a module of its own and one line in `table`; docs/arithmetic.md has a section of the same name for each.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from intcodec.base.errors import ModelError
from intcodec.base.integers import ACC_LIMIT, IntArray, dtype_of

if TYPE_CHECKING:
    from intcodec.onnxwriter.values import Builder, Value

Int64: TypeAlias = NDArray[np.int64]


@dataclass(frozen=True)
class TensorSpec:
    """Name, channel count and inclusive value range of a tensor."""

    name: str
    channels: int
    lo: int
    hi: int

    @property
    def dtype(self) -> np.dtype[Any]:
        """Storage dtype, from the range."""
        return dtype_of(self.lo, self.hi)

    @property
    def magnitude(self) -> int:
        """The largest magnitude that a value can have."""
        return max(abs(self.lo), abs(self.hi))


class Reach(NamedTuple):
    """Which input columns an output column depends on.

    Output column x of the picture before the pixel shuffle by `upsample` reads the input columns from x * stride - left
    to x * stride + right.
    """

    left: int = 0
    right: int = 0
    stride: int = 1
    upsample: int = 1


@dataclass(frozen=True, eq=False)
class Row(ABC):
    """A row of a network. What is not overridden is right for a row that looks at one pixel at a time.

    Class attributes:
        kind: its name in a model's description and in the compiled core.
        reads: the fields that name the tensors read.
        arrays: the fields that are integer arrays; a model stores each as a tensor.
        scalars: the other fields with their types: int, bool, str (a tensor's name), or tuple (four integers).
        whole: it needs its whole input at once; a graph has only such rows, or none.
    """

    name: str
    input: str

    kind: ClassVar[str]
    reads: ClassVar[tuple[str, ...]] = ("input",)
    arrays: ClassVar[tuple[str, ...]] = ()
    scalars: ClassVar[Mapping[str, type]] = {}
    whole: ClassVar[bool] = False

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the tensors read."""
        return tuple(getattr(self, field) for field in self.reads)

    @property
    def reach(self) -> Reach:
        """Which columns it looks at."""
        return Reach()

    @property
    def pointwise(self) -> bool:
        """Whether an output depends on one position of the inputs only."""
        return not self.whole

    def size(self, height: int, width: int) -> tuple[int, int]:
        """Return the output's (height, width) for inputs of (height, width); below 1 where they are too small."""
        return height, width

    def refusal(self, height: int, width: int) -> str | None:
        """Return why inputs of (height, width) cannot be computed whatever the memory, or None."""
        return None

    def packed_weights(self, lanes: int) -> int:
        """Return how many weights an engine holds that packs outputs in whole groups of `lanes`."""
        return 0

    def products(self, height: int, width: int) -> int:
        """Return how many products an output of (height, width) takes, additions aside."""
        return 0

    def onnx_bands(self, height: int, width: int) -> int:
        """Return in how many bands of rows the ONNX form computes an output of (height, width)."""
        return 1

    @abstractmethod
    def check(self, where: str, *sources: TensorSpec) -> None:
        """Check dtypes, shapes and ranges of all fields against the tensors read.

        Raises:
            ModelError: beginning with `where`.
        """

    @abstractmethod
    def out(self, *sources: TensorSpec) -> TensorSpec:
        """Return the output's spec."""

    @abstractmethod
    def bound(self, where: str, *sources: TensorSpec) -> int:
        """Return the largest magnitude of an intermediate, for all inputs in range and sums in any order.

        It follows from the row's integers alone; nothing that chose them is used (docs/arithmetic.md, Proof).

        Raises:
            ModelError: it reaches a limit.
        """

    @abstractmethod
    def compute(self, sources: tuple[TensorSpec, ...], *x: Int64) -> Int64:
        """Return the output int64[H', W', C'] for inputs int64[H, W, C], exactly as docs/arithmetic.md states it.

        Raises:
            InputError: the inputs are too small.
            RangeError: an intermediate left its range.
        """

    def onnx(self, e: Builder, bands: int, sources: tuple[TensorSpec, ...], *x: Value) -> Value:
        """Write the row's ONNX nodes and return its tensor, in that many bands.

        Raises:
            ModelError: its sums cannot be held in int32 there, or the kind has no ONNX form.
        """
        raise ModelError(f"row {self.name}: {self.kind} has no ONNX form")


def require(ok: bool, where: str, what: str) -> None:
    """Raise a ModelError unless `ok`."""
    if not ok:
        raise ModelError(f"{where}: {what}")


def check_vector(a: IntArray, dtype: type, size: int, lo: int, hi: int, where: str) -> None:
    """Check that an array is dtype[size] with values in [lo, hi]."""
    if a.dtype != dtype or a.shape != (size,):
        raise ModelError(f"{where}: expected {np.dtype(dtype).name}[{size}], got {a.dtype}{list(a.shape)}")
    require(size == 0 or (int(a.min()) >= lo and int(a.max()) <= hi), where, f"values outside [{lo}, {hi}]")


def check_range(lo: int, hi: int, where: str) -> None:
    """Check that [lo, hi] is a range that a tensor may have."""
    require(-ACC_LIMIT < lo <= hi < ACC_LIMIT, where, f"bad range [{lo}, {hi}]")


def check_int16(where: str, *sources: TensorSpec) -> None:
    """Check that inputs fit int16 without -32768."""
    require(all(s.magnitude < 2**15 for s in sources), where, "input does not fit int16")


def below(value: int, limit: int, where: str) -> int:
    """Return a bound that is below its limit.

    Raises:
        ModelError: it is not.
    """
    if value >= limit:
        raise ModelError(f"{where}: worst-case magnitude {value} reaches {limit}; the model is not proved safe")
    return value
