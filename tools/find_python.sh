#!/bin/sh
# Prints a Python that the lock files cover: the one that PYTHON names, else the first suitable one on PATH.
set -eu

fail() {
    echo "error: $1" >&2
    exit 1
}

platform="$(uname -s) $(uname -m)"
# Elsewhere the environment markers in the lock exclude every package: pip would install nothing and report success.
[ "$platform" = "Linux x86_64" ] || fail "cml_tf needs Linux on x86_64; this machine is $platform."

candidates="${PYTHON:-python3.11 python3.12 python3.13 python3 python}"
check='import ensurepip, sys, venv; sys.exit(not ((3, 11) <= sys.version_info[:2] <= (3, 13) and sys.maxsize > 2**32))'
for candidate in $candidates; do
    # Each one is run, for a name on PATH may be a version manager's shim with no Python behind it.
    if "$candidate" -c "$check" >/dev/null 2>&1; then
        echo "$candidate"
        exit 0
    fi
done
fail "no 64-bit Python 3.11, 3.12 or 3.13 with its venv module (Debian, Ubuntu: python3-venv) among: $candidates;\
 install one, or pass its path: make PYTHON=/path/to/python"
