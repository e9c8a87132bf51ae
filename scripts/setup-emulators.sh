#!/usr/bin/env bash
# Install what runs the NEON kernels here: qemu-user and the aarch64 cross compiler. Where that cannot be had, the tests
# that need it skip with that reason; this says so loudly and goes on.
set -uo pipefail
command -v qemu-aarch64-static >/dev/null && command -v aarch64-linux-gnu-gcc >/dev/null && exit 0
packages="qemu-user-static gcc-aarch64-linux-gnu libc6-dev-arm64-cross"
echo "emulators: installing $packages"
if command -v apt-get >/dev/null && [ "$(id -u)" -eq 0 ] && apt-get update -qq &&
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $packages >/dev/null; then
    exit 0
fi
echo "emulators: ************************************************************" >&2
echo "emulators: not to be had here (no apt, not root, or no network); NEON tests will be SKIPPED" >&2
echo "emulators: ************************************************************" >&2
