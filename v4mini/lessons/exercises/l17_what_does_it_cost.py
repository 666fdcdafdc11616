"""Lesson 17: the price of a conversation, a bill over days with other prices, and from when on a machine pays."""

from v4mini.lessons.exercise import Exercise


def conversation_price(turns, hit, miss, output):           # [(tokens asked, tokens answered)], USD per million each -> USD
    known, total = 0, 0.0
    for asked, answered in turns:
        total += known * hit + asked * miss + answered * output
        known += asked + answered                           # the next request begins with all of it
    return total / 1e6


def bill_of_days(prices, tokens):                           # [(first day, USD per million)] in any order, [(day, tokens)] -> USD
    total = 0.0
    for day, count in tokens:
        valid = max(pair for pair in prices if pair[0] <= day)
        total += count * valid[1] / 1e6
    return total


def pays_from(fixed, each, api, most):                      # USD a month, USD, USD, documents a month -> documents or None
    if api <= each:
        return None
    documents = fixed / (api - each)
    return documents if documents <= most else None


def _talk_cases(rng):
    yield "one question, by pencil", ([(1_000_000, 500_000)], 1.0, 2.0, 4.0)
    yield "two turns: the second begins with the first", ([(1_000_000, 500_000), (1_000_000, 0)], 1.0, 2.0, 4.0)
    yield "nobody said anything", ([], 1.0, 2.0, 4.0)
    yield "V4-Pro's first list, ten turns", ([(400, 300)] * 10, 0.145, 1.74, 3.48)
    yield "a long document, then short questions", ([(100_000, 200), (50, 100), (60, 80)], 0.145, 1.74, 3.48)


def _talk_by_pairs(turns, hit, miss, output):
    asked, answered = (sum(turn[i] for turn in turns) for i in (0, 1))
    later = len(turns) - 1
    known = sum(sum(turn) * (later - place) for place, turn in enumerate(turns))        # all later ones read it again
    return (asked * miss + answered * output + known * hit) * 1e-6


def _talk_forgets_answers(turns, hit, miss, output):
    known, total = 0, 0.0
    for asked, answered in turns:
        total += known * hit + asked * miss + answered * output
        known += asked
    return total / 1e6


def _talk_pays_all_as_new(turns, hit, miss, output):
    return conversation_price(turns, miss, miss, output)


def _talk_reads_nothing_again(turns, hit, miss, output):
    return conversation_price(turns, 0.0, miss, output)


def _days_cases(rng):
    cut = [(0, 1.74), (2, 0.435)]
    yield "one price", ([(0, 2.0)], [(0, 10**6), (5, 10**6)])
    yield "a cut on day 2, and work on days 1, 2, 3", (cut, [(1, 10**6), (2, 10**6), (3, 10**6)])
    yield "the list is not in order", (cut[::-1] + [(9, 0.9)], [(1, 10**6), (4, 3 * 10**6), (10, 10**6)])
    yield "a price that rises", ([(0, 0.435), (30, 0.87), (60, 0.66)], [(29, 10**9), (30, 10**9), (61, 10**9)])
    yield "no work", (cut, [])
    yield "the same day twice", (cut, [(2, 1000), (2, 500)])


def _days_step_by_step(prices, tokens):
    import bisect

    first, usd = zip(*sorted(prices))
    return sum(usd[bisect.bisect_right(first, day) - 1] * count for day, count in tokens) / 1e6


def _days_at_the_last_price(prices, tokens):
    return sum(count for _, count in tokens) * max(prices)[1] / 1e6


def _days_a_day_late(prices, tokens):
    return bill_of_days([(first + 1 if first else 0, usd) for first, usd in prices], tokens)


def _days_in_the_order_given(prices, tokens):
    return sum(count * [usd for first, usd in prices if first <= day][-1] for day, count in tokens) / 1e6


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
    Exercise("cost.conversation_price", _talk_cases, ours=conversation_price, differently=_talk_by_pairs,
             wrong=(_talk_forgets_answers, _talk_pays_all_as_new, _talk_reads_nothing_again),
             hints=("A chat keeps nothing between two requests: each sends everything said so far, and then the new question.",
                    "What was said before is in the provider's cache: questions and answers, at the price of a hit.",
                    "known * hit + asked * miss + answered * output for each turn; then known grows by asked + answered.")),
    Exercise("cost.bill_of_days", _days_cases, ours=bill_of_days, differently=_days_step_by_step,
             wrong=(_days_at_the_last_price, _days_a_day_late, _days_in_the_order_given),
             hints=("Which price held on a day? The last one that began on that day or before.",
                    "max of those pairs whose first day is <= day: pairs compare by their first part. Or sort and bisect.",
                    "Prices are for a million tokens: divide by 1e6.")),
    Exercise("cost.pays_from", _pays_cases, ours=pays_from, differently=_pays_by_asking,
             wrong=(_pays_without_power, _pays_without_end),
             hints=("Each document saves api - each. How many are needed to earn `fixed`?",
                    "If nothing is saved, the answer is None. So it is if the machine cannot do that many in a month.",
                    "documents = fixed / (api - each); return documents if documents <= most else None")),
]
