"""`python -m accel`. Not here: the commands (cli/)."""

from accel.cli import bench, check, doctor, plan, ranks, schemas, selftest  # noqa: F401
from accel.cli.front import main

if __name__ == "__main__":
    main(prog_name="python -m accel")
