"""machine: is this computer ready for the lessons? Not here: the list of needs (proof/installation.py)."""

from v4mini.proof.installation import needs


def machine():
    """Print one line per thing the lessons need: what is wanted, and OK or what was found instead."""
    rows = list(needs())
    width = max(len(need.what) for need in rows)
    for need in rows:
        print(f"{need.what:<{width}} {need.wanted:<14} {need.fault or 'OK'}")
    faults = [need.what for need in rows if need.fault]
    print("ready" if not faults else f"not ready: {', '.join(faults)}. Try: python -m pip install -e \".[lab]\"")
