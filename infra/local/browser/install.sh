#!/usr/bin/env bash
# Installs what the browser test needs: the driver, as package-lock.json pins it, into the folder that is named.
# Chromium and node are taken from Debian where they are missing and this is root; elsewhere the cure is named.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
into=${1:?usage: install.sh folder}
node_oldest=18

fail() {
    echo "$1" >&2
    exit 1
}

# package cure
install() {
    if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
        fail "$2"
    fi
    echo "installing $1"
    apt-get update -qq || true
    # The words between are several packages.
    # shellcheck disable=SC2086
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $1 >/dev/null || fail "$2"
}

if ! command -v node >/dev/null || ! command -v npm >/dev/null; then
    install "nodejs npm" "node ($node_oldest or newer) and npm are missing, which the dashboard's test needs; on Debian: apt-get install nodejs npm"
fi
if [ "$(node --print 'Number(process.versions.node.split(".")[0])')" -lt "$node_oldest" ]; then
    fail "node $(node --version) is too old for the dashboard's test: install node $node_oldest or newer"
fi
if [ -z "${CHROMIUM:-}" ] && ! command -v chromium >/dev/null; then
    install chromium "chromium is missing, which the dashboard's test needs; on Debian: apt-get install chromium; elsewhere set CHROMIUM to the path of a Chromium or Chrome"
fi

# npm ci empties the folder, so it runs only when something else is pinned than what is there.
if ! cmp -s "$here/package-lock.json" "$into/installed-lock.json"; then
    echo "installing the browser test's driver into $into"
    mkdir -p "$into"
    cp "$here/package.json" "$here/package-lock.json" "$into/"
    npm ci --prefix "$into" --ignore-scripts --no-audit --no-fund --loglevel=error >/dev/null ||
        fail "npm cannot install the browser test's driver: is the package registry reachable?"
    cp "$here/package-lock.json" "$into/installed-lock.json"
fi
