"""The matrix of devices: its judgement, its controls, and a trimmed run on what `make conformance` has set up."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from places import SCRIPTS

ENV = {**os.environ, "PYTHONPATH": os.pathsep.join((str(SCRIPTS), str(SCRIPTS.parents[1])))}
sys.path.insert(0, str(SCRIPTS))

import devices  # noqa: E402
import environment  # noqa: E402
import verdicts  # noqa: E402
from verdicts import FAILED, OK, Row  # noqa: E402

WANT = verdicts.expected()


def good() -> verdicts.Json:
    numbers = {"cases": WANT.cases, "failures": {}}
    return {"name": "x", "numpy": "2", **numbers, "streams": dict(WANT.streams), "pixels": dict(WANT.pixels)}


def test_a_right_report_passes() -> None:
    row = verdicts.judge("x", good(), WANT, True, 1.0)
    assert (row.status, row.cases, row.streams, row.note) == (OK, WANT.cases, len(WANT.streams), "")
    assert verdicts.judge("x", {**good(), "streams": {}}, WANT, False, 1.0).status == OK


@pytest.mark.parametrize(
    ("change", "note"),
    [
        ({"failures": {"a/b": "wrong"}}, "a/b: wrong"),
        ({"cases": 3}, "3 cases replayed"),
        ({"streams": {}}, "encoded streams"),
        ({"pixels": {}}, "decoded pixels"),
        ({"pixels": {**WANT.pixels, next(iter(WANT.pixels)): "0"}}, "decoded pixels"),
    ],
)
def test_a_wrong_report_fails(change: verdicts.Json, note: str) -> None:
    row = verdicts.judge("x", {**good(), **change}, WANT, True, 1.0)
    assert row.status == FAILED
    assert note in row.note


def test_a_device_that_says_nothing_fails() -> None:
    done = subprocess.CompletedProcess([], 139, "", "qemu: fatal\n")
    assert verdicts.judge("x", verdicts.parse(done), WANT, True, 1.0).note == "no report (exit code 139): qemu: fatal"


def test_a_control_that_nobody_notices_fails() -> None:
    assert verdicts.judge_control("x", good(), 1.0).status == FAILED
    assert verdicts.judge_control("x", {**good(), "failures": {"arch/model": "refused"}}, 1.0).status == FAILED
    assert verdicts.judge_control("x", {**good(), "failures": {"arch/noise": "differs"}}, 1.0).status == OK
    for out, status in (('{"full range": 0}', FAILED), ("", FAILED), ('{"full range": 9}', OK)):
        done = subprocess.CompletedProcess([], 0, out, "")
        assert verdicts.judge_trap("h, o", "full range", done, 1.0).status == status


def test_tables_say_everything() -> None:
    rows = [
        Row("a", OK, engine="e", cases=3),
        Row("b", verdicts.SKIPPED, "no b here"),
        Row("control: c", FAILED, "blind"),
    ]
    assert "1 devices agree" in verdicts.summary(rows)
    assert "1 skipped; 0 of 1 negative controls" in verdicts.summary(rows)
    for text in (verdicts.as_text(rows), verdicts.as_markdown(rows, WANT)):
        assert "no b here" in text
        assert "blind" in text


def test_devices() -> None:
    every = devices.every()
    assert len({device.name for device in every}) == len(every) >= 18


def test_missing_is_remembered() -> None:
    calls = []

    @environment.once
    def make(name: str) -> str:
        calls.append(name)
        raise environment.Missing(f"no {name}")

    for _ in range(2):
        with pytest.raises(environment.Missing, match="no x"):
            make("x")
    assert calls == ["x"]
    with pytest.raises(environment.Missing, match="failed: Error: words"):
        environment.do([sys.executable, "-c", "import sys; sys.exit('Error: words')"], "it")


def test_a_folder_is_made_again_when_its_key_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "HOME", tmp_path)
    made = []
    for key in ("1", "1", "2"):
        environment.fresh("d", key, lambda folder: made.append(folder))
    assert len(made) == 2
    monkeypatch.setattr(environment, "may_make", False)
    with pytest.raises(environment.Missing, match="not set up"):
        environment.fresh("d", "3", made.append)


def test_command_measures_and_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "HOME", tmp_path / "made" / "when needed")
    command = environment.Command((sys.executable, "-c", "print(sum(range(10**6)))"))
    done, seconds = command.run()
    assert (done.returncode, done.stdout) == (0, "499999500000\n")
    assert 0 < seconds < 60
    slow = dataclasses.replace(command, argv=(sys.executable, "-c", "import time; time.sleep(60)"))
    assert slow.run(timeout=0.5)[0].returncode == -9


def test_trimmed_matrix(tmp_path: Path) -> None:
    """This machine's instruction sets, the controls, and the big-endian device and NEON where they are set up."""
    words = ["this machine, native", "s390x", "cortex-a53, native"]
    argv = [sys.executable, SCRIPTS / "matrix.py", "--no-set-up", "--json", tmp_path / "matrix.json"]
    for word in words:
        argv += ["--only", word]
    done = subprocess.run([str(a) for a in argv], capture_output=True, text=True, env=ENV)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = {row["name"]: row for row in json.loads((tmp_path / "matrix.json").read_text())["rows"]}
    assert rows["this machine, native/scalar"]["status"] == OK
    assert sum(name.startswith("control") for name in rows) == 6
    skipped = {name: row["note"] for name, row in rows.items() if row["status"] == verdicts.SKIPPED}
    if any("s390x" in name or "aarch64" in name for name in skipped):
        pytest.skip(f"the rest passed; {skipped}")
