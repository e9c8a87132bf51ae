"""Model files taken apart and put together again, for tests that change a part of one."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Mapping

from intcodec.modelfile import model as bundle
from intcodec.modelfile.container import MANIFEST, NETWORK
from intcodec.modelfile.model import Model
from intcodec.network.graph import Network


def members(data: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def pack(content: Mapping[str, bytes], fix: bool = True) -> bytes:
    """Return a bundle of these members; with `fix` the manifest's hashes are made to fit."""
    content = dict(content)
    if fix:
        manifest = json.loads(content.pop(MANIFEST))
        manifest["sha256"] = {n: hashlib.sha256(d).hexdigest() for n, d in content.items()}
        manifest["model_id"] = manifest["sha256"].get(NETWORK)
        content[MANIFEST] = json.dumps(manifest).encode()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def rebuild(
    model: Model,
    network: Network | None = None,
    bounds: Mapping[str, int] | None = None,
    onnx: Mapping[str, bytes] | None = None,
) -> bytes:
    """Return a consistent bundle with one part of a model replaced."""
    content = members(model.data)
    content[NETWORK] = bundle.write_network(network or model.network, bounds or model.bounds, model.vectors)
    content.update({f"onnx/{k}.onnx": v for k, v in (onnx or {}).items()})
    return pack(content)
