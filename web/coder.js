// The range decoder (docs/rangecoder.md): tables and decoders in the compiled core, and its answers as errors.

import { BitstreamError, LimitError, ModelError } from "./errors.js";

const BAD_TABLE = 8;
const REASONS = {
  1: "the range-coded data ends too early",
  2: "the range-coded data holds a code that no symbol has",
  3: "the range-coded data holds a value outside int16",
  4: "the range-coded data does not end where its symbols do",
  5: "the lane lengths of the range-coded data are malformed",
};
const LANES_FROM = 65536;
/** What a flush may save against the ideal code length, all lanes together. */
const FLUSH_BITS = 1024;

function check(status) {
  if (status) throw new BitstreamError(REASONS[status] ?? `the range coder failed with status ${status}`);
}

export class Tables {
  /**
   * @param {Core} core
   * @param {{name, cdf: Uint32Array, starts: Int32Array, offsets: Int32Array}} table
   * @throws {ModelError} a row is no strictly increasing cdf from 0 to 65536
   */
  constructor(core, table) {
    this.core = core;
    this.rows = table.offsets.length;
    this.leastBits = leastBits(table);
    const status = new Int32Array(1);
    const arrays = [table.cdf, table.starts, table.offsets, status];
    this.handle = core.borrow(arrays, (cdf, starts, offsets, at) => {
      const handle = core.c.tables_new(cdf, table.cdf.length, starts, offsets, this.rows, at);
      status.set(core.view(Int32Array, at, 1));
      return handle;
    });
    if (status[0] === BAD_TABLE) throw new ModelError(`model: a row of the cdf tables ${table.name} breaks the rules`);
    if (status[0]) throw new LimitError("the model is too large for the memory that this machine gives a decoder");
  }

  /**
   * Refuse a section that is too short for the symbols that the header promises, before they cost anything.
   * @throws {BitstreamError} it is
   */
  checkRoom(section, count, name) {
    if (section.length * 8 + FLUSH_BITS < count * this.leastBits) {
      throw new BitstreamError(`damaged file: ${section.length} bytes cannot hold ${count} symbols of ${name}`);
    }
  }
}

/** Return a lower bound, in bits, of what any symbol costs in any row. */
function leastBits({ cdf }) {
  let widest = 1;
  for (let i = 1; i < cdf.length; i++) widest = Math.max(widest, cdf[i] - cdf[i - 1]); // negative between rows
  return widest < 65536 ? -0.999 * Math.log2(widest / 65536) : 0;
}

export class SymbolDecoder {
  /**
   * @param {Tables} tables
   * @param {Uint8Array} section the payload, which is copied
   * @param {number} count symbols in the whole section
   * @param {number} lanes 1 to 4, by default what a section of so many symbols has
   * @throws {BitstreamError} the lane lengths are malformed
   */
  constructor(tables, section, count, lanes = count < LANES_FROM ? 1 : 4) {
    this.core = tables.core;
    this.tables = tables;
    this.payload = this.core.put(section);
    this.handle = this.core.c.decoder_new(this.payload, section.length, lanes);
    if (!this.handle) throw new LimitError("there is no memory for a decoder");
    this.core.live.add(this.handle);
    check(this.core.c.decoder_status(this.handle));
  }

  /**
   * Decode the next symbols.
   * @param {number} indexes address of uint16[count], rows of the tables
   * @param {number} symbols address of int16[count]
   * @throws {BitstreamError} the payload holds no such symbols
   */
  read(indexes, symbols, count) {
    check(this.core.c.decoder_read(this.handle, this.tables.handle, indexes, symbols, count));
  }

  /**
   * Check that what was read is the whole payload, in the one form that an encoder writes.
   * @throws {BitstreamError} it is not
   */
  finish() {
    check(this.core.c.decoder_finish(this.handle));
  }

  free() {
    this.core.free(this.payload, this.handle);
  }
}
