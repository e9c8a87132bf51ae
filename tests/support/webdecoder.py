"""The decoder of web/, built once per session, in Node and on a served page.

folder = webdecoder.build()                     # skips, with the reason, where it cannot be built
webdecoder.node(folder, "decode", "a.intc", "b.intm").stdout
with webdecoder.Server(folder) as server:      # http://127.0.0.1:PORT/, and the list of what was asked for
"""

from __future__ import annotations

import atexit
import functools
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
BUILDS = ("simd128", "scalar")


def zig() -> list[str]:
    """Return the command of the compiler, or skip."""
    if importlib.util.find_spec("ziglang") is None:
        pytest.skip("no clang for WebAssembly: pip install ziglang, or scripts/setup-web.sh")
    return [sys.executable, "-m", "ziglang", "cc", "-target", "wasm32-wasi"]


@functools.cache
def _node_lacks() -> str | None:
    if shutil.which("node") is None:
        return "no node: scripts/setup-web.sh"
    probe = subprocess.run(["node", "-e", 'new DecompressionStream("deflate-raw")'], capture_output=True)
    return "node is older than 20.12" if probe.returncode else None


def need_node() -> None:
    """Skip where Node is absent or too old."""
    if reason := _node_lacks():
        pytest.skip(reason)


@functools.cache
def _built() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="intcodec-web-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    environment = {**os.environ, "INTCODEC_PYTHON": sys.executable, "PYTHONPATH": str(ROOT)}
    command = [str(ROOT / "scripts" / "build-web.sh"), str(folder / "dist")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "dist"


def build() -> Path:
    """Return a folder with a fresh build of the decoder."""
    zig()
    return _built()


def node(folder: Path, *args: object) -> subprocess.CompletedProcess[str]:
    """Run the decoder's command line."""
    need_node()
    command = ["node", str(folder / "cli.mjs"), *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300)


class Server:
    """A web server of one `folder` on a free port of this machine; `asked` are the paths that were asked for."""

    def __init__(self, folder: Path) -> None:
        asked: list[str] = []

        class Handler(SimpleHTTPRequestHandler):
            def log_message(self, *_: Any) -> None:
                asked.append(self.path)

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(folder)))
        self.folder, self.asked = folder, asked
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}/"

    def __enter__(self) -> Server:
        self._thread = threading.Thread(target=self._http.serve_forever)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()
