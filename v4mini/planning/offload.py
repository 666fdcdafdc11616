"""A model where it does not fit: weights from the disk as a token needs them, or experts in a host's memory beside a GPU.

    in memory     dense weights and caches first: every token reads them; what is left holds a share of the routed experts
    from disk     the rest of the dense weights, and the chosen experts that are not in memory
    one token     bytes / rate of each place, one after the other: a layer's experts are known only once its attention is done

Experts are taken to be chosen evenly, so a share s in memory serves a share s of the uses; real routing is less even, and a
cache then does better (v4mini replay measures it). Computing and links are not counted.
Not here: running it (inference/, accel/), what fits whole (plan.py).
"""

from v4mini.planning.storage import EXPERTS


def streamed(model, memory, rate, disk_rate, context, stored="released", storage="released", usable=0.9):       # -> dict
    """`v4mini generate --memory`: one memory of `memory` bytes at `rate` bytes/s, the rest behind `disk_rate`. One text."""
    return _token(model, [("memory", memory * usable, rate)], disk_rate, context, stored, storage)


def gpu_and_host(model, gpu, host, disk_rate, context, stored="released", storage="released", usable=0.9):      # -> dict
    """Dense weights and caches on the GPU, experts there and in the host's memory. gpu, host: (bytes free for it, bytes/s).

    The host's experts are read where they lie, by its processor or over the link, whichever its rate stands for.
    """
    return _token(model, [("GPU", *gpu), ("host", host[0] * usable, host[1])], disk_rate, context, stored, storage)


def _token(model, places, disk_rate, context, stored, storage):
    groups = model.weights(stored)
    experts = groups.get(EXPERTS, 0)
    dense = sum(size for group, size in groups.items() if group != EXPERTS)
    cache = sum(model.cache(context, storage).values())
    step = model.step_weights(1, stored)
    each_token = step["rest"] + sum(model.reads(context, storage).values())
    first = places[0]
    over = max(0, dense + cache - first[1])             # dense weights that the first place cannot keep
    free = [max(0, first[1] - dense - cache), *(size for _, size, _ in places[1:])]
    shares = []
    left = 1.0
    for size in free:
        shares.append(min(left, size / experts) if experts else left)
        left -= shares[-1]
    read = {name: share * step["experts"] for (name, _, _), share in zip(places, shares)}
    read[first[0]] += each_token - min(over, step["rest"])
    disk = left * step["experts"] + min(over, step["rest"])
    read["disk"] = disk if disk > 1 else 0.0            # rounding is no read
    rates = {name: rate for name, _, rate in places} | {"disk": disk_rate}
    seconds = {name: size / rates[name] for name, size in read.items()}
    return {"read": read, "seconds": sum(seconds.values()), "seconds_by_place": seconds, "experts_held": dict(zip(read, shares)),
            "cache_fits": cache <= first[1], "rates": rates}
