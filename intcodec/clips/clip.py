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
from intcodec.clips.container import ChunkReader, ChunkWriter, ClipHeader, Index, Writable
from intcodec.clips.framecodec import VideoCodec
from intcodec.clips.frames import FrameFormat
from intcodec.modelfile.container import MODEL_ID_BYTES
from intcodec.pictures.codec import Picture

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
        self, codec: VideoCodec, file: Writable, made: FrameFormat, keyframe_interval: int = DEFAULT_INTERVAL
    ) -> None:
        """Write the clip's header.

        Args:
            codec: from `intcodec.load_video`.
            file: where to write; it is never asked to seek.
            made: size, rate and colour of the clip.
            keyframe_interval: a key frame comes every so many frames; 0: only the first is one.

        Raises:
            InputError: the size is impossible, or the interval negative.
            LimitError: a frame has more pixels than the codec accepts.
        """
        if keyframe_interval < 0:
            raise InputError(f"a key frame every {keyframe_interval} frames: give 0 or more")
        self._interval = keyframe_interval
        self._encoder = codec.encoder(made.height, made.width)
        header = ClipHeader(codec.model_id, made.width, made.height, made.rate, made.aspect, made.colour.to_byte())
        self._chunks = ChunkWriter(file, header)

    @property
    def frames(self) -> int:
        """Number of frames written."""
        return self._chunks.frames

    @property
    def bytes_written(self) -> int:
        """Bytes of the clip so far."""
        return self._chunks.bytes_written

    def write(self, frame: Picture) -> None:
        """Encode the next frame, uint8[H, W, 3], sRGB.

        Raises:
            InputError: it has another dtype or size.
        """
        number = self._chunks.frames
        key = number == 0 or (self._interval > 0 and number % self._interval == 0)
        self._chunks.write(self._encoder.encode(frame, key))

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
        header = self._chunks.header
        check_model(header, codec.model.model_id)
        try:
            self._decoder = codec.decoder(header.height, header.width)
        except InputError as error:  # a side that the container can name and no frame can have
            raise BitstreamError(f"this clip cannot be decoded: {error}") from None
        colour = Colour.from_byte(header.colour)
        self.format = FrameFormat(header.width, header.height, header.rate, header.aspect, colour)

    def frames(self, begin: int = 0, end: int | None = None) -> Iterator[Picture]:
        """Yield the frames `begin` to `end` - 1, or to the last; can be called once on a pipe.

        A file is entered at the last key frame before `begin`; a pipe is decoded from its first frame.

        Yields:
            uint8[H, W, 3], sRGB, each proved by its checksum.

        Raises:
            BitstreamError: the clip is damaged or truncated. All frames before the damage were yielded.
            InputError: the clip is whole and ends before frame `begin`.
        """
        chunks = self._chunks
        if chunks.seekable:
            chunks.seek(*self._entry(begin))
        while end is None or chunks.number < end:
            number, frame = chunks.number, chunks.read()
            if frame is None:
                if begin and number <= begin:
                    raise InputError(f"the clip has {number} frames, and no frame {begin}")
                return
            picture = self._decoder.decode(frame)
            if number >= begin:
                yield picture

    def _entry(self, number: int) -> tuple[int, int]:
        """Return number and offset of the key frame to begin with for a frame."""
        if number == 0:
            return self._chunks.first
        index = self._chunks.load_index() or self._scan(number)
        return index.before(number) if index.keys else self._chunks.first

    def _scan(self, number: int) -> Index:
        """Return the key frames up to a frame of a clip without an index, as far as it is whole."""
        index = Index()
        for key, offset in self._chunks.scan(number):
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
