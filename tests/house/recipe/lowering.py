"""Lowering of the toy architecture's block."""

from intcodec.quantize.rows.negate import FloatNegate
from intcodec.zoo.toy import Opposite

from intcodec.quantize.lowering.registry import lowers
from intcodec.quantize.rows.row import FloatRow


@lowers(Opposite)
def opposite(module: Opposite, name: str, src: str) -> list[FloatRow]:
    """Return the row of the block."""
    return [FloatNegate(name, src)]
