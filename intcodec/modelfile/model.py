"""A model: a network, its proof, its test vectors and its ONNX graphs, in memory and in a bundle.

docs/model.md is the format. What may live here: what the members of a bundle (`container`) mean, and the checks that
need no proof. A file is untrusted: whatever is wrong with it ends in a `ModelError` of one line.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, BinaryIO

from intcodec.base.errors import IntCodecError, ModelError
from intcodec.base.files import write_bytes
from intcodec.base.integers import ACC_LIMIT
from intcodec.modelfile import tensorfile
from intcodec.modelfile.container import MANIFEST, MAX_TOTAL, NETWORK, ONNX, Bundle, pack, sha256
from intcodec.network import description
from intcodec.network.derived import DerivedGraphs
from intcodec.network.graph import Network

FORMAT = 1
#: The key of the normative JSON in the metadata of network.safetensors.
METADATA_KEY = "intcodec"


class OnnxGraphs(Mapping[str, bytes]):
    """The ONNX graphs of a bundle by graph name; each is inflated and checked when it is read.

    They are for other runtimes and never run here: whatever they hold, this network is what its model id names.
    """

    def __init__(self, bundle: Bundle, hashes: Mapping[str, str]) -> None:
        self._bundle = bundle
        self._hashes = dict(hashes)

    def __getitem__(self, graph: str) -> bytes:
        from intcodec.onnxwriter.external import check_closed

        expected = self._hashes[graph]
        data = self._bundle.read(f"onnx/{graph}.onnx")
        if sha256(data) != expected:
            raise ModelError(f"model: onnx/{graph}.onnx does not have the hash that the manifest states")
        check_closed(data, graph)
        return data

    def __contains__(self, graph: object) -> bool:
        return graph in self._hashes  # Mapping's own would inflate the graph

    def __iter__(self) -> Iterator[str]:
        return iter(self._hashes)

    def __len__(self) -> int:
        return len(self._hashes)


@dataclass(frozen=True, eq=False)
class Model:
    """A model in memory.

    Args:
        network: the integer network.
        model_id: SHA-256 of the exact bytes of network.safetensors, in hex.
        manifest: what the bundle says about itself; nothing depends on it but the ONNX graphs' hashes.
        bounds: the largest intermediate of each row, "graph/row" -> magnitude, as proved at export.
        vectors: self-test vectors (intcodec.modelfile.selftest).
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
        from intcodec.engines.reference import ReferenceEngine
        from intcodec.modelfile.selftest import make_vectors
        from intcodec.network.proof import prove

        bounds = prove(network)
        vectors = make_vectors(network, ReferenceEngine(network))
        members = {NETWORK: write_network(network, bounds, vectors)}
        graphs = DerivedGraphs(network) if onnx_graphs is None else onnx_graphs
        members.update({f"onnx/{name}.onnx": data for name, data in graphs.items()})
        manifest = {
            **(manifest_extra or {}),
            "format": FORMAT,
            "arch": network.arch,
            "model_id": sha256(members[NETWORK]),
            "sha256": {name: sha256(data) for name, data in members.items()},
        }
        members[MANIFEST] = (tensorfile.canonical(manifest) + "\n").encode("ascii")
        return cls.load(pack(members))

    @classmethod
    def load(cls, source: str | os.PathLike[str] | bytes | BinaryIO | Bundle, max_bytes: int = MAX_TOTAL) -> Model:
        """Read a model and check its form, ranges and hashes; the full proof is `intcodec.conformance.verify`.

        Args:
            source: a path, the bundle's bytes, an open binary file, or an open bundle.
            max_bytes: refuse a bundle whose members would take more than this when inflated.

        Raises:
            ModelError: it is no valid bundle.
            OSError: it cannot be read.
        """
        bundle = source if isinstance(source, Bundle) else Bundle(source, max_bytes)
        manifest = tensorfile.parse_json(bundle.read(MANIFEST), "model: manifest.json")
        content, model_id = bundle.network()
        bundle.forget()
        if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
            raise ModelError("model: the manifest's format is unknown to this version of intcodec")
        hashes = manifest.get("sha256")
        names = sorted(n for n in bundle.names if n != MANIFEST)
        if not isinstance(hashes, dict) or sorted(hashes) != names:
            raise ModelError("model: the manifest does not list exactly the members of the file")
        if hashes[NETWORK] != model_id or manifest.get("model_id") != model_id:
            raise ModelError("model: network.safetensors does not have the hash that the manifest states")
        network, bounds, vectors = read_network(content)
        graphs = {m[1]: hashes[n] for n in names if (m := ONNX.fullmatch(n))}
        if not set(graphs) <= set(network.graphs):
            raise ModelError("model: an ONNX graph belongs to no graph of the network")
        onnx = OnnxGraphs(bundle, graphs) if graphs else DerivedGraphs(network)
        return cls(network, model_id, manifest, bounds, vectors, onnx, bundle.data)

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
    from intcodec.modelfile.selftest import check_vectors
    from intcodec.network.limits import check_weights

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
    except IntCodecError:
        raise
    except (ValueError, TypeError, IndexError, KeyError, AttributeError, OverflowError) as error:
        raise ModelError(f"model: network description is damaged ({type(error).__name__})") from error
    if not isinstance(bounds, dict) or set(bounds) != expected:
        raise ModelError("model: bounds are missing or belong to nothing")
    if not all(type(v) is int and 0 <= v < ACC_LIMIT for v in bounds.values()):
        raise ModelError("model: a stored bound does not keep its limit")
    check_weights(network)
    return network, bounds, check_vectors(network, vectors)
