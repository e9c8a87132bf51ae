// The model bundle (docs/model.md): which members a file has, and the network inside it. A file is untrusted.

import { checkProof } from "./bounds.js";
import { sha256 } from "./checksums.js";
import { readNetwork } from "./description.js";
import { ModelError } from "./errors.js";
import { isObject } from "./json.js";
import { parseText } from "./safetensors.js";
import { readDirectory, readMember } from "./zip.js";

const MANIFEST = "manifest.json";
const NETWORK = "network.safetensors";
const ONNX = /^onnx\/[A-Za-z_][A-Za-z0-9_]{0,63}\.onnx$/;
const MAX_FILE = 256 << 20;
const MAX_MANIFEST = 1 << 20;
const MAX_TOTAL = 512 << 20;
const MAX_MEMBERS = 2 + 16;

/** Hex digits of a model's SHA-256 that a bitstream carries. */
export const SHORT_ID = 16;

/**
 * Read a model and check its form, its hashes and its proof.
 * @param {Uint8Array} bytes the whole file
 * @returns {Promise<{id: string, arch: string, network: object}>}
 * @throws {ModelError} it is no valid model
 */
export async function loadModel(bytes) {
  if (bytes.length > MAX_FILE) throw new ModelError(`model: larger than ${MAX_FILE} bytes`);
  const members = readDirectory(bytes, MAX_MEMBERS);
  checkMembers(members);
  const manifest = parseText(await readMember(bytes, members.get(MANIFEST)), "model: manifest.json");
  const content = await readMember(bytes, members.get(NETWORK));
  const id = sha256(content);
  checkManifest(manifest, [...members.keys()], id);
  const network = readNetwork(content);
  for (const name of members.keys()) {
    if (ONNX.test(name) && !network.graphs.has(name.slice(5, -5))) {
      throw new ModelError("model: an ONNX graph belongs to no graph of the network");
    }
  }
  checkProof(network);
  return { id, arch: network.arch, network };
}

function checkMembers(members) {
  let total = 0;
  for (const { name, size } of members.values()) {
    if (name !== MANIFEST && name !== NETWORK && !ONNX.test(name)) {
      throw new ModelError(`model: unexpected member ${JSON.stringify(name.slice(0, 80))}`);
    }
    const limit = name === MANIFEST ? MAX_MANIFEST : MAX_FILE;
    if (size > limit) throw new ModelError(`model: member ${name} declares ${size} bytes, more than ${limit}`);
    total += size;
  }
  if (total > MAX_TOTAL) throw new ModelError(`model: its members declare more than ${MAX_TOTAL} bytes`);
  for (const name of [MANIFEST, NETWORK]) {
    if (!members.has(name)) throw new ModelError(`not an intcodec model: ${name} is missing`);
  }
}

function checkManifest(manifest, names, id) {
  if (!isObject(manifest) || manifest.format !== 1) {
    throw new ModelError("model: the manifest's format is unknown to this decoder");
  }
  const others = names.filter((name) => name !== MANIFEST).sort();
  const hashes = isObject(manifest.sha256) ? manifest.sha256 : {};
  if (Object.keys(hashes).sort().join() !== others.join()) {
    throw new ModelError("model: the manifest does not list exactly the members of the file");
  }
  if (hashes[NETWORK] !== id || manifest.model_id !== id) {
    throw new ModelError("model: network.safetensors does not have the hash that the manifest states");
  }
}
