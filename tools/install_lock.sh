#!/bin/sh
# Installs one lock file into .venv, which is made first where there is none; the Makefile says when.
#   sh tools/install_lock.sh requirements.txt | requirements-dev.txt
#
# The marker .venv/.installing stands while pip works. Found with nobody behind it, it tells of an installation that was
# killed: pip may then take a half-copied package for an installed one, so the environment is made anew. The stamps
# .venv/.installed-* come last, so what was cut short is never taken for done.
set -eu

lock=$1
marker=.venv/.installing
python=$(sh tools/find_python.sh)

if [ -e "$marker" ]; then
    other=$(cat "$marker")
    if [ -n "$other" ] && kill -0 "$other" 2>/dev/null; then
        echo "error: process $other is installing into .venv: wait for it, or remove $marker if the process is something else." >&2
        exit 1
    fi
    rm -rf .venv
fi
if ! [ -e .venv/.created ] || ! [ -x .venv/bin/python ]; then
    rm -rf .venv
    "$python" -m venv .venv
    touch .venv/.created
fi

rm -f .venv/.installed-runtime .venv/.installed-dev
echo $$ >"$marker"
echo "Installing $lock into .venv (2.8 GB the first time) ..."
# The lock has everything that its packages need.
if ! .venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-compile -r "$lock"; then
    # pip gave up by itself, and cleanly: what it has installed is whole.
    rm -f "$marker"
    exit 1
fi
# What is imported is compiled by importing it once, in a quarter of the time that pip takes for all files. Where
# PYTHONDONTWRITEBYTECODE is set, as in many containers, each process would else compile TensorFlow again, which takes
# ten seconds.
imported="tensorflow, keras, matplotlib.pyplot, pandas, scipy.stats, sklearn"
rm -f "$marker"
if ! told=$(env -u PYTHONDONTWRITEBYTECODE .venv/bin/python -c "import $imported" 2>&1); then
    echo "$told" >&2
    echo "error: the packages of $lock are installed, but cannot be imported on this machine (above)." >&2
    exit 1
fi
touch .venv/.installed-runtime
# The development lock holds everything that the runtime lock holds, in the same versions.
[ "$lock" = requirements.txt ] || touch .venv/.installed-dev
