"""Pairs of devices: this machine's code paths on small pictures, and whether a difference would be seen."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tiny
from places import SCRIPTS

import intcodec
from intcodec.conformance.vectors import read_ppm, write_ppm

sys.path.insert(0, str(SCRIPTS))

import device_pairs
import devices
import environment
import kodak_device
import local
from device_pairs import Place, Progress, Row, Subject
from verdicts import FAILED, OK, SKIPPED

SIZES = ((40, 50), (64, 64), (1, 7))
NAMES = ("a", "b", "c")


def place(name: str) -> Place:
    device = next(d for d in devices.every() if d.name == f"this machine, {name}")
    return Place(device, device.prepare())


@pytest.fixture
def subject(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Subject:
    """A tiny model whose three pictures have been made at home, the scalar level of this machine."""
    monkeypatch.setattr(environment, "HOME", tmp_path / "conformance")
    tiny.bundle("hyperprior").save(tmp_path / "m.intm")
    subject = Subject("tiny", tmp_path / "m.intm", tmp_path / "work")
    device_pairs.prepare(place("native/scalar"), subject, pictures(subject))
    return subject


def pictures(subject: Subject) -> list[Path]:
    folder = subject.path.with_name("pictures")
    folder.mkdir(exist_ok=True)
    paths = [folder / f"{name}.ppm" for name in NAMES]
    for seed, (path, size) in enumerate(zip(paths, SIZES, strict=True)):
        path.write_bytes(write_ppm(tiny.picture(*size, seed=seed)))
    return paths


def run(subject: Subject, encoder: str = "native/scalar", decoder: str = "reference (numpy)") -> Row:
    home = place("native/scalar")
    return device_pairs.run(place(encoder), place(decoder), home, subject, pictures(subject), 2, Progress(3))


def test_what_home_makes_is_what_the_codec_makes(subject: Subject) -> None:
    codec = intcodec.load(subject.path, engine="reference")
    for path in pictures(subject):
        data = codec.encode(read_ppm(path.read_bytes()))
        assert (subject.folder / "streams" / f"{path.stem}.intc").read_bytes() == data
        decoded = read_ppm((subject.folder / "pixels" / path.name).read_bytes())
        np.testing.assert_array_equal(decoded, codec.decode(data))


def test_pairs_agree(subject: Subject, capsys: pytest.CaptureFixture[str]) -> None:
    for encoder, decoder in (("native/scalar", "reference (numpy)"), ("reference (numpy)", "native/scalar")):
        row = run(subject, encoder, decoder)
        assert row == Row(f"this machine, {encoder} -> this machine, {decoder}", "tiny", 3, seconds=row.seconds)
        assert (row.status, row.seconds > 0) == (OK, True)
    assert "[2/3]" in capsys.readouterr().out


def test_differing_pixels_are_counted(subject: Subject) -> None:
    path = subject.folder / "pixels" / "b.ppm"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1  # two channels of the last pixel, and one of the first
    data[-2] ^= 1
    data[-3 * 64 * 64] ^= 0x80
    path.write_bytes(data)
    row = run(subject)
    assert (row.status, row.pictures, row.failures, row.pixels, row.bytes) == (FAILED, 3, 0, 2, 0)


def test_differing_bytes_are_counted(subject: Subject) -> None:
    path = subject.folder / "streams" / "a.intc"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data + b"!")
    row = run(subject, "reference (numpy)", "native/scalar")
    assert (row.status, row.pictures, row.failures, row.pixels, row.bytes) == (FAILED, 3, 0, 0, 2)


def test_streams_that_do_not_decode_count_with_all_their_pixels(subject: Subject) -> None:
    path = subject.folder / "streams" / "a.intc"
    path.write_bytes(path.read_bytes()[:-1])
    row = run(subject)
    assert (row.status, row.pictures, row.failures, row.pixels) == (FAILED, 2, 1, 40 * 50)
    assert row.note.startswith("a: BitstreamError")


def test_a_device_that_ends_early_fails_on_every_picture(subject: Subject) -> None:
    good = place("native/scalar")
    argv = (sys.executable, "-c", "import sys; sys.exit('fatal')", *local.INTCODEC)
    broken = Place(good.device, dataclasses.replace(good.command, argv=argv))
    other = dataclasses.replace(place("reference (numpy)"), command=broken.command)
    row = device_pairs.run(good, broken, good, subject, pictures(subject), 2, Progress(3))
    assert (row.pictures, row.failures, row.pixels) == (0, 3, sum(h * w for h, w in SIZES))
    assert row.note == "a: exit code 1: fatal"
    row = device_pairs.run(other, good, good, subject, pictures(subject), 2, Progress(3))
    assert (row.status, row.failures) == (FAILED, 3)
    with pytest.raises(SystemExit, match="cannot encode"):
        device_pairs.prepare(broken, subject, pictures(subject))


def test_comparisons() -> None:
    small, large = (write_ppm(np.zeros((size, 5, 3), np.uint8)) for size in (4, 6))
    assert (kodak_device.differing_pixels(small, large), kodak_device.differing_pixels(large, large)) == (30, 0)
    assert (kodak_device.differing_bytes(b"abc", b"abd"), kodak_device.differing_bytes(b"ab", b"xbcd")) == (1, 3)


def test_tables_say_everything() -> None:
    rows = [Row("a -> b", "m", 24), Row("a -> c", "m", 23, 1, 99, note="k: bad"), Row("a -> d", "m", note="no d here")]
    assert [row.status for row in rows] == [OK, FAILED, SKIPPED]
    line = "2 pairs of devices, 1 models, 47 pictures decoded: 1 failures, 99 differing pixels, 0 differing bytes"
    assert device_pairs.summary(rows) == f"{line}; 1 skipped"
    for words in (line, "| a -> c | m | 23 | 1 | 99 | 0 | 0 | FAILED: k: bad |", "SKIPPED: no d here"):
        assert words in device_pairs.as_markdown(rows)
    assert device_pairs.summary(rows[2:]) == "nothing has run"


def test_kodak_says_what_it_lacks(tmp_path: Path) -> None:
    env = {"PATH": "", "INTCODEC_SHARED": str(tmp_path), "PYTHONPATH": str(SCRIPTS.parents[1])}
    done = subprocess.run([sys.executable, SCRIPTS / "kodak.py"], env=env, capture_output=True, text=True)
    assert done.returncode == 1
    assert "kodim01.png is not here; set INTCODEC_SHARED" in done.stderr
