#!/usr/bin/env bash
# Makes the generated bindings of the SDKs anew from the contract: sdk/{js,python,go,c}. `make generated` runs this and fails if anything has changed.
#
# Needs wit-bindgen-cli 0.61.1 (`cargo install wit-bindgen-cli@0.61.1 --locked --no-default-features --features c,go`), and
# what scripts/setup-languages.sh installs. An argument names the languages to do: js, python, go, c; all without any.
set -euo pipefail
cd "$(dirname "$0")/.."
tools=${KEYWAY_TOOLS:-$HOME/.cache/keyway}
wit=$PWD/wit/0.1.0
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT

js() {
  "$tools/js/node_modules/.bin/jco" guest-types "$wit" -n replying-plugin -o "$work/js" >"$work/log" || { cat "$work/log" >&2; return 1; }
  rm -rf sdk/js/generated && mv "$work/js" sdk/js/generated
}

python() {
  mkdir "$work/python"
  "$tools/python/bin/componentize-py" -d "$wit" -w replying-plugin bindings "$work/python"
  # For editors only: the build brings its own. The support for asynchronous functions is left out, since the contract has none.
  rm -rf sdk/python/generated && mkdir sdk/python/generated
  mv "$work/python/"{wit_world,componentize_py_types.py} sdk/python/generated/
}

go() {
  wit-bindgen go -w replying-plugin --out-dir "$work/go" "$wit" >/dev/null 2>&1
  # A module of its own with a `main` becomes internal packages of the SDK.
  rm -rf sdk/go/internal/wit/keyway_* sdk/go/internal/wit/exports
  mkdir -p sdk/go/internal/wit/exports
  mv "$work"/go/keyway_* sdk/go/internal/wit/
  mv "$work/go/wit_exports.go" sdk/go/internal/wit/exports/
  find sdk/go/internal/wit/keyway_* sdk/go/internal/wit/exports -name '*.go' -exec sed -i \
    -e 's|"wit_component/export_keyway_transform_|"keyway/internal/hooks/|' -e 's|"wit_component/|"keyway/internal/wit/|' \
    -e 's|"go.bytecodealliance.org/pkg/wit/|"keyway/internal/wit/|' \
    -e 's|export_keyway_transform_\([a-z]*\)\.|\1.|g' {} +
  sed -i -e 's|^package main$|//go:build wasm\n\npackage exports|' -e '/^\/\/ Unused, but present to make the compiler happy$/d' -e '/^func main() {}$/d' \
    sdk/go/internal/wit/exports/wit_exports.go
  gofmt -w sdk/go/internal/wit/exports sdk/go/internal/wit/keyway_*
}

c() {
  wit-bindgen c -w replying-plugin --out-dir "$work/c" "$wit" >/dev/null 2>&1
  # The object with the component's type is left out: `keyway build` adds the type, with `replies` only where the plugin has them.
  rm -rf sdk/c/generated && mkdir -p sdk/c/generated
  sed "/^\/\/ Ensure that the .*component_type/,\$d" "$work/c/replying_plugin.c" >sdk/c/generated/replying_plugin.c
  mv "$work/c/replying_plugin.h" sdk/c/generated/
}

for language in "${@:-js python go c}"; do
  for one in $language; do "$one"; done
done
