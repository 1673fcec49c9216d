#!/usr/bin/env bash
# Finds, or makes, a Rust compiler that can build guests: one whose sysroot has std for wasm32-unknown-unknown.
# Prints the path of its rustc as the only line on standard output; everything else goes to standard error.
#
# KEYWAY_WASM_STD=rustup   `rustup target add wasm32-unknown-unknown`, the usual way.
# KEYWAY_WASM_STD=debian   std built once from Debian's own source package, for machines that reach Debian's mirrors but not rustup's.
# unset                    what is already there wins; then rustup if its server answers within a minute; then Debian.
#
# What the Debian way does, step by step (about one minute, 110 MB to download, 340 MB on disk):
#   1. Makes sure of gcc, dpkg-deb and libllvm22. As root it installs what is missing; as anybody else it says which command does.
#   2. Downloads the packages rustc-web (a current rustc, in bookworm-security for Debian's browsers), its std for this machine, and
#      rust-web-src. They are unpacked into a folder of their own, not installed: nothing shadows the rustc in PATH, and
#      nothing conflicts with rustup.
#   3. Links rust-lld and wasm-component-ld from the Rust toolchain in PATH, because Debian ships neither.
#   4. Builds std for the target from rust-web-src, offline, with the crates vendored in that package, and puts it into the folder's sysroot.
# The folder is made under another name and renamed when it is whole, under a lock, so a broken run leaves nothing behind.
set -euo pipefail

target=wasm32-unknown-unknown
cache=${XDG_CACHE_HOME:-$HOME/.cache}/keyway

say() { printf '%s\n' "$*" >&2; }
fail() { say "wasm-std: $1"; shift; for line in "$@"; do say "  $line"; done; exit 1; }

command -v rustc >/dev/null || fail "there is no rustc in PATH" "hint: install Rust 1.95 or later from https://rustup.rs"
sysroot=$(rustc --print sysroot)
machine=$(rustc -vV | sed -n 's/^host: //p')

# --- the toolchain in PATH ---

in_path_has_std() { compgen -G "$sysroot/lib/rustlib/$target/lib/libstd*.rlib" >/dev/null; }

add_by_rustup() {
  command -v rustup >/dev/null || { say "wasm-std: there is no rustup in PATH"; return 1; }
  timeout 60 rustup target add "$target" >&2
}

# --- Debian ---

# The newest toolchain that a former run finished.
built_from_debian() { { compgen -G "$cache/rust-wasm-*/finished" || true; } | sort -V | tail -1 | xargs -r dirname; }

# Links the two linkers again when the toolchain that they came from has moved, for example by `rustup update`.
link_linkers() {
  local into=$1/lib/rustlib/$machine/bin tool
  mkdir -p "$into"
  for tool in rust-lld wasm-component-ld; do
    [ -x "$sysroot/lib/rustlib/$machine/bin/$tool" ] || fail "$sysroot has no $tool" "hint: use a toolchain from https://rustup.rs, 1.82 or later"
    [ -x "$into/$tool" ] || ln -sfn "$sysroot/lib/rustlib/$machine/bin/$tool" "$into/$tool"
  done
}

