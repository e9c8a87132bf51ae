"""scripts/conformance/clip.py: its judgement, and a trimmed run on this machine."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tinyvideo
from PIL import Image
from places import SCRIPTS

ENV = {**os.environ, "PYTHONPATH": os.pathsep.join((str(SCRIPTS), str(SCRIPTS.parents[1])))}
sys.path.insert(0, str(SCRIPTS))

import clip  # noqa: E402
import clip_device  # noqa: E402
from verdicts import FAILED, OK, SKIPPED  # noqa: E402

PICTURES = ("a", "b", "c")
WANT = clip.Expected("3x2", Path("x.intc"), Path("x.npy"), "d", PICTURES)
GOOD = {"pictures": list(PICTURES), "clip": "d", "error": None}


def test_a_right_report_passes() -> None:
    row = clip.judge("x", WANT, GOOD, True, 1.0)
    assert (row.status, row.note, row.pictures) == (OK, "", 3)
    assert clip.judge("x", WANT, {**GOOD, "clip": None}, False, 1.0).status == OK


@pytest.mark.parametrize(
    ("change", "note", "pictures"),
    [
        ({"pictures": ["a", "b", "d"]}, "frame 2 has other pixels", 2),
        ({"pictures": ["b", "a", "c"]}, "frame 0 has other pixels", 1),
        ({"pictures": ["a", "b"]}, "2 frames, 3 expected", 2),
        ({"pictures": ["a", "b", "c", "c"]}, "4 frames, 3 expected", 3),
        ({"clip": "e"}, "other bytes", 3),
        ({"clip": None}, "other bytes", 3),
        ({"error": "BitstreamError: no"}, "BitstreamError: no", 3),
    ],
)
def test_a_wrong_report_fails(change: dict[str, object], note: str, pictures: int) -> None:
    row = clip.judge("x", WANT, {**GOOD, **change}, True, 1.0)
    assert (row.status, row.pictures) == (FAILED, pictures)
    assert note in row.note
    assert note in clip.as_text([row], 3)


def test_a_device_decodes_what_the_clip_holds() -> None:
    """The digests are those of the encoder's own pictures, and one changed pixel changes one."""
    frames = tinyvideo.clip(3, 20, 30)
    codec = tinyvideo.codec()
    data = clip_device.encode(codec, frames, 0)
    encoder, seen = codec.encoder(20, 30), []
    for k, frame in enumerate(frames):
        encoder.encode(frame, k == 0)
        assert encoder.picture is not None
        seen.append(encoder.picture)
    found = clip_device.report(tinyvideo.bundle().data, data, "native", 2, frames, 0)
    assert found["pictures"] == [clip_device.digest(picture) for picture in seen]
    assert (found["clip"], found["error"]) == (hashlib.sha256(data).hexdigest(), None)
    seen[1].flat[7] ^= 1
    assert found["pictures"][1] != clip_device.digest(seen[1])
    damaged = data[:-40] + bytes([data[-40] ^ 1]) + data[-39:]
    found = clip_device.report(tinyvideo.bundle().data, damaged, "native", 2, (), 0)
    assert "BitstreamError" in found["error"]


def test_trimmed_run(tmp_path: Path) -> None:
    """Two instruction sets and the reference, on a clip of six frames; the decoder in Node is skipped aloud."""
    (tmp_path / "clip").mkdir()
    for k, frame in enumerate(tinyvideo.clip(4, 40, 48)):
        Image.fromarray(frame).save(tmp_path / "clip" / f"{k}.png")
    (tmp_path / "tiny.intm").write_bytes(tinyvideo.bundle().data)
    argv = [sys.executable, SCRIPTS / "clip.py", "-m", tmp_path / "tiny.intm", "-i", tmp_path / "clip", "--no-set-up"]
    argv += ["--frames", "6", "--small", "48x32", "--large", "0x0", "--json", tmp_path / "rows.json"]
    for word in ("machine, native/scalar", "numpy", "Node, scalar"):
        argv += ["--only", word]
    env = {**ENV, "INTCODEC_CONFORMANCE": str(tmp_path / "home")}
    done = subprocess.run([str(a) for a in argv], capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = json.loads((tmp_path / "rows.json").read_text())
    assert [row["status"] for row in rows] == [SKIPPED, *[OK] * 4]
    assert all(row["pictures"] == 6 and row["encoded"] for row in rows[1:])
    assert "4 runs agree on every byte and pixel of all 6 frames, 0 differ, 1 skipped" in done.stdout


def test_frames_go_there_and_back(tmp_path: Path) -> None:
    pictures = tinyvideo.clip(4, 20, 30)
    for k, frame in enumerate(pictures):
        Image.fromarray(frame).save(tmp_path / f"{k}.png")
    made = clip.frames(tmp_path, 8, 16, 20)
    for k, source in enumerate((0, 1, 2, 3, 2, 1, 0, 1)):
        np.testing.assert_array_equal(made[k], pictures[source][2:18, 5:25])
    with pytest.raises(clip.Missing, match="no frames of 40x16"):
        clip.frames(tmp_path, 8, 16, 40)
