// Every error that the decoder raises on purpose: one line, what is wrong and what to do about it. Names and exit codes
// are those of intcodec/base/errors.py.

export class IntCodecError extends Error {
  get name() {
    return this.constructor.name;
  }
}
IntCodecError.exitCode = 1;

const define = (name, base, exitCode) => {
  const made = { [name]: class extends base {} }[name];
  made.exitCode = exitCode;
  return made;
};

/** An argument cannot be used as given. */
export const InputError = define("InputError", IntCodecError, 2);
/** A compressed file is truncated, damaged or not an intcodec file. */
export const BitstreamError = define("BitstreamError", IntCodecError, 3);
/** A model bundle is damaged, unsupported or fails its proof. */
export const ModelError = define("ModelError", IntCodecError, 4);
/** A compressed file needs another model than the one given. */
export const WrongModelError = define("WrongModelError", ModelError, 4);
/** This machine does not reproduce the model's self-test vectors. */
export const SelfTestError = define("SelfTestError", ModelError, 5);
/** The declared size exceeds the limit, or this machine's memory. */
export const LimitError = define("LimitError", IntCodecError, 7);
