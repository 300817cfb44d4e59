#!/usr/bin/env bash
# Builds every function as `sam deploy` would upload it, prints the sizes of the packages, and fails when one has
# grown beyond 8 MB: what is larger starts slower. The aim is 6 MB. package.sh arm64|x86_64
set -euo pipefail
architecture=${1:?usage: package.sh arm64|x86_64}
bytes_max=$((8 * 1000 * 1000))
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../../.." && pwd)
build=$root/target/package/$architecture

case "$architecture" in
    arm64) target=aarch64-unknown-linux-gnu ;;
    x86_64) target=x86_64-unknown-linux-gnu ;;
    *) echo "the architecture is arm64 or x86_64, not $architecture" >&2; exit 2 ;;
esac
# The cross-compiler's Python first: it is asked for zig.
export PATH=$root/target/tools/cargo-lambda/bin:$root/target/tools/sam/bin:$PATH
export SAM_CLI_TELEMETRY=0
if command -v rustup >/dev/null; then
    rustup target add --toolchain "$(rustup show active-toolchain | cut -d' ' -f1)" "$target" >/dev/null 2>&1 ||
        echo "rustup cannot add $target: the build will say whether it is missing" >&2
fi

cd "$root"
sam build --build-dir "$build" --parameter-overrides "Architecture=$architecture"

too_large=0
for folder in "$build"/*Function; do
    package=$build/$(basename "$folder").zip
    rm -f "$package"
    (cd "$folder" && python3 -m zipfile -c "$package" bootstrap)
    bytes=$(wc -c <"$package")
    awk -v name="$(basename "$folder")" -v zipped="$bytes" -v whole="$(wc -c <"$folder/bootstrap")" \
        'BEGIN { printf "%-16s zipped %5.2f MB, of %5.2f MB\n", name, zipped / 1e6, whole / 1e6 }'
    if [ "$bytes" -gt "$bytes_max" ]; then
        too_large=1
    fi
done
if [ "$too_large" -ne 0 ]; then
    echo "a package is larger than 8 MB" >&2
    exit 1
fi
