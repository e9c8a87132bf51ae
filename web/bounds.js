// The proof that no accumulator of a network can overflow, recomputed from its integers (docs/arithmetic.md, section 8).
// Every number here is an integer below 2^53, so that JavaScript's numbers are exact.

import { ModelError } from "./errors.js";
import { ACC_LIMIT, NORM_LIMIT, extremes } from "./network.js";

const magnitude = (spec) => Math.max(Math.abs(spec.lo), Math.abs(spec.hi));
const half = (shift) => (shift ? 2 ** (shift - 1) : 0);
const largest = (array) => extremes(array.data)[1];

/** Return floor(sqrt(n)) for 0 <= n < 2^52. */
export function isqrt(n) {
  let root = Math.floor(Math.sqrt(n));
  while (root * root > n) root--;
  while ((root + 1) * (root + 1) <= n) root++;
  return root;
}

function below(value, limit, where) {
  if (value < limit) return value;
  throw new ModelError(`${where}: worst-case magnitude ${value} reaches ${limit}; the model is not proved safe`);
}

/** Return, per row of a matrix of int16, the sum of magnitudes, plain and in digits (256 |high| + |low|). */
function rowSums({ data, shape }) {
  const rows = shape[0];
  const run = data.length / rows;
  const plain = new Float64Array(rows);
  const digits = new Float64Array(rows);
  for (let o = 0, i = 0; o < rows; o++) {
    let [a, b] = [0, 0];
    for (const end = i + run; i < end; i++) {
      const w = data[i];
      const high = (w + 128) >> 8;
      a += Math.abs(w);
      b += 256 * Math.abs(high) + Math.abs(w - 256 * high);
    }
    plain[o] = a;
    digits[o] = b;
  }
  return { plain, digits };
}

function convBound(row, source, where) {
  const { plain, digits } = rowSums(row.weight);
  const high = Math.max(Math.abs((source.lo + 128) >> 8), Math.abs((source.hi + 128) >> 8));
  let most = 0;
  for (let o = 0; o < plain.length; o++) {
    const sum = Math.max(magnitude(source) * plain[o], (256 * high + 128) * digits[o]);
    most = Math.max(most, Math.abs(row.bias.data[o]) + sum);
  }
  return below(most, ACC_LIMIT, where);
}

function gdnBound(row, source, where) {
  const x = magnitude(source);
  const q = below(Math.floor((x * x + half(row.square_shift)) / 2 ** row.square_shift), 2 ** 15, `${where} squares`);
  const { plain, digits } = rowSums(row.gamma);
  let [norm, wide, factor] = [0, 0, 0];
  row.beta.data.forEach((beta, j) => {
    norm = Math.max(norm, beta + q * plain[j]);
    wide = Math.max(wide, beta + (256 * ((q + 128) >> 8) + 128) * digits[j]);
    factor = Math.max(factor, Math.floor(row.numerator.data[j] / isqrt(beta)));
  });
  below(norm, NORM_LIMIT, `${where} norm`);
  below(wide, ACC_LIMIT, `${where} norm in digits`);
  if (row.inverse) factor = isqrt(norm);
  const product = x * factor + half(largest(row.shift));
  return Math.max(norm, wide, below(product, ACC_LIMIT, `${where} product`));
}

function rowBound(row, specs, where) {
  const source = specs.get(row.input);
  const other = specs.get(row.other);
  switch (row.type) {
    case "conv":
      return convBound(row, source, where);
    case "gdn":
      return gdnBound(row, source, where);
    case "rescale":
      return below(magnitude(source) + half(largest(row.shift)), ACC_LIMIT, where);
    case "add": {
      const [a, b] = [largest(row.input_shift), largest(row.other_shift)];
      return below(magnitude(source) * 2 ** a + magnitude(other) * 2 ** b + half(largest(row.shift)), ACC_LIMIT, where);
    }
    case "gate":
      return below(magnitude(source) * largest(row.table) + half(largest(row.shift)), ACC_LIMIT, where);
    case "concat":
      return magnitude(specs.get(row.name));
    default: // scale_index
      return magnitude(source);
  }
}

function latentBound(latent, graphs) {
  const [lo, hi] = extremes(latent.offset);
  let [v, mean] = [0, magnitude({ lo, hi })];
  for (const graph of graphs.values()) {
    if (graph.outputs.includes(latent.name)) v = Math.max(v, magnitude(graph.specs.get(latent.name)));
    if (latent.name === "y" && graph.outputs.includes("mean")) mean += magnitude(graph.specs.get("mean"));
  }
  const encode = v + mean + 2 ** latent.fraction;
  const decode = 32768 * 2 ** latent.fraction + mean + 2 ** extremes(latent.shift)[1];
  return below(Math.max(encode, decode), ACC_LIMIT, `latent ${latent.name}`);
}

/**
 * Check that a network is safe, and that its stored bounds are those of its integers.
 * @throws {ModelError} it is not, or they are not
 */
export function checkProof(network) {
  const check = (key, bound) => {
    if (network.bounds[key] !== bound) throw new ModelError(`model: the stored bound of ${key} is not that of its integers`);
  };
  for (const graph of network.graphs.values()) {
    for (const row of graph.rows) {
      const key = `${graph.name}/${row.name}`;
      check(key, rowBound(row, graph.specs, key));
    }
  }
  for (const [name, latent] of network.latents) check(`latent/${name}`, latentBound(latent, network.graphs));
}
