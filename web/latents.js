// Latents: from sections to symbols to the values that the networks read (docs/arithmetic.md, section 7).

import { crc32 } from "./checksums.js";
import { SymbolDecoder, Tables } from "./coder.js";
import { Tensor } from "./core.js";
import { ModelError } from "./errors.js";
import { typeOf } from "./network.js";

/**
 * Write clamp(((symbol << f) + mean + half) >> shift, lo, hi) of whole positions.
 * @param {Int16Array} symbols [positions, C]
 * @param {object} latent its offset is part of the mean
 * @param {Int32Array|null} mean [positions, C]
 * @param {TypedArray} out [positions, C], may be `symbols`
 */
export function reconstruct(symbols, latent, mean, out) {
  const { fraction, shift, lo, hi, channels } = latent;
  const bias = latent.offset.map((offset, c) => offset + ((1 << shift[c]) >> 1));
  for (let i = 0; i < symbols.length; ) {
    for (let c = 0; c < channels; c++, i++) {
      const v = ((symbols[i] << fraction) + bias[c] + (mean ? mean[i] : 0)) >> shift[c];
      out[i] = v < lo ? lo : v > hi ? hi : v;
    }
  }
}

/** Return a tensor's spec, or fail because the model is no codec that this decoder knows. */
export function specIn(network, graph, name) {
  const spec = network.graphs.get(graph)?.specs.get(name);
  if (!spec) throw new ModelError(`the model has no tensor ${name} in a graph ${graph}`);
  return spec;
}

/** A latent, its tables, and the tensor that a graph reads it as. */
export class LatentReader {
  /**
   * @param {Engine} engine
   * @param {string} name "y" or "z"
   * @param {string} writer the graph that makes it
   * @param {string} reader the graph that takes it
   * @param {number} [rows] rows that its tables must have, by default one per channel
   * @throws {ModelError} they do not fit together
   */
  constructor(engine, name, writer, reader, rows) {
    const { network, core } = engine;
    this.core = core;
    this.latent = network.latents.get(name);
    if (!this.latent) throw new ModelError(`the model has no latent ${name}`);
    this.tables = new Tables(core, network.tables.get(name));
    this.spec = specIn(network, reader, `${name}_hat`);
    const { channels, lo, hi } = this.latent;
    if (specIn(network, writer, name).channels !== channels) {
      throw new ModelError(`latent ${name} does not fit the output of ${writer}`);
    }
    if (this.spec.channels !== channels || lo < this.spec.lo || hi > this.spec.hi) {
      throw new ModelError(`latent ${name} does not fit the input of ${reader}`);
    }
    const need = rows ?? channels;
    if (this.tables.rows < need) {
      throw new ModelError(`tables ${name} have ${this.tables.rows} rows, ${need} are needed`);
    }
  }

  checkRoom(section, height, width) {
    this.tables.checkRoom(section, height * width * this.latent.channels, this.latent.name);
  }

  /**
   * Return the symbols of a section, int16[height, width, C].
   * @param {Uint8Array} section
   * @param {Tensor|null} index CDF rows, uint8[>= height, >= width, C]; null: the channel
   * @param {function(number): void} progress told the part that is done
   * @throws {BitstreamError} the section is damaged
   */
  read(section, height, width, index, progress = () => {}) {
    const { core } = this;
    const { channels } = this.latent;
    const count = width * channels;
    const symbols = new Tensor(core, "int16", height, width, channels);
    const decoder = new SymbolDecoder(this.tables, section, height * count);
    const rows = core.allocate(2 * count);
    if (!index) core.view(Uint16Array, rows, count).forEach((_, i, all) => (all[i] = i % channels));
    for (let y = 0; y < height; y++) {
      if (index) core.view(Uint16Array, rows, count).set(index.row(y, width));
      decoder.read(rows, symbols.address + 2 * y * count, count);
      progress((y + 1) / height);
    }
    decoder.finish();
    decoder.free();
    core.free(rows);
    return symbols;
  }

  /** Return the CRC-32 of symbols, continuing from `crc`. */
  checksum(symbols, crc = 0) {
    return crc32(this.core.view(Uint8Array, symbols.address, 2 * symbols.length), crc);
  }

  /**
   * Return the latent in its reader's type, and give up the symbols.
   * @param {Tensor} symbols
   * @param {Tensor|null} mean int32[>= height, >= width, C]
   */
  values(symbols, mean = null) {
    const { height, width, channels } = symbols;
    const type = typeOf(this.spec);
    const out = type === "int16" ? symbols : new Tensor(this.core, type, height, width, channels);
    for (let y = 0; y < height; y++) {
      reconstruct(symbols.row(y), this.latent, mean && mean.row(y, width), out.row(y));
    }
    if (out !== symbols) symbols.free();
    return out;
  }
}
