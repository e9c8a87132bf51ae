// Bytes of a compressed picture (docs/bitstream.md), parsed. Knows no model and no pixels, and allocates nothing in
// proportion to what a file claims.

import { crc32 } from "./checksums.js";
import { BitstreamError } from "./errors.js";

const MAGIC = [0x89, 0x49, 0x4e, 0x54];
const VERSION = 1;
const MAX_SIDE = 2 ** 28 - 1;
const MAX_SECTION = 2 ** 35 - 1;
const SECTIONS_MASK = 0x03;
const PIXELS_FLAG = 0x04;
const HEADER_BYTES = 14;

/** Reads fields one after another; every read is checked against the file's end. */
class Cursor {
  constructor(bytes, at) {
    this.bytes = bytes;
    this.at = at;
  }

  /** Return an unsigned LEB128 integer of at most five bytes, in its shortest form and at most `limit`. */
  varint(limit, what) {
    const start = this.at;
    let value = 0;
    for (let n = 0; n < 5; n++) {
      const byte = this.byte(what);
      value += (byte & 0x7f) * 2 ** (7 * n);
      if (byte >= 0x80) continue;
      if (byte === 0 && n) throw new BitstreamError(`damaged file: ${what} at byte ${start} is not in its shortest form`);
      if (value > limit) throw new BitstreamError(`damaged file: ${what} ${value} at byte ${start} exceeds ${limit}`);
      return value;
    }
    throw new BitstreamError(`damaged file: ${what} at byte ${start} is longer than 5 bytes`);
  }

  word(what) {
    const [a, b, c, d] = [this.byte(what), this.byte(what), this.byte(what), this.byte(what)];
    return (a | (b << 8) | (c << 16) | (d << 24)) >>> 0;
  }

  byte(what) {
    if (this.at >= this.bytes.length) {
      throw new BitstreamError(`truncated file: it ends at byte ${this.bytes.length}, inside the ${what}`);
    }
    return this.bytes[this.at++];
  }
}

/**
 * Take a file apart and check everything that can be checked without a model.
 *
 * @param {Uint8Array} bytes the whole file
 * @returns {{modelId: string, width: number, height: number, sections: Uint8Array[], latentsCrc: number,
 *   pixelsCrc: number|null}} modelId: the first 16 hex digits of the model's SHA-256; sections are views into `bytes`
 * @throws {BitstreamError} it is no intcodec file, of another version, truncated, damaged, or has trailing bytes
 */
export function parse(bytes) {
  const flags = checkStart(bytes);
  const modelId = Array.from(bytes.subarray(6, HEADER_BYTES), (b) => b.toString(16).padStart(2, "0")).join("");
  const cursor = new Cursor(bytes, HEADER_BYTES);
  const width = cursor.varint(MAX_SIDE, "width");
  const height = cursor.varint(MAX_SIDE, "height");
  if (!width || !height) {
    throw new BitstreamError(`damaged file: a picture of ${width}x${height} pixels has nothing to decode`);
  }
  const lengths = [];
  for (let k = 0; k <= (flags & SECTIONS_MASK); k++) lengths.push(cursor.varint(MAX_SECTION, `length of section ${k}`));
  const latentsCrc = cursor.word("checksum of the latents");
  const pixelsCrc = flags & PIXELS_FLAG ? cursor.word("checksum of the pixels") : null;
  return { modelId, width, height, sections: readSections(cursor, lengths), latentsCrc, pixelsCrc };
}

function checkStart(bytes) {
  if (!bytes.length) throw new BitstreamError("the file is empty");
  if (MAGIC.some((value, i) => i < bytes.length && bytes[i] !== value)) throw new BitstreamError("not an intcodec file");
  if (bytes.length < HEADER_BYTES) {
    throw new BitstreamError(`truncated file: it ends at byte ${bytes.length}, inside the header`);
  }
  if (bytes[4] !== VERSION) {
    throw new BitstreamError(`bitstream version ${bytes[4]} is not supported; this decoder reads version ${VERSION}`);
  }
  const flags = bytes[5];
  if (flags & ~(SECTIONS_MASK | PIXELS_FLAG)) {
    throw new BitstreamError(`damaged file: reserved bits are set in flags 0x${flags.toString(16)} at byte 5`);
  }
  return flags;
}

function readSections(cursor, lengths) {
  const { bytes } = cursor;
  const need = lengths.reduce((sum, length) => sum + length + 4, cursor.at);
  if (need > bytes.length) throw new BitstreamError(`truncated file: it has ${bytes.length} bytes of ${need}`);
  if (need < bytes.length) {
    throw new BitstreamError(`damaged file: ${bytes.length - need} bytes after its end at byte ${need}`);
  }
  let covered = 0; // section 0's checksum covers the header too
  return lengths.map((length, k) => {
    const begin = cursor.at;
    const end = begin + length;
    cursor.at = end;
    if (crc32(bytes.subarray(covered, end)) !== cursor.word(`checksum of section ${k}`)) {
      const where = k === 0 ? "the header or section 0" : `section ${k}`;
      throw new BitstreamError(`damaged file: the checksum of ${where} does not match`);
    }
    covered = cursor.at;
    return bytes.subarray(begin, end);
  });
}
