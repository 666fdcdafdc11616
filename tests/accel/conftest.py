"""Kernels that tests launch here run in Triton's interpreter, which must be chosen before the first import of triton."""

import os

os.environ["TRITON_INTERPRET"] = "1"
