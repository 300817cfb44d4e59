#!/usr/bin/env bash
# Installs AWS's DynamoDB Local into target/tools/dynamodb-local, from the npm package that brings it along. Only the
# store's contract tests use it, and only where it is present: it needs java (11 or newer) and npm.
set -euo pipefail
version=2.9.30
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
into=$root/target/tools/dynamodb-local

fail() {
    echo "$1" >&2
    exit 1
}

if [ -f "$into/installed-$version" ]; then
    exit 0
fi
command -v npm >/dev/null || fail "npm is missing, which DynamoDB Local is fetched with; on Debian: apt-get install npm"
command -v java >/dev/null || fail "java is missing, which DynamoDB Local runs on; on Debian: apt-get install default-jre-headless"

echo "installing DynamoDB Local into $into"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# The package alone, without what it depends on: only the emulator inside is wanted.
(cd "$work" && npm pack --silent "amplify-dynamodb-simulator@$version" >/dev/null && tar -xzf ./*.tgz)
rm -rf "$into"
mkdir -p "$(dirname "$into")"
mv "$work/package/emulator" "$into"
touch "$into/installed-$version"
