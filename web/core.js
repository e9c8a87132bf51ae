// The compiled core: its memory, and arrays in it. What JavaScript knows of C ends here and in engine.js and coder.js.
//
// Memory grows, and a view of it made before is then empty: views are made when they are used, and not kept.

import { LimitError } from "./errors.js";
import { ARRAY_TYPES } from "./network.js";

/** What sbrk can be asked for in one piece. */
const MAX_BYTES = 2 ** 31 - 2 ** 20;

/** A module of one function with a v128 instruction: valid where the engine knows simd128. */
const SIMD_PROBE = [0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 10, 1, 8, 0, 65, 0, 253, 15, 253, 98, 11];

/** Return the name of the fastest build that this machine can run, "simd128" or "scalar". */
export function bestBuild() {
  return WebAssembly.validate(Uint8Array.from(SIMD_PROBE)) ? "simd128" : "scalar";
}

export class Core {
  /**
   * Compile and start the core.
   * @param {BufferSource} binary the contents of dist/<build>.wasm
   * @param {string} build "simd128" or "scalar"
   */
  static async create(binary, build) {
    const core = new Core();
    const progress = (done, steps) => core.onProgress?.(done / steps);
    const { instance } = await WebAssembly.instantiate(binary, { env: { progress } });
    core.build = build;
    core.c = instance.exports;
    core.c._initialize();
    core.instructionSet = core.c.ic_isa_find(core.put(new TextEncoder().encode(`${build}\0`)));
    if (!core.instructionSet) throw new Error(`the core has no instruction set ${build}`);
    return core;
  }

  /** Addresses that were allocated and not freed. */
  live = new Set();

  /** Called during a graph's run with the part of it that is done, or null. */
  onProgress = null;

  /** Bytes of memory that the core has taken so far; it never gives any back. */
  get memoryBytes() {
    return this.c.memory.buffer.byteLength;
  }

  /**
   * Return the address of new memory.
   * @throws {LimitError} there is none
   */
  allocate(bytes) {
    const address = bytes > MAX_BYTES ? 0 : this.c.malloc(Math.max(bytes, 1)) >>> 0;
    if (!address) throw new LimitError("the picture is too large for the memory that this machine gives a decoder");
    this.live.add(address);
    return address;
  }

  free(...addresses) {
    for (const address of addresses) if (this.live.delete(address)) this.c.free(address);
  }

  /** Return work()'s result; what it allocated and did not free is freed, whether it fails or not. */
  scope(work) {
    const before = new Set(this.live);
    try {
      return work();
    } finally {
      this.free(...[...this.live].filter((address) => !before.has(address)));
    }
  }

  /** Return a view of `length` elements at an address. Not to be kept: see above. */
  view(type, address, length) {
    return new type(this.c.memory.buffer, address, length);
  }

  /** Copy a typed array into new memory and return its address. */
  put(array) {
    const address = this.allocate(array.byteLength);
    this.view(array.constructor, address, array.length).set(array);
    return address;
  }

  /** Call work(...addresses of copies of the arrays), then free them. */
  borrow(arrays, work) {
    const addresses = [];
    try {
      for (const array of arrays) addresses.push(this.put(array));
      return work(...addresses);
    } finally {
      this.free(...addresses);
    }
  }
}

/** An array [height, width, channels] in the core's memory. */
export class Tensor {
  /**
   * @param {Core} core
   * @param {string} type "uint8", "int16" or "int32"
   * @throws {LimitError} there is no memory for it
   */
  constructor(core, type, height, width, channels) {
    Object.assign(this, { core, type, height, width, channels, array: ARRAY_TYPES[type] });
    // 64 bytes more: the last odd run of a kernel reads one element past its end.
    this.address = core.allocate(height * width * channels * this.array.BYTES_PER_ELEMENT + 64);
  }

  get length() {
    return this.height * this.width * this.channels;
  }

  /** Return a view of all elements. */
  all() {
    return this.core.view(this.array, this.address, this.length);
  }

  /** Return a view of the first `width` positions of a row, the row's whole width by default. */
  row(y, width = this.width) {
    const at = this.address + y * this.width * this.channels * this.array.BYTES_PER_ELEMENT;
    return this.core.view(this.array, at, width * this.channels);
  }

  free() {
    this.core.free(this.address);
  }
}
