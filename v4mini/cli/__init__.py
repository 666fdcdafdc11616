"""The command line: reads arguments, prints. A user's mistake is one sentence and exit 2; a check that fails is exit 1.

One file per subject; each adds its commands to `main`. Heavy imports stand inside the commands, so that --help is quick.
Not here: the work itself.
"""

from v4mini.cli import bench, chat, cost, fetch, plan, proof, speak, start, stream, train  # noqa: F401  (each adds its commands)
from v4mini.cli.front import main as main
