// From network.safetensors to a network (docs/model.md, section 3). Trusts nothing: every field must be there, have its
// type and its range, and no field and no tensor may be left over.

import { ModelError } from "./errors.js";
import { hasExactly, isObject } from "./json.js";
import { checkTest, checkWeights } from "./limits.js";
import { ACC_LIMIT, MAX_CHANNELS, extremes, specsOf } from "./network.js";
import { parseText, readTensors } from "./safetensors.js";

const NAME = /^[A-Za-z_][A-Za-z0-9_]{0,63}$/;
const ARCH = /^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$/;
const DIGEST = /^[0-9a-f]{32}$/;
/** Entries of a cdf table; real ones have 10^5. */
const MAX_ENTRIES = 1 << 22;
const MAX_VECTORS = 64;
const MAX_VECTOR_SIDE = 256;

/** Per row type: its arrays, its scalar fields. */
export const ROWS = {
  conv: [["weight", "bias", "shift"], ["lo", "hi", "stride", "pad", "upsample", "slope"]],
  gdn: [["gamma", "beta", "numerator", "shift"], ["square_shift", "lo", "hi", "inverse"]],
  rescale: [["shift"], ["lo", "hi", "magnitude"]],
  scale_index: [["thresholds"], []],
  concat: [[], ["other"]],
  add: [["input_shift", "other_shift", "shift"], ["other", "lo", "hi"]],
  gate: [["table", "shift"], ["other", "lo", "hi"]],
};

const fail = (where, what) => {
  throw new ModelError(`${where}: ${what}`);
};

function integer(json, key, where) {
  const value = json[key];
  if (!Number.isInteger(value)) fail(where, `${key} is missing or no integer`);
  if (Math.abs(value) >= 2 ** 31) fail(where, `${key} is out of range`);
  return value;
}

function boolean(json, key, where) {
  return typeof json[key] === "boolean" ? json[key] : fail(where, `${key} is missing or no boolean`);
}

function list(json, key, where, limit) {
  if (!Array.isArray(json[key])) fail(where, `${key} is missing or no list`);
  return json[key].length <= limit ? json[key] : fail(where, `more than ${limit} ${key}`);
}

function name(value, what) {
  return typeof value === "string" && NAME.test(value) ? value : fail("network", `bad name of a ${what}`);
}

function only(json, fields, where) {
  if (!hasExactly(json, fields)) fail(where, `expected exactly the fields ${fields.join(", ")}`);
}

function byName(items, what) {
  const map = new Map(items.map((item) => [item.name, item]));
  return map.size === items.length ? map : fail("network", `two ${what}s have one name`);
}

/** Takes tensors by name, each once. */
class Tensors {
  constructor(tensors) {
    this.left = new Map(tensors);
  }

  take(key) {
    const tensor = this.left.get(key) ?? fail("network", `tensor ${key} is missing`);
    this.left.delete(key);
    return tensor;
  }
}

function readSpec(json, where) {
  only(json, ["name", "channels", "lo", "hi"], where);
  const spec = { name: name(json.name, "tensor") };
  for (const key of ["channels", "lo", "hi"]) spec[key] = integer(json, key, where);
  if (spec.channels < 1 || spec.channels > MAX_CHANNELS || spec.lo > spec.hi) {
    fail(where, `input ${spec.name}: bad channels or range`);
  }
  return spec;
}

function readField(json, field, where) {
  if (field === "other") return name(json.other, "tensor");
  if (field === "inverse" || field === "magnitude") return boolean(json, field, where);
  if (field !== "pad") return integer(json, field, where);
  const pad = list(json, "pad", where, 4);
  return pad.length === 4 && pad.every(Number.isInteger) ? pad : fail(where, "pad must be four integers");
}

function readRow(json, graph, tensors) {
  if (!isObject(json) || typeof json.type !== "string") fail(`graph ${graph}`, "a row has no type");
  if (!Object.hasOwn(ROWS, json.type)) {
    fail(`graph ${graph}`, `row type ${JSON.stringify(json.type.slice(0, 40))} is unknown to this decoder`);
  }
  const [arrays, fields] = ROWS[json.type];
  const row = { type: json.type, name: name(json.name, "row") };
  const where = `graph ${graph}: row ${row.name}`;
  only(json, ["type", "name", "input", ...fields], where);
  row.input = name(json.input, "tensor");
  for (const key of arrays) row[key] = tensors.take(`${graph}/${row.name}/${key}`);
  for (const field of fields) row[field] = readField(json, field, where);
  return row;
}

function readGraph(json, tensors) {
  only(json, ["name", "inputs", "rows", "outputs"], "graph");
  const graph = { name: name(json.name, "graph") };
  const where = `graph ${graph.name}`;
  graph.inputs = list(json, "inputs", where, 8).map((spec) => readSpec(spec, where));
  graph.rows = list(json, "rows", where, 256).map((row) => readRow(row, graph.name, tensors));
  graph.outputs = list(json, "outputs", where, 8).map((output) => name(output, "output"));
  const rows = new Set(graph.rows.map((row) => row.name));
  if (!graph.inputs.length || !graph.outputs.length || byName(graph.inputs, "input").size < 1) {
    fail(where, "inputs or outputs are missing");
  }
  if (!graph.outputs.every((output) => rows.has(output))) fail(where, "an output is written by no row");
  graph.specs = specsOf(graph.name, graph.inputs, graph.rows);
  return graph;
}

