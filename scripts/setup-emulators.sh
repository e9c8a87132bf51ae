#!/usr/bin/env bash
# Install what runs other processors here: qemu-user and cross compilers. Where that cannot be had, what needs it is
# skipped with that reason; this says so loudly and goes on.
#
#     scripts/setup-emulators.sh           for the NEON tests: aarch64
#     scripts/setup-emulators.sh matrix    for make conformance: aarch64, s390x, armhf, i386, Node
set -uo pipefail
programs="qemu-aarch64-static aarch64-linux-gnu-gcc"
packages="qemu-user-static gcc-aarch64-linux-gnu libc6-dev-arm64-cross"
if [ "${1:-}" = matrix ]; then
    programs+=" mmdebstrap s390x-linux-gnu-gcc arm-linux-gnueabihf-gcc i686-linux-gnu-gcc node"
    packages+=" mmdebstrap gcc-s390x-linux-gnu libc6-dev-s390x-cross gcc-arm-linux-gnueabihf libc6-dev-armhf-cross"
    packages+=" gcc-i686-linux-gnu libc6-dev-i386-cross nodejs"
fi
# shellcheck disable=SC2086
command -v $programs >/dev/null && [ "$(command -v $programs | wc -l)" -eq "$(wc -w <<<"$programs")" ] && exit 0
echo "emulators: installing $packages"
# shellcheck disable=SC2086
if command -v apt-get >/dev/null && [ "$(id -u)" -eq 0 ] && apt-get update -qq &&
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $packages >/dev/null; then
    exit 0
fi
echo "emulators: ************************************************************" >&2
echo "emulators: not to be had here (no apt, not root, or no network); what needs them will be SKIPPED" >&2
echo "emulators: ************************************************************" >&2
