#!/usr/bin/env bash
# Export the embedded default model from the shared hyperprior checkpoint.
set -euo pipefail
cd "$(dirname "$0")/.."
checkpoint=${INTCODEC_SHARED:-../shared}/data/checkpoints/bmshj2018_hyperprior-lambda0.013-N128-M192.pth.tar
[ -e "$checkpoint" ] || { echo "export-default: $checkpoint is not here" >&2; exit 1; }
mkdir -p intcodec/models
.venv/bin/intcodec export --arch bmshj2018_hyperprior --checkpoint "$checkpoint" -o intcodec/models/default.intm
