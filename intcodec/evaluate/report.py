"""The results as text, CSV and JSON."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from intcodec.evaluate.codecs import PictureCodec
from intcodec.evaluate.curves import Curve, Loss, Point, bd_rate, overlap, psnr_at
from intcodec.evaluate.run import Results, iterate

_FIELDS = ("series", "label", "picture", "width", "height", "bytes", "bpp", "psnr", "ms_ssim", "encode_s", "decode_s",
           "payload_bytes", "compressai_bytes", "ideal_bytes")  # fmt: skip


@dataclass
class Report:
    """What an evaluation found.

    Args:
        results: the rows.
        codecs: whose rows they are.
        models: the measured curves of models, integer and float.
        others: the measured curves of other codecs.
        published: curves of CompressAI's page, where the pictures are Kodak.
        losses: loss of conversion, for each pair of an integer model and its checkpoint.
        notes: what a reader must know.
    """

    results: Results
    codecs: Sequence[PictureCodec]
    models: list[Curve]
    others: list[Curve]
    published: list[Curve]
    losses: list[Loss]
    notes: list[str] = field(default_factory=list)

    @property
    def anchors(self) -> list[Curve]:
        """The curves that models are compared with."""
        return self.others + self.published

    def bd_rates(self) -> list[tuple[str, str, float | None]]:
        """Return (series, anchor, percent) for every model curve and anchor; models anchor each other too."""
        found = []
        for test in self.models:
            for anchor in [*self.anchors, *(c for c in self.models if c is not test)]:
                if len(test.points) > 1 and len(anchor.points) > 1:
                    found.append((test.name, anchor.name, bd_rate(anchor, test)))
        return found


def text(report: Report) -> str:
    """Return the report for a terminal; its tables are Markdown."""
    parts = [f"{len(report.results.pictures)} pictures, means over pictures", _points(report)]
    if report.losses:
        parts += ["Loss of conversion: the integer model beside its float checkpoint, really coded", _losses(report)]
    bd = _bd(report)
    if bd:
        parts += ["BD-rate (negative: needs less rate at equal PSNR), and the PSNRs compared", bd]
    parts += [f"note: {note}" for note in report.notes]
    return "\n\n".join(parts) + "\n"


def per_picture(report: Report) -> str:
    """Return a table of every model's result on every picture."""
    names = {curve.name for curve in report.models}
    header = ("picture", "model", "bytes", "bpp", "PSNR dB", "MS-SSIM", "encode s", "decode s")
    rows = [
        (
            row["picture"], codec.label, row["bytes"], f"{row['bpp']:.4f}", f"{row['psnr']:.3f}",
            _number(row["ms_ssim"], 5), _number(row["encode_s"], 3), _number(row["decode_s"], 3),
        )
        for codec, row in iterate(report.results, report.codecs)
        if codec.series in names
    ]  # fmt: skip
    return table(header, sorted(rows, key=lambda row: str(row[0]))) + "\n"


def as_csv(report: Report) -> str:
    """Return every row as CSV, with a header."""
    out = io.StringIO()
    writer = csv.DictWriter(out, _FIELDS, restval="", lineterminator="\n")
    writer.writeheader()
    for codec, row in iterate(report.results, report.codecs):
        known = {k: v for k, v in row.items() if k in _FIELDS and v is not None}
        writer.writerow({"series": codec.series, "label": codec.label, **known})
    return out.getvalue()


def as_json(report: Report) -> dict[str, Any]:
    """Return everything as JSON values."""
    rows = [{"series": c.series, "label": c.label, **row} for c, row in iterate(report.results, report.codecs)]
    return {
        "pictures": report.results.pictures,
        "failures": [{"picture": name, "reason": reason} for name, reason in report.results.failures],
        "models": [_curve(curve) for curve in report.models],
        "others": [_curve(curve) for curve in report.others],
        "published": [_curve(curve) for curve in report.published],
        "conversion": [asdict(loss) for loss in report.losses],
        "bd_rate": [{"series": s, "anchor": a, "percent": v} for s, a, v in report.bd_rates()],
        "notes": report.notes,
        "rows": rows,
    }


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a Markdown table, the first column to the left and the others to the right."""
    cells = [list(map(str, header)), *(list(map(str, row)) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = []
    for row in cells:
        padded = (c.ljust(w) if k == 0 else c.rjust(w) for k, (c, w) in enumerate(zip(row, widths, strict=True)))
        lines.append(f"| {' | '.join(padded)} |")
    rule = " | ".join("-" * w if k == 0 else "-" * (w - 1) + ":" for k, w in enumerate(widths))
    return "\n".join([lines[0], f"| {rule} |", *lines[1:]])


def _points(report: Report) -> str:
    short = [_short(curve.name) for curve in report.anchors]
    header = ["model", "bpp", "PSNR dB", "MS-SSIM", "encode s", "decode s", *(f"dB over {name}" for name in short)]
    rows = []
    for curve in report.models:
        for point in curve.points:
            gains = [_gain(point, anchor) for anchor in report.anchors]
            times = [_number(value, 3) for value in (point.encode_s, point.decode_s)]
            rows.append([f"{curve.name} {point.label}", f"{point.bpp:.4f}", f"{point.psnr:.3f}",
                         _number(point.ms_ssim, 5), *times, *gains])  # fmt: skip
    return table(header, rows)


def _losses(report: Report) -> str:
    header = ("model", "bytes", "float", "difference", "to CompressAI's rows", "PSNR dB", "float", "difference",
              "BD-rate-equivalent", "worst picture")  # fmt: skip
    rows = []
    for x in report.losses:
        sizes = (
            f"{x.bytes:.0f}",
            f"{x.float_bytes:.0f}",
            f"{x.bytes_percent:+.3f} %",
            f"{x.compressai_percent:+.3f} %",
        )
        quality = (f"{x.psnr:.4f}", f"{x.float_psnr:.4f}", f"{x.psnr - x.float_psnr:+.4f}")
        worst = "-" if x.worst_equivalent is None else f"{x.worst_equivalent:+.3f} % {x.worst}"
        equivalent = "-" if x.equivalent is None else f"{x.equivalent:+.3f} %"
        rows.append((f"{x.arch} {x.model}", *sizes, *quality, equivalent, worst))
    return table(header, rows)


def _bd(report: Report) -> str:
    curves = {curve.name: curve for curve in (*report.models, *report.anchors)}
    rows = []
    for series, anchor, percent in report.bd_rates():
        if percent is not None:
            low, high = overlap(curves[anchor], curves[series])
            rows.append((series, anchor, f"{percent:+.2f} %", f"{low:.2f} to {high:.2f} dB"))
    return table(("series", "against", "BD-rate", "from"), rows) if rows else ""


def _gain(point: Point, anchor: Curve) -> str:
    there = psnr_at(anchor, point.bpp)
    return "-" if there is None else f"{point.psnr - there:+.2f}"


def _short(name: str) -> str:
    return name.removeprefix("CompressAI ").removesuffix(" 4:2:0")


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _curve(curve: Curve) -> dict[str, Any]:
    return {"name": curve.name, "points": [asdict(point) for point in curve.points]}
