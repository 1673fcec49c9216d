#!/usr/bin/env bash
# Makes sure that what `make demo` (setup.sh demo) or `make test` (setup.sh test) needs is installed.
#
# On Debian as root, what is missing is installed by apt. Otherwise everything that is missing is named at once, with the command to type.
# Quick when nothing is missing: it looks for programs and libraries, and asks apt for nothing.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

for_what=${1:-test}
rust_version=1.95

missing=()  # Debian's packages
todo=()     # what a person has to do, with the command to type
has() { command -v "$1" >/dev/null 2>&1; }

# The compiler and make: librdkafka, OpenSSL's and zstd's bindings are built from source.
{ has cc && has c++ && has make; } || missing+=(build-essential)
if has pkg-config; then
  pkg-config --exists libssl || missing+=(libssl-dev)
  pkg-config --exists zlib || missing+=(zlib1g-dev)
else
  missing+=(pkg-config libssl-dev zlib1g-dev)
fi

# Rust itself.
if ! has cargo; then
  todo+=("install Rust $rust_version or later from https://rustup.rs (there is no cargo in PATH)")
else
  rustc=$(rustc --version | cut -d' ' -f2)
  [ "$(printf '%s\n' "$rust_version" "$rustc" | sort -V | head -1)" = "$rust_version" ] ||
    todo+=("rustup update stable (rustc $rustc is too old; $rust_version or later is needed)")
  if [ "$for_what" = test ]; then
    for part in rustfmt clippy; do
      cargo "${part/rustfmt/fmt}" --version >/dev/null 2>&1 || { has rustup && rustup component add "$part"; } ||
        todo+=("rustup component add $part")
    done
  fi
fi

# A compiler with std for wasm32: scripts/wasm-std.sh fetches it by itself, from rustup or from Debian, apart from this library for the second way.
from_debian() {
  case ${KEYWAY_WASM_STD:-} in
    debian) ;;
    "") has rustc && ! has rustup && ! compgen -G "$(rustc --print sysroot)/lib/rustlib/wasm32-unknown-unknown/lib/libstd*.rlib" >/dev/null ;;
    *) return 1 ;;
  esac
}
# Into a variable first: a reader that stops at its match would end ldconfig by a signal. It lies where only root's PATH looks.
libraries=$(PATH=$PATH:/usr/sbin:/sbin ldconfig -p 2>/dev/null || true)
if from_debian && [[ $libraries != *'libLLVM.so.22.1 '* ]]; then missing+=(libllvm22); fi

java_version() { java -version 2>&1 | sed -n '1s/.*version "\([0-9]*\).*/\1/p'; }

# The tests run on a real Kafka: one that is there already, else its own jars, else Docker.
if [ "$for_what" = test ] && [ -z "${KEYWAY_TEST_BROKERS:-}" ]; then
  kafka=$(sed -n 's:.*<kafka>\(.*\)</kafka>.*:\1:p' tests/kafka/pom.xml)
  if ! { has docker && timeout 10 docker info >/dev/null 2>&1; }; then
    { has java && [ "$(java_version)" -ge 17 ] 2>/dev/null; } || missing+=(default-jdk-headless)
    [ -d "${XDG_CACHE_HOME:-$HOME/.cache}/keyway/kafka-$kafka" ] || has mvn || missing+=(maven)
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
    todo=("sudo apt-get update && sudo $install" ${todo[@]+"${todo[@]}"})
  else
    todo=("install what Debian calls ${missing[*]}" ${todo[@]+"${todo[@]}"})
  fi
fi

if [ ${#todo[@]} -gt 0 ]; then
  printf 'setup: not everything that is needed is installed\n' >&2
  printf '  %s\n' "${todo[@]}" >&2
  exit 1
fi
