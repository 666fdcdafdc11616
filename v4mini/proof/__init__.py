"""Proof that this installation computes V4: against DeepSeek's own numbers, and against Hugging Face.

Not here: printing the result (cli/), tests of single operations (tests/).
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Verdict:
    """One line of the table: what was compared, over how many tokens, how far apart, how far is allowed."""

    case: str
    length: int             # tokens
    difference: float       # the measure named in `measure`
    bound: float
    measure: str            # "largest", "median", "argmax differs", "differs"

    @property
    def passed(self):
        return self.difference <= self.bound            # NaN fails
