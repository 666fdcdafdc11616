"""A command as a user types it, in this process: what it prints is looked at as a terminal would take it. Not here: the cases."""

import unicodedata

LONGEST = 200_000                       # letters that a command may print


def typed(*arguments):                  # -> output; "WRONG ..." for what no terminal should get
    """Run `v4mini ARGUMENTS`. Its one sentence with exit status 2 is raised as Refused, whatever else it raises as it is."""
    from click.testing import CliRunner

    from v4mini import Refused
    from v4mini.cli import main

    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    if result.exit_code not in (0, 1, 2):
        return f"WRONG exit status {result.exit_code}"
    if any(c not in "\n\t" and unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp") for c in result.output):
        return "WRONG control characters printed"
    if len(result.output) > LONGEST:
        return f"WRONG {len(result.output):,} letters printed"
    if result.exit_code == 2:
        raise Refused(result.stderr.strip().removeprefix("v4mini: "))
    return result.output
