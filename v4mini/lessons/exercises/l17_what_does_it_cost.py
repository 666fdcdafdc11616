"""Lesson 17: the price of a request, how many times cheaper, and from when on a machine pays."""

from v4mini.lessons.exercise import Exercise


def request_price(tokens_in, cached, tokens_out, hit, miss, output):        # tokens, share, tokens, USD per million each -> USD
    known = tokens_in * cached
    return (known * hit + (tokens_in - known) * miss + tokens_out * output) / 1e6


def times_cheaper(tokens_in, tokens_out, ours, theirs):     # ours, theirs: (USD per million in, out) -> times
    return (tokens_in * theirs[0] + tokens_out * theirs[1]) / (tokens_in * ours[0] + tokens_out * ours[1])


def pays_from(fixed, each, api, most):                      # USD a month, USD, USD, documents a month -> documents or None
    if api <= each:
        return None
    documents = fixed / (api - each)
    return documents if documents <= most else None


def _request_cases(rng):
    yield "a million in, nothing cached", (10**6, 0.0, 0, 1.0, 2.0, 3.0)
    yield "half of it cached", (10**6, 0.5, 0, 1.0, 2.0, 3.0)
    yield "V4-Pro at its launch: 4,000 in, a fifth cached, 300 out", (4000, 0.2, 300, 0.145, 1.74, 3.48)
    yield "all of it cached", (60_000, 1.0, 800, 0.003625, 0.435, 0.87)
    yield "only an answer", (1, 0.0, 5000, 0.5, 5.0, 30.0)


def _request_by_kinds(tokens_in, cached, tokens_out, hit, miss, output):
    average = cached * hit + (1 - cached) * miss            # of one input token
    return tokens_in * average * 1e-6 + tokens_out * output * 1e-6


def _request_pays_hits_twice(tokens_in, cached, tokens_out, hit, miss, output):
    return (tokens_in * cached * hit + tokens_in * miss + tokens_out * output) / 1e6


def _request_swaps_hit_and_miss(tokens_in, cached, tokens_out, hit, miss, output):
    return request_price(tokens_in, 1 - cached, tokens_out, hit, miss, output)


def _times_cases(rng):
    launch, cut, gpt = (1.74, 3.48), (0.435, 0.87), (5.0, 30.0)
    yield "input alone, at the launch", (1000, 0, launch, gpt)
    yield "output alone, at the launch", (0, 1000, launch, gpt)
    yield "three parts in, one out", (3000, 1000, launch, gpt)
    yield "the same after the cut", (3000, 1000, cut, gpt)
    yield "a long document, a short answer", (100_000, 500, launch, gpt)


def _times_by_shares(tokens_in, tokens_out, ours, theirs):
    paid_in, paid_out = tokens_in * ours[0], tokens_out * ours[1]       # a mean of both ratios, weighed by what we pay
    return (paid_in * theirs[0] / ours[0] + paid_out * theirs[1] / ours[1]) / (paid_in + paid_out)


def _times_by_tokens(tokens_in, tokens_out, ours, theirs):
    return (tokens_in * theirs[0] / ours[0] + tokens_out * theirs[1] / ours[1]) / (tokens_in + tokens_out)


def _times_plain_mean(tokens_in, tokens_out, ours, theirs):
    return (theirs[0] / ours[0] + theirs[1] / ours[1]) / 2


def _pays_cases(rng):
    yield "100 a month, an API at 1 a document", (100.0, 0.0, 1.0, 1000.0)
    yield "power takes half of it", (100.0, 0.5, 1.0, 1000.0)
    yield "the machine cannot do so much", (100.0, 0.5, 1.0, 150.0)
    yield "exactly all that it can do", (100.0, 0.5, 1.0, 200.0)
    yield "power alone costs more than the API", (100.0, 2.0, 1.0, 1000.0)
    yield "as much as the API: it never catches up", (100.0, 1.0, 1.0, 1000.0)


def _pays_by_asking(fixed, each, api, most):
    at_most = most * api - (fixed + most * each)            # saved in a month of work without a pause
    if at_most < 0 or api <= each:
        return None
    low, high = 0.0, most                                   # at low it does not pay, at high it does
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (low, middle) if fixed + middle * each <= middle * api else (middle, high)
    return high


def _pays_without_power(fixed, each, api, most):
    return pays_from(fixed, 0.0, api, most)


def _pays_without_end(fixed, each, api, most):
    return None if api <= each else fixed / (api - each)


EXERCISES = [
    Exercise("cost.request_price", _request_cases, ours=request_price, differently=_request_by_kinds,
             wrong=(_request_pays_hits_twice, _request_swaps_hit_and_miss),
             hints=("Three kinds of tokens, each with its price: cached input, other input, output.",
                    "tokens_in * cached of them are hits, the rest of the input are misses.",
                    "Prices are for a million tokens: divide by 1e6.")),
    Exercise("cost.times_cheaper", _times_cases, ours=times_cheaper, differently=_times_by_shares,
             wrong=(_times_by_tokens, _times_plain_mean),
             hints=("Work out both bills, then divide.",
                    "A bill: tokens_in * price_in + tokens_out * price_out. The million cancels.",
                    "A mean of the two ratios is not it: the dear kind of token weighs more in the bill.")),
    Exercise("cost.pays_from", _pays_cases, ours=pays_from, differently=_pays_by_asking,
             wrong=(_pays_without_power, _pays_without_end),
             hints=("Each document saves api - each. How many are needed to earn `fixed`?",
                    "If nothing is saved, the answer is None. So it is if the machine cannot do that many in a month.",
                    "documents = fixed / (api - each); return documents if documents <= most else None")),
]
