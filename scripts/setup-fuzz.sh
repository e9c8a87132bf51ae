#!/usr/bin/env bash
# Install what fuzzing needs: clang with libFuzzer and the sanitizers, and atheris for the targets in Python.
set -uo pipefail
cd "$(dirname "$0")/.."
probe='int LLVMFuzzerTestOneInput(const unsigned char *d, unsigned long n) { return d && n > 9; }'
fuzzer_works() {
    command -v clang >/dev/null &&
        echo "$probe" | clang -x c -fsanitize=fuzzer,address,undefined - -o /dev/null 2>/dev/null
}
if ! fuzzer_works; then
    echo "fuzz: installing clang"
    command -v apt-get >/dev/null && [ "$(id -u)" -eq 0 ] && apt-get update -qq &&
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends clang libclang-rt-14-dev >/dev/null
    if ! fuzzer_works; then
        echo "fuzz: no clang with libFuzzer here (Debian: apt-get install clang libclang-rt-14-dev)" >&2
        exit 1
    fi
fi
.venv/bin/python -c 'import atheris' 2>/dev/null ||
    .venv/bin/python -m pip install --quiet --disable-pip-version-check 'atheris>=2.3'
