// Runs a network's graphs in the compiled core. No arithmetic here: rows are handed to C once, and what a caller passes in
// is checked, because C trusts its arguments.

import { Tensor } from "./core.js";
import { InputError, LimitError } from "./errors.js";
import { extremes, sizesOf, typeOf } from "./network.js";

const TYPES = { uint8: 0, int16: 1, int32: 2 };
/** Wished bytes of row windows: what a core's caches hold. */
const WORKSPACE = 4 << 20;
/** Values of a tensor's row: the core counts them in 32 bits. */
const MAX_ROW = 2 ** 28;
const BORDER = 28;

export class Engine {
  /** @param {Core} core  @param {object} network of description.js */
  constructor(core, network) {
    this.core = core;
    this.network = network;
    this.packed = new Map();
    this.workspace = this.require(core.c.ic_workspace_new());
  }

  /**
   * Run one graph.
   * @param {string} name of the graph
   * @param {Object<string, Tensor>} inputs by name, all of one height and width
   * @param {Object<string, Tensor>} into tensors to fill; what is wanted and not here is made
   * @param {string[]} wanted names of the tensors to return, by default the graph's outputs
   * @returns {Object<string, Tensor>} the caller's to free
   * @throws {InputError} an input has the wrong type, shape or range
   * @throws {LimitError} there is not enough memory
   */
  run(name, inputs, into = {}, wanted = this.network.graphs.get(name).outputs) {
    const graph = this.network.graphs.get(name);
    const packed = this.pack(graph);
    const { height, width } = inputs[graph.inputs[0].name] ?? {};
    for (const spec of graph.inputs) checkInput(graph, spec, inputs[spec.name], height, width);
    const sizes = sizesOf(graph, height, width);
    const tensors = { ...into };
    const made = [];
    try {
      for (const spec of graph.specs.values()) {
        const [h, w] = sizes.get(spec.name);
        if ((w + BORDER) * spec.channels > MAX_ROW) throw new LimitError(`a picture so wide is too large for this decoder`);
        if (!wanted.includes(spec.name)) continue;
        if (tensors[spec.name]) {
          checkRoom(graph, spec, tensors[spec.name], h, w);
          continue;
        }
        tensors[spec.name] = new Tensor(this.core, typeOf(spec), h, w, spec.channels);
        made.push(tensors[spec.name]);
      }
      this.call(packed, graph, { ...tensors, ...inputs }, height, width);
    } catch (error) {
      made.forEach((tensor) => tensor.free());
      throw error;
    }
    return tensors;
  }

  call(packed, graph, tensors, height, width) {
    const addresses = Uint32Array.from(graph.specs.keys(), (key) => tensors[key]?.address ?? 0);
    const status = this.core.borrow([addresses, new Uint32Array(2)], (data, used) =>
      this.core.c.ic_graph_run(packed, this.workspace, height, width, data, WORKSPACE, 1, used));
    if (status) throw new LimitError("the picture is too large for the memory that this machine gives a decoder");
  }

  /** Return the graph's rows in the core's form, made when they are first needed. */
  pack(graph) {
    if (!this.packed.has(graph.name)) {
      const numbers = new Map([...graph.specs.keys()].map((key, i) => [key, i]));
      const { c, instructionSet } = this.core;
      const handle = this.require(c.ic_graph_new(instructionSet, graph.inputs.length, graph.rows.length));
      graph.inputs.forEach((spec, i) => c.ic_graph_input(handle, i, spec.channels, TYPES[typeOf(spec)]));
      for (const row of graph.rows) this.addRow(handle, row, numbers, graph.specs);
      this.packed.set(graph.name, handle);
    }
    return this.packed.get(graph.name);
  }

  addRow(graph, row, numbers, specs) {
    const { c } = this.core;
    const head = [graph, numbers.get(row.input)];
    if (row.other !== undefined) head.push(numbers.get(row.other));
    head.push(TYPES[typeOf(specs.get(row.name))]);
    const { lo, hi } = row;
    const source = specs.get(row.input);
    const reach = Math.max(Math.abs(source.lo), Math.abs(source.hi));
    const borrow = (names, work) => this.core.borrow(names.map((key) => row[key].data), work);
    const add = {
      conv: () => borrow(["weight", "bias", "shift"], (weight, bias, shift) =>
        this.core.borrow([Int32Array.from(row.pad)], (pad) => c.ic_graph_conv(...head, ...row.weight.shape.slice(0, 3),
          weight, bias, shift, pad, row.stride, row.upsample, row.slope, lo, hi, reach))),
      gdn: () => borrow(["gamma", "beta", "numerator", "shift"], (...arrays) =>
        c.ic_graph_gdn(...head, ...arrays, row.square_shift, Number(row.inverse), lo, hi)),
      rescale: () => borrow(["shift"], (shift) => c.ic_graph_rescale(...head, shift, Number(row.magnitude), lo, hi)),
      scale_index: () => borrow(["thresholds"], (thresholds) =>
        c.ic_graph_index(...head, thresholds, row.thresholds.shape[0])),
      concat: () => c.ic_graph_concat(...head),
      add: () => borrow(["input_shift", "other_shift", "shift"], (...shifts) => c.ic_graph_add(...head, ...shifts, lo, hi)),
      gate: () => borrow(["table", "shift"], (table, shift) =>
        c.ic_graph_gate(...head, table, row.table.shape[0], specs.get(row.other).lo, shift, lo, hi)),
    };
    this.require(add[row.type]() === 0);
  }

  require(result) {
    if (!result) throw new LimitError("the model is too large for the memory that this machine gives a decoder");
    return result;
  }

  free() {
    for (const handle of this.packed.values()) this.core.c.ic_graph_free(handle);
    this.core.c.ic_workspace_free(this.workspace);
    this.packed.clear();
  }
}

/** C trusts the size of what it writes to. */
function checkRoom(graph, spec, tensor, height, width) {
  const same = tensor.height === height && tensor.width === width && tensor.channels === spec.channels;
  if (!same || tensor.type !== typeOf(spec)) throw new InputError(`graph ${graph.name}: output ${spec.name} has another form`);
}

function checkInput(graph, spec, tensor, height, width) {
  const where = `graph ${graph.name}: input ${spec.name}`;
  if (!tensor) throw new InputError(`${where} is missing`);
  const same = tensor.height === height && tensor.width === width && tensor.length > 0;
  if (!same || tensor.type !== typeOf(spec) || tensor.channels !== spec.channels) {
    throw new InputError(`${where} must be ${typeOf(spec)}[${height}, ${width}, ${spec.channels}]`);
  }
  const [lo, hi] = extremes(tensor.all());
  if (lo < spec.lo || hi > spec.hi) throw new InputError(`${where} has values outside [${spec.lo}, ${spec.hi}]`);
}
