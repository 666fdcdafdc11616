"""Which tile table a device takes, by the name torch gives it."""

import pytest

from accel.tiles import target_of
from v4mini.shapes import Refused


@pytest.mark.parametrize("kind,name,capability,target", [
    ("cuda", "NVIDIA H200", (9, 0), "sm_90a"), ("cuda", "NVIDIA B200", (10, 0), "sm_100a"),
    ("npu", "Ascend910B3", None, "ascend910b"), ("npu", "Ascend910_9392", None, "ascend910c"),
    ("npu", "Ascend950PR_9589", None, "ascend950")])
def test_known_devices(kind, name, capability, target):
    assert target_of(kind, name, capability) == target


@pytest.mark.parametrize("kind,name,capability", [
    ("cuda", "NVIDIA A100", (8, 0)), ("npu", "Ascend310P3", None), ("xpu", "Intel", None)])
def test_others_are_refused(kind, name, capability):
    with pytest.raises(Refused, match="tile table"):
        target_of(kind, name, capability)
