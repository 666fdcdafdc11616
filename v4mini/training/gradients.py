"""The one list of what training computes beside a model's operations: NumPy behind each, Numba where it pays.

Not here: the formulas (backward/, losses.py, muon.py, adamw.py), the loops (kernels/).
"""

from functools import partial

from v4mini.engines import choose_backend
from v4mini.shapes import Refused
from v4mini.training.adamw import update
from v4mini.training.backward import attention, compress, experts, index, linear, mix, norm, rope, route
from v4mini.training.losses import cross_entropy
from v4mini.training.muon import newton_schulz


class Gradients:
    """NumPy: the formulas to read."""

    name = "numpy"
    embed, linear, grouped_linear = map(staticmethod, (linear.embed, linear.linear, linear.grouped_linear))
    rms_norm, rms_unit, rope = map(staticmethod, (norm.rms_norm, norm.rms_unit, rope.rope))
    hc_pre, hc_post, hc_head = map(staticmethod, (mix.hc_pre, mix.hc_post, mix.hc_head))
    compress, index_scores, route = map(staticmethod, (compress.compress, index.index_scores, route.route))
    attend_keeping, attend = map(staticmethod, (attention.attend_keeping, attention.attend))
    experts_keeping, experts = map(staticmethod, (experts.experts_keeping, experts.experts))
    cross_entropy, newton_schulz, adamw = map(staticmethod, (cross_entropy, newton_schulz, update))


def numba_gradients():                                  # -> Gradients
    """The same with loops behind; products of linear layers stay with BLAS."""
    from v4mini.kernels import adamw as adamw_loops
    from v4mini.kernels import muon as muon_loops
    from v4mini.kernels import rope as rope_forward
    from v4mini.kernels.backward import attention as attention_loops
    from v4mini.kernels.backward import compress as compress_loops
    from v4mini.kernels.backward import experts as experts_loops
    from v4mini.kernels.backward import losses as losses_loops
    from v4mini.kernels.backward import mix as mix_loops
    from v4mini.kernels.backward import norm as norm_loops

    gradients = Gradients()
    gradients.name = "numba, linear layers numpy (BLAS)"
    gradients.rms_norm, gradients.rms_unit = norm_loops.rms_norm, norm_loops.rms_unit
    gradients.rope = lambda g, positions, freqs, inverse=False: rope_forward.rope(g, positions, freqs, not inverse)
    gradients.hc_pre, gradients.hc_post, gradients.hc_head = mix_loops.hc_pre, mix_loops.hc_post, mix_loops.hc_head
    gradients.compress = compress_loops.compress
    gradients.attend_keeping, gradients.attend = attention_loops.attend_keeping, attention_loops.attend
    gradients.experts_keeping, gradients.experts = experts_loops.experts_keeping, experts_loops.experts
    gradients.cross_entropy = partial(cross_entropy, each=losses_loops.nll)
    gradients.newton_schulz, gradients.adamw = muon_loops.newton_schulz, adamw_loops.update
    return gradients


def choose_gradients(engine):                           # "auto" | "numba" | "numpy" -> (Backend, Gradients)
    """The engine that runs forward, and the gradients that run backward."""
    if engine not in ("auto", "numba", "numpy"):
        raise Refused(f"engine: expected auto, numba or numpy, got {engine!r}. Leave it out to take the fastest.")
    return choose_backend(engine), Gradients() if engine == "numpy" else numba_gradients()
