// The latent y of a model with a context model, step by step (docs/bitstream.md): step t holds the positions with
// column + 3 * row = t, whose neighbours all belong to earlier steps.

import { SymbolDecoder } from "./coder.js";
import { Tensor } from "./core.js";
import { reconstruct } from "./latents.js";

const SLOPE = 3;
/** Neighbours that lie together: row and first column from the position's, count. In the order of their channels. */
const RUNS = [[-2, -2, 5], [-1, -2, 5], [0, -2, 2]];
const SEEN = 12;

/** Yield [first row, last row, t] of every step that has a position. */
export function* steps(height, width) {
  for (let t = 0; t < width + SLOPE * (height - 1); t++) {
    const first = Math.max(0, Math.ceil((t - width + 1) / SLOPE));
    const last = Math.min(height - 1, Math.floor(t / SLOPE));
    if (first <= last) yield [first, last, t];
  }
}

/** y_hat with a border of zeros: two rows above, two columns on either side. */
class Seen {
  constructor(core, height, width, channels) {
    this.channels = channels;
    this.stride = width + 4;
    this.tensor = new Tensor(core, "int16", height + 2, this.stride, channels);
    this.tensor.all().fill(0);
  }

  /** Return the first element of a position, borders included. */
  at(row, column) {
    return ((row + 2) * this.stride + column + 2) * this.channels;
  }

  /** Copy the 12 neighbours of a position. */
  gather(values, row, column, out, to) {
    for (const [dy, dx, count] of RUNS) {
      const from = this.at(row + dy, column + dx);
      out.set(values.subarray(from, from + count * this.channels), to);
      to += count * this.channels;
    }
  }

  /** Return y_hat without its border. */
  crop(core, height, width) {
    const out = new Tensor(core, "int16", height, width, this.channels);
    const [all, values] = [out.all(), this.tensor.all()];
    for (let y = 0; y < height; y++) {
      const from = this.at(y, 0);
      all.set(values.subarray(from, from + width * this.channels), y * width * this.channels);
    }
    return out;
  }
}

/**
 * Decode y.
 * @param {Engine} engine runs the graph `context`
 * @param {LatentReader} reader of y
 * @param {Uint8Array} section
 * @param {Tensor} params what h_s derived from z_hat, int16[>= height, >= width, 2M]
 * @param {function(number): void} progress told the part that is done
 * @returns {{symbols: Tensor, values: Tensor}} both int16[height, width, M]
 * @throws {BitstreamError} the section is damaged
 */
export function walk(engine, reader, section, params, height, width, progress) {
  const { core } = engine;
  const { latent, tables } = reader;
  const m = latent.channels;
  const most = Math.min(height, Math.ceil(width / SLOPE));
  const step = {
    neighbours: new Tensor(core, "int16", most, 1, SEEN * m),
    params: new Tensor(core, "int16", most, 1, params.channels),
    index: new Tensor(core, "uint8", most, 1, m),
    mean: new Tensor(core, "int32", most, 1, m),
    rows: new Tensor(core, "uint16", most, 1, m),
    found: new Tensor(core, "int16", most, 1, m),
  };
  const seen = new Seen(core, height, width, m);
  const symbols = new Tensor(core, "int16", height, width, m);
  const decoder = new SymbolDecoder(tables, section, height * width * m);
  let done = 0;
  for (const [first, last, t] of steps(height, width)) {
    const count = last - first + 1;
    for (const tensor of Object.values(step)) tensor.height = count;
    gather(step, seen, params, first, last, t);
    engine.run("context", step, step);
    step.rows.all().set(step.index.all());
    decoder.read(step.rows.address, step.found.address, count * m);
    scatter(step, seen, symbols, latent, first, last, t);
    done += count;
    progress(done / (height * width));
  }
  decoder.finish();
  return { symbols, values: seen.crop(core, height, width) };
}

function gather(step, seen, params, first, last, t) {
  const [neighbours, given, values] = [step.neighbours.all(), step.params.all(), seen.tensor.all()];
  const channels = params.channels;
  for (let row = first, k = 0; row <= last; row++, k++) {
    const column = t - SLOPE * row;
    seen.gather(values, row, column, neighbours, k * step.neighbours.channels);
    given.set(params.row(row).subarray(column * channels, (column + 1) * channels), k * channels);
  }
}

function scatter(step, seen, symbols, latent, first, last, t) {
  const m = latent.channels;
  const [found, mean, all, values] = [step.found.all(), step.mean.all(), symbols.all(), seen.tensor.all()];
  const hat = new Int16Array(found.length);
  reconstruct(found, latent, mean, hat);
  for (let row = first, k = 0; row <= last; row++, k += m) {
    const column = t - SLOPE * row;
    all.set(found.subarray(k, k + m), (row * symbols.width + column) * m);
    values.set(hat.subarray(k, k + m), seen.at(row, column));
  }
}
