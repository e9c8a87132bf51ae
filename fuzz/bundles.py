"""Fuzz target: model files. Run by fuzz/drive.py.

The first byte of an input chooses what the rest is:

    0   a whole file
    1   the content of network.safetensors, in a file whose hashes are right
    2   the content of manifest.json beside a good network
    3   edits of a good network's description and tensors (edits.py), whose proof and self-test vectors are then made
        right, as an attacker would: loaded, run on the native and the reference engine, used to code a picture, or
        two frames of a clip if the network is one for clips

What must hold: an IntCodecError of one line, or a model; memory below the process's limit; engines agree.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import zipfile

from common import tiny, tinyvideo
from edits import Source, edit

from intcodec.base.errors import IntCodecError
from intcodec.cli.info import describe_model, print_facts
from intcodec.clips.framecodec import VideoCodec, load_video
from intcodec.engines.reference import ReferenceEngine
from intcodec.modelfile import tensorfile
from intcodec.modelfile.container import MANIFEST, NETWORK
from intcodec.modelfile.model import METADATA_KEY, Model, write_network
from intcodec.modelfile.selftest import DEFAULT_SIZE, SIZES, make_vectors
from intcodec.network import description
from intcodec.network.limits import check_test, check_weights
from intcodec.network.proof import prove
from intcodec.pictures.codec import Codec, load

PICTURE = tiny.picture(9, 20)
GOOD = {arch: description.describe(tiny.network(arch, 0, 2, 3)) for arch in tiny.ARCHS}
VIDEO = "ssf2020"
GOOD[VIDEO] = description.describe(tinyvideo.network())
CLIP = tinyvideo.clip(2, 9, 20)


def pack(network: bytes, manifest: bytes | None = None) -> bytes:
    """Return a file of a network; the hashes are made to fit unless a manifest is given."""
    digest = hashlib.sha256(network).hexdigest()
    right = {"format": 1, "arch": "x", "model_id": digest, "sha256": {NETWORK: digest}}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(MANIFEST, json.dumps(right) if manifest is None else manifest)
        archive.writestr(NETWORK, network)
    return buffer.getvalue()


SMALL = write_network(tiny.network("factorized", 0, 2, 3), {}, ())


def forged(arch: str, data: bytes) -> bytes:
    """Return a model file with an edited network, bounds and vectors as this network has them."""
    original, tensors = GOOD[arch]
    changed, arrays = edit(Source(data), json.loads(json.dumps(original)), dict(tensors))
    raw = tensorfile.write(arrays, {METADATA_KEY: tensorfile.canonical(changed)})
    try:
        network = description.restore(changed, arrays)
    except Exception:  # whatever it was, the reader says ModelError
        return pack(raw)
    check_weights(network)
    for graph in network.graphs.values():
        check_test(graph, *next((s for k, s in SIZES.items() if f"_{graph.name}".endswith(f"_{k}")), DEFAULT_SIZE))
    bounds = prove(network)
    vectors = make_vectors(network, ReferenceEngine(network))
    return pack(write_network(network, bounds, vectors))


def use(data: bytes) -> None:
    """Load a file as a user does and code a picture with it, on two engines."""
    codec = load(data, engine="native", threads=1)
    reference = Codec(codec.model, ReferenceEngine(codec.model.network))
    coded = codec.encode(PICTURE)
    if (codec.decode(coded) != reference.decode(coded)).any():
        raise AssertionError("engines differ")


def use_video(data: bytes) -> None:
    """Load a file as a user does and code two frames with it, on two engines."""
    codec = load_video(data, engine="native", threads=1)
    other = VideoCodec(codec.model, ReferenceEngine(codec.model.network))
    encoder, decoder, reference = (c(9, 20) for c in (codec.encoder, codec.decoder, other.decoder))
    for number, frame in enumerate(CLIP):
        coded = encoder.encode(frame, number == 0)
        if (decoder.decode(coded) != reference.decode(coded)).any():
            raise AssertionError("engines differ")


def show(data: bytes) -> None:
    """Load a file and print what it says of itself."""
    with contextlib.redirect_stdout(io.StringIO()):
        print_facts(describe_model(data))


def one_input(data: bytes) -> None:
    """Load one input."""
    if not data:
        return
    kind, rest = data[0] & 3, data[1:]
    try:
        if kind == 0:
            show(rest)
        elif kind == 1:
            Model.load(pack(rest))
        elif kind == 2:
            show(pack(SMALL, rest))
        elif data[0] & 16:
            use_video(forged(VIDEO, rest))
        else:
            use(forged(tiny.ARCHS[data[0] >> 2 & 3], rest))
    except IntCodecError as error:
        if "\n" in str(error) or len(str(error)) > 400:
            raise AssertionError("an error of more than one short line") from error
