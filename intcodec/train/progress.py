"""What a user sees of a run: a bar on a terminal, else a line for each interval."""

from __future__ import annotations

import sys
from typing import Any

from tqdm import tqdm


class Progress:
    """Tell a user on standard error how far a run is.

    Args:
        quiet: say nothing at all.
        steps: the budget in steps, if there is one.
        minutes: the budget in minutes, if there is one.
    """

    def __init__(self, quiet: bool = False, steps: int | None = None, minutes: float | None = None) -> None:
        self._quiet = quiet
        self._bar: tqdm[Any] | None = None
        self._by_steps = steps is not None or minutes is None
        if not quiet and sys.stderr.isatty():
            total = steps if self._by_steps else int(60 * (minutes or 0))
            self._bar = tqdm(total=total, unit="step" if self._by_steps else "s", dynamic_ncols=True)

    def say(self, message: str) -> None:
        """Print a line."""
        if not self._quiet:
            tqdm.write(f"intcodec: {message}", file=sys.stderr)
            sys.stderr.flush()

    def at(self, step: int, seconds: float) -> None:
        """Move the bar."""
        if self._bar is not None:
            self._bar.n = step if self._by_steps else int(seconds)
            self._bar.update(0)

    def show(self, step: int, seconds: float, line: dict[str, Any]) -> None:
        """Show the figures of an interval or of the held-out pictures."""
        held_out = line.get("held_out")
        figures = "  ".join(f"{name} {value:.4g}" for name, value in (held_out or line).items())
        if held_out or self._bar is None:
            self.say(f"step {step}, {seconds / 60:.1f} min: {'held out: ' if held_out else ''}{figures}")
        else:
            self._bar.set_postfix_str(figures, refresh=False)

    def close(self) -> None:
        """Leave the bar as it is."""
        if self._bar is not None:
            self._bar.close()
