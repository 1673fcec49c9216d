#!/usr/bin/env bash
# Makes sure that what `make demo` (setup.sh demo) or `make test` (setup.sh test) needs is installed.
#
# On Debian as root, what is missing is installed by apt. Otherwise everything that is missing is named at once, with the command to type.
# Quick when nothing is missing: it looks for programs and libraries, and asks apt for nothing.
set -euo pipefail

for_what=${1:-test}
rust_version=1.95

missing=()  # Debian's packages
has() { command -v "$1" >/dev/null 2>&1; }

# The compiler and make: librdkafka, OpenSSL's and zstd's bindings are built from source.
{ has cc && has c++ && has make; } || missing+=(build-essential)
if has pkg-config; then
  pkg-config --exists libssl || missing+=(libssl-dev)
  pkg-config --exists zlib || missing+=(zlib1g-dev)
else
  missing+=(pkg-config libssl-dev zlib1g-dev)
fi

# A compiler with std for wasm32: scripts/wasm-std.sh fetches it by itself, apart from this library.
if [ "${KEYWAY_WASM_STD:-}" = debian ] && ! ldconfig -p 2>/dev/null | grep -q 'libLLVM\.so\.22\.1 '; then missing+=(libllvm22); fi

java_version() { java -version 2>&1 | sed -n '1s/.*version "\([0-9]*\).*/\1/p'; }

# The tests run on a real Kafka: one that is there already, else its own jars, else Docker.
if [ "$for_what" = test ] && [ -z "${KEYWAY_TEST_BROKERS:-}" ]; then
  kafka=$(compgen -G "${XDG_CACHE_HOME:-$HOME/.cache}/keyway/kafka-*/kafka-server-*.jar" | head -1 || true)
  if ! { has docker && timeout 10 docker info >/dev/null 2>&1; }; then
    { has java && [ "$(java_version)" -ge 17 ] 2>/dev/null; } || missing+=(default-jdk-headless)
    [ -n "$kafka" ] || has mvn || missing+=(maven)
  fi
fi

# A test counts the system calls of a fresh instance.
if [ "$for_what" = test ]; then has strace || missing+=(strace); fi

if [ ${#missing[@]} -gt 0 ]; then
  install="apt-get install -y --no-install-recommends ${missing[*]}"
  if has apt-get && [ "$(id -u)" = 0 ]; then
    echo "setup: installing ${missing[*]}"
    export DEBIAN_FRONTEND=noninteractive
    apt-get -q update
    $install
  elif has apt-get; then
    printf 'setup: not everything that is needed is installed; run\n  sudo apt-get update && sudo %s\n' "$install" >&2
    exit 1
  else
    printf 'setup: not everything that is needed is installed. These are the names of Debian packages: %s\n' "${missing[*]}" >&2
    exit 1
  fi
fi

if ! has cargo; then
  printf 'setup: there is no cargo in PATH\n  hint: install Rust %s or later from https://rustup.rs\n' "$rust_version" >&2
  exit 1
fi
rustc=$(rustc --version | cut -d' ' -f2)
if [ "$(printf '%s\n' "$rust_version" "$rustc" | sort -V | head -1)" != "$rust_version" ]; then
  printf 'setup: rustc %s is too old; %s or later is needed\n  hint: rustup update stable\n' "$rustc" "$rust_version" >&2
  exit 1
fi
if [ "$for_what" = test ]; then
  for part in rustfmt clippy; do
    cargo "${part/rustfmt/fmt}" --version >/dev/null 2>&1 || { has rustup && rustup component add "$part"; } ||
      { printf 'setup: %s is missing\n  hint: rustup component add %s\n' "$part" "$part" >&2; exit 1; }
  done
fi
