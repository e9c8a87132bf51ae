"""What `make test-fast` leaves out: tests with browsers, emulators, compilers, peers, training or kills."""

from __future__ import annotations

from pathlib import Path

import pytest

SLOW_FOLDERS = {"devices", "evaluate", "hostile", "train", "web", "zoo"}
SLOW_FILES = {"test_durability.py", "test_quantize.py", "test_clip_cli.py", "test_videoio.py", "test_recipes.py"}
SLOW_TESTS = ("test_neon_", "test_kernels_under_sanitizers", "test_bands", "test_the_tool_writes_what_is_there")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        path = Path(item.path)
        if path.parent.name in SLOW_FOLDERS or path.name in SLOW_FILES or item.name.startswith(SLOW_TESTS):
            item.add_marker(pytest.mark.slow)
