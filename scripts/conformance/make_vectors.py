"""Write tests/conformance from its models with the reference engine, or check that it is what this code would write.

    python scripts/conformance/make_vectors.py            write everything but the sources
    python scripts/conformance/make_vectors.py --check    compare byte for byte; exit code 1 at a difference
    python scripts/conformance/make_vectors.py --archive FILE.zip    pack the folder for a release

Sources are the models that make_models.py made and the pictures, which are drawn once, where they are missing: both
come from floating point, which may differ on another machine. Nothing in the folder is written by hand.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import clip_vectors
import damage
import numpy as np
import sequences

from intcodec.base.files import write_bytes
from intcodec.clips.framecodec import is_video
from intcodec.coding import bitstream
from intcodec.conformance import archive
from intcodec.conformance.cases import sha256
from intcodec.conformance.trace import Recorder, coded_sections
from intcodec.conformance.vectors import FORMAT, read_ppm, write_ppm, write_ppms
from intcodec.engines.reference import ReferenceEngine
from intcodec.modelfile.model import Model
from intcodec.pictures.codec import Codec
from intcodec.quantize import synthetic

ROOT = Path(__file__).resolve().parents[2] / "tests" / "conformance"
SCHEMA = Path(__file__).with_name("schema.json")
SOURCES = ("models/*.intm", "pictures/*.ppm", "clips/*.ppm")
Files = dict[str, bytes]

FLAGS = {
    "cut": "a clip that ends early, or whose frames are damaged or not in their places",
    "damaged-header": "the container's first bytes are wrong",
    "escape": "symbols outside their table's row",
    "hostile": "made to get past checksums, or to make a decoder allocate",
    "limit": "refused for its size alone",
    "model": "the model is at fault, or not the one that is needed",
    "no-pixel-checksum": "encoded without a checksum of the pixels",
    "normal": "what a decoder meets every day",
    "odd-size": "sides that are no multiples of the network's stride",
    "saturation": "pixels at the ends of their range, so that clamps and large latents occur",
    "wavefront": "a context model's order of positions matters",
}


PICTURES = {
    "scene-64x64": ("one block of every latent", ["normal"]),
    "scene-75x100": ("neither side a multiple of 16", ["normal", "odd-size"]),
    "pixel": ("one pixel", ["odd-size"]),
    "column": ("70 pixels high, 1 wide", ["odd-size"]),
    "harsh": ("blocks at the ends of the range", ["odd-size", "saturation"]),
    "noise": ("uniform noise: the widest latents", ["saturation", "escape"]),
}


def draw() -> dict[str, np.ndarray]:
    """Return the pictures uint8[H, W, 3] by name."""
    first, second = synthetic.pictures(2, 128, seed=11)
    y, x = np.mgrid[:33, :50]
    return {
        "scene-64x64": first[32:96, 32:96],
        "scene-75x100": second[:75, :100],
        "pixel": first[60:61, 60:61],
        "column": second[10:80, 40:41],
        "harsh": np.where(((x // 5 + y // 7) % 2)[..., None], [255, 0, 255], [0, 255, 0]).astype(np.uint8),
        "noise": np.random.default_rng(5).integers(0, 256, (48, 64, 3)).astype(np.uint8),
    }


def compact(value: Any, indent: str = "") -> str:
    """Return JSON in which whatever holds no objects or lists of its own stands on one line."""
    inner = list(value.values() if isinstance(value, dict) else value) if isinstance(value, (dict, list)) else []
    if not any(isinstance(v, (dict, list)) for v in inner):
        return json.dumps(value, ensure_ascii=True)
    more = indent + " "
    if isinstance(value, dict):
        lines = [f"{more}{json.dumps(key)}: {compact(v, more)}" for key, v in value.items()]
        return "{\n" + ",\n".join(lines) + f"\n{indent}}}"
    return "[\n" + ",\n".join(more + compact(v, more) for v in value) + f"\n{indent}]"


class Writer:
    """The files of the folder, by name, and the cases of the JSON file that is being made."""

    def __init__(self) -> None:
        self.files: Files = {}

    def json(self, name: str, kind: str, cases: list[dict[str, Any]], **more: Any) -> None:
        """Add a vector file."""
        used = sorted({flag for case in cases for flag in case["flags"]})
        content = {
            "format": FORMAT, "kind": kind, **more, "flags": {f: FLAGS[f] for f in used}, "cases": cases,
        }  # fmt: skip
        self.files[f"{name}.json"] = (compact(content) + "\n").encode("ascii")

    def picture_cases(self, arch: str, model: Model) -> list[dict[str, Any]]:
        """Return the cases of one architecture, valid ones first, and add their files."""
        network, cases = model.network, []
        for name, (comment, flags) in PICTURES.items():
            picture = read_ppm((ROOT / "pictures" / f"{name}.ppm").read_bytes())
            cases.append(self.valid(model, arch, name, picture, comment, flags, name != "column"))
            if "context" in network.graphs:
                cases[-1]["flags"] = sorted([*cases[-1]["flags"], "wavefront"])
        good = self.files[f"streams/{arch}/harsh.intc"]
        for name, comment, error, data, options in damage.streams(good):
            flags = [_stream_flag(name, error)]
            case = {"id": f"{arch}/bad-{name}", "comment": comment, "flags": flags, "result": "invalid"}
            cases.append({**case, "error": error, "bytes": data.hex(), **options})
        return cases

    def valid(
        self, model: Model, arch: str, name: str, picture: np.ndarray, comment: str, flags: list[str], checksum: bool
    ) -> dict[str, Any]:
        """Encode and decode a picture with the reference engine; return the case."""
        network = model.network
        writer, reader = (Recorder(ReferenceEngine(network), keep=True) for _ in range(2))
        data = Codec(model, writer).encode(picture, pixel_checksum=checksum)
        decoded = Codec(model, reader).decode(data)
        calls = [{**call.as_json(), "by": "encoder"} for call in writer.calls if call.graph in ("g_a", "h_a")]
        shared = [call.as_json() for call in writer.calls if call.graph not in ("g_a", "h_a")]
        for k, call in enumerate(reader.calls):
            if k < len(shared) and shared[k] != call.as_json():
                raise SystemExit(f"{arch}/{name}: encoder and decoder disagree in {call.graph}")
            calls.append({**call.as_json(), "by": "both" if k < len(shared) else "decoder"})
        stream, pixels = f"streams/{arch}/{name}.intc", f"pixels/{arch}/{name}.ppm"
        self.files[stream], self.files[pixels] = data, write_ppm(decoded)
        parsed = bitstream.parse(data)
        size = next(call for call in reader.calls if call.graph == "g_s")
        return {
            "id": f"{arch}/{name}",
            "comment": comment,
            "flags": sorted([*flags, *([] if checksum else ["no-pixel-checksum"])]),
            "result": "valid",
            "picture": f"pictures/{name}.ppm",
            "checksum": checksum,
            "stream": stream,
            "pixels": pixels,
            "sections": coded_sections(network, parsed.sections, reader.kept, (size.height, size.width)),
            "calls": calls,
        }


def _stream_flag(name: str, error: str) -> str:
    if error == "LimitError":
        return "limit"
    if error == "WrongModelError":
        return "model"
    late = ("latents-crc", "pixels-crc", "recoded", "longer", "shorter", "section-count")
    return "hostile" if name in late else "damaged-header"


def make() -> Files:
    """Return every file of the folder but its sources."""
    writer, models = Writer(), list[dict[str, Any]]()
    for path in sorted((ROOT / "models").glob("*.intm")):
        model, kind = Model.load(path), "pictures"
        if is_video(model.network):
            kind = "clips"
            cases, files = clip_vectors.cases(path.stem, model, ROOT / "clips")
            writer.files.update(files)
        else:
            cases = writer.picture_cases(path.stem, model)
            loaded = {"id": f"models/{path.stem}", "comment": "loads, proves itself and passes its self-test"}
            models.append({**loaded, "flags": ["normal"], "result": "valid", "model": f"models/{path.name}"})
        name = f"models/{path.name}"
        writer.json(path.stem, kind, cases, arch=model.arch, model=name, model_id=model.model_id)
    writer.json("rangecoder", "rangecoder", sequences.cases())
    small = Model.load(ROOT / "models" / "bmshj2018_factorized.intm")
    for name, comment, error, data, _ in damage.models(small):
        member = f"models/bad/{name}.intm"
        writer.files[member] = data
        case = {"id": f"models/bad-{name}", "comment": comment, "flags": ["model"], "result": "invalid"}
        models.append({**case, "error": error, "model": member})
    writer.json("models", "models", models)
    writer.files["schema.json"] = SCHEMA.read_bytes()
    return writer.files


def check(files: Files) -> list[str]:
    """Return a line for each file of the folder that is missing, different or not ours."""
    there = {str(p.relative_to(ROOT)) for p in ROOT.rglob("*") if p.is_file()}
    sources = {str(p.relative_to(ROOT)) for pattern in SOURCES for p in ROOT.glob(pattern)}
    lines = [f"{name}: missing" for name in sorted(files.keys() - there)]
    lines += [f"{name}: no file of the vectors" for name in sorted(there - files.keys() - sources)]
    lines += [f"{n}: differs" for n in sorted(files.keys() & there) if (ROOT / n).read_bytes() != files[n]]
    return lines


def pack(path: Path) -> None:
    """Pack the folder: the same bytes for the same content."""
    data = archive.pack({p.relative_to(ROOT).as_posix(): p.read_bytes() for p in ROOT.rglob("*") if p.is_file()})
    write_bytes(path, data)
    print(f"{path}: {len(data)} bytes, SHA-256 {sha256(data)}")


def main() -> int:
    """Write, check or pack."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="compare with the folder, write nothing")
    parser.add_argument("--archive", metavar="FILE", type=Path, help="pack the folder as it is")
    args = parser.parse_args()
    if args.archive:
        pack(args.archive)
        return 0
    for name in PICTURES.keys() - {p.stem for p in (ROOT / "pictures").glob("*.ppm")}:
        write_bytes(ROOT / "pictures" / f"{name}.ppm", write_ppm(draw()[name]))
    for name in clip_vectors.CLIPS.keys() - {p.stem for p in (ROOT / "clips").glob("*.ppm")}:
        (ROOT / "clips").mkdir(exist_ok=True)
        write_bytes(ROOT / "clips" / f"{name}.ppm", write_ppms(clip_vectors.draw()[name]))
    files = make()
    if args.check:
        problems = check(files)
        print("\n".join(problems) or f"{len(files)} files are what this code makes of the models")
        return 1 if problems else 0
    for name, data in files.items():
        (ROOT / name).parent.mkdir(parents=True, exist_ok=True)
        write_bytes(ROOT / name, data)
    for line in check(files):
        print(line, file=sys.stderr)
    print(f"{len(files)} files, {sum(map(len, files.values()))} bytes, models and pictures apart")
    return 0


if __name__ == "__main__":
    sys.exit(main())
