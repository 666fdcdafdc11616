"""doctor: which devices and compilers are here, and what to install for those that are not. Not here: proving anything."""

import json
import os
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec

from accel.cli.front import main
from v4mini.cli.main import json_option, say, say_json

ASCEND = 'python -m pip install triton-ascend==3.2.0 ascendnpu-ir==1.2.0 pybind11 "llvmlite>=0.45,<0.48" numpy ml_dtypes click'
DEVICES = """
import json, torch
found = {"torch": torch.__version__, "devices": []}
device = torch.accelerator.current_accelerator(check_available=True) if hasattr(torch, "accelerator") else None
if device is not None:
    module = torch.get_device_module(device)
    found["devices"] = [[device.type, module.get_device_name(i)] for i in range(module.device_count())]
print(json.dumps(found))
"""


def _version(package):
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def torch_here():                                       # in a process of its own, since `import torch` may die
    """What torch sees: {"torch", "devices"}, or {"problem"} with its reason."""
    if find_spec("torch") is None:
        return {"problem": "torch is not installed", "try": 'python -m pip install -e ".[torch]"'}
    run = subprocess.run([sys.executable, "-c", DEVICES], capture_output=True, text=True)
    if run.returncode == 0:
        return json.loads(run.stdout)
    last = run.stderr.strip().splitlines()[-1][:300] if run.stderr.strip() else f"exit status {run.returncode}"
    is_npu = "torch_npu" in run.stderr
    hint = "source CANN's set_env.sh, or set TORCH_DEVICE_BACKEND_AUTOLOAD=0" if is_npu else "read the message"
    return {"problem": last, "try": hint}


def report():                                           # -> {subject: {"is_ready", "found", "try"}}
    """One row for each thing that a command of accel may need."""
    torch = torch_here()
    kinds = [kind for kind, _ in torch.get("devices", [])]
    triton, ascend = _version("triton"), _version("triton-ascend")
    both = triton is not None and ascend is not None
    rows = {"torch": (("torch" in torch), torch.get("torch") or torch["problem"], torch.get("try", ""))}
    for kind, label, hint in (("cuda", "CUDA device", "an NVIDIA GPU, and a torch wheel for CUDA"),
                              ("npu", "Ascend device", "an Ascend NPU, CANN, then torch-npu of torch's own version")):
        names = sorted({name for one, name in torch.get("devices", []) if one == kind})
        rows[label] = (kind in kinds, ", ".join(names) or "none that torch sees", hint)
    rows["triton"] = (triton is not None and not both, triton or "not installed", "python -m pip install triton==3.7.1")
    rows["triton-ascend"] = (ascend is not None and not both, ascend or "not installed", "an environment of its own: " + ASCEND)
    if both:
        rows["both of them"] = (False, "they own one folder, triton/, and destroy each other", "two new environments")
    compiler, cann = _version("ascendnpu-ir"), os.environ.get("ASCEND_HOME_PATH")
    rows["ascendnpu-ir"] = (compiler is not None, compiler or "not installed", "it comes with the line above")
    rows["CANN"] = (cann is not None, cann or "ASCEND_HOME_PATH is not set", "Huawei's installer; it is not on PyPI")
    return {name: {"is_ready": ready, "found": found, "try": "" if ready else hint}
            for name, (ready, found, hint) in rows.items()}


@main.command()
@json_option
def doctor(as_json):
    """Which devices and compilers are here, and what is missing for what."""
    rows = report()
    if as_json:
        say_json(rows)
        return
    for name, row in rows.items():
        say(f"{'ok' if row['is_ready'] else '--':3} {name:28} {row['found']}")
        if row["try"]:
            say(f"    {'':28} try: {row['try']}")
