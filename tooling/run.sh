#!/bin/sh
# run.sh EXTRAS MODULE [ARGUMENT…]: set .venv up with these extras of pyproject.toml
# (skipped when it already is), then run the module with its Python, from the root.
set -eu
cd "$(dirname "$0")/.."

recent() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; }

find_python() {
    for candidate in "${PYTHON:-}" python3.13 python3.12 python3.11 python3 python; do
        if [ -n "$candidate" ] && recent "$candidate"; then
            echo "$candidate"
            return
        fi
    done
    found=$(python3 --version 2>/dev/null || echo "no Python at all")
    echo "Python 3.11 or newer is needed and this machine has $found: on Debian 12, Ubuntu 24.04 or newer run 'sudo apt-get install python3 python3-venv', elsewhere install it from python.org; or name one with 'make PYTHON=/path/to/python3.11 …'." >&2
    exit 1
}

if recent .venv/bin/python; then
    python=.venv/bin/python
else
    python=$(find_python) || exit 1
    if ! "$python" -c 'import venv, ensurepip' >/dev/null 2>&1; then
        version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
        echo "Python $version has no venv module: on Debian or Ubuntu run 'sudo apt-get install python$version-venv' (or python3-venv), elsewhere install Python from python.org, which includes it." >&2
        exit 1
    fi
fi
extras=$1
shift
"$python" tooling/environment.py "$extras"
exec .venv/bin/python -m "$@"