function readLatent(json, tensors) {
  only(json, ["name", "fraction", "lo", "hi"], "latent");
  const latent = { name: name(json.name, "latent") };
  const where = `latent ${latent.name}`;
  for (const key of ["fraction", "lo", "hi"]) latent[key] = integer(json, key, where);
  const offset = tensors.take(`latent/${latent.name}/offset`);
  const shift = tensors.take(`latent/${latent.name}/shift`);
  const vectors = offset.data instanceof Int32Array && shift.data instanceof Uint8Array && offset.shape.length === 1;
  if (!vectors || shift.shape.length !== 1 || shift.shape[0] !== offset.shape[0]) {
    fail(where, "offset must be int32[C] and shift uint8[C]");
  }
  if (latent.fraction < 0 || latent.fraction > 10 || extremes(shift.data)[1] > 25 || latent.lo > latent.hi) {
    fail(where, "fraction, shift or range is out of bounds");
  }
  return { ...latent, offset: offset.data, shift: shift.data, channels: offset.shape[0] };
}

/** The rows themselves are checked by the range coder, which refuses them when its tables are made. */
function readTable(key, tensors) {
  const take = (part, type) => {
    const { data, shape } = tensors.take(`cdf/${key}/${part}`);
    if (data.length > MAX_ENTRIES) fail(`cdf tables ${key}`, `more than ${MAX_ENTRIES} entries`);
    return data instanceof type && shape.length === 1 ? data : fail(`cdf tables ${key}`, `${part} must be a ${type.name}`);
  };
  const table = { name: key, cdf: take("cdf", Uint32Array), starts: take("starts", Int32Array) };
  table.offsets = take("offsets", Int32Array);
  if (table.starts.length !== table.offsets.length + 1) fail(`cdf tables ${key}`, "starts and offsets disagree");
  return table;
}

function readVector(json, graphs) {
  const fields = ["graph", "height", "width", "seed", "tensors"];
  const graph = hasExactly(json, fields) && typeof json.graph === "string" ? graphs.get(json.graph) : undefined;
  const side = (n) => Number.isInteger(n) && n >= 1 && n <= MAX_VECTOR_SIDE;
  const seed = Number.isInteger(json?.seed) && json.seed >= 0 && json.seed < 2 ** 31;
  if (!graph || !side(json.height) || !side(json.width) || !seed) fail("model", "a self-test vector is damaged");
  const names = graph.rows.map((row) => row.name);
  if (!hasExactly(json.tensors, names) || !names.every((row) => DIGEST.test(json.tensors[row]))) {
    fail("model", `the self-test vector of graph ${graph.name} does not name its tensors`);
  }
  checkTest(graph, json.height, json.width);
  return json;
}

function readBounds(json, graphs, latents) {
  const keys = [...graphs.values()].flatMap((graph) => graph.rows.map((row) => `${graph.name}/${row.name}`));
  keys.push(...[...latents.keys()].map((key) => `latent/${key}`));
  if (!hasExactly(json, keys)) fail("model", "bounds are missing or belong to nothing");
  if (!keys.every((key) => Number.isInteger(json[key]) && json[key] >= 0 && json[key] < ACC_LIMIT)) {
    fail("model", "a stored bound does not keep its limit");
  }
  return json;
}

/**
 * Return the network in the bytes of network.safetensors.
 * @param {Uint8Array} content
 * @returns {{arch: string, graphs: Map, latents: Map, tables: Map, bounds: object, vectors: object[]}}
 * @throws {ModelError} anything in it is wrong
 */
export function readNetwork(content) {
  const file = readTensors(content, "model: network.safetensors");
  if (!hasExactly(file.metadata, ["intcodec"])) {
    fail("model", "network.safetensors has no intcodec metadata, or other metadata");
  }
  const json = parseText(file.metadata.intcodec, "model: network description");
  only(json, ["format", "arch", "graphs", "latents", "tables", "extra", "bounds", "vectors"], "network");
  if (json.format !== 1) fail("network", "its format is unknown to this decoder");
  if (typeof json.arch !== "string" || !ARCH.test(json.arch)) fail("network", "bad name of an arch");
  const tensors = new Tensors(file.tensors);
  const graphs = byName(list(json, "graphs", "network", 16).map((graph) => readGraph(graph, tensors)), "graph");
  const latents = byName(list(json, "latents", "network", 16).map((latent) => readLatent(latent, tensors)), "latent");
  const names = list(json, "tables", "network", 16);
  const tables = byName(names.map((key) => readTable(name(key, "table"), tensors)), "table");
  if (!isObject(json.extra)) fail("network", "extra is no object");
  for (const key of tensors.left.keys()) fail("network", `tensor ${JSON.stringify(key.slice(0, 80))} belongs to nothing`);
  const paired = tables.size === latents.size && [...tables.keys()].every((key) => latents.has(key));
  if (!graphs.size || !paired) fail("network", "no graphs, or latents and tables differ");
  checkWeights({ graphs });
  const vectors = list(json, "vectors", "model", MAX_VECTORS).map((vector) => readVector(vector, graphs));
  const tested = new Set(vectors.map((vector) => vector.graph));
  if (tested.size !== graphs.size) fail("model", "a graph has no self-test vector");
  return { arch: json.arch, graphs, latents, tables, bounds: readBounds(json.bounds, graphs, latents), vectors };
}
