"""One layer of the real Flash's shape, 5.7 GB on disk: written, inspected and opened in far less memory."""

import json
import resource
import shutil
import subprocess
import sys

import pytest

LIMIT = 1.5e9                   # bytes resident, of 5.7 GB
UNIT = 1 if sys.platform == "darwin" else 1024
SCRIPTS = {
    "write": "v4.random_weights(v4.Config.flash().replace(n_layers=1, n_mtp_layers=0), path)",
    "inspect": ("from v4mini.inspection import inspect_checkpoint; r = inspect_checkpoint(path); "
                "assert not r['problems'] and r['bytes'] > 5.6e9"),
    "load": ("m = v4.load(path, backend='numpy'); w = m.weights.layers[0].ffn.experts[7].w1; "
             "assert w.format == 'fp4' and w.dense().std() > 0"),
}


def run(script, path):                                  # -> peak resident bytes of a process that does just this
    code = ("import json, resource, sys, v4mini as v4; path = sys.argv[1]\n" + script
            + "\nprint(json.dumps(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss))")
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout) * UNIT


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(resource, "getrusage"), reason="this system does not tell peak memory")
def test_a_layer_of_flash_needs_little_memory(tmp_path):
    if shutil.disk_usage(tmp_path).free < 8e9:
        pytest.skip("needs 6 GB of free disk")
    try:
        peaks = {what: run(script, tmp_path / "flash-1") for what, script in SCRIPTS.items()}
    finally:
        shutil.rmtree(tmp_path / "flash-1", ignore_errors=True)
    assert all(peak < LIMIT for peak in peaks.values()), peaks
    assert peaks["inspect"] < 0.3e9 and peaks["load"] < 0.3e9, peaks
