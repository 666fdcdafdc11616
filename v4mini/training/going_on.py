"""Going on from a model on disk: how many stages of a recipe it had, as its card says. Not here: the stages after (run.py)."""

from v4mini.printable import printable
from v4mini.shapes import Refused
from v4mini.training.recipe import left_out

AGAIN = "Leave --from out to begin anew."


def stages_had(recipe, config, trained, where):         # Recipe, Config, "trained" of its card -> int, 1 or more
    """Raises Refused for a model of another config or recipe, and for one that had a part of a stage, or all there are."""
    if config != recipe.config:
        raise Refused(f"--from: expected a model of the recipe's config, got {where} of another. {AGAIN}")
    had = trained["stages"]
    known = recipe.stages[: len(had)]
    is_same = [_told(**stage) for stage in had] == [_told(stage.name, stage.rows, stage.length) for stage in known]
    if not had or not is_same or trained.get("without", []) != left_out(recipe):
        names = printable(", ".join(stage["name"] for stage in had)) or "none"
        raise Refused(f"--from: expected a model that had the first stages of this recipe, got {where} with {names}. {AGAIN}")
    last = known[-1]
    steps = had[-1]["steps"]
    if steps > last.steps or steps < last.steps and last.until is None:
        raise Refused(f"--from: expected a model whose last stage was done, got {steps} of {last.steps} steps of {last.name!r} "
                      f"in {where}. Go on with its checkpoint: --resume.")
    if len(had) == len(recipe.stages):
        raise Refused(f"--from: expected a stage to be left, got {where}, which had all {len(had)}. {AGAIN}")
    return len(had)


def _told(name, rows, length, **_):
    return name, rows, length
