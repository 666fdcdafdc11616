"""The source of a kernel, and a digest of it that changes when its code does, but not when a comment does.

Not here: importing kernels (their compilers are not needed to read them).
"""

import ast
import hashlib
import io
import json
import tokenize
from functools import cache
from pathlib import Path

from accel.tiles import tile_of

KERNELS = Path(__file__).parents[1] / "kernels"
NO_CODE = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}


@cache
def _functions(folder):                                 # -> {module: {function: its source without docstring and comments}}
    return {path.stem: {node.name: _code(ast.get_source_segment(text, node), node) for node in ast.parse(text).body
                        if isinstance(node, ast.FunctionDef)}
            for path in sorted(Path(folder).glob("*.py")) for text in [path.read_text(encoding="utf-8")]}


def _code(segment, node):                               # one token after the other; blocks are seen by their order
    docstring = ast.get_docstring(node, clean=False)
    tokens = [t.string for t in tokenize.generate_tokens(io.StringIO(segment).readline) if t.type not in NO_CODE]
    return [t for t in tokens if docstring is None or docstring not in t]


def digest(kernel, target, folder=KERNELS):             # "mix.hc_pre", "sm_90a" -> 16 hexadecimal digits
    """Stands for the kernel's code, the helpers of its file that it calls, and its tile on `target`.

    "fused.rope" is a function of accel/fused.py, which has no tile.
    """
    module, name = kernel.split(".")
    is_fused = module == "fused"
    folder = KERNELS.parent if is_fused else folder
    functions, wanted, found = _functions(folder)[module], [name], {}
    while wanted:
        one = wanted.pop()
        if one not in found:
            found[one] = functions[one]
            wanted += [other for other in functions if other in functions[one]]
    text = json.dumps([sorted(found.items()), None if is_fused else tile_of(kernel, target)], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
