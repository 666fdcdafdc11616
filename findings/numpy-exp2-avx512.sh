#!/usr/bin/env bash
# NumPy 2.4.6: np.exp2 of float32 127 is 1.701412e38, one step above 2^127, where NumPy computes with AVX-512 (X86_V4); with that
# switched off (NPY_DISABLE_CPU_FEATURES) it is 2^127 exactly. All other whole exponents from -127 to 126 are exact either way, and
# so are float64's. E8M0, the scale of MX and of DeepSeek's FP8 and FP4 weights, stores bare exponents: byte 254 means 2^127, which
# ml_dtypes 0.6.0 decodes right. So scales decoded by exp2(byte - 127) equal the format on one processor and not on another.
# Fails when either changes; without AVX-512 there is nothing to see, and it says so.
# For whom: anyone who decodes block scales by exp2 and compares bits. np.ldexp is exact on both.
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
export PIP_DISABLE_PIP_VERSION_CHECK=1
python3 -m venv "$work/venv"; python=$work/venv/bin/python
"$python" -m pip install -q numpy==2.4.6 ml_dtypes==0.6.0
cat >"$work/scales.py" <<'P'
import ml_dtypes
import numpy as np

codes = np.arange(255, dtype=np.uint8)                  # 255 is NaN
format = codes.view(ml_dtypes.float8_e8m0fnu).astype(np.float32)
moved = np.ldexp(np.float32(1), codes.astype(np.int64) - 127)
raised = np.exp2(codes.astype(np.float32) - 127)
double = np.exp2(codes.astype(np.float64) - 127).astype(np.float32)
print("ldexp", codes[moved != format].tolist(), "exp2 in float32", codes[raised != format].tolist(),
      "in float64", codes[double != format].tolist(), "2^127", hex(raised[-1].view(np.uint32)))
P
found=$("$python" -c 'import numpy as np; print(np.show_config(mode="dicts")["SIMD Extensions"].get("found"))')
case $found in *X86_V4*) ;; *) echo "no AVX-512 here, only $found: nothing to see"; exit 0 ;; esac
here=$("$python" "$work/scales.py")
without=$(NPY_DISABLE_CPU_FEATURES="X86_V4 AVX512_ICL AVX512_SPR" "$python" -W ignore "$work/scales.py")
printf 'bytes that decode to another number than the format says\n  with AVX-512:    %s\n  switched off:    %s\n' "$here" "$without"
[ "$here" = "ldexp [] exp2 in float32 [254] in float64 [] 2^127 0x7f000001" ] || { echo "CHANGED with AVX-512"; exit 1; }
[ "$without" = "ldexp [] exp2 in float32 [] in float64 [] 2^127 0x7f000000" ] || { echo "CHANGED without"; exit 1; }
echo "as stated above"
