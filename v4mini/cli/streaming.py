"""Options and reports of a model larger than memory, for generate and chat; sizes as people write them.

Not here: the streaming (inference/).
"""

import re
from contextlib import contextmanager, nullcontext

import click

from v4mini import Refused
from v4mini.cli.main import FileToWrite, json_option
from v4mini.viz.tables import human_bytes

UNITS = {"": 1, **{f"{letter}{kind}": base**power for power, letter in enumerate("KMGT", 1)
                   for kind, base in (("B", 1000), ("IB", 1024), ("", 1000))}, "B": 1}
LARGEST = 2**60                         # bytes


class Bytes(click.ParamType):
    """8GiB, 3.5GB, 500MB or a plain number; GB is a power of 1000, GiB of 1024. Also bytes a second, with or without /s."""

    name = "size"

    def convert(self, value, param, ctx):
        found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*(?:/s)?\s*", str(value))
        size = float(found[1]) * UNITS.get(found[2].upper(), 0) if found else 0
        if not 0 < size < LARGEST:
            raise Refused(f"{param.opts[-1].lstrip('-')}: expected a size such as 8GiB or 3.5GB, got {str(value)[:40]!r}.")
        return round(size)


def memory_options(command):
    """--memory, --device-memory and --policy of generate and chat."""
    for option in (
            click.option("--device-memory", type=Bytes(), help="Beside --memory, with an engine of torch: so much on its device; "
                         "what does not fit there is copied as it is needed."),
            click.option("--memory", type=Bytes(), help="Run within so much, e.g. 8GiB: weights are read as they are needed."),
            click.option("--policy", type=click.Choice(["known", "lru"]), default="known", show_default=True,
                         help="With --memory: which experts stay.")):
        command = option(command)
    return command


def streaming_options(command):
    """--memory, --policy, --trace and --json of generate."""
    command = click.option("--trace", "trace_file", type=FileToWrite(),
                           help="Record the routing in this file, for v4mini replay and the explorer.")(memory_options(command))
    return json_option(command)


def opened_model(path, backend, simulate, memory, policy, device_memory=None):      # -> a context that gives the model
    """v4mini.load, or, where memory is limited, a streaming model that is closed at the end."""
    import v4mini as v4
    from v4mini.engines import choose_backend
    from v4mini.inference.streaming.model import open_streaming

    if device_memory is not None:
        if memory is None:
            raise Refused("--device-memory: expected --memory beside it, what may be held on this side, got none. Give both.")
        if choose_backend(backend, simulate).on_host:
            raise Refused(f"--device-memory: expected an engine of a device (torch, cuda, ascend), got {backend}. Leave it out.")
        from accel.place import place

        return place(path, device_memory, memory, backend, simulate)
    if memory is None:
        return nullcontext(v4.load(path, backend=backend, simulate=simulate))
    return open_streaming(path, memory, backend, simulate, policy)


@contextmanager
def watched(model, trace_file, prompt):                 # gives the model to run
    """Where a trace is asked for: its twin that is watched; the file is written at the end, of an interrupted run too."""
    if trace_file is None:
        yield model
        return
    from v4mini.inference.routing_trace import recorded

    model, recorder = recorded(model)
    try:
        yield model
    finally:
        recorder.trace(prompt).save(trace_file)


def streaming_report(model):                            # -> dict, or None for a model that is in memory
    """What a streaming model read, and the most memory this process took."""
    from v4mini.machine import peak_bytes

    return {**model.report(), "peak_resident_bytes": peak_bytes()} if hasattr(model, "report") else None


def streaming_text(report):                             # -> lines
    """The same, to read."""
    read, uses = report["read_bytes"], report["expert_uses"]
    hits = "" if report["hit_rate"] is None else f" of {uses:,}, {report['hit_rate']:.1%} hits"
    disk = "" if report["from_disk_bytes"] is None else f", {human_bytes(report['from_disk_bytes'])} of it from the disk"
    return (f"[memory: peak {human_bytes(report['peak_resident_bytes'])} of {human_bytes(report['limit'])}; "
            f"{report['expert_slots']:,} slots for experts of {human_bytes(report['expert_bytes'])}]\n"
            f"[experts: {report['expert_reads']:,} read{hits}; {human_bytes(read['experts'])}, dense weights "
            f"{human_bytes(read['dense'])}]\n"
            f"[read {human_bytes(sum(read.values()))}{disk}; stalled {report['waited_seconds']:.1f} s]"
            + _device_text(report.get("device")))


def _device_text(device):                               # -> line, or "" where all is on this side
    if device is None:
        return ""
    return (f"\n[device: {device['expert_slots']:,} slots in {human_bytes(device['limit'])}; {device['expert_moves']:,} of "
            f"{device['expert_uses']:,} experts copied there, {human_bytes(device['moved_bytes'])}]")
