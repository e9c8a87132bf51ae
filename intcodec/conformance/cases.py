"""What cases of every kind share: an outcome, what was expected, and a model on the engine under test."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

from intcodec.base.errors import IntCodecError
from intcodec.conformance.vectors import Json, VectorFile
from intcodec.engines import Engine
from intcodec.modelfile.model import Model
from intcodec.modelfile.selftest import self_test
from intcodec.pictures.codec import check_proof

#: Makes the engine under test.
MakeEngine = Callable[[Model], Engine]


@dataclass(frozen=True)
class Outcome:
    """What a case did.

    Args:
        case: its id.
        problem: one line, None if all was as expected.
        stream: SHA-256 of the bytes that were encoded, where the case encodes.
        pixels: SHA-256 of the pixels that were decoded, where the case decodes.
    """

    case: str
    problem: str | None
    stream: str | None = None
    pixels: str | None = None


def expect(case: Json, work: Callable[[], str | None]) -> str | None:
    """Run a case; return None if it ends as the case says, else a line."""
    wanted = case.get("error")
    try:
        problem = work()
    except IntCodecError as error:
        name = type(error).__name__
        if name == wanted:
            return None
        return f"{name} instead of {wanted or 'a result'}: {error}"
    return f"accepted, {wanted} expected" if wanted and problem is None else problem


def load(file: VectorFile, path: str, make: MakeEngine) -> tuple[Model, Engine]:
    """Load a model as `intcodec.load` does, onto the engine under test."""
    model = Model.load(file.read(path))
    check_proof(model)
    engine = make(model)
    self_test(model, engine, deep=True)
    return model, engine


def sha256(data: bytes) -> str:
    """Return the SHA-256 of bytes in hex."""
    return hashlib.sha256(data).hexdigest()
