"""Who has no NPU, or no CANN beneath torch_npu, is told why. torch_npu itself is played here."""

import sys
from importlib.util import find_spec
from types import ModuleType, SimpleNamespace

import pytest

pytestmark = [pytest.mark.compilers, pytest.mark.skipif(find_spec("ascendnpuir") is not None, reason="no torch here")]
torch = pytest.importorskip("torch")


@pytest.fixture
def ascend():
    pytest.importorskip("triton")
    from accel import ascend
    return ascend


def npu(is_there, name):
    return SimpleNamespace(is_available=lambda: is_there, get_device_name=lambda at: name)


@pytest.mark.parametrize("is_there,name,said", [
    (False, "", "sees no NPU"), (True, "Ascend310P3", "tile table"), (True, "Ascend910B3", "")])
def test_what_is_missing(ascend, monkeypatch, is_there, name, said):
    monkeypatch.setitem(sys.modules, "torch_npu", ModuleType("torch_npu"))
    monkeypatch.setattr(torch, "npu", npu(is_there, name), raising=False)
    assert said in ascend.missing() and bool(said) == bool(ascend.missing())


def test_torch_npu_without_cann(ascend, monkeypatch):
    def fail(name):
        raise ImportError("libhccl.so: cannot open shared object file")
    monkeypatch.setattr(ascend, "import_module", fail)
    assert "libhccl.so" in ascend.missing() and "CANN" in ascend.missing()
