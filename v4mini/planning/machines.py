"""Machines: what they hold, read and multiply at best, from a table of rows that anyone can extend.

Rates are those of dense products; memory, bandwidth and rates are per device, and devices are taken to share all work evenly.
Not here: the rows (data/machines.json; whoever calls names the files), what they cost (prices.py), models (models.py).
"""

import dataclasses
import math
import re
from dataclasses import dataclass
from datetime import date

from v4mini.planning.tables import SOURCED, Field, nearest, read_table
from v4mini.shapes import Refused

KINDS = ("laptop", "desktop", "workstation", "accelerator", "node")
TIMES = re.compile(r"(.+?)\s*[x*]\s*(\d{1,6})")                 # h200x8
# what runs instead where a machine has no unit for a format: numbers are decoded to the next one
INSTEAD = {"fp4": ("fp4", "fp8", "bf16"), "fp8": ("fp8", "bf16"), "int8": ("int8", "bf16"), "bf16": ("bf16",)}
TFLOPS = {"bf16": "bf16_tflops", "fp8": "fp8_tflops", "int8": "int8_tops", "fp4": "fp4_tflops"}

_positive = {"least": 0, "above": True, "most": 1e9}
MACHINE = {
    "name": Field("text"), "title": Field("text"), "kind": Field("choice", choices=KINDS), "devices": Field("whole", 1, least=1),
    "memory_gb": Field("number", **_positive), "bandwidth_gb_s": Field("number", **_positive),
    "bf16_tflops": Field("number", **_positive), "fp8_tflops": Field("number", 0.0, **_positive),
    "int8_tops": Field("number", 0.0, **_positive), "fp4_tflops": Field("number", 0.0, **_positive),
    "usable": Field("number", 0.9, least=0, most=1, above=True), "watts": Field("number", 0.0, least=0),
    "most": Field("whole", 1, least=1), "host": Field("choice", "apart", choices=("same", "apart")), **SOURCED}
RUN = {
    "model": Field("text"), "machine": Field("text"), "count": Field("whole", 1, least=1), "weights": Field("text", "released"),
    "what": Field("choice", choices=("decode", "prefill", "serve")), "batch": Field("whole", 1, least=1),
    "context": Field("whole", least=1), "new": Field("whole", 0, least=0), "tokens_per_second": Field("number", **_positive),
    "drafts": Field("choice", "no", choices=("yes", "no")), **SOURCED}


@dataclass(frozen=True)
class Machine:
    """One row, or several of it side by side. Memory, bandwidth and rates below are of all devices together."""

    name: str
    title: str
    kind: str
    devices: int
    memory_gb: float            # of one device, 10^9 bytes
    bandwidth_gb_s: float
    bf16_tflops: float
    fp8_tflops: float           # 0: has no unit for it
    int8_tops: float
    fp4_tflops: float
    usable: float               # share of the memory that weights and caches may take
    watts: float                # of the whole row at full load; 0: not known
    most: int                   # how many of the row one would sensibly join
    host: str                   # "same": its memory is the processor's own; "apart": a host's memory lies beside it
    source: str
    date: date
    note: str
    sure: str                   # one of tables.SURE
    count: int = 1              # rows side by side

    @property
    def label(self):                                    # -> "h200x4"
        return self.name if self.count == 1 else f"{self.name}x{self.count}"

    @property
    def memory(self):                                   # -> bytes
        return self.memory_gb * 1e9 * self.devices * self.count

    @property
    def room(self):                                     # -> bytes that weights and caches may take
        return self.memory * self.usable

    @property
    def bandwidth(self):                                # -> bytes/s
        return self.bandwidth_gb_s * 1e9 * self.devices * self.count

    @property
    def power(self):                                    # -> W at full load; 0: not known
        return self.watts * self.count

    def rate(self, arithmetic):                         # -> FLOP/s
        """Dense products in this format, or in the next wider one that the machine has."""
        return getattr(self, TFLOPS[self.runs(arithmetic)]) * 1e12 * self.devices * self.count

    def runs(self, arithmetic):                         # "fp4" -> "bf16" on a machine that has nothing narrower
        """The format in which products of this kind are really computed."""
        return next(format for format in INSTEAD[arithmetic] if getattr(self, TFLOPS[format]))

    def times(self, count):                             # -> Machine
        """So many of this row."""
        return dataclasses.replace(self, count=count)


def read_machines(*paths):                              # -> {name: Machine}
    """Rows of all files; a later file may replace a row of an earlier one, by its name. Raises Refused."""
    found = {}
    for path in paths:
        own = set()
        for row in read_table(path, {"machines": MACHINE, "runs": RUN})["machines"]:
            if row["name"] in own:
                raise Refused(f"{path}: machines: two rows are called {row['name']!r}. Rename one.")
            own.add(row["name"])
            found[row["name"]] = Machine(**row)
    return found


def read_runs(*paths):                                  # -> [row]: published measurements
    """The runs of all files, in order. Raises Refused."""
    return [row for path in paths for row in read_table(path, {"machines": MACHINE, "runs": RUN})["runs"]]


def find_machine(machines, text):                       # "h200x8" -> Machine
    """A row by its name, or several side by side. Raises Refused, with the nearest names."""
    text = str(text).strip().lower()
    if text in machines:
        return machines[text]
    match = TIMES.fullmatch(text)
    name, count = (match[1], int(match[2])) if match else (text, 1)
    if name not in machines:
        advice = nearest(name, machines) or "v4mini plan --list shows all."
        raise Refused(f"machine: no row is called {name[:60]!r}. {advice}")
    if not 1 <= count <= 100_000:
        raise Refused(f"machine: expected 1 to 100,000 of {name}, got {count:,}. Write it as in h200x8.")
    return machines[name].times(count)


def smallest_that_fit(machines, needed, first=""):      # -> [Machine], least memory first
    """For each row the fewest that hold `needed` bytes, rows of which too many would be needed left out.

    first: a name whose row comes first, if it is among them.
    """
    found = []
    for machine in machines.values():
        count = max(1, math.ceil(needed / machine.room))
        if count <= machine.most:
            found.append(machine.times(count))
    return sorted(found, key=lambda machine: (machine.name != first, machine.room, machine.power))
