// Bitstreams to pictures: the order of the steps, and the checks that make a decode prove itself.
//
//     bitstream -> model id, size -> z -> h_s -> y -> checksum of the latents -> g_s -> crop -> checksum of the pixels

import { parse } from "./bitstream.js";
import { crc32 } from "./checksums.js";
import { BitstreamError, LimitError, ModelError, WrongModelError } from "./errors.js";
import { LatentReader, specIn } from "./latents.js";
import { MAX_STRIDE, checkPicture } from "./limits.js";
import { SHORT_ID } from "./model.js";
import { sizesOf, typeOf } from "./network.js";
import { walk } from "./wavefront.js";

/** Pixels per picture that are accepted unless the caller says otherwise. */
export const DEFAULT_MAX_PIXELS = 2 ** 26;

const sameSet = (names, expected) => [...names].sort().join() === expected;

/** Graphs, latents and the outputs that make a kind of codec (docs/bitstream.md, "Content of the sections"). */
const KINDS = {
  factorized: (graphs, latents) => sameSet(graphs.keys(), "g_a,g_s") && sameSet(latents.keys(), "y"),
  hyperprior: (graphs, latents) =>
    sameSet(graphs.keys(), "g_a,g_s,h_a,h_s") && sameSet(latents.keys(), "y,z") &&
    ["index", "index,mean"].some((outputs) => sameSet(graphs.get("h_s").outputs, outputs)),
  context: (graphs, latents) =>
    sameSet(graphs.keys(), "context,g_a,g_s,h_a,h_s") && sameSet(latents.keys(), "y,z") &&
    sameSet(graphs.get("h_s").outputs, "params") && sameSet(graphs.get("context").outputs, "index,mean"),
};

/** The graphs that a decoder runs. */
export const DECODING = ["h_s", "context", "g_s"];

export class Codec {
  /**
   * @param {Engine} engine of the model's network, self-tested
   * @param {{id: string, arch: string, network: object}} model
   * @throws {ModelError} its graphs form no codec that this decoder knows
   */
  constructor(engine, model) {
    this.engine = engine;
    this.model = model;
    const { graphs, latents } = model.network;
    this.kind = Object.keys(KINDS).find((kind) => KINDS[kind](graphs, latents));
    if (!this.kind) throw new ModelError(`this decoder cannot run a ${model.arch} model with these graphs`);
    this.stride = strideOf(graphs);
    this.sections = this.kind === "factorized" ? 1 : 2;
    const writer = this.kind === "context" ? "context" : "h_s";
    const rows = this.kind === "factorized" ? undefined : specIn(model.network, writer, "index").hi + 1;
    this.y = new LatentReader(engine, "y", "g_a", "g_s", rows);
    if (this.kind === "factorized") return;
    this.z = new LatentReader(engine, "z", "h_a", "h_s");
    const made = graphs.get(writer);
    if (made.outputs.some((name) => made.specs.get(name).channels !== this.y.latent.channels)) {
      throw new ModelError(`the outputs of ${writer} do not fit latent y`);
    }
    if (typeOf(made.specs.get("index")) !== "uint8") throw new ModelError("an index must be uint8");
    if (this.kind === "context") checkContext(model.network, this.y.latent);
  }

  /**
   * Decode a picture, and prove that it is the one that the encoder saw decoded.
   *
   * @param {Uint8Array} bytes a whole bitstream
   * @param {{maxPixels?: number, onProgress?: function(string, number): void}} options onProgress is told the stage
   *   ("latents" or "picture") and the part of it that is done
   * @param {function({width: number, height: number, proved: boolean, row: function(number): Uint8Array}): T} use is given
   *   the picture, whose memory is gone when it returns; row(y) is a view uint8[width, 3]; proved: the file has a checksum of
   *   the pixels
   * @returns {T} what `use` returned
   * @throws {BitstreamError} the bitstream is damaged, or what was decoded does not match its checksums
   * @throws {WrongModelError} it was made with another model
   * @throws {LimitError} it is too large
   */
  decode(bytes, { maxPixels = DEFAULT_MAX_PIXELS, onProgress = () => {} }, use) {
    const stream = parse(bytes);
    this.check(stream, maxPixels);
    const { core } = this.engine;
    return core.scope(() => {
      const { values, crc } = this.latents(stream, onProgress);
      if (crc !== stream.latentsCrc) throw new BitstreamError(this.mismatch("latents"));
      const picture = this.run("g_s", { y_hat: values }, "picture", onProgress).x_hat;
      values.free();
      const { width, height } = stream;
      const row = (y) => picture.row(y, width);
      if (stream.pixelsCrc !== null) {
        let pixels = 0;
        for (let y = 0; y < height; y++) pixels = crc32(row(y), pixels);
        if (pixels !== stream.pixelsCrc) throw new BitstreamError(this.mismatch("pixels"));
      }
      return use({ width, height, proved: stream.pixelsCrc !== null, row });
    });
  }

