// The safetensors layout with the rules of docs/model.md: integers only, no gaps, to the last byte.
//
//     u64 n | n bytes of JSON | data

import { ModelError } from "./errors.js";
import { hasExactly, isObject, parseJson } from "./json.js";

const MAX_HEADER = 8 << 20;
const MAX_TENSORS = 1 << 14;
const ARRAYS = { I8: Int8Array, U8: Uint8Array, I16: Int16Array, I32: Int32Array, U32: Uint32Array };

/** Parse strict JSON, given as bytes or text, or fail with a ModelError. */
export function parseText(source, what) {
  try {
    const text = typeof source === "string" ? source : new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(source);
    return parseJson(text);
  } catch (error) {
    throw new ModelError(`${what}: not valid JSON (${String(error.message).slice(0, 80)})`);
  }
}

/**
 * Return the tensors and the metadata of a file.
 * @param {Uint8Array} bytes
 * @param {string} what a name for messages
 * @returns {{tensors: Map<string, {shape: number[], data: TypedArray}>, metadata: object}} data are copies
 * @throws {ModelError} any byte of the file breaks the layout
 */
export function readTensors(bytes, what) {
  const length = headerLength(bytes);
  if (length < 0) throw new ModelError(`${what}: truncated, or its header is too long`);
  const header = parseText(bytes.subarray(8, 8 + length), `${what} header`);
  if (!isObject(header) || Object.keys(header).length > MAX_TENSORS) throw new ModelError(`${what}: bad header`);
  const { __metadata__: metadata = {}, ...rest } = header;
  if (!isObject(metadata) || !Object.values(metadata).every((v) => typeof v === "string")) {
    throw new ModelError(`${what}: bad metadata`);
  }
  const entries = Object.entries(rest).map(([name, value]) => readEntry(name, value, what));
  entries.sort((a, b) => a.begin - b.begin);
  const body = bytes.subarray(8 + length);
  const tensors = new Map();
  let position = 0;
  for (const { name, type, shape, begin, end } of entries) {
    if (begin !== position || end > body.length) {
      throw new ModelError(`${what}: tensor ${quote(name)} leaves a gap, overlaps another or is truncated`);
    }
    tensors.set(name, { shape, data: new type(body.slice(begin, end).buffer) });
    position = end;
  }
  if (position !== body.length) throw new ModelError(`${what}: ${body.length - position} bytes belong to no tensor`);
  return { tensors, metadata };
}

const quote = (name) => JSON.stringify(name.slice(0, 80));

/** Return n, or -1 if it is more than a header may have or the file has. */
function headerLength(bytes) {
  if (bytes.length < 8) return -1;
  const view = new DataView(bytes.buffer, bytes.byteOffset, 8);
  const length = view.getUint32(0, true);
  return view.getUint32(4, true) || length > Math.min(MAX_HEADER, bytes.length - 8) ? -1 : length;
}

function readEntry(name, value, what) {
  const where = `${what}: tensor ${quote(name)}`;
  if (!hasExactly(value, ["dtype", "shape", "data_offsets"])) {
    throw new ModelError(`${where}: expected dtype, shape and data_offsets`);
  }
  const { dtype, shape, data_offsets: offsets } = value;
  if (typeof dtype !== "string" || !Object.hasOwn(ARRAYS, dtype)) throw new ModelError(`${where}: unsupported dtype`);
  if (!naturals(shape) || shape.length > 8 || !naturals(offsets) || offsets.length !== 2) {
    throw new ModelError(`${where}: bad shape or offsets`);
  }
  const type = ARRAYS[dtype];
  const [begin, end] = offsets;
  const count = shape.reduce((product, side) => product * side, 1); // inexact only where it is far too large
  if (count === 0 || count * type.BYTES_PER_ELEMENT !== end - begin) {
    throw new ModelError(`${where}: shape and offsets disagree`);
  }
  return { name, type, shape, begin, end };
}

function naturals(value) {
  return Array.isArray(value) && value.every((v) => Number.isInteger(v) && v >= 0 && v < 2 ** 40);
}
