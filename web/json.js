// JSON of untrusted files, stricter than JSON.parse: no key twice, not too deep, and 1.0 is no integer. Objects have no
// prototype, so that no name in a file means anything.

const MAX_DEPTH = 32;
const SPACE = /[ \t\n\r]*/y;
const NUMBER = /-?(?:0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?/y;
const STRING = /"(?:[^"\\\u0000-\u001f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*"/y;

/** A number that is no integer, or too large to be one. */
export class Fraction {
  constructor(text) {
    this.text = text;
  }
}

class Parser {
  constructor(text) {
    this.text = text;
    this.at = 0;
    this.depth = 0;
  }

  fail(what) {
    throw new SyntaxError(`${what} at character ${this.at}`);
  }

  match(pattern) {
    pattern.lastIndex = this.at;
    const found = pattern.exec(this.text);
    if (found) this.at = pattern.lastIndex;
    return found;
  }

  /** Skip white space and return the next character without taking it. */
  peek() {
    this.match(SPACE);
    return this.text[this.at];
  }

  take(character) {
    if (this.peek() !== character) this.fail(`expected ${character}`);
    this.at++;
  }

  value() {
    const next = this.peek();
    if (next === "{") return this.nested("}", Object.create(null), this.member);
    if (next === "[") return this.nested("]", [], this.element);
    if (next === '"') return this.string();
    for (const [word, value] of [["true", true], ["false", false], ["null", null]]) {
      if (!this.text.startsWith(word, this.at)) continue;
      this.at += word.length;
      return value;
    }
    const found = this.match(NUMBER) ?? this.fail("expected a value");
    const number = Number(found[0]);
    if (found[1] || found[2] || !Number.isSafeInteger(number)) return new Fraction(found[0]);
    return number + 0; // -0 is 0
  }

  nested(end, into, item) {
    if (++this.depth > MAX_DEPTH) this.fail("nested too deeply");
    this.at++;
    if (this.peek() === end) this.at++;
    else {
      for (;;) {
        item.call(this, into);
        if (this.peek() === end) break;
        this.take(",");
      }
      this.at++;
    }
    this.depth--;
    return into;
  }

  element(list) {
    list.push(this.value());
  }

  member(object) {
    if (this.peek() !== '"') this.fail("expected a key");
    const key = this.string();
    if (key in object) this.fail("duplicate key");
    this.take(":");
    object[key] = this.value();
  }

  string() {
    const found = this.match(STRING) ?? this.fail("bad string");
    return JSON.parse(found[0]);
  }
}

/**
 * Parse JSON text. Integers become numbers, all others `Fraction`s.
 * @param {string} text
 * @throws {SyntaxError} it is not such JSON
 */
export function parseJson(text) {
  const parser = new Parser(text);
  const value = parser.value();
  if (parser.peek() !== undefined) parser.fail("text after the end");
  return value;
}

/** Return whether a value of `parseJson` is an object. */
export function isObject(value) {
  return typeof value === "object" && value !== null && !Array.isArray(value) && !(value instanceof Fraction);
}

/** Return whether an object has exactly these keys. */
export function hasExactly(value, keys) {
  return isObject(value) && Object.keys(value).length === keys.length && keys.every((key) => key in value);
}
