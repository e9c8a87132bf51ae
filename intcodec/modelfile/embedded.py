"""The models that come with intcodec: one architecture at several rates, the rungs of a ladder.

    intcodec/models/index.json     what there is: {"default": 2, "rungs": [{"quality": 1, "file": ..., ...}, ...]}
    intcodec/models/*.intm         the models

What may live here: finding a rung by its quality or by the model id in a bitstream, without reading any model.
scripts/export-ladder.sh writes the folder; docs/models/ has a card for each rung.

Half of a short command's time is importing numpy and inflating a model. Neither needs the other, so a command that
knows its rung early says so (`read_ahead`), and a thread inflates while numpy is imported.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from threading import Thread

from intcodec.base.errors import InputError, ModelError
from intcodec.modelfile.container import MODEL_ID_BYTES, Bundle


@dataclass(frozen=True)
class Rung:
    """An embedded model.

    Args:
        quality: from 1, which makes the smallest files.
        file: name in the folder.
        model_id: 64 hex digits.
        arch: architecture.
        bytes: size of the file.
        facts: what was measured when it was made, such as {"kodak_bpp": 0.5, "kodak_psnr": 31.2}; may be empty.
    """

    quality: int
    file: str
    model_id: str
    arch: str
    bytes: int
    facts: dict[str, float]


def rungs() -> tuple[Rung, ...]:
    """Return the embedded models, qualities rising.

    Raises:
        ModelError: this installation has none.
    """
    return _ladder()[0]


def by_quality(quality: int | None) -> Rung:
    """Return the rung of a quality; None is the default one.

    Raises:
        InputError: there is no such rung.
        ModelError: this installation has none at all.
    """
    found, default = _ladder()
    wanted = default if quality is None else quality
    for rung in found:
        if rung.quality == wanted:
            return rung
    known = ", ".join(str(rung.quality) for rung in found)
    raise InputError(f"no embedded model has quality {quality}; choose one of {known}")


def by_id(model_id: bytes) -> Rung | None:
    """Return the rung that a bitstream names by the first bytes of its model id, or None."""
    try:
        found = rungs()
    except ModelError:
        return None
    return next((rung for rung in found if rung.model_id[: 2 * MODEL_ID_BYTES] == model_id.hex()), None)


def read(rung: Rung) -> bytes:
    """Return the bytes of a rung's model file.

    Raises:
        ModelError: this installation lacks it.
    """
    try:
        return _folder().joinpath(rung.file).read_bytes()
    except OSError as error:
        raise ModelError(f"this installation of intcodec lacks {rung.file}; install it again") from error


def bundle(rung: Rung) -> Bundle:
    """Return a rung's bundle, with its network inflated where `read_ahead` was called for it.

    Raises:
        ModelError: this installation lacks it, or it is damaged.
    """
    ahead = _ahead.pop(rung.model_id, None)
    return Bundle(read(rung)) if ahead is None else ahead.result()


def read_ahead(rung: Rung) -> None:
    """Begin to read a rung in a thread, for one later call of `bundle`, which also raises what goes wrong."""
    if rung.model_id not in _ahead:
        _ahead[rung.model_id] = _Ahead(rung)


class _Ahead:
    """A bundle on its way."""

    def __init__(self, rung: Rung) -> None:
        self._bundle: Bundle | None = None
        self._error: ModelError | None = None
        self._thread = Thread(target=self._read, args=(rung,), daemon=True)
        self._thread.start()

    def _read(self, rung: Rung) -> None:
        try:
            bundle = Bundle(read(rung))
            bundle.network()
            self._bundle = bundle
        except ModelError as error:
            self._error = error

    def result(self) -> Bundle:
        self._thread.join()
        if self._bundle is None:
            raise self._error or ModelError("the embedded model could not be read ahead")
        return self._bundle


_ahead: dict[str, _Ahead] = {}


@cache
def _ladder() -> tuple[tuple[Rung, ...], int]:
    try:
        content = json.loads(_folder().joinpath("index.json").read_text("utf-8"))
        found = sorted((Rung(**rung) for rung in content["rungs"]), key=lambda rung: rung.quality)
        return tuple(found), int(content["default"])
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ModelError("this installation of intcodec has no embedded model; name one (-m MODEL)") from error


def _folder() -> Path:
    return Path(__file__).parent.parent / "models"
