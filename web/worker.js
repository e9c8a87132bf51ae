// The page's other thread: everything that takes time. One message in, some out.
//
//     in     {bitstream: ArrayBuffer} | {model: ArrayBuffer}
//     out    {progress: [stage, part]} ... then {picture} | {model} | {error}

import { parse } from "./bitstream.js";
import { Codec, DECODING } from "./codec.js";
import { Core, bestBuild } from "./core.js";
import { Engine } from "./engine.js";
import { IntCodecError, LimitError, ModelError } from "./errors.js";
import { SHORT_ID, loadModel } from "./model.js";
import { selfTest } from "./selftest.js";
import { fetchModel, keepModel } from "./store.js";

const codecs = new Map();
let core = null;
let last = [0, ""];

/** Tell the page, at most some twenty times a second. */
function progress(stage, part) {
  const now = performance.now();
  if (stage === last[1] && part < 1 && now - last[0] < 50) return;
  last = [now, stage];
  postMessage({ progress: [stage, part] });
}

async function startCore() {
  const build = bestBuild();
  const response = await fetch(new URL(`${build}.wasm`, import.meta.url));
  if (!response.ok) throw new ModelError("the decoder itself could not be fetched; load the page again");
  return Core.create(await response.arrayBuffer(), build);
}

/** Check a model's bytes, test this machine with it, and return its codec. */
async function addModel(bytes) {
  core ??= await startCore();
  progress("check", 0);
  const model = await loadModel(bytes);
  const engine = new Engine(core, model.network);
  selfTest(engine, (graph) => DECODING.includes(graph));
  const codec = new Codec(engine, model);
  codecs.set(model.id.slice(0, SHORT_ID), codec);
  await keepModel(model.id, bytes);
  return codec;
}

async function codecFor(id) {
  if (codecs.has(id)) return codecs.get(id);
  const bytes = await fetchModel(id, (part) => progress("model", part));
  const codec = await addModel(bytes);
  if (!codecs.has(id)) throw new ModelError(`the page's model ${id} is another one`);
  return codec;
}

/** Return the picture as RGBA with alpha 255, whose red, green and blue a canvas keeps as they are. */
function toRgba({ width, height, proved, row }) {
  let rgba;
  try {
    rgba = new Uint8ClampedArray(width * height * 4);
  } catch {
    throw new LimitError("the picture is too large for this browser's memory");
  }
  for (let y = 0, to = 0; y < height; y++) {
    const from = row(y);
    for (let i = 0; i < from.length; i += 3, to += 4) {
      rgba[to] = from[i];
      rgba[to + 1] = from[i + 1];
      rgba[to + 2] = from[i + 2];
      rgba[to + 3] = 255;
    }
  }
  return { width, height, proved, rgba };
}

async function decode({ bitstream }) {
  const bytes = new Uint8Array(bitstream);
  const codec = await codecFor(parse(bytes).modelId);
  const begin = performance.now();
  const picture = codec.decode(bytes, { onProgress: progress }, toRgba);
  const { id, arch } = codec.model;
  const seconds = (performance.now() - begin) / 1000;
  const message = { ...picture, seconds, bytes: bytes.length, modelId: id, arch, build: core.build };
  postMessage({ picture: message }, [picture.rgba.buffer]);
}

async function handle(message) {
  if (message.bitstream) return decode(message);
  const { model } = await addModel(new Uint8Array(message.model));
  return postMessage({ model: { id: model.id, arch: model.arch } });
}

let queue = Promise.resolve();
onmessage = ({ data }) => {
  queue = queue.then(() => handle(data)).catch((error) => {
    const known = error instanceof IntCodecError;
    const message = known ? error.message : `the decoder failed: ${error?.message ?? error}`;
    postMessage({ error: { kind: known ? error.name : "Error", message } });
  });
};
