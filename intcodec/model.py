"""The model bundle: one ZIP file that holds a network, its proof, its test vectors and its ONNX graphs.

    manifest.json          informative: where the model comes from, hashes of the other members
    network.safetensors    normative: the integers; its SHA-256 is the model's id
    onnx/<graph>.onnx      the same graphs for other runtimes, derived from the network; optional

docs/model.md is the format. What may live here: the container and its checks. A file is untrusted: whatever is wrong
with it ends in a `ModelError` of one line, after memory bounded by the limits below.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, BinaryIO

from intcodec import description, tensorfile
from intcodec.errors import ModelError
from intcodec.files import write_bytes
from intcodec.network import ACC_LIMIT, Network

MANIFEST, NETWORK = "manifest.json", "network.safetensors"
FORMAT = 1
#: The key of the normative JSON in the metadata of network.safetensors.
METADATA_KEY = "intcodec"
MAX_FILE = 256 << 20
MAX_MANIFEST = 1 << 20
#: A network has at most 16 graphs; the rest is room for bytes that look like an entry of the ZIP file's directory.
MAX_MEMBERS = 64
#: The default limit on the sum of what all members declare to hold.
MAX_TOTAL = 512 << 20
_ONNX = re.compile(r"onnx/([A-Za-z_][A-Za-z0-9_]{0,63})\.onnx")
_ENTRY = b"PK\x01\x02"
_EPOCH = (1980, 1, 1, 0, 0, 0)
_READ_ERRORS = (
    zipfile.BadZipFile, zlib.error, struct.error, EOFError, ValueError, KeyError, IndexError, TypeError, OverflowError,
    NotImplementedError, RuntimeError, MemoryError,
)  # fmt: skip


class OnnxGraphs(Mapping[str, bytes]):
    """The ONNX graphs of a bundle by graph name; each is inflated and checked when it is read.

    They are for other runtimes and never run here: whatever they hold, this network is what its model id names.
    """

    def __init__(self, data: bytes, hashes: Mapping[str, str], max_bytes: int = MAX_TOTAL) -> None:
        self._data = data
        self._hashes = dict(hashes)
        self._max_bytes = max_bytes

    def __getitem__(self, graph: str) -> bytes:
        from intcodec.onnxgraphs.external import check_closed

        expected = self._hashes[graph]
        data = _Members(self._data, self._max_bytes).read(f"onnx/{graph}.onnx")
        if _sha256(data) != expected:
            raise ModelError(f"model: onnx/{graph}.onnx does not have the hash that the manifest states")
        check_closed(data, graph)
        return data

    def __contains__(self, graph: object) -> bool:
        return graph in self._hashes  # Mapping's own would inflate the graph

    def __iter__(self) -> Iterator[str]:
        return iter(self._hashes)

    def __len__(self) -> int:
        return len(self._hashes)


class DerivedGraphs(Mapping[str, bytes]):
    """The ONNX graphs of a network; each is built when it is read.

    A graph that warps has no ONNX form; engines compute it themselves.
    """

    def __init__(self, network: Network) -> None:
        self._network = network

    def __getitem__(self, graph: str) -> bytes:
        from intcodec import onnxgraphs

        if self._network.graphs[graph].whole:
            raise KeyError(graph)
        return onnxgraphs.build(self._network.graphs[graph])

    def __contains__(self, graph: object) -> bool:
        return graph in tuple(self)  # Mapping's own would build the graph

    def __iter__(self) -> Iterator[str]:
        return (name for name, graph in self._network.graphs.items() if not graph.whole)

    def __len__(self) -> int:
        return len(list(iter(self)))


@dataclass(frozen=True, eq=False)
class Model:
    """A model in memory.

    Args:
        network: the integer network.
        model_id: SHA-256 of the exact bytes of network.safetensors, in hex.
        manifest: what the bundle says about itself; nothing depends on it but the ONNX graphs' hashes.
        bounds: the largest intermediate of each row, "graph/row" -> magnitude, as proved at export.
        vectors: self-test vectors (intcodec.selftest).
        onnx: serialised ONNX graphs by name, read or built when asked for.
        data: the bundle's bytes.
    """

    network: Network
    model_id: str
    manifest: Mapping[str, Any]
    bounds: Mapping[str, int]
    vectors: tuple[Mapping[str, Any], ...]
    onnx: Mapping[str, bytes]
    data: bytes = field(repr=False)

    @property
    def arch(self) -> str:
        """Name of the architecture."""
        return self.network.arch

    @property
    def derived(self) -> Mapping[str, bytes]:
        """The ONNX graphs that the network stands for, whatever the bundle stores."""
        return DerivedGraphs(self.network)

    @classmethod
    def build(
        cls,
        network: Network,
        manifest_extra: Mapping[str, Any] | None = None,
        onnx_graphs: Mapping[str, bytes] | None = None,
    ) -> Model:
        """Prove a network, compute its self-test vectors and return it as a model.

        Args:
            network: the network.
            manifest_extra: JSON values to state in the manifest, such as quality and metric.
            onnx_graphs: serialised ONNX graphs by graph name to store; None stores all of the network, an empty mapping
                none: then they are built when they are needed.

        Raises:
            ModelError: the network cannot be proved.
        """
        from intcodec.bounds import prove
        from intcodec.engines.reference import ReferenceEngine
        from intcodec.selftest import make_vectors

        bounds = prove(network)
        vectors = make_vectors(network, ReferenceEngine(network))
        members = {NETWORK: write_network(network, bounds, vectors)}
        graphs = DerivedGraphs(network) if onnx_graphs is None else onnx_graphs
        members.update({f"onnx/{name}.onnx": data for name, data in graphs.items()})
        manifest = {
            **(manifest_extra or {}),
            "format": FORMAT,
            "arch": network.arch,
            "model_id": _sha256(members[NETWORK]),
            "sha256": {name: _sha256(data) for name, data in members.items()},
        }
        members[MANIFEST] = (tensorfile.canonical(manifest) + "\n").encode("ascii")
        return cls.load(_pack(members))

    @classmethod
    def load(cls, source: str | os.PathLike[str] | bytes | BinaryIO, max_bytes: int = MAX_TOTAL) -> Model:
        """Read a model and check its form, ranges and hashes; the full proof is `intcodec.verify`.

        Args:
            source: a path, the bundle's bytes, or an open binary file.
            max_bytes: refuse a bundle whose members would take more than this when inflated.

        Raises:
            ModelError: it is no valid bundle.
            OSError: it cannot be read.
        """
        data = _bytes_of(source)
        members = _Members(data, max_bytes)
        manifest = tensorfile.parse_json(members.read(MANIFEST), "model: manifest.json")
        content = members.read(NETWORK)
        model_id = _sha256(content)
        if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
            raise ModelError("model: the manifest's format is unknown to this version of intcodec")
        hashes = manifest.get("sha256")
        names = sorted(n for n in members.names if n != MANIFEST)
        if not isinstance(hashes, dict) or sorted(hashes) != names:
            raise ModelError("model: the manifest does not list exactly the members of the file")
        if hashes[NETWORK] != model_id or manifest.get("model_id") != model_id:
            raise ModelError("model: network.safetensors does not have the hash that the manifest states")
        network, bounds, vectors = read_network(content)
        graphs = {m[1]: hashes[n] for n in names if (m := _ONNX.fullmatch(n))}
        if not set(graphs) <= set(network.graphs):
            raise ModelError("model: an ONNX graph belongs to no graph of the network")
        onnx = OnnxGraphs(data, graphs, max_bytes) if graphs else DerivedGraphs(network)
        return cls(network, model_id, manifest, bounds, vectors, onnx, data)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the bundle; the file appears whole or not at all.

        Raises:
            InputError: it cannot be written.
        """
        write_bytes(path, self.data)