need_packages() {
  local missing=() libraries
  command -v dpkg-deb >/dev/null && command -v apt-get >/dev/null || fail "this is no Debian" "hint: rustup target add $target"
  command -v cc >/dev/null || missing+=(gcc libc6-dev)
  # Into a variable first: a reader that stops at its match would end ldconfig by a signal. It lies where only root's PATH looks.
  libraries=$(PATH=$PATH:/usr/sbin:/sbin ldconfig -p)
  [[ $libraries == *'libLLVM.so.22.1 '* ]] || missing+=(libllvm22)
  if [ "$(id -u)" = 0 ]; then
    apt-cache show rust-web-src >/dev/null 2>&1 || apt-get update >&2
    [ ${#missing[@]} = 0 ] || DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${missing[@]}" >&2
  else
    local todo=()
    apt-cache show rust-web-src >/dev/null 2>&1 || todo+=("sudo apt-get update")
    [ ${#missing[@]} = 0 ] || todo+=("sudo apt-get install --no-install-recommends ${missing[*]}")
    [ ${#todo[@]} = 0 ] || fail "not everything that it needs is installed; run" "${todo[@]}"
  fi
  apt-cache show rust-web-src >/dev/null 2>&1 ||
    fail "apt knows no package rust-web-src" "hint: it is in Debian's bookworm-security; or: rustup target add $target"
}

build_from_debian() {
  need_packages
  local std_package version final work library
  std_package=$(apt-cache depends rustc-web libstd-rust-web-dev | grep -om1 'libstd-rust-web-[0-9][0-9.]*')
  version=${std_package#libstd-rust-web-}
  final=$cache/rust-wasm-$version
  work=$cache/.rust-wasm-$version.$$
  trap "rm -rf '$work'" EXIT
  mkdir -p "$work"/{packages,unpacked,out/bin,"out/lib/rustlib/$machine"}

  say "wasm-std: downloading Debian's rustc $version and the source of its std"
  # As root, apt would like to download as its own user `_apt` and warns that it may not write here; a folder open to all would be worse.
  (cd "$work/packages" && apt-get -q download rustc-web "$std_package" libstd-rust-web-dev rust-web-src >&2)
  local package
  for package in "$work"/packages/*.deb; do dpkg-deb -x "$package" "$work/unpacked"; done

  local out=$work/out
  mv "$work"/unpacked/usr/lib/*/librustc_driver*.so "$out/lib/"
  cp -a "$work/unpacked/usr/lib/rustlib/$machine/." "$out/lib/rustlib/$machine/"
  # rustc finds its sysroot beside librustc_driver, but not librustc_driver itself, since Debian puts it where ld.so looks by itself.
  local tool
  for tool in rustc rustdoc; do
    mv "$work/unpacked/usr/bin/$tool" "$out/bin/$tool-debian"
    printf '%s\n' '#!/bin/sh' 'here=$(dirname "$0")' \
      'LD_LIBRARY_PATH="$here/../lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}" exec "$here/'"$tool"'-debian" "$@"' >"$out/bin/$tool"
    chmod 755 "$out/bin/$tool"
  done
  link_linkers "$out"

  say "wasm-std: building std for $target"
  library=$(echo "$work"/unpacked/usr/src/rustc-*/library)
  # RUSTC_BOOTSTRAP: std may use unstable features, and only std is built with it. -Zavoid-dev-deps: the crates that std's own tests need are
  # not vendored. Profile dist: keeps the bitcode, so that guests can be linked with lto. The remap keeps this folder's name out of panics.
  (
    cd "$library"
    unset CARGO_TARGET_DIR CARGO_BUILD_TARGET RUSTC_WRAPPER
    RUSTC=$out/bin/rustc RUSTC_BOOTSTRAP=1 RUSTFLAGS="-Zforce-unstable-if-unmarked --remap-path-prefix=$library=/rustc/library" \
      "$sysroot/bin/cargo" build -q -Zavoid-dev-deps --offline --profile dist --target "$target" --target-dir "$work/target" \
      --manifest-path sysroot/Cargo.toml --no-default-features \
      --config 'source.crates-io.replace-with="vendored"' --config "source.vendored.directory=\"$library/vendor\"" >&2
  )
  mkdir -p "$out/lib/rustlib/$target/lib"
  cp "$work/target/$target/dist/deps/"*.rlib "$out/lib/rustlib/$target/lib/"

  touch "$out/finished"
  mv -T "$out" "$final"
  say "wasm-std: done: $final"
}

use_debian() {
  local made
  mkdir -p "$cache"
  exec 8>"$cache/rust-wasm.lock"
  flock 8
  made=$(built_from_debian)
  [ -n "$made" ] || { build_from_debian; made=$(built_from_debian); }
  link_linkers "$made"
  echo "$made/bin/rustc"
}

case ${KEYWAY_WASM_STD:-} in
  rustup)
    in_path_has_std || add_by_rustup || fail "rustup did not add $target" "hint: KEYWAY_WASM_STD=debian builds it from Debian's packages"
    echo "$sysroot/bin/rustc" ;;
  debian) use_debian ;;
  "")
    if in_path_has_std; then echo "$sysroot/bin/rustc"
    elif [ -n "$(built_from_debian)" ]; then use_debian
    elif add_by_rustup; then echo "$sysroot/bin/rustc"
    else say "wasm-std: rustup did not add $target, so Debian's packages it is"; use_debian
    fi ;;
  *) fail "KEYWAY_WASM_STD is \`$KEYWAY_WASM_STD\`" "it takes \`rustup\` or \`debian\`, or nothing" ;;
esac
