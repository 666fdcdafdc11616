"""The command line: reads arguments, prints. A user's mistake is one sentence and exit 2; a check that fails is exit 1.

One file a command, named after it; each adds its command to `main`. Heavy imports stand inside the commands, so that --help
is quick. Not here: the work itself.
"""

from v4mini.cli import (  # noqa: F401  # noqa: F401  (each adds its command)
    bench,
    card,
    chat,
    claims,
    cost,
    doctor,
    export,
    fetch,
    generate,
    inspect,
    lab,
    plan,
    replay,
    synth,
    tour,
    train,
    verify,
)
from v4mini.cli.main import main as main
