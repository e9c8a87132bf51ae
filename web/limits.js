// What a model may cost: limits on the size of its tensors and on the work of its self-test, checked before anything of that
// size is allocated. The numbers are those of intcodec/network/limits.py (docs/hostile.md).

import { ModelError } from "./errors.js";
import { sizesOf } from "./network.js";

const VALUES_PER_PIXEL = 2 ** 10;
const SPARE_PIXELS = 2 ** 14;
const TEST_VALUES = 2 ** 24;
const TEST_PRODUCTS = 2 ** 34;
const PACKED_WEIGHTS = 2 ** 27;
const LANES = 64;

/** Pixels per row and column of y, at most. */
export const MAX_STRIDE = 2 ** 8;

const countOf = (shape) => shape.reduce((product, side) => product * side, 1);

/**
 * Refuse a network whose packed weights would take too much memory.
 * @throws {ModelError} they would
 */
export function checkWeights({ graphs }) {
  let total = 0;
  for (const row of [...graphs.values()].flatMap((graph) => graph.rows)) {
    const shape = (row.weight ?? row.gamma)?.shape;
    if (shape) total += (countOf(shape) / shape[0]) * Math.ceil(shape[0] / LANES) * LANES;
  }
  if (total > PACKED_WEIGHTS) {
    throw new ModelError(`model: its weights take ${total} values when packed, more than ${PACKED_WEIGHTS}`);
  }
}

/**
 * Refuse a self-test run that is too large, or whose input is too small for a kernel.
 * @throws {ModelError} it is
 */
export function checkTest(graph, height, width) {
  const sizes = sizesOf(graph, height, width);
  const positions = (name) => sizes.get(name)[0] * sizes.get(name)[1];
  let [values, products] = [0, 0];
  for (const { name, channels } of graph.specs.values()) values += positions(name) * channels;
  for (const { name, weight, gamma, upsample = 1 } of graph.rows) {
    if (weight ?? gamma) products += (positions(name) * countOf((weight ?? gamma).shape)) / upsample ** 2;
  }
  if (values > TEST_VALUES || products > TEST_PRODUCTS) {
    throw new ModelError(`graph ${graph.name}: a self-test of ${height}x${width} is too large`);
  }
}

/**
 * Refuse a picture of which a network would make too much.
 * @param {Map} graphs of the network
 * @param {number} height of y
 * @param {number} width of y
 * @param {number} stride pixels per row and column of y
 * @throws {ModelError} a tensor would be too large, or an input is smaller than a kernel
 */
export function checkPicture(graphs, height, width, stride) {
  const most = VALUES_PER_PIXEL * (height * width * stride ** 2 + SPARE_PIXELS);
  const check = (name, h, w) => {
    const sizes = sizesOf(graphs.get(name), h, w);
    for (const spec of graphs.get(name).specs.values()) {
      const [rows, columns] = sizes.get(spec.name);
      if (rows * columns * spec.channels <= most) continue;
      const size = `${rows}x${columns}x${spec.channels}`;
      throw new ModelError(`graph ${name}: tensor ${spec.name} would have ${size} values, more than ${most}`);
    }
    return sizes;
  };
  check("g_a", height * stride, width * stride);
  if (graphs.has("h_a")) check("h_s", ...check("h_a", height, width).get("z"));
  check("g_s", height, width);
}
