// Runs a network's graphs in the compiled core. No arithmetic here: rows are handed to C once, and what a caller passes in
// is checked, because C trusts its arguments.

import { Tensor } from "./core.js";
import { ROWS } from "./description.js";
import { InputError, LimitError } from "./errors.js";
import { extremes, sizesOf, typeOf } from "./network.js";

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
    const status = this.core.borrow([addresses], (data) =>
      this.core.c.graph_run(packed, this.workspace, height, width, data, WORKSPACE));
    if (status) throw new LimitError("the picture is too large for the memory that this machine gives a decoder");
  }

  /** Return the graph's rows in the core's form, made when they are first needed. */
  pack(graph) {
    if (!this.packed.has(graph.name)) {
      const numbers = new Map([...graph.specs.keys()].map((key, i) => [key, i]));
      const { c, instructionSet } = this.core;
      const inputs = Int32Array.from(graph.inputs.flatMap((spec) => [spec.channels, spec.lo, spec.hi]));
      const handle = this.require(this.core.borrow([inputs], (specs) =>
        c.ic_graph_new(instructionSet, specs, graph.inputs.length, graph.rows.length)));
      for (const row of graph.rows) {
        this.core.borrow([new TextEncoder().encode(`${row.type}\0`)], (kind) => this.addRow(handle, c.ic_row_find(kind), row, numbers));
      }
      this.packed.set(graph.name, handle);
    }
    return this.packed.get(graph.name);
  }

  addRow(handle, kind, row, numbers) {
    const { c } = this.core;
    const [arrays, fields] = ROWS[row.type];
    const inputs = [row.input, row.other].filter((name) => name !== undefined).map((name) => numbers.get(name));
    const values = fields.filter((field) => field !== "other").flatMap((field) => row[field]).map(Number);
    const failed = this.core.borrow(arrays.map((key) => row[key].data), (...addresses) => {
      const described = arrays.flatMap((key, i) => {
        const { data, shape } = row[key];
        return [Math.log2(data.BYTES_PER_ELEMENT), shape.length, ...[...shape, 1, 1, 1, 1].slice(0, 4), addresses[i]];
      });
      return this.core.borrow([inputs, values, described].map((list) => Int32Array.from(list)), (...lists) =>
        c.ic_graph_add(handle, kind, ...lists));
    });
    this.require(failed === 0);
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
