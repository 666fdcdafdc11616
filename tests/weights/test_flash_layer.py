"""One layer of the real Flash's shape, 5.7 GB on disk: written, inspected and opened in far less memory."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

LIMIT = 1.5e9                   # bytes resident, of 5.7 GB
SCRIPTS = {
    "write": "v4.random_weights(v4.Config.flash().replace(n_layers=1, n_mtp_layers=0), path)",
    "inspect": ("from v4mini.inspection import inspect_checkpoint; r = inspect_checkpoint(path); "
                "assert not r['problems'] and r['bytes'] > 5.6e9"),
    "load": ("m = v4.load(path, backend='numpy'); w = m.weights.layers[0].ffn.experts[7].w1; "
             "assert w.format == 'fp4' and w.dense().std() > 0"),
}


def run(script, path):                                  # -> peak resident bytes of a process that does just this
    code = ("import sys, v4mini as v4; path = sys.argv[1]\n" + script
            + "\nprint(next(line for line in open('/proc/self/status') if line.startswith('VmHWM')).split()[1])")
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return int(done.stdout) * 1024                      # not ru_maxrss: that starts from the parent's peak


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="this system does not tell peak memory")
def test_a_layer_of_flash_needs_little_memory(tmp_path):
    if shutil.disk_usage(tmp_path).free < 8e9:
        pytest.skip("needs 6 GB of free disk")
    try:
        peaks = {what: run(script, tmp_path / "flash-1") for what, script in SCRIPTS.items()}
    finally:
        shutil.rmtree(tmp_path / "flash-1", ignore_errors=True)
    assert all(peak < LIMIT for peak in peaks.values()), peaks
    assert peaks["inspect"] < 0.3e9 and peaks["load"] < 0.3e9, peaks
