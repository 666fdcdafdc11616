"""Each kernel has a case, each case its tile, and the comparison sees what it should."""

import ast
import subprocess
import sys

import ml_dtypes
import numpy as np
import pytest

from accel.checks import cases, planted
from accel.checks.source import KERNELS
from accel.tiles import TARGETS, tile_of
from v4mini.shapes import Refused

LANGUAGE = {                                            # of Triton 3.2, and compiled by Triton-Ascend 3.2.0
    "arange", "broadcast_to", "constexpr", "dot", "exp", "float32", "full", "int32", "join", "load", "max", "maximum", "minimum",
    "num_programs", "program_id", "reshape", "split", "sqrt", "static_range", "store", "sum", "trans", "where", "zeros"}


def kernels():                                          # public functions of kernels/: module.function
    for path in sorted(KERNELS.glob("*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
                yield f"{path.stem}.{node.name}"


def test_every_kernel_has_a_case():
    assert set(kernels()) == {kernel for kernel, _ in cases.CASES.values()}


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", cases.CASES)
def test_a_case_can_be_made_for_every_target(name, target):
    case = cases.case_for(name, "tiny", target, ml_dtypes.bfloat16)
    before = {key: array.copy() for key, array in case.arrays.items()}
    answer = case.right()
    assert set(answer) <= set(case.arrays)
    for key, array in answer.items():
        assert array.shape == case.arrays[key].shape, key
    for key, array in case.arrays.items():
        np.testing.assert_array_equal(array, before[key])                               # the answer comes from copies
    assert cases.largest_error(case.arrays, case) > 0.01                                # nothing was launched yet


def test_the_comparison_sees_integers_and_infinities():
    def error(got, right):
        case = cases.Case("k", {}, {}, {}, (), lambda: {"out": np.asarray(right)})
        return cases.largest_error({"out": np.asarray(got)}, case)
    assert error([1.0, 2.0], [1.0, 2.0]) == 0
    assert error([1.0, 2.2], [1.0, 2.0]) == pytest.approx(0.1)
    assert error([1.0, np.nan], [1.0, 2.0]) == error([1.0, np.inf], [1.0, 2.0]) == float("inf")
    assert error([100_000, 1], [100_000, 2]) == float("inf")


def test_kernels_stay_within_the_language_both_compilers_have():
    for path in KERNELS.glob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        used = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute) and getattr(node.value, "id", "") == "tl"}
        assert used <= LANGUAGE, f"{path}: {used - LANGUAGE}"
        imports = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
        assert imports <= {"triton", "triton.language"}, path


def test_cases_and_the_record_need_neither_torch_nor_triton():
    code = "import sys, accel.__main__, accel.checks.device; print(sorted({'torch', 'triton', 'numba'} & set(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


@pytest.mark.parametrize("mistake", [*planted.NUMBERS, *planted.CODE], ids=lambda mistake: mistake.what)
def test_a_mistake_can_be_planted(mistake):
    text = (KERNELS / f"{mistake.module}.py").read_text(encoding="utf-8")
    assert mistake.right in text and mistake.right != mistake.wrong
    assert cases.CASES[mistake.case][0].startswith(mistake.module + ".")


def test_every_kernel_gets_a_mistake():
    assert {cases.CASES[mistake.case][0] for mistake in planted.NUMBERS} == set(kernels())


def test_a_target_without_a_table_is_refused():
    with pytest.raises(Refused, match="expected one of interpreter"):
        tile_of("rope.rope", "sm_80")
