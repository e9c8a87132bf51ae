#!/usr/bin/env bash
# Make sure that this machine can build the package: a C compiler, Python's headers and venv. Installs them where it can.
set -euo pipefail
python=${PYTHON:-python3}

missing=()
command -v cc >/dev/null || missing+=(gcc libc6-dev)
"$python" - <<'PY' || missing+=(python3-dev)
import os, sys, sysconfig
sys.exit(not os.path.exists(os.path.join(sysconfig.get_paths()["include"], "Python.h")))
PY
"$python" -c 'import venv, ensurepip' 2>/dev/null || missing+=(python3-venv)
[ ${#missing[@]} -eq 0 ] && exit 0

echo "setup: this machine lacks: ${missing[*]}" >&2
if ! command -v apt-get >/dev/null; then
    echo "setup: no apt-get here. Install a C compiler and Python's headers and venv by hand, then run make again." >&2
    exit 1
fi
if [ "$(id -u)" -eq 0 ]; then
    as_root=()
elif command -v sudo >/dev/null; then
    as_root=(sudo)
else
    echo "setup: not root and no sudo. Ask an administrator for: apt-get install ${missing[*]}" >&2
    exit 1
fi
"${as_root[@]}" apt-get update -qq
DEBIAN_FRONTEND=noninteractive "${as_root[@]}" apt-get install -y -qq --no-install-recommends "${missing[@]}"
