"""Parts of a layer that an engine may take whole: one call in the place of several operations, with the same bits.

For one token most of the time goes into calling, not computing. Not here: the parts themselves (attention.py, block.py, moe.py).
"""

import functools


def seam(part):                                         # part(ops, *args), written with operations
    """An engine's own class may have `whole`, a dict: name of the part -> function(ops, *args), which gives the part's result, or
    None: not of these arguments. Classes that inherit from it or wrap it run the part's operations, one of which may be theirs.
    """
    @functools.wraps(part)
    def run(ops, *args):
        whole = vars(type(ops)).get("whole", {}).get(part.__name__)
        result = None if whole is None else whole(ops, *args)
        return part(ops, *args) if result is None else result

    run.plain = part
    return run