def write_network(network: Network, bounds: Mapping[str, int], vectors: tuple[Mapping[str, Any], ...]) -> bytes:
    """Return the bytes of network.safetensors."""
    json, tensors = description.describe(network)
    metadata = {**json, "bounds": dict(bounds), "vectors": list(vectors)}
    return tensorfile.write(tensors, {METADATA_KEY: tensorfile.canonical(metadata)})


def read_network(content: bytes) -> tuple[Network, dict[str, int], tuple[Mapping[str, Any], ...]]:
    """Return network, bounds and self-test vectors of the bytes of network.safetensors.

    Raises:
        ModelError: anything in it is wrong.
    """
    from intcodec.limits import check_weights
    from intcodec.selftest import check_vectors

    tensors, metadata = tensorfile.read(content, "model: network.safetensors")
    if set(metadata) != {METADATA_KEY}:
        raise ModelError("model: network.safetensors has no intcodec metadata, or other metadata")
    json = tensorfile.parse_json(metadata[METADATA_KEY], "model: network description")
    if not isinstance(json, dict):
        raise ModelError("model: network description is no object")
    bounds, vectors = json.pop("bounds", None), json.pop("vectors", None)
    try:
        network = description.restore(json, tensors)
        expected = {f"{graph.name}/{row.name}" for graph, row in network.rows()}
        expected |= {f"latent/{name}" for name in network.latents}
    except (ValueError, TypeError, IndexError, KeyError, AttributeError, OverflowError) as error:
        raise ModelError(f"model: network description is damaged ({type(error).__name__})") from error
    if not isinstance(bounds, dict) or set(bounds) != expected:
        raise ModelError("model: bounds are missing or belong to nothing")
    if not all(type(v) is int and 0 <= v < ACC_LIMIT for v in bounds.values()):
        raise ModelError("model: a stored bound does not keep its limit")
    check_weights(network)
    return network, bounds, check_vectors(network, vectors)


