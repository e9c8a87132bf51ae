"""Killed processes, full disks and folders that nobody may write to: old files, new files, one clear line.

fuzz/kill.py kills at 200 moments of each command; here are a few dozen, and the proof that it can find a partial file.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import tiny
from PIL import Image
from places import ROOT

ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
PATHS = f"import sys; sys.path[:0] = {[str(ROOT), str(ROOT / 'fuzz'), str(ROOT / 'tests' / 'support')]!r}\n"

#: Writes where the output will be, a piece at a time: what atomic_output is there to prevent.
CARELESS = """
import contextlib, time
from intcodec.base import files
@contextlib.contextmanager
def careless(path):
    with open(path, "w+b", buffering=0) as file:
        yield file
def write(path, data):
    with open(path, "wb", buffering=0) as file:
        step = len(data) // 20 + 1
        for k in range(0, len(data), step):
            file.write(data[k : k + step])
            time.sleep(0.005)
files.atomic_output, files.write_bytes = careless, write
"""


def kill(*args: str, before: str = "") -> tuple[int, dict[str, dict[str, int]]]:
    script = f"{PATHS}{before}\nimport kill\nsys.exit(kill.run(sys.argv[1:]))"
    run = subprocess.run([sys.executable, "-c", script, *args], capture_output=True, text=True, env=ENVIRONMENT)
    assert run.stdout, run.stderr[-2000:]
    return run.returncode, json.loads(run.stdout)


@pytest.mark.parametrize("command", ["encode", "decode", "export"])
def test_killed_at_any_moment(command: str) -> None:
    code, found = kill("--moments", "24", "--commands", command)
    assert code == 0, found
    assert found[command]["partial"] == found[command]["blocked"] == 0
    assert found[command]["killed"] > 0
    assert sum(found[command][state] for state in ("old", "new", "none")) == 24


def test_the_killer_can_find_a_partial_file() -> None:
    code, found = kill("--moments", "24", "--commands", "encode", before=CARELESS)
    assert code == 1
    assert found["encode"]["partial"] > 0


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """Return a folder with a model, a picture, its compressed file, and an old output for either command."""
    tiny.bundle("hyperprior").save(tmp_path / "tiny.intm")
    Image.fromarray(tiny.picture(40, 60)).save(tmp_path / "in.png")
    assert command(tmp_path, ENCODE, tmp_path / "in.intc").returncode == 0
    return tmp_path


ENCODE = ["encode", "in.png", "-m", "tiny.intm", "--quiet"]
DECODE = ["decode", "in.intc", "-m", "tiny.intm", "--quiet"]


def command(folder: Path, args: list[str], output: Path, small: bool = False) -> subprocess.CompletedProcess[str]:
    """Run a command in a process of its own; `small`: in which no file can get any longer."""

    def shrink() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))

    code = f"{PATHS}from intcodec.cli.main import main\nsys.exit(main(sys.argv[1:]))"
    return subprocess.run(
        [sys.executable, "-c", code, *args, "-o", str(output)],
        cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, preexec_fn=shrink if small else None,
    )  # fmt: skip


def refuses(run: subprocess.CompletedProcess[str], output: Path, reason: str) -> None:
    """Require one clear line, an exit code, and what was there before."""
    assert run.returncode == 2
    assert run.stdout == ""
    line = run.stderr.removeprefix("intcodec: error: ")
    assert line.count("\n") == 1
    assert line.endswith(f"cannot write {output}: {reason}\n")
    assert [p.name for p in output.parent.iterdir() if p.name.startswith(f".{output.name}")] == []


@contextlib.contextmanager
def mounted(folder: Path, options: str) -> Iterator[None]:
    """Mount a small file system; the test is skipped where that is not allowed."""
    call = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    try:
        made = subprocess.run(call, capture_output=True, text=True)
    except FileNotFoundError:
        pytest.skip("no mount command here")
    if made.returncode:
        pytest.skip(f"cannot mount a file system here: {made.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize(("args", "name"), [(ENCODE, "out.intc"), (DECODE, "out.png")])
def test_files_that_cannot_grow(work: Path, args: list[str], name: str) -> None:
    output = work / name
    output.write_bytes(b"old")
    refuses(command(work, args, output, small=True), output, "File too large")
    assert output.read_bytes() == b"old"
    assert command(work, args, output).returncode == 0
    assert output.read_bytes() != b"old"


@pytest.mark.parametrize(("args", "name"), [(ENCODE, "out.intc"), (DECODE, "out.png")])
def test_full_disk(work: Path, args: list[str], name: str) -> None:
    disk = work / "disk"
    disk.mkdir()
    with mounted(disk, "size=64k"):
        output = disk / name
        output.write_bytes(b"old")
        filler = disk / "filler"
        with contextlib.suppress(OSError), open(filler, "wb", buffering=0) as file:
            while file.write(bytes(4096)):
                pass
        refuses(command(work, args, output), output, "No space left on device")
        assert output.read_bytes() == b"old"
        filler.unlink()
        assert command(work, args, output).returncode == 0
        assert output.read_bytes() != b"old"


@pytest.mark.parametrize(("args", "name"), [(ENCODE, "out.intc"), (DECODE, "out.png")])
def test_folder_that_is_read_only(work: Path, args: list[str], name: str) -> None:
    """By its permissions; root, whom they do not stop, gets a file system that is read-only."""
    folder = work / "folder"
    folder.mkdir()
    if os.access(work, os.W_OK) and os.geteuid():
        folder.chmod(0o500)
        refuses(command(work, args, folder / name), folder / name, "Permission denied")
        return
    with mounted(folder, "size=64k"):
        (folder / name).write_bytes(b"old")
        subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
        refuses(command(work, args, folder / name), folder / name, "Read-only file system")
        assert (folder / name).read_bytes() == b"old"
