"""Video files that were cut or changed: the whole frames before, and an error."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from videos import av, frames_of, moving, read, whole_frames, written

from intcodec.base.errors import BitstreamError, InputError

FILES = {
    "mp4": ("libx264", "a.mp4", "yuv420p", {"movflags": "faststart"}),
    "mkv": ("libx264", "a.mkv", "yuv420p", {}),
    "webm": ("libvpx-vp9", "a.webm", "yuv420p", {}),
    "ffv1": ("ffv1", "b.mkv", "yuv420p", {}),
    "mjpeg": ("mjpeg", "a.avi", "yuvj420p", {}),
    "mpeg4": ("mpeg4", "b.avi", "yuv420p", {}),
}


@pytest.mark.parametrize("kind", list(FILES))
def test_a_file_that_was_cut_gives_its_whole_frames_and_an_error(kind: str, tmp_path: Path) -> None:
    codec, name, pixels, container = FILES[kind]
    data = written(tmp_path / name, codec, frames_of(moving(12), pixels), pixels, container=container)
    good, error = whole_frames(tmp_path / name)
    assert (len(good), error) == (12, "")
    counts = []
    for part in range(40, 97, 4):
        (tmp_path / f"cut{name}").write_bytes(data[: len(data) * part // 100])
        try:
            found, error = whole_frames(tmp_path / f"cut{name}")
        except (BitstreamError, InputError) as refused:  # not even a frame, or no header
            found, error = [], str(refused)
        assert error, part
        for one, two in zip(found, good, strict=False):
            np.testing.assert_array_equal(one, two)
        if found:
            assert f"{len(found)}" in error
            assert "frames are whole" in error
        counts.append(len(found))
    assert counts == sorted(counts)
    assert kind == "mpeg4" or 0 < counts[-1] < 12  # of this small AVI file ffmpeg wants the end, too


def flipped(data: bytes, path: Path, packet: int) -> bytes:
    """The file with bytes of one packet changed: of H.264 the length that it begins with, as its slices have no sum."""
    with av.open(str(path)) as container:
        packets = [p for p in container.demux(video=0) if p.size]
        at = packets[packet].pos + (0 if path.suffix == ".mp4" else packets[packet].size // 2)
    return data[:at] + bytes(b ^ 0x5A for b in data[at : at + 20]) + data[at + 20 :]


@pytest.mark.parametrize("kind", ["ffv1", "mpeg4", "mp4"])
def test_a_damaged_packet_ends_the_clip_before_its_frame(kind: str, tmp_path: Path) -> None:
    codec, name, pixels, _ = FILES[kind]
    options = {"bf": "0"} if kind == "mp4" else {}  # without B-frames packets are in the order of frames
    data = written(tmp_path / name, codec, frames_of(moving(12), pixels), pixels, options=options)
    good, _ = whole_frames(tmp_path / name)
    (tmp_path / f"bad{name}").write_bytes(flipped(data, tmp_path / name, 5))
    found, error = whole_frames(tmp_path / f"bad{name}")
    assert len(found) == 5, error
    assert "5 of 12 frames are whole" in error
    for one, two in zip(found, good, strict=False):
        np.testing.assert_array_equal(one, two)


def test_a_recording_that_starts_late_begins_at_its_key_frame(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "a.mpg"), "w", format="mpegts") as out:
        stream = out.add_stream("libx264", rate=25, options={"g": "6", "bf": "0", "sc_threshold": "0"})
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
        for frame in frames_of(moving(12), "yuv420p"):
            for packet in stream.encode(frame):
                if packet.pts >= 3:
                    out.mux(packet)
        out.mux(stream.encode(None))
    source, found = read(tmp_path / "a.mpg")
    assert len(found) == 6
    assert any("before the first key frame are left out" in note for note in source.notes)
