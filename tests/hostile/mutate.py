"""Bad inputs from good ones: bytes that were cut, flipped, swapped or put in, and values of JSON that became others."""

import copy

AWKWARD = (
    None, True, False, 0, -1, 1, 2, 3, 7, 127, 129, 65536, 2**24, 2**31, 2**40, 2**62, 2**63, 10**300, -(2**63), 0.0, -0.0, 0.5,
    1e-300, 1e300, -1e300, 1.0, "", " ", "x", "x" * 5000, "\x1b[2J\x07", "\u202e\u2066", "\ud800", "\x00", "../../etc/passwd",
    "/dev/zero", "nan", "yarn", "fp8", "BF16", [], {}, [0], [[]], [None], {"": None}, {"x": {"x": {}}}, [1] * 2000,
    ["\x1b]0;t\x07"], list(range(9)),
)


def damaged_bytes(raw, rng):                    # bytes -> bytes
    """One to three of: a flipped bit, a lost tail, lost bytes, strange bytes put in, a stretch that stands twice."""
    raw = bytearray(raw)
    for _ in range(rng.integers(1, 4)):
        at = int(rng.integers(0, len(raw) + 1))
        length = int(rng.integers(1, 40))
        match int(rng.integers(5)):
            case 0 if raw:
                raw[at % len(raw)] ^= 1 << int(rng.integers(8))
            case 1:
                del raw[at:]
            case 2:
                del raw[at: at + length]
            case 3:
                raw[at:at] = bytes(rng.integers(0, 256, length, dtype="u1"))
            case _:
                raw[at:at] = raw[at: at + length]
    return bytes(raw)


def change(value, rng):                         # a JSON object or list, changed in place
    """One value somewhere inside becomes another, goes, moves, is doubled, or gets a neighbour."""
    holder, key = _somewhere(value, rng)
    match int(rng.integers(6)):
        case 0:
            del holder[key]
        case 1:
            other, another = _somewhere(value, rng)
            holder[key] = copy.deepcopy(other[another])
        case 2 if isinstance(holder, dict):
            holder[f"{key}\x1b[31m"] = holder[key]
        case 2:
            holder.insert(key, copy.deepcopy(holder[key]))
        case 3 if type(holder[key]) in (int, float):
            holder[key] = _near(holder[key], rng)
        case _:
            holder[key] = copy.deepcopy(AWKWARD[rng.integers(len(AWKWARD))])


def _near(number, rng):                         # a number that could be meant
    return (number + 1, number - 1, number * 2, number // 2, -number, number * 1024, float(number), number + 0.5)[rng.integers(8)]


def _somewhere(value, rng):                     # -> a dict or list inside, a key of it; deeper ones as likely as shallow ones
    while True:
        keys = list(value) if isinstance(value, dict) else range(len(value))
        key = keys[rng.integers(len(keys))]
        below = value[key]
        if not isinstance(below, dict | list) or not below or rng.random() < 0.25:
            return value, key
        value = below
