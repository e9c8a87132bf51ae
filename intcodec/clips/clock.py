"""Times of frames to durations: which frames last as long as the rate says, and how long the others do.

What may live here: that decision, in exact fractions, made frame by frame without a look at the whole file.

Containers round times to their ticks, so that frames at a constant rate come a tick early or late. The clock adds up
the durations that the clip gives; a frame whose successor comes within a tick of where the rate puts it has the rate's,
and any other the time that is really left. So nothing adds up, and a gap or a change of rate is kept.
"""

from __future__ import annotations

from fractions import Fraction

from intcodec.clips.header import MAX_NUMBER


class Clock:
    """Durations in units of 1 / timescale, 0 for the rate's.

    Invariant: `_now` is when the frame that is asked about next begins, by the durations given so far.
    """

    def __init__(self, rate: Fraction, timescale: int, tick: Fraction) -> None:
        """Begin a clip whose file counts time in units of `tick` seconds; a timescale of 0 keeps no durations."""
        self._usual, self._timescale = 1 / rate, timescale
        self._tick, self._now = tick, Fraction(0)
        self._slack = min(tick, self._usual / 4)

    def start(self, pts: int | None) -> None:
        """Set when the first frame begins."""
        self._now = self._time(pts, Fraction(0))

    def until(self, pts: int | None) -> int:
        """Return the duration of a frame whose successor begins at `pts`, in the file's ticks."""
        expected = self._now + self._usual
        return self._lasting(self._time(pts, expected) - expected)

    def last(self, ticks: int | None) -> int:
        """Return the duration of the last frame, which the file gives in its ticks, or not."""
        return self._lasting((ticks or 0) * self._tick - self._usual if ticks else Fraction(0))

    def _lasting(self, late: Fraction) -> int:
        ticks = round((self._usual + late) * self._timescale)
        if abs(late) <= self._slack or not 0 < ticks <= MAX_NUMBER:
            self._now += self._usual
            return 0
        self._now += Fraction(ticks, self._timescale)
        return ticks

    def _time(self, pts: int | None, unknown: Fraction) -> Fraction:
        return unknown if pts is None else pts * self._tick
