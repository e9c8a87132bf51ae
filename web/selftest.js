// Test vectors (docs/model.md, section 3): small inputs whose results a model stores, to be reproduced on this machine
// before anything is decoded.

import { sha256 } from "./checksums.js";
import { Tensor } from "./core.js";
import { SelfTestError } from "./errors.js";
import { typeOf } from "./network.js";

const DIGEST_CHARS = 32;

/** Fill a tensor with the test input of a spec and seed. */
export function fillTestInput(tensor, { lo, hi }, seed) {
  const start = (1 + 0x9e3779b9 * seed) % 2 ** 32;
  const out = tensor.all();
  const span = BigInt(hi - lo + 1);
  const narrow = hi - lo < 2 ** 20; // then h * span is exact
  for (let i = 0; i < out.length; i++) {
    let h = (start + i) | 0;
    h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
    h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
    h = (h ^ (h >>> 16)) >>> 0;
    const kind = h & 7;
    if (kind === 0) out[i] = lo;
    else if (kind === 1) out[i] = hi;
    else if (kind <= 4) out[i] = Math.min(Math.max(((h >>> 8) % 65) - 32, lo), hi);
    else if (narrow) out[i] = lo + Math.floor((h * (hi - lo + 1)) / 2 ** 32);
    else out[i] = lo + Number((BigInt(h) * span) >> 32n);
  }
}

/** Return the first 32 hex digits of the SHA-256 of a tensor's bytes, which are little-endian in WebAssembly. */
export function digest(tensor) {
  const bytes = tensor.length * tensor.array.BYTES_PER_ELEMENT;
  return sha256(tensor.core.view(Uint8Array, tensor.address, bytes)).slice(0, DIGEST_CHARS);
}

/** Return the graph's tensors for a vector's inputs, by name: the caller runs inside a scope. */
export function runVector(engine, vector, wanted) {
  const graph = engine.network.graphs.get(vector.graph);
  const inputs = {};
  graph.inputs.forEach((spec, k) => {
    const tensor = new Tensor(engine.core, typeOf(spec), vector.height, vector.width, spec.channels);
    fillTestInput(tensor, spec, vector.seed + k);
    inputs[spec.name] = tensor;
  });
  return engine.run(graph.name, inputs, {}, wanted);
}

/**
 * Check that the core reproduces a model's vectors.
 * @param {Engine} engine
 * @param {function(string): boolean} needed which graphs to test
 * @throws {SelfTestError} it does not
 */
export function selfTest(engine, needed) {
  for (const vector of engine.network.vectors.filter(({ graph }) => needed(graph))) {
    engine.core.scope(() => {
      for (const [name, tensor] of Object.entries(runVector(engine, vector))) {
        if (digest(tensor) === vector.tensors[name]) continue;
        const where = `graph ${vector.graph} wrongly: tensor ${name} differs from the model's self-test vector`;
        throw new SelfTestError(`this machine (${engine.core.build}) computes ${where}`);
      }
    });
  }
}
