"""When guessing ahead pays: tokens a pass gives, what the pass and the guesses cost, and where the two meet.

With acceptance a (the chance that a draft is accepted if those before it were) and k drafts, costs in units of one plain step:

    tokens of a pass     1 + a + a^2 + ... + a^k  =  (1 - a^(k + 1)) / (1 - a)
    cost of a pass       v + k d        v: the model on 1 + k tokens, d: the MTP block on one
    speed-up             tokens / cost

Draft i is worth something only if all before it hold, hence a^i; and one token comes for certain. Source: arXiv:2211.17192,
section 3.1 and theorem 3.8, with v there always 1.

A drafter that also says how sure it is (DSpark's confidence c_i: the chance that draft i is accepted if those before it were)
lets a machine that serves many texts choose, pass by pass, which drafts are worth their place. Draft j survives with probability
a_j = c_1 ... c_j; `admitted` takes drafts in the order of a_j while tokens a second still rise. Source: arXiv:2607.05147.
Not here: the drafting (inference/speculate.py), seconds (bench/).
"""

import numpy as np

from v4mini.shapes import Refused
from v4mini.weights.spec import tensors

SHARED = ("embedding", "output head")                   # the MTP block has none of its own


def expected_tokens(acceptance, drafts):                # -> tokens a pass, 1 to drafts + 1
    """The sum above, term by term: it also holds at acceptance 1, where the closed form is 0 / 0."""
    _check(acceptance, drafts)
    return sum(acceptance**i for i in range(drafts + 1))


def speed_up(acceptance, drafts, verify_cost, draft_cost):      # costs in steps -> times as fast as one token a step
    """Above 1 it pays. verify_cost: a pass of 1 + drafts tokens; draft_cost: one draft."""
    return expected_tokens(acceptance, drafts) / _cost(drafts, verify_cost, draft_cost)


def break_even(drafts, verify_cost, draft_cost):        # -> the acceptance from which on it pays, or None if it never does
    """Where tokens of a pass equal its cost. With one draft: 1 + a = v + d, so a = v + d - 1."""
    cost = _cost(drafts, verify_cost, draft_cost)
    if cost > expected_tokens(1.0, drafts):
        return None
    low, high = 0.0, 1.0                                # tokens only grow with acceptance
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if expected_tokens(middle, drafts) < cost else (low, middle)
    return high


def survivals(confidences):                             # [k] chances -> [k], never rising
    """How likely each draft is to be reached and accepted: c_1, c_1 c_2, ..."""
    return np.cumprod(np.asarray(confidences, np.float64))


def admitted(requests, speed):                          # [[k] chances, ...], function -> [drafts to verify, ...]
    """How many drafts of each request one pass should verify. speed(n): passes a second with n tokens in all.

    Drafts of all requests are taken in the order of their survival, the earlier request and draft first among equals, as long as
    (expected tokens) x (passes a second) rises, and the search stops at the first that does not raise it. A later one might, but
    to know that its confidence would have to be asked, which depends on the drafts before it: then a draft's own value would
    have a say in whether it is verified, and what comes out would not follow the model any more.
    """
    order = sorted(((-a, at, place) for at, chances in enumerate(requests) for place, a in enumerate(survivals(chances))))
    taken = [0] * len(requests)
    tokens = float(len(requests))
    best = len(requests) * speed(len(requests))
    for a, at, _ in order:
        rate = (tokens - a) * speed(len(requests) + sum(taken) + 1)
        if not rate > best:
            break
        taken[at], tokens, best = taken[at] + 1, tokens - a, rate
    return taken


def acceptance_of(p, q):                                # [..., V], [..., V] -> [...], 0 to 1
    """Chance that a draft from q is accepted where the model wants p: sum of min(p, q), 1 minus their total variation."""
    return np.minimum(p, q).sum(axis=-1)


def pass_bytes(config, tokens, mtp=False):              # -> bytes of weights that one pass reads, as stored
    """What one sequence's pass of `tokens` tokens moves: the bound of a step on any machine where memory is the limit.

    Everything is read once, however many tokens there are, but routed experts: each token chooses K of E, so a given expert is
    needed by none of n tokens with probability (1 - K / E)^n, and 1 - (1 - K / E)^n of them are read. That takes tokens to
    choose independently; neighbours that agree cost less. Embedding rows are a token's own.
    mtp: the MTP block instead of the main model; it shares the embedding and the output head.
    """
    if not isinstance(tokens, int) or tokens < 1:
        raise Refused(f"tokens: expected 1 or more, got {tokens!r}. A pass reads at least the last token.")
    met = 1 - (1 - config.n_activated_experts / config.n_routed_experts) ** tokens
    total = 0
    for spec in tensors(config):
        if spec.format == "i64" or (spec.is_mtp != mtp and spec.group not in SHARED):
            continue
        if spec.group == "embedding":
            total += tokens * spec.nbytes / spec.shape[0]
        else:
            total += spec.nbytes * (met if spec.group == "routed experts" else 1)
    return total


def _cost(drafts, verify_cost, draft_cost):
    if not verify_cost > 0 or not draft_cost >= 0:
        raise Refused(f"verify_cost, draft_cost: expected above 0 and 0 or more, got {verify_cost!r} and {draft_cost!r}. "
                      "A plain step is 1.")
    return verify_cost + drafts * draft_cost


def _check(acceptance, drafts):
    if not 0 <= acceptance <= 1:
        raise Refused(f"acceptance: expected 0 to 1, got {acceptance!r}. It is a share of the drafts.")
    if not isinstance(drafts, int) or drafts < 0:
        raise Refused(f"drafts: expected 0 or more, got {drafts!r}. The MTP block was made for 1.")
