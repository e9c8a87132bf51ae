// Where a page's models come from: models/<id>.intm beside the page, fetched once and kept by the browser, or a file that
// the user gave. A model's name is its content's hash, so what is kept never grows stale.

import { LimitError, ModelError, WrongModelError } from "./errors.js";
import { SHORT_ID } from "./model.js";

const CACHE = "intcodec-models-1";
const MAX_BYTES = 256 << 20;

const urlOf = (id) => new URL(`models/${id.slice(0, SHORT_ID)}.intm`, import.meta.url).href;

/** Return the browser's cache, or null: pages that come over plain http have none. */
async function cache() {
  try {
    return await globalThis.caches.open(CACHE);
  } catch {
    return null;
  }
}

/**
 * Return the bytes of a model.
 * @param {string} id its first 16 hex digits
 * @param {function(number): void} progress told the part that has arrived
 * @returns {Promise<Uint8Array>}
 * @throws {WrongModelError} neither the browser nor the page's server has it
 */
export async function fetchModel(id, progress) {
  const kept = await (await cache())?.match(urlOf(id));
  if (kept) return new Uint8Array(await kept.arrayBuffer());
  let response;
  try {
    response = await fetch(urlOf(id));
  } catch {
    throw new ModelError(`model ${id} could not be fetched: the page's server does not answer`);
  }
  if (!response.ok) {
    throw new WrongModelError(`this picture needs model ${id}, which this page does not have; drop its .intm file here`);
  }
  return readAll(response, progress);
}

async function readAll(response, progress) {
  const length = Number(response.headers.get("content-length")) || 0;
  const parts = [];
  let received = 0;
  for (const reader = response.body.getReader(); ; ) {
    const { done, value } = await reader.read();
    if (done) break;
    parts.push(value);
    received += value.length;
    if (received > MAX_BYTES) throw new LimitError(`a model of more than ${MAX_BYTES} bytes is too large`);
    progress(length ? Math.min(received / length, 1) : 0);
  }
  return new Uint8Array(await new Blob(parts).arrayBuffer());
}

/** Keep a model that was read without an error; it is no error if the browser has no room. */
export async function keepModel(id, bytes) {
  try {
    await (await cache())?.put(urlOf(id), new Response(bytes));
  } catch {
    // The next visit fetches it again.
  }
}
