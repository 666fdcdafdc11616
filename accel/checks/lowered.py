"""Linalg that Triton-Ascend made of a kernel, run on this CPU: MLIR's passes to LLVM, LLVM's compiler, a call for each program.

Not here: how Linalg came about (ascend.py).
"""

import ctypes
import subprocess
import tempfile
from functools import cache
from pathlib import Path

import numpy as np

from v4mini.shapes import Refused
from v4mini.writing import write_whole

PASSES = (                                              # of MLIR, in this order
    "llvm-request-c-wrappers", "canonicalize", "convert-elementwise-to-linalg",
    "one-shot-bufferize=allow-return-allocs-from-loops=true", "canonicalize", "convert-linalg-to-loops",
    "expand-strided-metadata", "lower-affine", "convert-scf-to-cf", "arith-expand=include-bf16=true",
    "convert-math-to-llvm", "convert-math-to-libm", "convert-arith-to-llvm", "convert-index-to-llvm",
    "finalize-memref-to-llvm", "convert-func-to-llvm", "convert-cf-to-llvm", "reconcile-unrealized-casts")
MEMREF_COPY = r"""
#include <stdint.h>
#include <string.h>
typedef struct { int64_t rank; void *descriptor; } Memref;      /* descriptor: allocated, aligned, offset, sizes[], strides[] */
static void copy(int64_t axis, int64_t rank, int64_t bytes, char *from, int64_t *from_strides, char *to, int64_t *to_strides,
                 int64_t *sizes) {
    if (axis == rank) { memcpy(to, from, bytes); return; }
    for (int64_t i = 0; i < sizes[axis]; ++i)
        copy(axis + 1, rank, bytes, from + i * from_strides[axis] * bytes, from_strides,
             to + i * to_strides[axis] * bytes, to_strides, sizes);
}
void memrefCopy(int64_t bytes, Memref *from, Memref *to) {      /* MLIR's runtime has this; its library is not in the wheel */
    int64_t rank = from->rank, *a = from->descriptor, *b = to->descriptor;
    copy(0, rank, bytes, (char *)a[1] + a[2] * bytes, a + 3 + rank, (char *)b[1] + b[2] * bytes, b + 3 + rank, a + 3);
}
"""


class _Memref(ctypes.Structure):                        # MLIR's descriptor of an array of one axis
    _fields_ = [("allocated", ctypes.c_void_p), ("aligned", ctypes.c_void_p), ("offset", ctypes.c_int64),
                ("size", ctypes.c_int64), ("stride", ctypes.c_int64)]


@cache
def _load_memref_copy():
    import llvmlite.binding as llvm

    with tempfile.TemporaryDirectory() as folder:
        source, library = Path(folder, "copy.c"), Path(folder, "copy.so")
        write_whole(source, MEMREF_COPY)
        subprocess.run(["cc", "-O2", "-fPIC", "-shared", "-o", library, source], check=True)
        llvm.load_library_permanently(str(library))
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()


def _to_llvm(linalg):                                   # MLIR text -> LLVM text
    from triton._C.libtriton import ir
    from triton._C.libtriton import llvm as triton_llvm

    from accel.checks.ascend import tool

    run = subprocess.run([tool("bishengir-opt"), "--allow-unregistered-dialect", "-", *("--" + name for name in PASSES)],
                         input=linalg, capture_output=True, text=True)
    if run.returncode:
        raise Refused(f"bishengir-opt: {run.stderr[:300]}")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "kernel.mlir")
        write_whole(path, run.stdout)
        context = ir.context()
        ir.load_dialects(context)
        module = ir.parse_mlir_module(str(path), context)
        module.context = context
        return str(triton_llvm.to_module(module, triton_llvm.context()))


def on_cpu(linalg, name):                               # -> callable(grid, *arrays and numbers)
    """The kernel as machine code of this CPU. Programs of the grid run one after the other and change the arrays given."""
    import llvmlite.binding as llvm

    _load_memref_copy()
    module = llvm.parse_assembly(_to_llvm(linalg))
    module.verify()
    # with this CPU's own features: without them a conversion from fp16 calls a library function that is not there
    host = {"cpu": llvm.get_host_cpu_name(), "features": llvm.get_host_cpu_features().flatten()}
    engine = llvm.create_mcjit_compiler(module, llvm.Target.from_default_triple().create_target_machine(opt=3, **host))
    engine.finalize_object()
    address = engine.get_function_address("_mlir_ciface_" + name)

    def run(grid, *arguments, _kept_alive=engine):
        memrefs = [_Memref(None, None, 0, 0, 1) for _ in range(2)]                      # a lock and a workspace, unused
        values, types = [ctypes.addressof(m) for m in memrefs], [ctypes.c_void_p] * 2
        for one in arguments:
            if isinstance(one, np.ndarray):
                memrefs.append(_Memref(one.ctypes.data, one.ctypes.data, 0, one.size, 1))
                values.append(ctypes.addressof(memrefs[-1]))
                types.append(ctypes.c_void_p)
            else:
                values.append(one)
                types.append(ctypes.c_float if isinstance(one, float) else ctypes.c_int32)
        function = ctypes.CFUNCTYPE(None, *types, *[ctypes.c_int32] * 6)(address)
        sizes = (*grid, 1, 1)[:3]
        for x, y, z in np.ndindex(*sizes):
            function(*values, *sizes, x, y, z)
    return run
