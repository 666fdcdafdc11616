"""What `v4mini inspect` reports, as plain data. Not here: printing (cli/)."""

from collections import Counter, defaultdict
from pathlib import Path

from v4mini.config import Config, read_fields
from v4mini.inspection.recognise import recognise
from v4mini.planning.counts import Count, counts
from v4mini.shapes import Refused
from v4mini.weights.file import tensor_bytes
from v4mini.weights.layouts import fit
from v4mini.weights.names import resolve
from v4mini.weights.remote.record import read_record, unfinished
from v4mini.weights.spec import tensors
from v4mini.weights.store import open_store


def inspect_config(name, config):                       # -> dict of plain values
    """Everything that follows from a config alone."""
    stored = [(n, dtype, list(shape)) for spec in tensors(config) for n, dtype, shape in spec.stored()]
    return _report(name, config, stored, [], checked=False)


def inspect_checkpoint(path):                           # -> dict of plain values
    """The same for files on disk, with what is missing, extra or misshapen. Reads headers only. Raises Refused.

    Of a folder of fetched parts, missing tensors are no problem but counted: see "missing" and "parts".
    """
    path = Path(path)
    record = read_record(path) if path.is_dir() else None
    with open_store(path) as store:
        fields = read_fields(path if path.is_dir() else path.parent)
        layout = recognise(store.entries(), fields, store.shards, store.metadata, whole=record is None)
        config, notes = _config(layout, path if path.is_dir() else path.parent)
        report = _held(str(path), config, store, asked=record is not None, notes=notes) | {"layout": layout.as_dict()}
        report["index_total"] = _said(store.metadata)
    if record:
        report |= {"fetched": {"from": record.origin, "revision": record.revision, "tensors": record.tensors,
                               "bytes": record.total_size}, "unfinished": unfinished(path)}
        missing = [problem for problem in report["problems"] if problem.startswith("missing: ")]
        report["problems"] = [problem for problem in report["problems"] if problem not in set(missing)]
        report |= {"missing": len(missing), "parts": _parts(config, {tensor["name"] for tensor in report["tensors"]})}
    return report


def inspect_release(release, progress=None):            # -> dict of plain values
    """The same for a release elsewhere (weights/remote), from its headers. progress(headers so far)."""
    release.read_headers(progress=progress)
    fields = read_fields(release.source.path("config.json"))
    report = _held(release.name, release.config, release, asked=False, notes=[])
    report["layout"] = recognise(release.entries(), fields, release.shards, release.metadata).as_dict()
    budget = release.source.budget
    return report | {"index_total": release.total_size or None, "files": len(release.shards), "revision": release.source.revision,
                     "read_bytes": budget.nbytes, "requests": budget.requests}


def _config(layout, path):                              # -> Config, [note]; a layout that is known and not read is named
    try:
        return Config.load_noted(path)
    except Refused as refused:
        if len(layout.rows) == 1 and layout.rows[0]["read"] == "refused":
            raise Refused(f"{refused} Its tensors: {layout.told()}") from None
        raise


def _held(name, config, store, asked, notes):           # -> the report of files and their config
    found = fit(config, resolve(store.entries()), asked)
    report = _report(name, found.config, _stored(store), found.problems, checked=True)
    return report | {"notes": [*notes, *found.notes]}


def _stored(store):                                     # -> [(name, dtype, shape)]
    return [(name, entry.dtype, list(entry.shape)) for name, entry in store.entries().items()]


def _said(metadata):                                    # what an index says its tensors add up to
    said = metadata.get("total_size")
    return said if type(said) is int else None


def _report(name, config, stored, problems, checked):
    groups, mtp = counts(config)
    whole = sum(groups.values(), Count())
    formats = defaultdict(int)
    for tensor, dtype, shape in stored:
        formats[dtype] += tensor_bytes(tensor, dtype, shape)
    return {
        "name": name, "layers": describe_layers(config), "parameters": whole.total, "active": round(whole.active),
        "mtp_parameters": mtp.total, "bytes": sum(formats.values()), "formats": dict(formats), "tensors_stored": len(stored),
        "groups": [{"group": group, "parameters": count.total, "active": count.active, "bytes": count.nbytes}
                   for group, count in sorted(groups.items(), key=lambda item: -item[1].nbytes)],
        "config": config.to_dict(), "problems": problems, "missing": 0, "checked": checked, "index_total": None,
        "notes": [], "layout": None,
        "tensors": [{"name": tensor, "dtype": dtype, "shape": shape} for tensor, dtype, shape in stored],
    }


def _parts(config, here):                               # -> [what is there of each group, in stored tensors and bytes]
    parts = defaultdict(lambda: {"here": 0, "of": 0, "bytes": 0, "of_bytes": 0})
    for spec in tensors(config):
        part = parts["MTP block" if spec.is_mtp else spec.group]
        for name, dtype, shape in spec.stored():
            nbytes = tensor_bytes(name, dtype, shape)
            part["of"] += 1
            part["of_bytes"] += nbytes
            if name in here:
                part["here"] += 1
                part["bytes"] += nbytes
    return [{"group": group, **part} for group, part in sorted(parts.items(), key=lambda item: -item[1]["of_bytes"])]


def describe_layers(config):                            # -> "43 layers: 2 window, 21 CSA, 20 HCA; 3 of them ..."
    """The layers of a config in one line."""
    kinds = Counter(config.layer_kind(i) for i in range(config.n_layers))
    words = {"window": "window", "csa": "CSA", "hca": "HCA"}
    named = ", ".join(f"{kinds[kind]} {word}" for kind, word in words.items() if kinds[kind])
    return (f"{config.n_layers} layers ({named}), {config.n_hash_layers} with hash routing, "
            f"{config.n_routed_experts} experts of which {config.n_activated_experts} work on a token")
