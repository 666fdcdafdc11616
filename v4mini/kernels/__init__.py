"""The Numba twin of each op worth one: same file name, same function, same arguments as in ops/ (muon.py, adamw.py: training/).

How they are built, all of them:
- A Python function checks shapes (kernels read past the end without a word) and hands over one array type.
- Loops over rows are a plain @njit function of (start, stop); a prange shares rows out, and small inputs skip it. Numba compiles
  the body of a prange several times, so long ones are a plain function of a part's number, which the prange only calls; those of
  training alone are handed to threads by schedule.share_out, without a prange.
- Threads share outputs, never one sum: 1 or 2 threads, the same bits.
- Scratch is allocated once per thread or call: large allocations are mapped anew and page-fault at every use.
- Where numbers are divided, error_model="numpy": a check for zero at each would keep the loop from vector registers.
- @njit comes from compiled.py: machine code is kept on disk, and an edit in any kernel's file makes all of it anew.
With NUMBA_DISABLE_JIT=1 everything runs as plain Python, for stepping through; be patient or take small sizes.

Not here: when and where the model rounds (numerics/).
"""

import os
import sys

from v4mini.machine import cores

# Work runs in Numba's pool of threads, which is made once, or in as many others that sleep meanwhile (schedule.py): never in both
# at a time. As many as OMP_NUM_THREADS says, or as this process may use cores: Numba itself counts those of taskset, but not
# those of a container's quota.
if "numba" not in sys.modules:
    told = os.environ.get("OMP_NUM_THREADS", "")
    os.environ.setdefault("NUMBA_NUM_THREADS", told if told.isdigit() and int(told) else str(cores()))

# After a parallel loop, GNU OpenMP's threads wait by spinning, for milliseconds, on a core that others want: NumPy, PyTorch. Not
# to wait at all is no better: the next loop comes within microseconds, and waking a thread takes longer. So they spin 10,000
# times, some 0.05 milliseconds, then sleep. OpenMP reads this once, when the first kernel starts; who has set it knows better.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("GOMP_SPINCOUNT", "10000")
