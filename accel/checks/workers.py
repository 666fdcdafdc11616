"""The checks of one family of targets, spread over processes of their own.

Each imports its compiler anew, so that Triton's interpreter and Triton's compiler, which one process cannot have both, fit into
one command. Not here: what a check does (interpreter.py, nvidia.py, ascend.py).
"""

from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import cache
from importlib import import_module
from multiprocessing import get_context

from accel.checks import planted
from v4mini.shapes import Refused


def spread(family, calls, processes):                   # "nvidia", [(function, *arguments)] -> what they give, in that order
    """Call functions of this module with (family, *arguments). Refused where the family's compiler is not here."""
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        waiting = [pool.submit(function, family, *arguments) for function, *arguments in calls]
        try:
            for one in waiting:
                yield one.result()
        except BrokenProcessPool:
            raise Refused(f"{family}: a process of the check died (out of memory, or a fault of its compiler). "
                          "Try --case with one case after the other.") from None
        finally:
            pool.shutdown(cancel_futures=True)


@cache
def _prepared(family):                                  # -> its module, its versions
    module = import_module(f"accel.checks.{family}")
    return module, module.prepare()


def versions(family):                                   # -> {package: version}
    """What this family's checks are made with."""
    return _prepared(family)[1]


def found(family, name, targets, sizes=None):           # -> [Finding], one for each target
    """A case on each target."""
    module, _ = _prepared(family)
    return [module.check(name, target, **({"sizes": sizes} if sizes else {})) for target in targets]


def noticed(family, mistake, target):                   # Mistake, str -> (what, target, was it noticed, by what)
    """Plant it and look. A compiler that refuses has noticed as well."""
    module, _ = _prepared(family)
    try:
        problem = module.spoilt(mistake.case, target, planted.with_mistake(mistake))
    except (Refused, RuntimeError) as error:
        problem = f"{type(error).__name__}: {str(error).splitlines()[0][:100]}"
    return mistake.what, target, bool(problem), problem
