// The container of a model: a ZIP file, read within limits. Nothing is inflated before all declared sizes have been
// checked, and never to more than its declared size.

import { crc32 } from "./checksums.js";
import { ModelError } from "./errors.js";

const END_BYTES = 22;
const MAX_COMMENT = 65535;
const DEFLATE = 8;
/** Encrypted, patched, strongly encrypted, masked. */
const UNREADABLE_FLAGS = 0x0001 | 0x0020 | 0x0040 | 0x2000;
/** Deflate makes at most 258 bytes of 2 bits. */
const MAX_RATIO = 1032;

const fail = (why) => {
  throw new ModelError(`not an intcodec model: ${why}`);
};

/**
 * Return the members of a ZIP file by name; contents are not read yet.
 * @param {Uint8Array} bytes the whole file
 * @param {number} maxMembers
 * @returns {Map<string, {name: string, method: number, crc: number, packed: number, size: number, header: number}>}
 * @throws {ModelError} it is no such file, or a member is there twice, encrypted or packed in another way
 */
export function readDirectory(bytes, maxMembers) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const end = findEnd(view);
  const count = view.getUint16(end + 10, true);
  const length = view.getUint32(end + 12, true);
  const start = view.getUint32(end + 16, true);
  if (view.getUint32(end + 4, true) || view.getUint16(end + 8, true) !== count) fail("it has several parts");
  if (count > maxMembers) throw new ModelError(`model: more than ${maxMembers} members`);
  if (start + length !== end) fail("its directory is damaged");
  const members = new Map();
  let at = start;
  for (let k = 0; k < count; k++) {
    const member = readEntry(view, bytes, at, end);
    if (members.has(member.name)) throw new ModelError("model: a member is there twice");
    members.set(member.name, member);
    at = member.next;
  }
  if (at !== end) fail("its directory is damaged");
  return members;
}

function findEnd(view) {
  const first = Math.max(0, view.byteLength - END_BYTES - MAX_COMMENT);
  for (let at = view.byteLength - END_BYTES; at >= first; at--) {
    const ends = view.getUint32(at, true) === 0x06054b50 && view.getUint16(at + 20, true) === view.byteLength - END_BYTES - at;
    if (ends) return at;
  }
  return fail("it is no ZIP file");
}

const ascii = (bytes) => String.fromCharCode(...bytes.subarray(0, 100)) + (bytes.length > 100 ? "..." : "");

function readEntry(view, bytes, at, end) {
  if (at + 46 > end || view.getUint32(at, true) !== 0x02014b50) fail("its directory is damaged");
  const nameLength = view.getUint16(at + 28, true);
  const next = at + 46 + nameLength + view.getUint16(at + 30, true) + view.getUint16(at + 32, true);
  if (next > end) fail("its directory is damaged");
  const name = ascii(bytes.subarray(at + 46, at + 46 + nameLength));
  const method = view.getUint16(at + 10, true);
  if ((method !== 0 && method !== DEFLATE) || view.getUint16(at + 8, true) & UNREADABLE_FLAGS) {
    throw new ModelError(`model: member ${JSON.stringify(name)} is encrypted or packed in an unknown way`);
  }
  return {
    name,
    method,
    crc: view.getUint32(at + 16, true),
    packed: view.getUint32(at + 20, true),
    size: view.getUint32(at + 24, true),
    header: view.getUint32(at + 42, true),
    next,
  };
}

/**
 * Return a member's bytes after checking its size and CRC.
 * @param {Uint8Array} bytes the whole file
 * @param {object} member one of readDirectory's
 * @returns {Promise<Uint8Array>}
 * @throws {ModelError} it is damaged
 */
export async function readMember(bytes, member) {
  const damaged = (why) => new ModelError(`model: member ${member.name} is damaged (${why})`);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const at = member.header;
  if (at + 30 > bytes.length || view.getUint32(at, true) !== 0x04034b50) throw damaged("no local header");
  const nameLength = view.getUint16(at + 26, true);
  const begin = at + 30 + nameLength + view.getUint16(at + 28, true);
  if (begin + member.packed > bytes.length) throw damaged("truncated");
  if (ascii(bytes.subarray(at + 30, at + 30 + nameLength)) !== member.name) throw damaged("two names");
  const packed = bytes.subarray(begin, begin + member.packed);
  const content = member.method === DEFLATE ? await inflate(packed, member.size, damaged) : packed.slice();
  if (content.length !== member.size) throw damaged("it does not have its declared size");
  if (crc32(content) !== member.crc) throw damaged("its CRC does not match");
  return content;
}

async function inflate(packed, size, damaged) {
  if (size > packed.length * MAX_RATIO) throw damaged("it cannot have its declared size");
  const out = new Uint8Array(size);
  const reader = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate-raw")).getReader();
  let at = 0;
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) break;
      if (at + value.length > size) throw damaged("it is longer than its declared size");
      out.set(value, at);
      at += value.length;
    }
  } catch (error) {
    if (error instanceof ModelError) throw error;
    throw damaged("it cannot be inflated");
  } finally {
    reader.cancel().catch(() => {});
  }
  return out.subarray(0, at);
}
