// Conformance vectors (the folder tests/conformance of the project) replayed on the compiled core, in Node: valid cases to
// the pixels and to every tensor on the way, invalid ones to the class of the error.

import { readFile, readdir } from "node:fs/promises";
import { join } from "node:path";

import { sha256 } from "./checksums.js";
import { Codec } from "./codec.js";
import { SymbolDecoder, Tables } from "./coder.js";
import { Engine } from "./engine.js";
import { InputError, IntCodecError } from "./errors.js";
import { loadModel } from "./model.js";
import { digest, selfTest } from "./selftest.js";

/** Keeps the digests of all tensors of each run, inputs first, as `calls`. */
class TracingEngine extends Engine {
  calls = [];

  run(name, inputs, into, wanted) {
    const outputs = super.run(name, inputs, into, wanted);
    const graph = this.network.graphs.get(name);
    this.core.scope(() => {
      const tensors = { ...super.run(name, inputs, {}, graph.rows.map((row) => row.name)) };
      for (const spec of graph.inputs) tensors[spec.name] = inputs[spec.name];
      for (const output of graph.outputs) tensors[output] = outputs[output]; // what the codec goes on with
      const { height, width } = inputs[graph.inputs[0].name];
      const digests = Object.fromEntries(Object.entries(tensors).map(([key, tensor]) => [key, digest(tensor)]));
      this.calls.push({ graph: name, height, width, tensors: digests });
    });
    return outputs;
  }
}

/** Return the first tensor that differs from a case's notes, or null. */
function firstDifference(calls, expected) {
  const wanted = expected.filter(({ by }) => by !== "encoder");
  if (calls.length !== wanted.length) return `${calls.length} graph calls, ${wanted.length} expected`;
  for (const [k, want] of wanted.entries()) {
    const call = calls[k];
    if (["graph", "height", "width"].some((key) => call[key] !== want[key])) return `call ${k + 1} is not one of ${want.graph}`;
    const name = Object.keys(want.tensors).find((key) => call.tensors[key] !== want.tensors[key]);
    if (name) return `first tensor that differs: ${want.graph}/${name}, call ${k + 1}`;
  }
  return null;
}

/** Return null if work() ends as a case says, else a line; work() itself may return one. */
async function expect(wanted, work) {
  let problem;
  try {
    problem = await work();
  } catch (error) {
    if (!(error instanceof IntCodecError)) return `${error?.stack ?? error}`;
    return error.name === wanted ? null : `${error.name} instead of ${wanted ?? "a result"}: ${error.message}`;
  }
  return problem ?? (wanted ? `accepted, ${wanted} expected` : null);
}

const hex = (text) => Uint8Array.from(text.match(/../g) ?? [], (pair) => parseInt(pair, 16));

export class Replay {
  /**
   * @param {string} folder of the vectors
   * @param {Core} core
   */
  constructor(folder, core) {
    Object.assign(this, { folder, core, cases: 0, failures: {}, pixels: {}, skipped: {} });
  }

  /**
   * Replay every file of the folder.
   * @returns {Promise<{cases: number, failures: Object<string, string>, pixels: Object<string, string>,
   *   skipped: Object<string, string>}>} failures: a line by the case's id; pixels: the SHA-256 of what was decoded;
   *   skipped: files of kinds that are unknown here, and why
   * @throws {InputError} the folder holds no vectors
   */
  async run() {
    const kinds = { pictures: this.pictures, models: this.models, rangecoder: this.rangecoder };
    const names = (await this.read("", (path) => readdir(path))).filter((name) => name.endsWith(".json")).sort();
    for (const name of names) {
      const file = JSON.parse(await this.read(name, (path) => readFile(path, "utf-8")));
      if (file.format !== 1) continue;
      if (Object.hasOwn(kinds, file.kind)) await kinds[file.kind].call(this, file);
      else this.skipped[name] = `this decoder knows no ${file.kind}`;
    }
    if (!this.cases) throw new InputError(`${this.folder} holds no conformance vectors`);
    const { cases, failures, pixels, skipped } = this;
    return { cases, failures, pixels, skipped };
  }

  async read(name, how = readFile) {
    try {
      return await how(join(this.folder, name));
    } catch (error) {
      throw new InputError(`cannot read ${join(this.folder, name)}: ${error.code}`);
    }
  }

  async check({ id, error }, work) {
    this.cases += 1;
    const problem = await expect(error, work);
    if (problem !== null) this.failures[id] = problem;
  }

  async codec(path) {
    const model = await loadModel(new Uint8Array(await this.read(path)));
    const engine = new TracingEngine(this.core, model.network);
    selfTest(engine, () => true);
    return new Codec(engine, model);
  }

  async models(file) {
    for (const item of file.cases) await this.check(item, async () => void (await this.codec(item.model)));
  }

  async pictures(file) {
    const codec = await this.codec(file.model);
    for (const item of file.cases) {
      const bytes = item.bytes === undefined ? new Uint8Array(await this.read(item.stream)) : hex(item.bytes);
      await this.check(item, () => this.picture(codec, item, bytes));
    }
  }

  async picture(codec, item, bytes) {
    codec.engine.calls = [];
    const ppm = codec.decode(bytes, { maxPixels: item.max_pixels }, ({ width, height, row }) => {
      const rows = Array.from({ length: height }, (_, y) => Buffer.from(row(y)));
      this.pixels[item.id] = sha256(new Uint8Array(Buffer.concat(rows)));
      return Buffer.concat([Buffer.from(`P6\n${width} ${height}\n255\n`), ...rows]);
    });
    if (item.error) return null;
    const problem = firstDifference(codec.engine.calls, item.calls);
    return problem ?? (ppm.equals(await this.read(item.pixels)) ? null : "the decoded pixels differ");
  }

  async rangecoder(file) {
    for (const item of file.cases) await this.check(item, () => this.core.scope(() => this.sequence(item)));
  }

  sequence({ id, tables: { cdf, offsets }, lanes, rows, symbols, bytes }) {
    const starts = Int32Array.from([0, ...cdf.keys()], (_, k) => cdf.slice(0, k).flat().length);
    const tables = new Tables(this.core, { name: id, cdf: Uint32Array.from(cdf.flat()), starts, offsets: Int32Array.from(offsets) });
    const decoder = new SymbolDecoder(tables, hex(bytes), rows.length, lanes);
    const out = this.core.allocate(2 * rows.length);
    decoder.read(this.core.put(Uint16Array.from(rows)), out, rows.length);
    decoder.finish();
    if (!symbols) return null;
    const found = this.core.view(Int16Array, out, rows.length);
    const wrong = symbols.findIndex((symbol, k) => symbol !== found[k]);
    return wrong < 0 ? null : `symbol ${wrong} decodes to ${found[wrong]}, ${symbols[wrong]} expected`;
  }
}