  check(stream, maxPixels) {
    const given = this.model.id.slice(0, SHORT_ID);
    if (stream.modelId !== given) {
      throw new WrongModelError(`the file needs model ${stream.modelId}, but model ${given} was given`);
    }
    if (stream.width * stream.height > maxPixels) {
      throw new LimitError(`a picture of ${stream.width}x${stream.height} pixels exceeds the limit of ${maxPixels} pixels`);
    }
    if (stream.sections.length !== this.sections) {
      const have = `${stream.sections.length} sections, ${this.sections} expected`;
      throw new BitstreamError(`damaged file: ${have} of a ${this.model.arch} model`);
    }
  }

  /** Return y_hat and the CRC-32 of all symbols, z's then y's. */
  latents({ sections, width, height }, onProgress) {
    const [h, w] = [Math.ceil(height / this.stride), Math.ceil(width / this.stride)];
    checkPicture(this.model.network.graphs, h, w, this.stride);
    const progress = (part) => onProgress("latents", part);
    if (this.kind === "factorized") {
      this.y.checkRoom(sections[0], h, w);
      const symbols = this.y.read(sections[0], h, w, null, progress);
      const crc = this.y.checksum(symbols);
      return { values: this.y.values(symbols), crc };
    }
    const [zh, zw] = sizesOf(this.model.network.graphs.get("h_a"), h, w).get("z");
    this.z.checkRoom(sections[0], zh, zw);
    this.y.checkRoom(sections[1], h, w);
    const z = this.z.read(sections[0], zh, zw, null);
    const zCrc = this.z.checksum(z);
    const zHat = this.z.values(z);
    const made = this.run("h_s", { z_hat: zHat }, "latents", () => {});
    zHat.free();
    if (Object.values(made).some((tensor) => tensor.height < h || tensor.width < w)) {
      throw new ModelError("h_s does not cover y");
    }
    if (this.kind === "context") {
      const { symbols, values } = walk(this.engine, this.y, sections[1], made.params, h, w, progress);
      made.params.free();
      const crc = this.y.checksum(symbols, zCrc);
      symbols.free();
      return { values, crc };
    }
    const symbols = this.y.read(sections[1], h, w, made.index, progress);
    made.index.free();
    const crc = this.y.checksum(symbols, zCrc);
    const values = this.y.values(symbols, made.mean);
    made.mean?.free();
    return { values, crc };
  }

  run(graph, inputs, stage, onProgress) {
    const { core } = this.engine;
    core.onProgress = (part) => onProgress(stage, part);
    try {
      return this.engine.run(graph, inputs);
    } finally {
      core.onProgress = null;
    }
  }

  mismatch(what) {
    const who = `this machine (${this.engine.core.build}) or the one that encoded it computes wrongly`;
    return `the decoded ${what} do not match the file's checksum: the file was altered, or ${who}`;
  }
}

/** Return how many pixels g_a turns into one position of y, after checking that the graphs' sizes agree. */
function strideOf(graphs) {
  const [gA, gS] = [graphs.get("g_a"), graphs.get("g_s")];
  const pixels = (spec) => spec?.channels === 3 && typeOf(spec) === "uint8";
  if (!pixels(gA.inputs[0]) || !pixels(gS.specs.get("x_hat")) || !gS.outputs.includes("x_hat") || !gA.specs.has("y")) {
    throw new ModelError("the model does not code uint8 pixels of three channels");
  }
  const scales = new Map(gA.inputs.map((spec) => [spec.name, 1])); // a tensor's height over the input's: powers of 2
  for (const row of gA.rows) scales.set(row.name, (scales.get(row.input) * (row.upsample ?? 1)) / (row.stride ?? 1));
  const stride = Math.max(1, 1 / scales.get("y"));
  if (stride > MAX_STRIDE) {
    throw new ModelError(`g_a turns ${stride} pixels into one position of y; more than ${MAX_STRIDE} are not supported`);
  }
  const same = (size, h, w) => size !== undefined && size[0] === h && size[1] === w;
  for (const [h, w] of [[1, 1], [1, 2], [5, 3]]) {
    if (!same(sizesOf(gA, h * stride, w * stride).get("y"), h, w)) {
      throw new ModelError(`g_a does not turn ${stride} pixels into one position of y`);
    }
    if (!same(sizesOf(gS, h, w).get("x_hat"), h * stride, w * stride)) {
      throw new ModelError(`g_s does not turn one position of y_hat into ${stride} pixels`);
    }
  }
  return stride;
}

function checkContext(network, latent) {
  const [seen, params] = [specIn(network, "context", "neighbours"), specIn(network, "context", "params")];
  const made = specIn(network, "h_s", "params");
  if (seen.channels !== 12 * latent.channels || latent.lo < seen.lo || latent.hi > seen.hi) {
    throw new ModelError("latent y does not fit the neighbours of the context model");
  }
  if (made.channels !== params.channels || made.lo < params.lo || made.hi > params.hi) {
    throw new ModelError("the output of h_s does not fit the context model");
  }
  const pointwise = ({ weight, stride, upsample, pad }) =>
    !weight || [weight.shape[1], weight.shape[2], stride, upsample, ...pad.map((p) => p + 1)].every((n) => n === 1);
  if (!network.graphs.get("context").rows.every(pointwise)) {
    throw new ModelError("the context model looks at more than one position at a time");
  }
}
