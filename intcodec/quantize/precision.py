"""Bit widths, head room and the ranges that are given rather than calibrated. No torch here."""

from __future__ import annotations

from dataclasses import dataclass

#: Fractional bits of latents, means and scales.
FRACTION = 10
#: Largest magnitude of a latent or mean, in units of 2**-FRACTION.
LATENT_MAX = 2**21 - 1
#: Largest scale, in units of 2**-FRACTION: the scale table ends at 256.
SCALE_MAX = 2**18 - 1
#: Upper end of the activation "clamp", whose lower end is 0.
CEILING = 255.0


@dataclass(frozen=True)
class Fixed:
    """An output whose scale and range are given, not calibrated: value = integer * scale, integer in [lo, hi]."""

    scale: float
    lo: int
    hi: int


#: What a sigmoid reads: beyond 16 it is 0 or 1 to 16 bits.
GATE = Fixed(2.0**-7, -2047, 2047)
PIXELS = Fixed(1 / 255, 0, 255)
LATENT = Fixed(2.0**-FRACTION, -LATENT_MAX, LATENT_MAX)
SCALE = Fixed(2.0**-FRACTION, 0, SCALE_MAX)


@dataclass(frozen=True)
class Precision:
    """Bit widths and head room of a conversion, and how it picks the CDF rows of scales.

    `unsigned_max` is the largest activation where none is negative: as large as the larger Winograd tiles of the native
    engine take. `hedge` is where the borders between rows lie (`intcodec.quantize.scales.row_borders`); None is where
    calibration pictures become smallest.
    """

    activation_bits: int = 12
    weight_bits: int = 12
    latent_bits: int = 13
    unsigned_max: int = 2730
    margin: float = 1.25
    hedge: float | None = None

    @property
    def activation_max(self) -> int:
        """Largest activation: 2**(bits - 1) - 1."""
        return (1 << (self.activation_bits - 1)) - 1

    @property
    def weight_max(self) -> int:
        """Largest weight: 2**(bits - 1) - 1."""
        return (1 << (self.weight_bits - 1)) - 1

    @property
    def latent_max(self) -> int:
        """Largest integer of a rounded latent that enters h_s or g_s."""
        return (1 << (self.latent_bits - 1)) - 1
