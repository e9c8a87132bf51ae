"""Frames to a clip's bytes and back, with seek and ranges: the codec of one frame between pixels and container.

What may live here: which frames are key frames, and which frames have to be decoded to show another. Nothing here
holds more than a frame, whatever the clip's length, but the index: 16 bytes for each key frame.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from intcodec.base.errors import BitstreamError, InputError, WrongModelError
from intcodec.base.files import Readable
from intcodec.clips.colour import Colour
from intcodec.clips.container import ChunkReader, ChunkWriter, Index, Writable
from intcodec.clips.framecodec import VideoCodec
from intcodec.clips.frames import FrameFormat
from intcodec.clips.header import MAX_NUMBER, ClipHeader
from intcodec.clips.scenecuts import SceneCuts
from intcodec.modelfile.container import MODEL_ID_BYTES
from intcodec.pictures.codec import Picture, check_picture

#: A key frame comes every so many frames unless the caller says otherwise.
DEFAULT_INTERVAL: Final = 60


class ClipWriter:
    """Encodes frames in order into a file or a pipe.

    Example:
        with open("clip.intc", "wb") as file:
            writer = ClipWriter(codec, file, FrameFormat(width, height))
            for frame in frames:
                writer.write(frame)
            writer.close()
    """

    def __init__(
        self,
        codec: VideoCodec,
        file: Writable,
        made: FrameFormat,
        keyframe_interval: int = DEFAULT_INTERVAL,
        *,
        scene_cuts: bool = True,
    ) -> None:
        """Write the clip's header.

        Args:
            codec: from `intcodec.load_video`.
            file: where to write; it is never asked to seek.
            made: size, rate and colour of the clip.
            keyframe_interval: a key frame comes so many frames after the last one; 0: only where a scene begins.
            scene_cuts: a key frame comes where a scene begins (intcodec.clips.scenecuts), too.

        Raises:
            InputError: the size is impossible, or the interval negative.
            LimitError: a frame has more pixels than the codec accepts.
        """
        if keyframe_interval < 0:
            raise InputError(f"a key frame every {keyframe_interval} frames: give 0 or more")
        self._interval = keyframe_interval
        self._cuts = SceneCuts() if scene_cuts else None
        self._key = 0
        self.seconds = 0.0  # how long the clip is
        self._made = made
        self._encoder = codec.encoder(made.height, made.width)
        colour = made.colour
        header = ClipHeader(
            codec.model_id, made.width, made.height, made.rate, made.aspect, colour.to_byte(), colour.primaries,
            colour.transfer, made.timescale,
        )  # fmt: skip
        self._chunks = ChunkWriter(file, header)

    @property
    def frames(self) -> int:
        """Number of frames written."""
        return self._chunks.frames

    @property
    def bytes_written(self) -> int:
        """Bytes of the clip so far."""
        return self._chunks.bytes_written

    def write(self, frame: Picture, ticks: int = 0) -> None:
        """Encode the next frame.

        Args:
            frame: uint8[H, W, 3], sRGB.
            ticks: how long it is shown, in units of 1 / `timescale` of the format; 0: as long as the rate says.

        Raises:
            InputError: it has another dtype or size, or `ticks` is not 0 in a clip without a timescale.
        """
        if ticks and not (self._made.timescale and 0 < ticks <= MAX_NUMBER):
            raise InputError(f"a frame of {ticks} ticks: durations need a timescale, and are 1 to 2^31 - 1")
        check_picture(frame)
        number = self._chunks.frames
        cut = self._cuts is not None and self._cuts.begins(frame)
        if number == 0 or cut or (self._interval > 0 and number - self._key >= self._interval):
            self._key = number
        self._chunks.write(self._encoder.encode(frame, self._key == number), ticks)
        self.seconds += ticks / self._made.timescale if ticks else float(1 / self._made.rate)

    def close(self) -> None:
        """Write the index; does not close the file.

        Raises:
            InputError: no frame was written.
        """
        if not self._chunks.frames:
            raise InputError("a clip needs at least one frame")
        self._chunks.close()


class ClipReader:
    """Decodes the frames of a clip from a file or a pipe.

    Example:
        with open("clip.intc", "rb") as file:
            for picture in ClipReader(codec, file).frames(100, 200):
                ...
    """

    def __init__(self, codec: VideoCodec, file: Readable) -> None:
        """Read the clip's header.

        Raises:
            BitstreamError: it is no clip, its header is damaged, or a side is more than 65536.
            WrongModelError: it was made with another model.
            LimitError: its frames have more pixels than the codec accepts; nothing was allocated for them.
        """
        self._codec = codec
        self._chunks = ChunkReader(file)
        self._read = False
        header = self._chunks.header
        check_model(header, codec.model.model_id)
        try:
            codec.decoder(header.height, header.width)
        except InputError as error:  # a side that the container can name and no frame can have
            raise BitstreamError(f"this clip cannot be decoded: {error}") from None
        colour = Colour.from_byte(header.colour, header.primaries, header.transfer)
        self.format = FrameFormat(header.width, header.height, header.rate, header.aspect, colour, header.timescale)

    def frames(self, begin: int = 0, end: int | None = None) -> Iterator[Picture]:
        """Yield the frames `begin` to `end` - 1, or to the last; can be called once on a pipe.

        A file is entered at the last key frame before `begin`; a pipe is decoded from its first frame. Several
        iterators of one reader each have a decoder and a position of their own.

        Yields:
            uint8[H, W, 3], sRGB, each proved by its checksum.

        Raises:
            BitstreamError: the clip is damaged or truncated. All frames before the damage were yielded.
            InputError: the clip is whole and ends before frame `begin`, or it is a pipe and was read before.
        """
        return (picture for picture, _ in self.timed(begin, end))

    @property
    def count(self) -> int | None:
        """The number of frames that the index of a seekable clip says; None without one."""
        index = self._chunks.again().load_index() if self._chunks.seekable else None
        return index.frames if index else None

    def timed(self, begin: int = 0, end: int | None = None) -> Iterator[tuple[Picture, int]]:
        """Yield frames as `frames` does, each with its duration in units of 1 / `timescale`; 0: the rate's."""
        chunks = self._chunks
        if chunks.seekable:
            chunks = chunks.again()
        elif self._read:
            raise InputError("a clip from a pipe can be read once")
        self._read = True
        return self._decoded(chunks, begin, end)

    def _decoded(self, chunks: ChunkReader, begin: int, end: int | None) -> Iterator[tuple[Picture, int]]:
        if chunks.seekable:
            chunks.seek(*_entry(chunks, begin))
        decoder = self._codec.decoder(self.format.height, self.format.width)
        while end is None or chunks.number < end:
            number, frame = chunks.number, chunks.read()
            if frame is None:
                if begin and number <= begin:
                    raise InputError(f"the clip has {number} frames, and no frame {begin}")
                return
            picture, ticks = decoder.decode(frame), chunks.ticks
            if number >= begin:
                yield picture, ticks


def _entry(chunks: ChunkReader, number: int) -> tuple[int, int]:
    """Return number and offset of the key frame to begin with for a frame of a seekable clip."""
    if number == 0:
        return chunks.first
    index = chunks.load_index() or _scanned(chunks, number)
    return index.before(number) if index.keys else chunks.first


def _scanned(chunks: ChunkReader, number: int) -> Index:
    """Return the key frames up to a frame of a clip without an index, as far as it is whole."""
    index = Index()
    for key, offset in chunks.scan(number):
        index.add(key, offset)
    return index


def check_model(header: ClipHeader, model_id: str) -> None:
    """Compare the model that a clip names with a model.

    Raises:
        WrongModelError: it is another.
    """
    given = model_id[: 2 * MODEL_ID_BYTES]
    if header.model_id.hex() != given:
        raise WrongModelError(f"the clip needs model {header.model_id.hex()}, but model {given} was given")
