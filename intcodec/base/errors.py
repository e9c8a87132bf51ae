"""Every exception intcodec raises on purpose; all derive from `IntCodecError`.

Message convention: one line, what is wrong and what to do about it. The command line prints it as is and exits with
`exit_code`. Where Python has an exception for the same thing, ours is one, so that `except ValueError` works as people
expect; code that catches a built-in around a call of ours lets `IntCodecError` through first.
"""


class IntCodecError(Exception):
    """Base of every error that intcodec raises on purpose."""

    exit_code = 1


class InputError(IntCodecError, ValueError):
    """An argument, image or float checkpoint cannot be used as given."""

    exit_code = 2


class BitstreamError(IntCodecError, ValueError):
    """A compressed file is truncated, damaged or not an intcodec file."""

    exit_code = 3


class ModelError(IntCodecError, ValueError):
    """A model bundle is damaged, unsupported or fails its proof."""

    exit_code = 4


class WrongModelError(ModelError):
    """A compressed file needs another model than the one given; the message names it.

    Args:
        message: as always.
        quality: of the embedded model that the file needs; None if it is not embedded.
    """

    def __init__(self, message: str, quality: int | None = None) -> None:
        super().__init__(message)
        self.quality = quality


class SelfTestError(ModelError):
    """This machine or engine does not reproduce the model's self-test vectors."""

    exit_code = 5


class RangeError(IntCodecError, ArithmeticError):
    """A value left the range that the arithmetic contract proves: a defect in a model or an engine."""

    exit_code = 6


class LimitError(IntCodecError, ValueError):
    """The declared size exceeds the limit set by the caller (`max_pixels`)."""

    exit_code = 7
