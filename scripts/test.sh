#!/usr/bin/env bash
# What `make test` runs: the given targets of the Makefile one after the other, and at the end what each said, in one table.
# Stops at the first that fails. The whole output of each is kept in target/test-logs/.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

logs=target/test-logs
rm -rf "$logs"
mkdir -p "$logs"
began=$SECONDS
table=()
failed=

for target in "$@"; do
  printf '\n=== make %s\n' "$target"
  step=$SECONDS
  "${MAKE:-make}" --no-print-directory "$target" 2>&1 | tee "$logs/$target.log"
  status=${PIPESTATUS[0]}
  # The runners' own last words: cargo test's lines of results added up, and the demo's summary.
  said=$(awk '/^test result:/ { passed += $4; failed += $6; ignored += $8; n++ }
    END { if (n) printf "%d passed, %d failed, %d ignored", passed, failed, ignored }' "$logs/$target.log")
  # Languages, and examples in them, that were passed over, by name.
  case $target in
    languages) passed_over=$(sed -n 's/^test \([a-z]*\)::[a-z]* *\.\.\. ignored.*/\1/p' "$logs/$target.log" | sort -u | paste -sd' ') ;;
    e2e) passed_over=$(sed -n 's/.*passed over: \(plugins[^,]*\),.*/\1/p' "$logs/$target.log" | sort -u | paste -sd' ') ;;
    *) passed_over= ;;
  esac
  [ -z "$passed_over" ] || said="$said; passed over: $passed_over"
  [ "$status" = 0 ] && word=ok || word=FAILED
  table+=("$(printf '%-10s %-7s %5ds  %s' "$target" "$word" $((SECONDS - step)) "$said")")
  [ "$status" = 0 ] || { failed=$target; break; }
done

printf '\n=== summary\n'
printf '%s\n' "${table[@]}"
if [ -n "$failed" ]; then
  printf 'test result: FAILED at `make %s` after %ds; its output is in %s/%s.log\n' "$failed" $((SECONDS - began)) "$logs" "$failed"
  exit 1
fi
printf 'test result: ok. all %d steps passed in %ds\n' $# $((SECONDS - began))
