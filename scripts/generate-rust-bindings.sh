#!/usr/bin/env bash
# Writes sdk/rust/src/bindings/ anew from the WIT files, or with --check says whether they are as they should be.
# Needs wit-bindgen: cargo install wit-bindgen-cli --version 0.61.1 --locked --no-default-features --features rust
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../sdk/rust"
generator=${WIT_BINDGEN:-wit-bindgen}
[ "$("$generator" --version)" = "wit-bindgen-cli 0.61.1" ] || { echo "wit-bindgen-cli 0.61.1 is needed" >&2; exit 1; }

cmp ../../wit/0.1.0/transform.wit wit/deps/keyway-transform-0.1.0/transform.wit
"$generator" rust wit "$@" --out-dir src/bindings --format --runtime-path keyway_sdk::rt --pub-export-macro --additional-derive-attributes PartialEq \
  --world described --generate-unused-types --generate-all --export-macro-name export_described --default-bindings-module keyway_sdk::bindings::described
"$generator" rust wit "$@" --out-dir src/bindings --format --runtime-path keyway_sdk::rt --pub-export-macro --additional-derive-attributes PartialEq \
  --world replies --with keyway:transform/types@0.1.0=keyway_sdk::bindings::described::keyway::transform::types \
  --export-macro-name export_replies --default-bindings-module keyway_sdk::bindings::replies
