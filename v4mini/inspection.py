"""What `v4mini inspect` reports, as plain data. Not here: printing (cli/)."""

from collections import Counter, defaultdict
from pathlib import Path

from v4mini.config import Config
from v4mini.planning.counts import counts, total
from v4mini.weights.file import tensor_bytes
from v4mini.weights.found import stored_tensors
from v4mini.weights.spec import check, tensors
from v4mini.weights.store import open_store


def inspect_config(name, config):                       # -> dict of plain values
    """Everything that follows from a config alone."""
    stored = [(n, dtype, list(shape)) for spec in tensors(config) for n, dtype, shape in spec.stored()]
    return _report(name, config, stored, [], checked=False)


def inspect_checkpoint(path):                           # -> dict of plain values
    """The same for files on disk, with what is missing, extra or misshapen. Reads headers only. Raises Refused."""
    path = Path(path)
    with open_store(path) as store:
        config = Config.load(path if path.is_dir() else path.parent)
        stored = [(name, entry.dtype, list(entry.shape)) for name, entry in store.entries().items()]
        return _report(str(path), config, stored, check(config, stored_tensors(store)), checked=True)


def _report(name, config, stored, problems, checked):
    groups, mtp = counts(config)
    whole, formats = total(config), defaultdict(int)
    for tensor, dtype, shape in stored:
        formats[dtype] += tensor_bytes(tensor, dtype, shape)
    return {
        "name": name, "layers": describe_layers(config), "parameters": whole.total, "active": round(whole.active),
        "mtp_parameters": mtp.total, "bytes": sum(formats.values()), "formats": dict(formats), "tensors_stored": len(stored),
        "groups": [{"group": group, "parameters": count.total, "active": count.active, "bytes": count.nbytes}
                   for group, count in sorted(groups.items(), key=lambda item: -item[1].nbytes)],
        "config": config.to_dict(), "problems": problems, "checked": checked,
        "tensors": [{"name": tensor, "dtype": dtype, "shape": shape} for tensor, dtype, shape in stored],
    }


def describe_layers(config):                            # -> "43 layers: 2 window, 21 CSA, 20 HCA; 3 of them ..."
    """The layers of a config in one line."""
    kinds = Counter(config.layer_kind(i) for i in range(config.n_layers))
    words = {"window": "window", "csa": "CSA", "hca": "HCA"}
    named = ", ".join(f"{kinds[kind]} {word}" for kind, word in words.items() if kinds[kind])
    return (f"{config.n_layers} layers ({named}), {config.n_hash_layers} with hash routing, "
            f"{config.n_routed_experts} experts of which {config.n_activated_experts} work on a token")
