#!/usr/bin/env bash
# Install what the decoder in the browser is built and tested with: clang for WebAssembly (ziglang, into .venv), Node and
# Chromium. What cannot be had, the tests that need it skip with that reason; this says so loudly and goes on.
set -uo pipefail
cd "$(dirname "$0")/.."
loud() {
    echo "web: ************************************************************" >&2
    echo "web: $1; tests that need it will be SKIPPED" >&2
    echo "web: ************************************************************" >&2
}

.venv/bin/python -c 'import ziglang' 2>/dev/null ||
    .venv/bin/python -m pip --quiet --disable-pip-version-check install "$(grep -o 'ziglang==[0-9.]*' pyproject.toml)" || loud "no compiler for WebAssembly (ziglang)"

missing=()
command -v node >/dev/null || missing+=(nodejs)
command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null || missing+=(chromium)
if [ ${#missing[@]} -gt 0 ]; then
    echo "web: installing ${missing[*]}"
    if ! { command -v apt-get >/dev/null && [ "$(id -u)" -eq 0 ] && apt-get update -qq &&
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null; }; then
        loud "${missing[*]} not to be had here (no apt, not root, or no network)"
    fi
fi
node -e 'new DecompressionStream("deflate-raw")' 2>/dev/null || loud "Node 20.12 or later is not here"
exit 0
