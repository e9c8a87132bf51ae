#!/usr/bin/env node
// The decoder in Node, for tests and for machines without Python. Prints one line of JSON; an error is a line on standard
// error and the exit code of intcodec's own command line.
//
//     node web/dist/cli.mjs decode FILE.intc MODEL.intm [OUT.ppm]        {"build", "width", "height", "sha256", "proved", ...}
//     node web/dist/cli.mjs verify MODEL.intm                            digests of every tensor of the model's test vectors
//     node web/dist/cli.mjs trace MODEL.intm GRAPH NAME=HEIGHTxWIDTH:FILE...    digests of every tensor, for given inputs
//     node web/dist/cli.mjs conformance FOLDER                           replay the conformance vectors; exit code 1 if any fails
//     options: --build simd128|scalar  --max-pixels N
//
// FILE of `trace` holds a tensor [HEIGHT, WIDTH, C], little-endian, in the type of the input's range.

import { readFile, writeFile } from "node:fs/promises";
import { parseArgs } from "node:util";

import { sha256 } from "./checksums.js";
import { Codec, DECODING, DEFAULT_MAX_PIXELS } from "./codec.js";
import { Core, Tensor, bestBuild } from "./core.js";
import { Engine } from "./engine.js";
import { InputError, IntCodecError, SelfTestError } from "./errors.js";
import { loadModel } from "./model.js";
import { typeOf } from "./network.js";
import { Replay } from "./replay.mjs";
import { digest, runVector, selfTest } from "./selftest.js";

const read = async (path) => {
  try {
    return new Uint8Array(await readFile(path));
  } catch (error) {
    throw new InputError(`cannot read ${path}: ${error.code}`);
  }
};

async function start({ build = bestBuild() }) {
  if (!["simd128", "scalar"].includes(build)) throw new InputError(`--build must be simd128 or scalar, got ${build}`);
  return Core.create(await read(new URL(`${build}.wasm`, import.meta.url)), build);
}

async function open(path, options) {
  const core = await start(options);
  const model = await loadModel(await read(path));
  return { core, model, engine: new Engine(core, model.network) };
}

async function decode([file, modelPath, out], options) {
  const maxPixels = Number(options["max-pixels"] ?? DEFAULT_MAX_PIXELS);
  if (!(maxPixels >= 1)) throw new InputError("--max-pixels must be a positive integer");
  const bytes = await read(file);
  const { core, model, engine } = await open(modelPath, options);
  selfTest(engine, (graph) => DECODING.includes(graph));
  const codec = new Codec(engine, model);
  const begin = performance.now();
  const { pixels, ...picture } = codec.decode(bytes, { maxPixels }, ({ width, height, proved, row }) => {
    const pixels = new Uint8Array(width * height * 3);
    for (let y = 0; y < height; y++) pixels.set(row(y), 3 * width * y);
    return { width, height, proved, pixels };
  });
  const seconds = (performance.now() - begin) / 1000;
  if (out) {
    const head = new TextEncoder().encode(`P6\n${picture.width} ${picture.height}\n255\n`);
    await writeFile(out, Buffer.concat([head, pixels]));
  }
  const ids = { model_id: model.id, arch: model.arch };
  return { build: core.build, ...picture, sha256: sha256(pixels), ...ids, seconds, memory_bytes: core.memoryBytes };
}

/** Digests of all tensors of a run but its inputs. */
function digests(graph, tensors) {
  return Object.fromEntries(graph.rows.map(({ name }) => [name, digest(tensors[name])]));
}

async function verify([modelPath], options) {
  const { core, model, engine } = await open(modelPath, options);
  const vectors = model.network.vectors.map((vector) => core.scope(() => {
    const graph = model.network.graphs.get(vector.graph);
    const found = digests(graph, runVector(engine, vector, [...graph.specs.keys()].slice(graph.inputs.length)));
    const differs = Object.keys(found).find((name) => found[name] !== vector.tensors[name]) ?? null;
    return { graph: graph.name, tensors: found, differs };
  }));
  const wrong = vectors.find((vector) => vector.differs !== null);
  if (wrong) throw new SelfTestError(`${core.build} computes graph ${wrong.graph} wrongly: tensor ${wrong.differs}`);
  return { build: core.build, model_id: model.id, arch: model.arch, vectors };
}

async function trace([modelPath, name, ...given], options) {
  const { core, model, engine } = await open(modelPath, options);
  const graph = model.network.graphs.get(name);
  if (!graph) throw new InputError(`the model has no graph ${name}`);
  const inputs = {};
  for (const text of given) {
    const [, key, height, width, path] = /^(\w+)=(\d+)x(\d+):(.+)$/.exec(text) ?? [];
    const spec = graph.inputs.find((input) => input.name === key);
    if (!spec) throw new InputError(`expected NAME=HEIGHTxWIDTH:FILE of an input of ${name}, got ${text}`);
    const tensor = new Tensor(core, typeOf(spec), Number(height), Number(width), spec.channels);
    const bytes = await read(path);
    if (bytes.length !== tensor.length * tensor.array.BYTES_PER_ELEMENT) throw new InputError(`${path} has another size`);
    core.view(Uint8Array, tensor.address, bytes.length).set(bytes);
    inputs[key] = tensor;
  }
  const tensors = engine.run(name, inputs, {}, graph.rows.map((row) => row.name));
  return { build: core.build, graph: name, tensors: digests(graph, tensors) };
}

async function conformance([folder], options) {
  const core = await start(options);
  const begin = performance.now();
  const { cases, failures, pixels, skipped } = await new Replay(folder, core).run();
  for (const [name, why] of Object.entries(skipped)) console.error(`skipped ${name}: ${why}`);
  const ok = !Object.keys(failures).length;
  if (!ok) process.exitCode = 1;
  const device = `wasm/${core.build}, Node ${process.versions.node}`;
  return { device, cases, seconds: (performance.now() - begin) / 1000, failures, pixels, skipped, ok };
}

const COMMANDS = { decode: [decode, 2, 3], verify: [verify, 1, 1], trace: [trace, 3, 10], conformance: [conformance, 1, 1] };

async function main() {
  const options = { build: { type: "string" }, "max-pixels": { type: "string" } };
  const { values, positionals } = parseArgs({ options, allowPositionals: true });
  const [command, ...rest] = positionals;
  const [run, least, most] = COMMANDS[command] ?? [];
  if (!run || rest.length < least || rest.length > most) {
    const usage = "decode FILE.intc MODEL.intm [OUT.ppm] | verify MODEL.intm | trace MODEL.intm GRAPH NAME=HxW:FILE... | conformance FOLDER";
    throw new InputError(`usage: cli.mjs ${usage}`);
  }
  console.log(JSON.stringify(await run(rest, values)));
}

try {
  await main();
} catch (error) {
  const known = error instanceof IntCodecError || error.code?.startsWith("ERR_PARSE_ARGS");
  console.error(known ? `intcodec: error: ${error.message}` : error);
  process.exitCode = error.constructor.exitCode ?? (known ? 2 : 70);
}
