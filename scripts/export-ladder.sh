#!/usr/bin/env bash
# Make the embedded models from trained checkpoints, the one for the smallest files first:
#   scripts/export-ladder.sh [--default Q] [--data TEXT] [--machine TEXT] CHECKPOINT...
# Exports and verifies every rung, measures all on Kodak, and writes intcodec/models/, docs/models/ and docs/rd.png.
set -euo pipefail
cd "$(dirname "$0")/.."
exec "${PYTHON:-.venv/bin/python}" scripts/export_ladder.py "$@"
