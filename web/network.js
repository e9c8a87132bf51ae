// The integer network: what a row writes, how sizes follow, and whether a row's arrays fit together. Computes nothing.
//
// A graph is {name, inputs: [spec], rows: [row], outputs: [name], specs: Map of every tensor's spec in order}; a spec is
// {name, channels, lo, hi}; a row has the fields of docs/model.md and its arrays as {shape, data}.

import { ModelError } from "./errors.js";

export const ACC_LIMIT = 2 ** 31;
export const NORM_LIMIT = 2 ** 30;
/** Channels of a tensor. */
export const MAX_CHANNELS = 2 ** 14;
const SLOPE_BITS = 16;
export const ARRAY_TYPES = { uint8: Uint8Array, uint16: Uint16Array, int16: Int16Array, int32: Int32Array };

/** Return the storage type of a tensor with values in [lo, hi]. */
export function typeOf({ lo, hi }) {
  if (lo >= 0 && hi <= 255) return "uint8";
  return lo >= -32768 && hi <= 32767 ? "int16" : "int32";
}

export const sourcesOf = (row) => (row.other === undefined ? [row.input] : [row.input, row.other]);

export function extremes(data) {
  let lo = Infinity;
  let hi = -Infinity;
  for (let i = 0; i < data.length; i++) {
    if (data[i] < lo) lo = data[i];
    if (data[i] > hi) hi = data[i];
  }
  return [lo, hi];
}

/** Return the spec of a row's tensor. */
function outSpec(row, specs) {
  const { name } = row;
  const source = specs.get(row.input);
  if (row.type === "conv") {
    const lo = row.slope ? Math.min(Math.floor((row.lo * row.slope + 2 ** (SLOPE_BITS - 1)) / 2 ** SLOPE_BITS), 0) : row.lo;
    return { name, channels: row.weight.shape[0] / row.upsample ** 2, lo, hi: row.hi };
  }
  if (row.type === "scale_index") return { name, channels: source.channels, lo: 0, hi: row.thresholds.shape[0] };
  if (row.type === "concat") {
    const other = specs.get(row.other);
    const [lo, hi] = [Math.min(source.lo, other.lo), Math.max(source.hi, other.hi)];
    return { name, channels: source.channels + other.channels, lo, hi };
  }
  return { name, channels: source.channels, lo: row.lo, hi: row.hi };
}

/**
 * Return the spec of every tensor of a graph, inputs first, in order.
 * @throws {ModelError} a row reads what does not exist yet, or its arrays do not fit together
 */
export function specsOf(name, inputs, rows) {
  const specs = new Map(inputs.map((spec) => [spec.name, spec]));
  for (const row of rows) {
    const where = `graph ${name}: row ${row.name}`;
    for (const source of sourcesOf(row)) {
      if (!specs.has(source)) throw new ModelError(`${where} reads ${source}, which is not written before`);
    }
    if (specs.has(row.name)) throw new ModelError(`graph ${name}: tensor ${row.name} is written twice`);
    checkRow(row, specs, where);
    specs.set(row.name, outSpec(row, specs));
    need(specs.get(row.name).channels <= MAX_CHANNELS, where, `it has more than ${MAX_CHANNELS} channels`);
  }
  return specs;
}

/**
 * Return [height, width] of every tensor by name, for inputs of this size.
 * @throws {ModelError} an input is smaller than a kernel, or two tensors of a row differ in size
 */
export function sizesOf(graph, height, width) {
  const sizes = new Map(graph.inputs.map((spec) => [spec.name, [height, width]]));
  for (const row of graph.rows) {
    let [h, w] = sizes.get(row.input);
    if (row.type === "conv") {
      const [top, left, bottom, right] = row.pad;
      const [, kh, kw] = row.weight.shape;
      h = (Math.floor((h + top + bottom - kh) / row.stride) + 1) * row.upsample;
      w = (Math.floor((w + left + right - kw) / row.stride) + 1) * row.upsample;
    }
    const [h2, w2] = sizes.get(row.other) ?? [h, w];
    if (h < 1 || w < 1 || h2 !== h || w2 !== w) {
      throw new ModelError(`graph ${graph.name}: a ${height}x${width} input does not fit row ${row.name}`);
    }
    sizes.set(row.name, [h, w]);
  }
  return sizes;
}

function need(ok, where, what) {
  if (!ok) throw new ModelError(`${where}: ${what}`);
}

function checkArray(array, type, shape, where) {
  const ok = array.data instanceof type && array.shape.length === shape.length && shape.every((n, i) => array.shape[i] === n);
  need(ok, where, `expected ${type.name.replace("Array", "")}[${shape}], got ${array.data.constructor.name}[${array.shape}]`);
}

