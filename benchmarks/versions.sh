#!/usr/bin/env bash
# The tests on every Python at hand, each in an environment of its own, with one line of outcome for each.
#
#     benchmarks/versions.sh FOLDER [PYTEST ARGUMENTS]
#     TORCH=2.6.0 PYTHONS=python3.11 benchmarks/versions.sh ../versions tests/models tests/training
#
# FOLDER keeps the environments for the next time. TORCH is a release (that of constraints.txt by default), PYTHONS are
# commands or paths (python3.11 to python3.13 by default). torch is installed first, as pip is set up: where that would
# bring CUDA libraries, name the index of CPU builds in PIP_EXTRA_INDEX_URL, or take the torch of the system by
# VENV=--system-site-packages.
set -euo pipefail
folder=$(mkdir -p "$1" && cd "$1" && pwd)
shift
cd "$(dirname "$0")/.."
torch=${TORCH:-$(sed -n 's/^torch==//p' constraints.txt)}
failed=0
for python in ${PYTHONS:-python3.11 python3.12 python3.13}; do
    if ! command -v "$python" > /dev/null; then
        echo "$python: not at hand"
        continue
    fi
    release=$("$python" -c "import platform; print(platform.python_version())")
    environment=$folder/python-$release-torch-$torch
    pip=("$environment/bin/python" -m pip install --quiet --constraint "$environment/constraints.txt")
    "$python" -m venv ${VENV:-} "$environment"
    sed "s/^torch==.*/torch==$torch/" constraints.txt > "$environment/constraints.txt"
    "${pip[@]}" torch
    "${pip[@]}" --editable ".[dev]"
    "$environment/bin/python" -m pytest -p no:cacheprovider "$@" > "$environment/tests.txt" 2>&1 || failed=1
    echo "Python $release, torch $torch: $(tail -n 1 "$environment/tests.txt") ($environment/tests.txt)"
done
exit $failed
