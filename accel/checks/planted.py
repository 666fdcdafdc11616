"""Known mistakes, planted in a copy of a kernel: a check that does not notice them checks nothing.

Not here: the checks.
"""

import importlib.util
import tempfile
from functools import cache
from pathlib import Path
from typing import NamedTuple

from accel.checks.source import KERNELS
from v4mini.shapes import Refused
from v4mini.writing import write_whole


class Mistake(NamedTuple):
    """One change of a kernel's source, and the case that must notice it."""

    what: str
    case: str
    module: str
    right: str                                          # text of the source, which occurs there
    wrong: str


NUMBERS = (                                             # seen by every check that has numbers
    Mistake("the sink is left out", "attend picks", "attention",
            "tl.full((H,), 1.0, tl.float32)", "tl.full((H,), 0.0, tl.float32)"),
    Mistake("a pick of -1 is read", "attend picks", "attention", "(i >= 0) & (slot <", "(i >= i) & (slot <"),
    Mistake("slots of nothing are read", "attend picks", "attention", "slot < count)", "slot < K)"),
    Mistake("the window is one short", "attend window", "attention",
            "begin = tl.load(first + t)", "begin = tl.load(first + t) + 1"),
    Mistake("one heavy entry too few", "attend heavy", "attention",
            "n = tl.load(visible + t)", "n = tl.maximum(tl.load(visible + t) - 1, 0)"),
    Mistake("wrong stride of keys", "index scores", "index",
            "tl.minimum(j, N - 1)[:, None] * D +", "tl.minimum(j, N - 1)[:, None] * (D - 1) +"),
    Mistake("no relu", "index scores", "index", "tl.maximum(product, 0.0)", "product"),
    Mistake("-0.0 ranks below 0.0", "index topk", "index", "(score + 0.0)", "(score)"),
    Mistake("a tie goes to any entry", "index topk", "index", "(rank < equals)", "(rank <= equals)"),
    Mistake("an absent candidate counts", "index topk of chunks", "index", "inside & (entry >= 0)", "inside & (entry >= -1)"),
    Mistake("nibbles swapped", "experts fp4 w2", "experts", "_e2m1(byte & 15) * s, even", "_e2m1(byte >> 4) * s, even"),
    Mistake("6 decoded as 5", "experts fp4 w2", "experts", " + 2 * tl.maximum(m - 6, 0)", " + 1 * tl.maximum(m - 6, 0)"),
    Mistake("scale of the block before", "experts fp4 w2", "experts", "g = start // 16 + tl.arange(0, BB // 16)",
            "g = tl.maximum(start // 16 - 1 + tl.arange(0, BB // 16), 0)"),
    Mistake("scale of another tile", "linear fp8", "experts", "start // 128))", "(start // 128 + 1) % across))"),
    Mistake("FP8 without subnormals", "linear fp8", "experts",
            "tl.where((b & 120) == 0, (value - 0.0078125) * 2.0, value)", "value"),
    Mistake("weights of another expert", "experts fp4 w2", "experts", "tl.load(owner + block)", "tl.load(owner)"),
    Mistake("the clamp of up is missing", "experts fp4 w1 w3", "experts",
            "up = tl.minimum(tl.maximum(up, -limit), limit)", "up = up"),
    Mistake("the clamp of gate is missing", "experts fp8 w1 w3", "experts", "gate = tl.minimum(gate, limit)", "gate = gate"),
    Mistake("17 rounds of Sinkhorn", "hc_pre", "mix", "range(ITERS - 1)", "range(ITERS - 4)"),
    Mistake("comb transposed", "hc_post", "mix", "(t * M + j) * M + k)[:, None]", "(t * M + k) * M + j)[:, None]"),
    Mistake("norm without its weight", "hc_pre and norm", "mix", " * tl.load(weight + start + d)", ""),
    Mistake("ape of the first place for all", "compress hca", "compress", "(s % RATIO)[:, None]", "(s * 0)[:, None]"),
    Mistake("halves of CSA swapped", "compress csa", "compress",
            "(s // RATIO * D)[:, None]", "((1 - s // RATIO) * D)[:, None]"),
    Mistake("an absent block is pooled", "compress csa first", "compress", "p = tl.where(there, p, 0.0)", "p = p + 0.001"),
    Mistake("rotated the wrong way", "rope", "rope",
            "(even * c - odd * s)", "(even * c + odd * s)"),
    Mistake("mean over the block", "rms_norm", "norm", "tl.sum(square, 0) / D", "tl.sum(square, 0) / BD"),
)
CODE = (                                                # seen by what the machine code needs; numbers would be right
    Mistake("a product in float32, outside the tensor cores", "index scores", "index",
            "tl.dot(query, tl.trans(key), input_precision=\"ieee\")",
            "tl.dot(query.to(tl.float32), tl.trans(key.to(tl.float32)), input_precision=\"ieee\")"),
)
CALLS = (                                               # of torch_npu: seen by its schemas, or by the shapes that come out
    Mistake("a keyword that the op does not have", "rms_norm", "fused", "epsilon=eps", "eps=eps"),
    Mistake("the other result: inverse norms", "rms_norm", "fused", "epsilon=eps)[0]", "epsilon=eps)[1]"),
    Mistake("the norm's weight is left out", "rms_norm", "fused", "(x, weight, epsilon", "(x, epsilon"),
    Mistake("angles for the mode", "rope", "fused", "-sin if inverse else sin, rotary_mode", "\"interleave\", rotary_mode"),
    Mistake("what stays still is lost", "rope", "fused", "torch.cat([still, turned.view", "torch.cat([turned.view"),
    Mistake("gate without up", "expert", "fused", "torch.cat([gate, up], -1)", "gate"),
    Mistake("a keyword of another SwiGLU", "expert", "fused", "limit=float(limit)", "clamp=float(limit)"),
    Mistake("both halves of a row", "expert", "fused", "npu_swiglu(both, dim=-1)", "npu_swiglu(both, dim=0)"),
    Mistake("scale where picks belong", "attend", "fused",
            "indices[None, :, None].contiguous(), scale,", "scale, indices[None, :, None].contiguous(),"),
    Mistake("queries without their batch", "attend", "fused", "q.bfloat16()[None].contiguous()", "q.bfloat16().contiguous()"),
    Mistake("a layout that is none", "attend", "fused", "layout_query=\"BSND\"", "layout_query=\"BNSD\""),
    Mistake("a keyword of another attention", "attend", "fused", "sinks=sink.float())", "sink=sink.float())"),
    Mistake("bfloat16 comes out", "attend", "fused", "out[0].float()", "out[0]"),
)


@cache
def _folder():
    return tempfile.TemporaryDirectory(prefix="planted-")


def with_mistake(mistake, load=None):      # -> function(kernel) -> the spoilt Triton function
    """Import a copy of the kernel's file in which the mistake is planted, by `load(path)` where triton is not to do it.

    Refused where the text does not occur.
    """
    module = (load or imported)(spoilt_copy(mistake, KERNELS / f"{mistake.module}.py"))
    return lambda kernel: getattr(module, kernel.split(".")[1])


def spoilt_copy(mistake, source):                       # -> its path; it stays, since Triton reads it again
    """A copy of `source` in which the mistake is planted. Refused where the text does not occur."""
    text = source.read_text(encoding="utf-8")
    if mistake.right not in text:
        raise Refused(f"{mistake.what}: {mistake.right!r} does not occur in {source.name}. Plant it elsewhere.")
    path = Path(_folder().name, f"planted_{abs(hash(mistake))}.py")
    write_whole(path, text.replace(mistake.right, mistake.wrong))
    return path


def imported(path):                                     # -> its module, private to whoever asked
    """Run a file that lies anywhere; sys.modules does not know it."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
