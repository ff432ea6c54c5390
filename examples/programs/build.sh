#!/bin/sh
# Builds the example programs. Needs Debian 12's clang lld wasi-libc libclang-rt-14-dev-wasm32; running them needs none.
# A `wasm-opt` on the PATH (package binaryen) would be run by clang unseen and give other bytes: refuse it.
set -eu
cd "$(dirname "$0")"
if command -v wasm-opt >/dev/null; then
  echo "build.sh: wasm-opt is on the PATH and would change the bytes; remove binaryen" >&2
  exit 1
fi
for program in ${*:-pay-gap empty spy}; do
  clang --target=wasm32-wasi -std=c11 -O2 -Wall -Wextra -Werror -fno-ident -Wl,--strip-all -Wl,-z,stack-size=65536 \
    -o "$program/$program.wasm" "$program/$program.c"
  chmod 644 "$program/$program.wasm"
  sha256sum "$program/$program.wasm"
done
