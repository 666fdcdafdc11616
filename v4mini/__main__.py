"""`python -m v4mini` does what `v4mini` does. Not here: the commands (cli/)."""

from v4mini.cli import main

if __name__ == "__main__":
    main(prog_name="v4mini")
