"""What was said about V4 at its launch, claim by claim, and what becomes of it when it is computed.

A row of data/claims.json either names a check, which is run now, or rests on a source and says what that shows.
Not here: the computations (checks.py), the rows (whoever calls names the files), printing.
"""

from v4mini.planning.checks import VERDICTS, Finding, run_check
from v4mini.planning.tables import SOURCED, Field, read_table
from v4mini.shapes import Refused

CLAIM = {
    "name": Field("text"), "claim": Field("text"), "by": Field("text"), "said": Field("day"),
    "check": Field("text", ""), "with": Field("object", {}), "verdict": Field("choice", "", choices=VERDICTS),
    "finding": Field("text", ""), **SOURCED}


def read_claims(*paths):                                # -> [row]
    """The claims of all files. Raises Refused."""
    rows = [row for path in paths for row in read_table(path, {"claims": CLAIM})["claims"]]
    for row in rows:
        if bool(row["check"]) == bool(row["verdict"]):
            raise Refused(f"claims: {row['name']}: expected either a check or a verdict with its finding, got "
                          f"{'both' if row['check'] else 'neither'}. A computed verdict cannot be written down.")
    return rows


def judged(rows, tools):                                # yields dict per claim: the row's words, verdict, finding, numbers
    """Run every check, now."""
    for row in rows:
        found = run_check(row, tools) if row["check"] else Finding(row["verdict"], row["finding"], {})
        yield {"name": row["name"], "claim": row["claim"], "by": row["by"], "said": row["said"].isoformat(),
               "verdict": found.verdict, "finding": found.says, "computed": bool(row["check"]), "numbers": found.numbers,
               "source": row["source"], "date": row["date"].isoformat(), "note": row["note"],
               "sure": row["sure"]}