function checkVector(array, type, size, lo, hi, where) {
  checkArray(array, type, [size], where);
  const [low, high] = extremes(array.data);
  need(low >= lo && high <= hi, where, `values outside [${lo}, ${hi}]`);
}

const fitsInt16 = (spec) => spec.lo > -32768 && spec.hi <= 32767;

function checkConv(row, source, where) {
  const { data, shape } = row.weight;
  need(data instanceof Int16Array && shape.length === 4, where, "weight must be int16[out, kh, kw, in]");
  const [out, kh, kw, channels] = shape;
  need(channels === source.channels, where, `${channels} input channels, ${source.channels} given`);
  need(extremes(data)[0] > -32768, where, "weight -32768 is not allowed");
  need(fitsInt16(source), where, "input does not fit int16");
  need(kh >= 1 && kh <= 15 && kw >= 1 && kw <= 15, where, "kernel side must be 1..15");
  checkVector(row.bias, Int32Array, out, 1 - ACC_LIMIT, ACC_LIMIT - 1, `${where} bias`);
  checkVector(row.shift, Uint8Array, out, 0, 30, `${where} shift`);
  need(row.stride === 1 || row.stride === 2, where, "stride must be 1 or 2");
  need((row.upsample === 1 || row.upsample === 2) && out % row.upsample ** 2 === 0, where, "bad upsample");
  need(row.pad.every((p) => p >= 0 && p <= 14), where, "bad pad");
  need(row.slope >= 0 && row.slope < 2 ** SLOPE_BITS, where, "slope must be in [0, 65535]");
  need(!row.slope || (row.lo >= -32768 && row.hi <= 32767), where, "LeakyReLU needs an int16 range");
}

function checkGdn(row, source, where) {
  const c = source.channels;
  checkArray(row.gamma, Int16Array, [c, c], `${where} gamma`);
  need(extremes(row.gamma.data)[0] >= 0, where, "gamma must not be negative");
  checkVector(row.beta, Int32Array, c, 1, NORM_LIMIT - 1, `${where} beta`);
  checkVector(row.numerator, Int32Array, c, 0, NORM_LIMIT, `${where} numerator`);
  checkVector(row.shift, Uint8Array, c, 1, 30, `${where} shift`);
  need(row.square_shift >= 0 && row.square_shift <= 15, where, "square_shift must be in [0, 15]");
  need(fitsInt16(source), where, "input does not fit int16");
}

function checkScaleIndex(row, source, where) {
  const { data, shape } = row.thresholds;
  need(shape.length === 1 && shape[0] <= 255, where, "at most 255 thresholds");
  checkVector(row.thresholds, Int32Array, shape[0], source.lo, source.hi, `${where} thresholds`);
  need(data.every((v, i) => i === 0 || v >= data[i - 1]), where, "thresholds must ascend");
  need(source.lo >= 0, where, "a scale must not be negative");
}

function checkPair(row, a, b, where) {
  need(a.channels === b.channels, where, `${a.channels} and ${b.channels} channels do not go together`);
  need(fitsInt16(a) && fitsInt16(b), where, "inputs do not fit int16");
  checkVector(row.shift, Uint8Array, a.channels, 0, 30, `${where} shift`);
  if (row.type === "add") {
    checkVector(row.input_shift, Uint8Array, a.channels, 0, 15, `${where} input_shift`);
    checkVector(row.other_shift, Uint8Array, a.channels, 0, 15, `${where} other_shift`);
  } else {
    checkVector(row.table, Int16Array, b.hi - b.lo + 1, 0, 32767, `${where} table`);
  }
}

function checkRow(row, specs, where) {
  const source = specs.get(row.input);
  if (row.lo !== undefined) {
    need(-ACC_LIMIT < row.lo && row.lo <= row.hi && row.hi < ACC_LIMIT, where, `bad range [${row.lo}, ${row.hi}]`);
  }
  if (row.type === "conv") checkConv(row, source, where);
  else if (row.type === "gdn") checkGdn(row, source, where);
  else if (row.type === "rescale") checkVector(row.shift, Uint8Array, source.channels, 0, 30, `${where} shift`);
  else if (row.type === "scale_index") checkScaleIndex(row, source, where);
  else {
    const other = specs.get(row.other);
    if (row.type !== "concat") checkPair(row, source, other, where);
    else need(typeOf(source) === "int16" && typeOf(other) === "int16", where, "both tensors must be int16");
  }
}