class _Members:
    """The members of a bundle: only expected names, each once, within the limits."""

    def __init__(self, data: bytes, max_bytes: int) -> None:
        if data.count(_ENTRY) > MAX_MEMBERS:  # before thousands of them become objects
            raise ModelError(f"model: more than {MAX_MEMBERS} members")
        try:
            self._zip = zipfile.ZipFile(io.BytesIO(data))
            infos = self._zip.infolist()
        except _READ_ERRORS as error:
            raise ModelError(f"not an intcodec model: {str(error)[:80] or type(error).__name__}") from error
        self.names = {info.filename: info for info in infos}
        if len(self.names) != len(infos):
            raise ModelError("model: a member is there twice")
        for info in infos:
            name, limit = info.filename, MAX_MANIFEST if info.filename == MANIFEST else MAX_FILE
            if name not in (MANIFEST, NETWORK) and not _ONNX.fullmatch(name):
                raise ModelError(f"model: unexpected member {ascii(name)[:80]}")
            if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) or info.flag_bits & 1:
                raise ModelError(f"model: member {name} is encrypted or packed in an unknown way")
            if info.file_size > limit:
                raise ModelError(f"model: member {name} declares {info.file_size} bytes, more than {limit}")
        if sum(info.file_size for info in infos) > max_bytes:
            raise ModelError(f"model: its members declare more than {max_bytes} bytes")
        for name in (MANIFEST, NETWORK):
            if name not in self.names:
                raise ModelError(f"not an intcodec model: {name} is missing")

    def read(self, name: str) -> bytes:
        """Return a member's bytes; its CRC and its declared size are checked."""
        info = self.names[name]
        try:
            with self._zip.open(info) as file:
                data = file.read(info.file_size + 1)
        except _READ_ERRORS as error:
            raise ModelError(f"model: member {name} is damaged ({str(error)[:80] or type(error).__name__})") from error
        if len(data) != info.file_size:
            raise ModelError(f"model: member {name} does not have its declared size")
        return data


def _pack(members: Mapping[str, bytes]) -> bytes:
    """Return the ZIP file of members: sorted, 1980-01-01, deflated, without attributes of the machine."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in sorted(members):
            info = zipfile.ZipInfo(name, _EPOCH)
            info.compress_type = zipfile.ZIP_DEFLATED
            info.create_system, info.external_attr = 3, 0o644 << 16
            archive.writestr(info, members[name], compresslevel=6)
    return buffer.getvalue()


def _bytes_of(source: str | os.PathLike[str] | bytes | BinaryIO) -> bytes:
    if isinstance(source, (bytes, bytearray, memoryview)):
        data = bytes(source)
    elif isinstance(source, (str, os.PathLike)):
        with open(source, "rb") as file:
            data = file.read(MAX_FILE + 1)
    else:
        data = source.read(MAX_FILE + 1)
    if len(data) > MAX_FILE:
        raise ModelError(f"model: larger than {MAX_FILE} bytes")
    return data


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
