"""Every codec on every picture."""

from __future__ import annotations

import hashlib
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from intcodec.base.errors import InputError, IntCodecError
from intcodec.evaluate.codecs import Picture, PictureCodec
from intcodec.evaluate.metrics import ms_ssim, psnr
from intcodec.evaluate.store import Row, Store
from intcodec.pictures.images import read_picture

ENDINGS = (".png", ".ppm", ".bmp", ".tif", ".tiff", ".webp", ".jpg", ".jpeg", ".avif")


@dataclass
class Results:
    """What was measured.

    Args:
        pictures: the names of those that every codec coded.
        rows: a list for each codec, in the order of `pictures`.
        failures: name and reason of those that were left out.
        known: how many rows came from the store.
    """

    pictures: list[str] = field(default_factory=list)
    rows: list[list[Row]] = field(default_factory=list)
    failures: list[tuple[str, str]] = field(default_factory=list)
    known: int = 0


def find_pictures(inputs: Sequence[str]) -> list[Path]:
    """Return the pictures of folders (their own files only, sorted by name) and the files named.

    Raises:
        InputError: a path does not exist, or a folder has no picture.
    """
    found: list[Path] = []
    for name in inputs:
        path = Path(name)
        if path.is_dir():
            inside = sorted(p for p in path.iterdir() if p.suffix.lower() in ENDINGS and not p.name.startswith("."))
            if not inside:
                raise InputError(f"{path}: no picture in this folder")
            found += inside
        elif path.exists():
            found.append(path)
        else:
            raise InputError(f"cannot read {path}: No such file or directory")
    return found


def evaluate(
    pictures: Sequence[Path], codecs: Sequence[PictureCodec], store: Store, max_pixels: int, progress: bool
) -> Results:
    """Code every picture with every codec, or look the result up.

    A picture that cannot be read, or that a codec cannot code, is left out for all of them, so that every mean is
    over the same pictures.

    Args:
        pictures: files.
        codecs: what codes them.
        store: known results; new ones go there at once.
        max_pixels: pictures with more are left out.
        progress: count on standard error, if it is a terminal.
    """
    results = Results(rows=[[] for _ in codecs])
    with _Counter(len(pictures) * len(codecs), progress) as counter:
        for path in pictures:
            rows: list[Row] = []
            try:
                content = path.read_bytes()
                digest = hashlib.sha256(content).hexdigest()
                picture = read_picture(content, max_pixels).picture
                for codec in codecs:
                    key = Store.key(codec.key, digest)
                    row = store.get(key)
                    results.known += row is not None
                    if row is None:
                        row = measure(codec, picture)
                        store.put(key, row)
                    rows.append({"picture": path.name, **row})
                    counter.add(1, f"{path.name} {codec.series} {codec.label}")
            except (IntCodecError, OSError) as error:
                reason = error.strerror or str(error) if isinstance(error, OSError) else str(error)
                results.failures.append((str(path), reason))
                counter.add(len(codecs) - len(rows), path.name)
                continue
            results.pictures.append(path.name)
            for column, row in zip(results.rows, rows, strict=True):
                column.append(row)
    return results


def measure(codec: PictureCodec, picture: Picture) -> Row:
    """Code a picture once and return its figures.

    Raises:
        IntCodecError: the codec cannot code it.
    """
    outcome = codec.code(picture)
    height, width, _ = picture.shape
    return {
        "width": width,
        "height": height,
        "bytes": outcome.bytes,
        "bpp": 8 * outcome.bytes / (height * width),
        "psnr": psnr(picture, outcome.picture),
        "ms_ssim": ms_ssim(picture, outcome.picture),
        "encode_s": outcome.encode_s,
        "decode_s": outcome.decode_s,
        **outcome.extra,
    }


class _Counter:
    """A line on a terminal that counts; nothing elsewhere."""

    def __init__(self, total: int, shown: bool) -> None:
        self._total, self._done = total, 0
        self._shown = shown and sys.stderr.isatty()
        self._started = time.monotonic()

    def add(self, count: int, what: str) -> None:
        self._done += count
        if self._shown:
            left = (time.monotonic() - self._started) / self._done * (self._total - self._done)
            line = f"{self._done}/{self._total} {what}, {left:.0f} s left"
            print(f"\r\x1b[K{line[:100]}", end="", file=sys.stderr, flush=True)

    def __enter__(self) -> _Counter:
        return self

    def __exit__(self, *_: object) -> None:
        if self._shown and self._done:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def iterate(results: Results, codecs: Sequence[PictureCodec]) -> Iterator[tuple[PictureCodec, Row]]:
    """Yield every row with its codec, by codec."""
    for codec, rows in zip(codecs, results.rows, strict=True):
        for row in rows:
            yield codec, row
