#!/usr/bin/env bash
# Runs the tests of a scope, `unit` or `all`, with cargo-nextest where it is installed, else with cargo test.
# Ends with one line of totals.
set -euo pipefail

case "${1:-}" in
    unit) scope=(--workspace --lib --bins) ;;
    all) scope=(--workspace) ;;
    *) echo "usage: test.sh unit|all" >&2; exit 2 ;;
esac

report=$(mktemp)
trap 'rm -f "$report"' EXIT
outcome=0
if cargo nextest --version >/dev/null 2>&1; then
    cargo nextest run --no-fail-fast "${scope[@]}" 2>&1 | tee "$report" || outcome=$?
    count() { sed 's/\x1b\[[0-9;]*m//g' "$report" | grep 'Summary' | tail -1 | grep -oE "[0-9]+ $1" | cut -d' ' -f1 || true; }
else
    cargo test --no-fail-fast "${scope[@]}" 2>&1 | tee "$report" || outcome=$?
    count() { { grep '^test result:' "$report" || true; } | grep -oE "[0-9]+ $1" | awk '{ total += $1 } END { print total + 0 }'; }
fi

passed=$(count passed)
failed=$(count failed)
# Nothing failed and nothing passed is a build that failed, or a selection that selects nothing.
if [ "$outcome" -eq 0 ] && [ "${passed:-0}" -eq 0 ]; then
    echo "no test ran" >&2
    outcome=1
fi
echo "${passed:-0} passed, ${failed:-0} failed"
exit "$outcome"
