"""Kill encode, decode and export at random moments: afterwards the output is the old file, or the new one, or none.

    python fuzz/kill.py [--moments 200] [--seed 1] [--commands encode decode export]

Each command runs in a forked copy of this process, which has imported everything, so that the moments fall into its
work and not into Python's start; SIGKILL comes after a random part of the time that the command was seen to take, every
second time within its last tenth, where the file is written. Before each moment the output is an old file, or is not
there. What a killed process leaves behind must not keep the next one from its work. Prints what was found as JSON;
exits with 1 if a file was neither old nor new.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import sys
import tempfile
import time
from pathlib import Path

from common import tiny
from PIL import Image

from intcodec.cli.main import main

OLD = b"what was there before"
RUNS = 5
#: Channels of the checkpoint that is exported.
CHANNELS = 8


def commands(names: list[str]) -> dict[str, tuple[list[str], str]]:
    """Make the inputs in the working directory; return arguments and output by command."""
    tiny.bundle("hyperprior").save("tiny.intm")
    Image.fromarray(tiny.picture(120, 180)).save("in.png")
    main(["encode", "in.png", "-o", "in.intc", "-m", "tiny.intm", "--quiet"])
    calls = {
        "encode": (["encode", "in.png", "-o", "out.intc", "-m", "tiny.intm", "--threads", "1", "--quiet"], "out.intc"),
        "decode": (["decode", "in.intc", "-o", "out.png", "-m", "tiny.intm", "--threads", "1", "--quiet"], "out.png"),
    }
    if "export" in names:
        import torch

        from intcodec import zoo

        torch.set_num_threads(1)
        torch.manual_seed(1)
        net = zoo.bmshj2018_factorized(1, N=CHANNELS, M=CHANNELS)
        torch.save(net.state_dict(), "net.pth")
        os.mkdir("pictures")
        Image.fromarray(tiny.picture(64, 64)).save("pictures/a.png")
        args = "export --arch bmshj2018_factorized --checkpoint net.pth --calibration pictures -o out.intm --quiet"
        calls["export"] = (args.split(), "out.intm")
        main([*calls["export"][0][:-3], "-o", "warm.intm", "--quiet"])  # imports everything
    return {name: calls[name] for name in names}


def start(args: list[str]) -> int:
    """Run a command in a forked process; return its id."""
    pid = os.fork()
    if pid:
        return pid
    try:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)
        os.dup2(null, 2)
        os._exit(main(args))
    finally:
        os._exit(99)


def finish(args: list[str]) -> float:
    """Run a command to its end; return the seconds that it took."""
    begin = time.perf_counter()
    _, status = os.waitpid(start(args), 0)
    if status:
        raise SystemExit(f"{' '.join(args)}: status {status}")
    return time.perf_counter() - begin


def kill_at(args: list[str], delay: float) -> bool:
    """Kill a command after `delay` seconds; return whether it was still running."""
    pid = start(args)
    time.sleep(delay)
    os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    return os.WIFSIGNALED(status)


def try_command(args: list[str], output: str, moments: int, rng: random.Random) -> dict[str, int]:
    """Kill one command at many moments; return how often each state was found."""
    path = Path(output)
    seconds = sorted(finish(args) for _ in range(RUNS))[RUNS // 2]
    new = path.read_bytes()
    found = dict.fromkeys(("killed", "old", "new", "none", "partial", "left behind", "blocked"), 0)
    for k in range(moments):
        path.unlink(missing_ok=True)
        if k % 4 < 2:
            path.write_bytes(OLD)
        before = set(os.listdir())
        low = 0.9 if k % 2 else 0.0
        found["killed"] += kill_at(args, seconds * rng.uniform(low, 1.1))
        data = path.read_bytes() if path.exists() else None
        known = {None: "none", OLD: "old", new: "new"}
        state = known.get(data, "partial")
        found["partial" if state == ("none" if k % 4 < 2 else "old") else state] += 1
        litter = set(os.listdir()) - before - {output}
        found["left behind"] += len(litter)
        if litter and not all(name.startswith(f".{output}.") and name.endswith(".part") for name in litter):
            found["blocked"] += 1
    finish(args)
    found["blocked"] += path.read_bytes() != new
    return found


def run(argv: list[str] | None = None) -> int:
    """Run the script."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--moments", type=int, default=200, help="of each command")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--commands", nargs="+", default=["encode", "decode", "export"])
    options = parser.parse_args(argv)
    rng = random.Random(options.seed)
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        for name, (args, output) in commands(options.commands).items():
            results[name] = try_command(args, output, options.moments, rng)
        os.chdir("/")
    print(json.dumps(results))
    return int(any(found["partial"] or found["blocked"] for found in results.values()))


if __name__ == "__main__":
    sys.exit(run())
