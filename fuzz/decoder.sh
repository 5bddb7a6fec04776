#!/usr/bin/env bash
# Build the C decoder with libFuzzer and the sanitizers, and attack it; arguments go to libFuzzer.
set -euo pipefail
cd "$(dirname "$0")"
out=${FUZZ_OUT:-$(mktemp -d)}
src=../src/espalier
clang -g -O1 -std=c11 -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=undefined -I "$src" \
  decoder.c "$src/_coder.c" "$src/_coder_cells.c" "$src/_coder_static.c" -o "$out/decoder"
mkdir -p "$out/corpus"
exec "$out/decoder" "$out/corpus" -max_len=600 "$@"
