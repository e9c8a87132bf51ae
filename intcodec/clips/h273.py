"""Code points of ITU-T H.273 for primaries, transfer and matrix: names, and which are usual.

What may live here: those tables. Source: Recommendation ITU-T H.273, tables 2 to 4.
"""

from __future__ import annotations

from typing import Final

from intcodec.clips.colour import Matrix

#: Matrices that are read, by their code points.
MATRICES: Final = {
    1: Matrix.BT709,
    4: Matrix.FCC,
    5: Matrix.BT601,
    6: Matrix.BT601,
    7: Matrix.SMPTE240M,
    9: Matrix.BT2020,
}
#: The code point of each matrix that is written.
NUMBERS: Final = {Matrix.RGB: 0, Matrix.BT601: 6, Matrix.BT709: 1, Matrix.BT2020: 9}
_OTHER_MATRICES: Final = {
    8: "YCgCo",
    10: "BT.2020 with constant luminance",
    11: "SMPTE ST 2085",
    12: "derived from the primaries",
    13: "derived from the primaries, with constant luminance",
    14: "ICtCp",
    15: "IPT-C2",
    16: "YCgCo-Re",
    17: "YCgCo-Ro",
}
#: Primaries and transfers that differ little from those of sRGB are named by no note.
_USUAL_PRIMARIES: Final = (0, 1, 2, 5, 6, 7)
_USUAL_TRANSFERS: Final = (0, 1, 2, 6, 7, 13, 14, 15)
PRIMARIES: Final = {
    1: "BT.709", 4: "BT.470 M", 5: "BT.470 BG", 6: "SMPTE 170M", 7: "SMPTE 240M", 8: "film", 9: "BT.2020",
    10: "SMPTE ST 428 (XYZ)", 11: "DCI-P3", 12: "Display P3", 22: "EBU 3213",
}  # fmt: skip
TRANSFERS: Final = {
    1: "BT.709", 4: "gamma 2.2", 5: "gamma 2.8", 6: "SMPTE 170M", 7: "SMPTE 240M", 8: "linear",
    9: "logarithmic (100:1)", 10: "logarithmic (316:1)", 11: "IEC 61966-2-4", 12: "BT.1361", 13: "sRGB", 14: "BT.2020",
    15: "BT.2020", 16: "PQ (HDR)", 17: "SMPTE ST 428", 18: "HLG (HDR)",
}  # fmt: skip


def matrix_name(number: int) -> str:
    """Return the name of a matrix that is not read."""
    return _OTHER_MATRICES.get(number, f"of number {number}")


def unusual(primaries: int, transfer: int) -> str:
    """Return the names of primaries and transfer that are not nearly those of sRGB; "" if there is none."""
    named = []
    if transfer not in _USUAL_TRANSFERS:
        named.append(f"transfer {TRANSFERS.get(transfer, f'of number {transfer}')}")
    if primaries not in _USUAL_PRIMARIES:
        named.append(f"primaries {PRIMARIES.get(primaries, f'of number {primaries}')}")
    return ", ".join(named)
