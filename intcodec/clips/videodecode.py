"""A video stream's packets to its whole frames, up to the first damage: the same on every machine.

What may live here: the rule of damage, and where a stream's own count of frames is read. Nothing of colour.

One thread decodes, as what a decoder makes of damage depends on the number of threads. A frame is whole if neither the
demuxer nor the decoder complained about its packet: a flag, an exception or a line of error in ffmpeg's log, which for
some decoders is the only word. Whole frames that are shown before the first damaged one are given; then it is an error.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any, Final

import av
import av.logging

from intcodec.base.errors import BitstreamError

#: Packets that cannot be decoded before the first frame, where they are no key frames: a recording that starts late.
_MOST_LEADING: Final = 1000


class WholeFrames:
    """Iterates over frames in the order of showing; BitstreamError where the stream is damaged or ends too early.

    Invariant: `count` frames were given.
    """

    def __init__(self, container: Any, stream: Any, decoder: Any = None) -> None:
        """Begin; `decoder` takes the place of the stream's own."""
        self.count = 0
        self.leading = 0  # packets before the first key frame, left out
        self._container, self._stream = container, stream
        self._decoder = stream.codec_context if decoder is None else decoder
        self._decoder.thread_count, self._decoder.thread_type = 1, "NONE"
        self._packets = container.demux(stream)
        self._seen = 0
        self._early: list[int] = []  # times of the packets before the first frame
        self._end = Fraction(0)  # when the last packet ends, seconds
        self._damage = ""  # what the first complaint was
        self._limit: int | None = None  # the time of the frame that it was about, where that is known

    def __iter__(self) -> Iterator[Any]:
        last: Any = None
        for frames in self._decoded():
            for frame in frames:
                if frame.is_corrupt:
                    self._spoil("the decoder had to guess", frame.pts)
                if self._damage and self._lost(frame, last):
                    break
                if last is None:
                    self.leading += sum(1 for pts in self._early if frame.pts is not None and pts < frame.pts)
                self.count, last = self.count + 1, frame
                yield frame
        if self._damage:
            stated = self._stated()
            of = f" of {stated}" if stated else ""
            raise BitstreamError(f"damaged or truncated video: {self.count}{of} frames are whole ({self._damage})")

    def _decoded(self) -> Iterator[list[Any]]:
        """Yield what each packet gives, and after the last good one what the decoder still holds."""
        while not self._damage:
            packet, complaint = _heard(lambda: next(self._packets, None))
            if packet is None or packet.size == 0:
                if complaint := complaint or self._missing():
                    self._spoil(complaint, None)
                break
            if complaint or packet.is_corrupt:
                self._spoil(complaint or "a packet is not whole", packet.pts)
                break
            self._count(packet)
            frames, complaint = _heard(lambda packet=packet: self._decoder.decode(packet))  # type: ignore[misc]
            if complaint and self._leads(packet):
                continue
            if complaint:
                self._spoil(complaint, packet.pts)
            yield frames or []
        frames, complaint = _heard(lambda: self._decoder.decode(None))
        if complaint and not self._damage:
            self._spoil(complaint, None)
        yield frames or []

    def _count(self, packet: Any) -> None:
        self._seen += 1
        if packet.pts is None:
            return
        self._end = max(self._end, (packet.pts + (packet.duration or 0)) * Fraction(packet.time_base))
        if self.count == 0 and not packet.is_discard and len(self._early) < _MOST_LEADING:
            self._early.append(packet.pts)

    def _lost(self, frame: Any, last: Any) -> bool:
        """Return whether a frame after a complaint is not one of the whole ones before it.

        It is shown at or after the frame that the complaint was about, or one between it and the last is missing: the
        decoder gives those that it holds, and some that are shown before them may come after them in the file.
        """
        if self._limit is not None and (frame.pts is None or frame.pts >= self._limit):
            return True
        if last is None or last.pts is None or frame.pts is None:
            return False
        usual = last.duration or 1 / (Fraction(self._stream.average_rate or 25) * Fraction(self._stream.time_base))
        return bool(2 * (frame.pts - last.pts) > 3 * usual)

    def _leads(self, packet: Any) -> bool:
        """Return whether a packet that fails stands before all key frames; it is left out, then."""
        return not self.count and not packet.is_keyframe and self._seen < _MOST_LEADING

    def _spoil(self, reason: str, pts: int | None) -> None:
        if not self._damage:
            self._damage, self._limit = reason, pts
        elif pts is not None and (self._limit is None or pts < self._limit):
            self._limit = pts

    def _stated(self) -> int:
        """Return how many frames the file says that it has, or means by its duration; 0: it says nothing."""
        entries = len(self._stream.index_entries) if "mp4" in self._container.format.name else 0
        end, rate = _stated_end(self._container, self._stream), self._stream.average_rate or 0
        return entries or self._stream.frames or max(round(end * rate), self.count)

    def _missing(self) -> str:
        """Return why a stream that ended without a complaint is not whole; "" if nothing says so."""
        stated = self._stated()
        if "mp4" in self._container.format.name and self._seen < stated:
            return f"the file says {stated} frames and holds {self._seen}"
        end, rate = _stated_end(self._container, self._stream), self._stream.average_rate or 25
        if end and end - self._end > Fraction(3, 4) / rate:
            return f"the file says {float(end):.2f} s and ends at {float(self._end):.2f} s"
        return ""


def _stated_end(container: Any, stream: Any) -> Fraction:
    """Return when the file says that the stream ends, in seconds; 0: it does not say it reliably."""
    name = container.format.name
    if name in ("avi", "ivf") and stream.duration:
        return Fraction(stream.duration * stream.time_base)
    if "matroska" in name or name == "flv":
        with contextlib.suppress(ValueError):
            hours, minutes, seconds = stream.metadata.get("DURATION", "").split(":")
            return int(hours) * 3600 + int(minutes) * 60 + Fraction(seconds)
        if len(container.streams) == 1 and container.duration:
            return Fraction(container.duration, av.time_base)
    return Fraction(0)


def _heard(call: Callable[[], Any]) -> tuple[Any, str]:
    """Return what a call returns and, as one line, what ffmpeg complains about; None with an exception."""
    before, repeated = av.logging.get_level(), av.logging.get_skip_repeated()
    av.logging.set_level(av.logging.ERROR)
    av.logging.set_skip_repeated(False)
    try:
        with av.logging.Capture() as logs:
            try:
                result, complaint = call(), ""
            except (av.FFmpegError, OSError) as error:
                result, complaint = None, str(error)
    finally:
        av.logging.set_level(before)
        av.logging.set_skip_repeated(repeated)
    if logs:
        complaint = f"{logs[0][1]}: {logs[0][2]}"
    return result, " ".join(complaint.split())[:120]
