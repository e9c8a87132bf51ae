#!/usr/bin/env bash
# Build the decoder for browsers and Node into a folder: the C core as WebAssembly, the page, its scripts and the embedded
# models. The compiler is clang with a C library, from the Python package ziglang (pyproject.toml, extra "web").
#
#     scripts/build-web.sh [FOLDER]      web/dist unless another is named; what was there is replaced as a whole
set -euo pipefail
target=$(realpath -m "${1:-$(dirname "$0")/../web/dist}")
cd "$(dirname "$0")/.."
python=${INTCODEC_PYTHON:-.venv/bin/python}
exports="malloc free ic_isa_find ic_row_find ic_graph_new ic_graph_free ic_graph_add ic_workspace_new ic_workspace_free"
flags="-target wasm32-wasi -mexec-model=reactor -std=c11 -O3 -DNDEBUG -I_ext -Wall -Wextra -Werror"
for name in $exports; do flags+=" -Wl,--export=$name"; done

if [ -e "$target" ] && [ ! -e "$target/simd128.wasm" ]; then
    echo "build-web: $target is there and no build of this script's; it is left alone" >&2
    exit 1
fi
mkdir -p "$(dirname "$target")"
new=$(mktemp -d "$target.XXXXXX")
trap 'rm -rf "$new"' EXIT

build() { # build NAME FLAGS: one module
    # shellcheck disable=SC2086
    "$python" -m ziglang cc $flags ${2:-} -Wl,--strip-all -Wl,-z,stack-size=262144 \
        _ext/wasm/module.c _ext/{core,isa,rows,run}/*.c -o "$new/$1.wasm"
}
build scalar
build simd128 -msimd128
cp web/*.html web/*.css web/*.js web/*.mjs web/package.json "$new"

# Pages find a model under the name that a picture's header states.
mkdir "$new/models"
"$python" - "$new/models" <<'PY'
import sys
from pathlib import Path

from intcodec.modelfile import embedded

for rung in embedded.rungs():
    Path(sys.argv[1], f"{rung.model_id[:16]}.intm").write_bytes(embedded.read(rung))
PY
chmod -R u=rwX,go=rX "$new" # mktemp and the linker give others nothing to read
rm -rf "$target"
mv "$new" "$target"
