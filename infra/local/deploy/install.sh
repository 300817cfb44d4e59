#!/usr/bin/env bash
# Installs one of the programs that check, build and deploy the functions into a folder of its own, at this version:
# install.sh folder package==version…
set -euo pipefail
into=${1:?usage: install.sh folder package==version…}
shift

fail() {
    echo "$1" >&2
    exit 1
}

stamp=$into/installed-$(echo "$*" | tr ' ' '-')
if [ -f "$stamp" ]; then
    exit 0
fi
missing="python3 (3.10 or newer, with venv) is missing; on Debian: apt-get install python3 python3-venv"
command -v python3 >/dev/null || fail "$missing"
echo "installing $* into $into"
rm -rf "$into"
python3 -m venv "$into" || fail "$missing"
"$into/bin/python" -m pip install --quiet --disable-pip-version-check "$@"
touch "$stamp"
