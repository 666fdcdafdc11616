#!/usr/bin/env bash
# triton 3.7.1 and triton-ascend 3.2.0 in one environment. Both wheels own the folder triton/; pip sees no conflict.
# Seen on x86-64, Python 3.11, pip 23.2: the install of the second ends without a word, `import triton` then fails; removing
# triton-ascend again leaves a `triton` that imports and has no __version__. Fails when one of the three changes.
# For whom: anyone who follows "pip install triton-ascend" in an environment where torch for CUDA has brought triton along.
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
export PIP_DISABLE_PIP_VERSION_CHECK=1
python3 -m venv "$work/venv"; python=$work/venv/bin/python

"$python" -m pip install -q --no-deps triton==3.7.1 pybind11
"$python" -c 'import triton; print("alone: triton", triton.__version__)'

"$python" -m pip install -q --no-deps triton-ascend==3.2.0 && echo "triton-ascend installed over it, exit status 0"
"$python" -m pip check && echo "pip check: nothing is broken"
if "$python" -c 'import triton' 2>"$work/error"; then echo "CHANGED: import triton works"; exit 1; fi
echo "import triton: $(tail -1 "$work/error")"
grep -q "ImportError: cannot import name" "$work/error" || { echo "CHANGED: another error"; exit 1; }

"$python" -m pip uninstall -q -y triton-ascend
if "$python" -c 'import triton; print(triton.__version__)' 2>"$work/error"; then echo "CHANGED: triton is whole again"; exit 1; fi
echo "after removing triton-ascend: $(tail -1 "$work/error")"
