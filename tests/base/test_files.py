"""Files are whole or not there, keep their permissions, and fail in one line."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from intcodec.base import files
from intcodec.base.errors import InputError


@pytest.fixture(autouse=True)
def _folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)


def test_output_is_whole_or_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("out.bin").write_bytes(b"before")
    os.chmod("out.bin", 0o640)

    def fail() -> None:
        with files.atomic_output("out.bin") as file:
            file.write(b"half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert Path("out.bin").read_bytes() == b"before"
    files.write_bytes("out.bin", b"after")
    assert Path("out.bin").read_bytes() == b"after"
    assert os.stat("out.bin").st_mode & 0o777 == 0o640

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InputError, match=r"cannot write out.bin: No space left on device"):
        files.write_bytes("out.bin", b"never")
    assert Path("out.bin").read_bytes() == b"after"
    assert sorted(os.listdir()) == ["out.bin"]


def test_new_files_obey_the_umask() -> None:
    before = os.umask(0o027)
    try:
        files.write_bytes("new.bin", b"x")
    finally:
        os.umask(before)
    assert os.stat("new.bin").st_mode & 0o777 == 0o640


def test_symbolic_links_are_followed() -> None:
    os.symlink("real.bin", "link.bin")
    files.write_bytes("link.bin", b"x")
    assert os.path.islink("link.bin")
    assert Path("real.bin").read_bytes() == b"x"


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_full_device() -> None:
    with pytest.raises(InputError, match="cannot write /dev/full: No space left on device"):
        files.write_bytes("/dev/full", b"x")
