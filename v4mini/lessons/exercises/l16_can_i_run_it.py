"""Lesson 16: how many texts fit, experts that a batch touches, the time of a step, and where the past takes over."""

from v4mini.lessons.exercise import Exercise


def texts_that_fit(room, weights, fixed, growing, page, lengths):   # bytes ... a token, tokens a page, [tokens] -> how many
    left, count = room - weights, 0
    for length in lengths:
        left -= fixed + -(-length // page) * page * growing
        if left < 0:
            break
        count += 1
    return count


def experts_touched(batch, experts, chosen):                # -> how many on average
    return experts * (1 - (1 - chosen / experts) ** batch)


def step_time(batch, weights, cache, flops, rate, bandwidth):       # -> (seconds, "compute" or "bandwidth")
    compute, reading = batch * flops / rate, (weights + batch * cache) / bandwidth
    return max(compute, reading), "compute" if compute >= reading else "bandwidth"


def past_takes_over(dense, index_heads, index_width, csa_layers, heads, width, hca_layers):     # -> tokens
    each = csa_layers * 2 * index_heads * index_width / 4 + hca_layers * 4 * heads * width / 128
    return dense / each


def _room_cases(rng):
    yield "by pencil: 100 of room, 60 of weights, two texts of 10 + 5", (100, 60, 10, 1, 5, [5, 4, 3])
    yield "exactly full", (100, 60, 0, 2, 1, [10, 10, 1])
    yield "the weights alone are too much", (50, 60, 0, 3, 1, [0, 1])
    yield "the second does not fit: the third waits behind it", (100, 0, 0, 1, 1, [50, 80, 10])
    yield "a page that is begun counts whole", (100, 0, 0, 1, 64, [65, 1])
    yield "nobody asks", (100, 60, 10, 1, 5, [])
    yield "Flash, released, on four H200, pages of 64", (507.6e9, 156.0e9, 15.4e6, 3514, 64, [1 << 20] * 120)


def _fit_by_sums(room, weights, fixed, growing, page, lengths):
    from itertools import accumulate

    needs = accumulate(fixed + (length + page - 1) // page * page * growing for length in lengths)
    return sum(need <= room - weights for need in needs)


def _fit_past_the_one_that_waits(room, weights, fixed, growing, page, lengths):
    left, count = room - weights, 0
    for length in lengths:
        need = fixed + -(-length // page) * page * growing
        if need <= left:
            left, count = left - need, count + 1
    return count


def _fit_without_pages(room, weights, fixed, growing, page, lengths):
    return texts_that_fit(room, weights, fixed, growing, 1, lengths)


def _fit_one_fixed_part(room, weights, fixed, growing, page, lengths):
    return texts_that_fit(room - fixed, weights, 0, growing, page, lengths)


def _batch_cases(rng):
    yield "one text: the chosen ones", (1, 256, 6)
    yield "two texts, 4 experts, 2 chosen: 3 of 4", (2, 4, 2)
    yield "Flash, 32 texts", (32, 256, 6)
    yield "Pro, 1,000 texts: nearly all", (1000, 384, 6)
    yield "one expert that everybody asks", (50, 1, 1)
    yield "no text, no expert", (0, 256, 6)


def _touched_step_by_step(batch, experts, chosen):
    touched = 0.0
    for _ in range(batch):
        touched += chosen * (experts - touched) / experts       # of those chosen, as many are new as there are new ones
    return touched


def _touched_all_different(batch, experts, chosen):
    return min(experts, batch * chosen)


def _touched_one_at_a_time(batch, experts, chosen):
    return experts * (1 - (1 - 1 / experts) ** batch)


def _step_cases(rng):
    yield "a pencil: reading 10 + 1 GB at 100 GB/s", (1, 10e9, 1e9, 20e9, 10e12, 100e9)
    yield "so many texts that computing takes longer", (500, 10e9, 1e6, 20e9, 10e12, 100e9)
    yield "caches outweigh the weights", (64, 10e9, 5e9, 1e9, 10e12, 100e9)
    yield "both take equally long", (1, 100e9, 0, 10e12, 10e12, 100e9)
    yield "Flash on four H200, 128K tokens", (1, 11.2e9, 58e6, 43e9, 7.9e15, 19.2e12)


def _step_by_ratios(batch, weights, cache, flops, rate, bandwidth):
    needed, edge = batch * flops / (weights + batch * cache), rate / bandwidth      # FLOPs a byte: of the work, of the machine
    if needed >= edge:
        return batch * flops / rate, "compute"
    return (weights + batch * cache) / bandwidth, "bandwidth"


def _step_weights_for_each(batch, weights, cache, flops, rate, bandwidth):
    return step_time(1, batch * weights, batch * cache, batch * flops, rate, bandwidth)


def _step_sum(batch, weights, cache, flops, rate, bandwidth):
    time, binds = step_time(batch, weights, cache, flops, rate, bandwidth)
    return batch * flops / rate + (weights + batch * cache) / bandwidth, binds


def _past_cases(rng):
    yield "one CSA layer, 1 head of 2: a FLOP a token", (100.0, 1, 2, 1, 1, 1, 0)
    yield "one HCA layer, 32 heads of 1: a FLOP a token", (100.0, 1, 1, 0, 32, 1, 1)
    yield "both", (100.0, 1, 2, 1, 32, 1, 1)
    yield "Flash", (26.5e9, 64, 128, 21, 64, 512, 20)
    yield "Pro", (97.7e9, 64, 128, 30, 128, 512, 31)


def _past_by_doubling(dense, index_heads, index_width, csa_layers, heads, width, hca_layers):
    def past(tokens):
        scores = csa_layers * (tokens / 4) * index_heads * (2 * index_width)
        return scores + hca_layers * (tokens / 128) * heads * (2 * width + 2 * width)
    return dense / (past(2.0) - past(1.0))


def _past_forgets_ratios(dense, index_heads, index_width, csa_layers, heads, width, hca_layers):
    return dense / (csa_layers * 2 * index_heads * index_width + hca_layers * 4 * heads * width)


def _past_without_hca(dense, index_heads, index_width, csa_layers, heads, width, hca_layers):
    return dense / max(1e-9, csa_layers * 2 * index_heads * index_width / 4)


EXERCISES = [
    Exercise("plan.texts_that_fit", _room_cases, ours=texts_that_fit, differently=_fit_by_sums, tolerance=0,
             wrong=(_fit_past_the_one_that_waits, _fit_without_pages, _fit_one_fixed_part),
             hints=("What is left when the weights lie there? Take off what each text needs, in order.",
                    "A text needs `fixed` bytes and `growing` for each token of its pages: -(-length // page) pages, the last "
                    "of them perhaps not full.",
                    "Stop at the first that does not fit. Those behind it wait, even where they would.")),
    Exercise("plan.experts_touched", _batch_cases, ours=experts_touched, differently=_touched_step_by_step,
             wrong=(_touched_all_different, _touched_one_at_a_time),
             hints=("Look at one expert. How likely is it that one text does not choose it?",
                    "1 - chosen / experts. And that none of `batch` texts chooses it: that, to the power of batch.",
                    "experts * (1 - (1 - chosen / experts) ** batch)")),
    Exercise("plan.step_time", _step_cases, ours=step_time, differently=_step_by_ratios,
             wrong=(_step_weights_for_each, _step_sum),
             hints=("Two times: FLOPs / rate, bytes / bandwidth. Both are at work at once, so the longer one counts.",
                    "FLOPs: batch * flops. Bytes: weights once for all texts, the cache of each: weights + batch * cache.",
                    'return max(compute, reading), "compute" if compute >= reading else "bandwidth"')),
    Exercise("plan.past_takes_over", _past_cases, ours=past_takes_over, differently=_past_by_doubling,
             wrong=(_past_forgets_ratios, _past_without_hca),
             hints=("What grows is a straight line through 0: each token of context adds the same. Divide `dense` by that.",
                    "A CSA layer: an index key per 4 tokens, 2 FLOPs for each number of each index head. "
                    "An HCA layer: an entry per 128 tokens, 4 FLOPs for each number of each head (score and sum).",
                    "csa_layers * 2 * index_heads * index_width / 4 + hca_layers * 4 * heads * width / 128 FLOPs a token.")),
]
