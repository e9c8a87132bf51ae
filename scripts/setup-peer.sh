#!/usr/bin/env bash
# Make .venv-peer: CompressAI as a peer to compare with. It pins numpy < 2 and imports torchvision and torch_geometric,
# so it lives apart, without its dependencies, with stand-ins for those two (tests/peer/stubs.py).
# A machine that cannot have it is told so loudly; the tests that need it then skip with that reason.
set -uo pipefail
cd "$(dirname "$0")/.."
[ -n "${INTCODEC_PEER_PYTHON:-}" ] && exit 0
[ -e .venv-peer/done ] && exit 0
echo "peer: installing CompressAI 1.2.8 beside the project (.venv-peer)"
if ${PYTHON:-python3} -m venv .venv-peer &&
    .venv-peer/bin/python -m pip install --quiet --disable-pip-version-check torch==2.13.0 'numpy<2' scipy einops tqdm \
        pytorch_msssim pandas requests pillow onnxruntime constriction &&
    .venv-peer/bin/python -m pip install --quiet --disable-pip-version-check --no-deps compressai==1.2.8; then
    touch .venv-peer/done
else
    echo "peer: ************************************************************" >&2
    echo "peer: CompressAI could not be installed; comparisons with it will be SKIPPED" >&2
    echo "peer: ************************************************************" >&2
    rm -rf .venv-peer
fi
