#!/usr/bin/env bash
# Installs the clients that judge the simulator into the folder that is named, at the versions that
# requirements.txt and package-lock.json pin. notmuch, its Python module, node and npm are taken from Debian
# where they are missing and this is root; elsewhere the cure is named.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
into=${1:?usage: install.sh folder}
python_missing="python3 (3.10 or newer, with venv) is missing; on Debian: apt-get install python3 python3-venv"
notmuch_missing="notmuch and its Python module notmuch2 are missing, which lieer needs;\
 on Debian: apt-get install notmuch python3-notmuch2"
node_missing="node (18 or newer) and npm are missing, which Google's Node client needs;\
 on Debian: apt-get install nodejs npm"

fail() {
    echo "$1" >&2
    exit 1
}

# packages cure
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

# Where notmuch2 lies: Debian installs it for its own interpreter, which need not be the first in PATH.
notmuch2() {
    local python
    for python in /usr/bin/python3 python3; do
        "$python" -c 'import notmuch2, pathlib; print(pathlib.Path(notmuch2.__file__).parent)' 2>/dev/null && return
    done
    return 1
}

python3 -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null || fail "$python_missing"
if ! command -v notmuch >/dev/null || ! notmuch2 >/dev/null; then
    install "notmuch python3-notmuch2" "$notmuch_missing"
fi
if ! command -v node >/dev/null || ! command -v npm >/dev/null; then
    install "nodejs npm" "$node_missing"
fi
[ "$(node --print 'Number(process.versions.node.split(".")[0])')" -ge 18 ] || fail "$node_missing"

# A folder that is whole carries copies of the locks it was made from.
if ! cmp -s "$here/requirements.txt" "$into/installed-requirements.txt"; then
    echo "installing Google's Python client and lieer into $into"
    rm -rf "$into/python" "$into/notmuch" "$into/installed-requirements.txt"
    mkdir -p "$into"
    python3 -m venv "$into/python" || fail "$python_missing"
    "$into/python/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps \
        --requirement "$here/requirements.txt" ||
        fail "pip cannot install the oracles: is the package registry reachable?"
    # Only this one module of the system's: any other could stand in for a pinned one.
    mkdir "$into/notmuch"
    ln -s "$(notmuch2 || fail "$notmuch_missing")" "$into/notmuch/notmuch2"
    # As seen from where the packages lie, so that the folder can be moved.
    packages=$("$into/python/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
    echo ../../../../notmuch >"$packages/notmuch2.pth"
    "$into/python/bin/python" -c 'import notmuch2' || fail "$notmuch_missing"
    cp "$here/requirements.txt" "$into/installed-requirements.txt"
fi
if ! cmp -s "$here/package-lock.json" "$into/installed-lock.json"; then
    echo "installing Google's Node client into $into"
    rm -f "$into/installed-lock.json"
    cp "$here/package.json" "$here/package-lock.json" "$into/"
    npm ci --prefix "$into" --ignore-scripts --no-audit --no-fund --loglevel=error >/dev/null ||
        fail "npm cannot install the oracles: is the package registry reachable?"
    cp "$here/package-lock.json" "$into/installed-lock.json"
fi
