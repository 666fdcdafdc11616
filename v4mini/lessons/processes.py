"""Experts over several processes of this machine, with the standard library alone: dispatch, compute, combine.

    reports = run(experts_part, [(x0, chosen0, weights0, share0, limit), (x1, ...)])        one process for each

Between any two processes lies a pipe. Pairs exchange in one order for all, (0, 1), (0, 2), ... (1, 2), ..., so that none waits
in a circle. A process that dies closes its pipes, and whoever reads from one learns it at once; one that hangs is silent.
Not here: torch.distributed and torchrun (accel/parallel.py), a network.
"""

import multiprocessing
import os
import signal
import time
from dataclasses import dataclass, field
from multiprocessing.connection import wait
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from v4mini.ops.experts import add_rows, expert, experts
from v4mini.ops.linear import linear
from v4mini.shapes import Refused

START, LONGEST = 60, 300                    # seconds: to start all processes; for all their work


class RankLost(RuntimeError):
    """Another process ended, or was silent for too long. rank: which, as seen from here."""

    def __init__(self, rank, reason):
        super().__init__(f"expected rows of rank {rank}, got none: it {reason}")
        self.rank = rank


@dataclass
class Mesh:
    """What a process knows of the others: a pipe to each, how long to wait for it, and the bytes it sent."""

    rank: int
    ranks: int
    links: dict                             # {other rank: Connection}
    timeout: float
    sent: int = field(default=0)

    def exchange(self, parts):              # [an array for each rank] -> [the array that each rank had for this one]
        """all_to_all. The part for oneself goes nowhere. Raises RankLost."""
        received = [parts[self.rank]] * self.ranks
        for other, link in sorted(self.links.items()):
            array = np.ascontiguousarray(parts[other])
            try:
                link.send((array.shape, array.dtype.str))               # a few bytes: they fit into the pipe, nobody waits
                shape, kind = self._next(other, link.recv)
                if self.rank < other:
                    link.send_bytes(array.tobytes())
                data = self._next(other, link.recv_bytes)
                if self.rank > other:
                    link.send_bytes(array.tobytes())
            except (EOFError, OSError):
                raise RankLost(other, "ended") from None
            received[other] = np.frombuffer(data, kind).reshape(shape)
            self.sent += array.nbytes
        return received

    def _next(self, other, receive):
        if not self.links[other].poll(self.timeout):
            raise RankLost(other, f"was silent for {self.timeout:g} s")
        return receive()


@dataclass
class Report:
    """How a process ended. lost: the rank that it waited for in vain; exit_code: None unless it ended without a word."""

    rank: int
    result: Any = None
    sent: int = 0
    error: str = ""
    lost: int | None = None
    seconds: float = 0.0
    exit_code: int | None = None


def experts_part(mesh, x, chosen, weights, share, limit):       # this rank's [T, D], [T, K] int, [T, K]; its experts -> [T, D]
    """v4mini.ops.experts.experts, of which each rank computes its share: rank r has experts r * n to (r + 1) * n - 1.

    An expert meets the rows of all ranks at once, in the order of tokens, and a token adds its experts by rising number, both
    as in one process with all tokens: the result is the same to the last bit.
    """
    token, slot = np.divmod(np.argsort(chosen, axis=None, kind="stable"), chosen.shape[1])
    number = chosen[token, slot]                                # rising: the rows for rank 0 come first
    cuts = np.searchsorted(number, len(share) * np.arange(1, mesh.ranks))
    rows, numbers, scale = (mesh.exchange(np.split(a, cuts)) for a in (x[token], number, weights[token, slot]))
    ends = np.cumsum([len(part) for part in rows])[:-1]
    rows, numbers, scale = map(np.concatenate, (rows, numbers, scale))
    y = np.empty((len(rows), x.shape[1]), x.dtype)
    for e in np.unique(numbers):
        at = numbers == e
        y[at] = expert(rows[at], share[e - mesh.rank * len(share)], limit, linear, scale[at])
    back = np.concatenate(mesh.exchange(np.split(y, ends)))     # in the order in which they were sent
    out = np.zeros_like(x)
    for e in np.unique(number):
        at = number == e
        add_rows(out, token[at], back[at])
    return out


def alone(mesh, x, chosen, weights, pool, limit):               # [T, D], ... -> [T, D]
    """The library's own experts, in a process like the others."""
    return experts(x, chosen, weights, pool, limit, linear)


def broken(mesh, victim, how, work, *arguments):
    """`work`, but rank `victim` ends first: how is "kill", "raise", or "hang"."""
    if mesh.rank == victim:
        if how == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if how == "raise":
            raise MemoryError("out of memory, as it was told to be")
        time.sleep(LONGEST)
    return work(mesh, *arguments)


def run(work, arguments, timeout=10.0):                         # arguments of each rank -> [Report]
    """work(mesh, *arguments[rank]) in len(arguments) new processes. A rank that is silent for `timeout` seconds is lost.

    work must be a function of a module: a new process imports it. Raises Refused if the processes do not start.
    """
    context, ranks = multiprocessing.get_context("spawn"), len(arguments)
    links = [{} for _ in range(ranks)]
    for i in range(ranks):
        for j in range(i + 1, ranks):
            links[i][j], links[j][i] = context.Pipe()
    desks, processes = [], []
    for rank in range(ranks):
        desk, theirs = context.Pipe()
        given = Mesh(rank, ranks, links[rank], timeout), theirs, work, arguments[rank]
        process = context.Process(target=_serve, args=given, daemon=True)
        process.start()
        for link in (theirs, *links[rank].values()):
            link.close()                                        # or a dead process's pipes would stay open here
        desks.append(desk)
        processes.append(process)
    try:
        return _reports(desks, processes, timeout)
    finally:
        for process, desk in zip(processes, desks):
            process.kill()
            process.join()
            desk.close()


def _serve(mesh, desk, work, arguments):                        # in the new process
    report = Report(mesh.rank)
    with threadpool_limits(1):                                  # all ranks share this machine's cores
        desk.send("ready")
        desk.recv()
        begin = time.monotonic()
        try:
            report.result = work(mesh, *arguments)
        except RankLost as error:
            report.error, report.lost = str(error), error.rank
        except Exception as error:                              # whatever it is, the one who asked must learn it
            report.error = f"{type(error).__name__}: {error}"
        report.sent, report.seconds = mesh.sent, time.monotonic() - begin
        desk.send(report)


def _reports(desks, processes, timeout):
    for rank, desk in enumerate(desks):
        if not desk.poll(START):
            raise Refused(f"processes: expected rank {rank} to start within {START} s, got nothing. Try fewer of them.")
        desk.recv()
    for desk in desks:
        desk.send("go")
    reports, open_desks, until = {}, dict(zip(desks, range(len(desks)))), time.monotonic() + LONGEST
    while open_desks and (ready := wait(open_desks, max(0.0, until - time.monotonic()))):
        for desk in ready:
            rank = open_desks.pop(desk)
            reports[rank] = _report(desk, rank, processes[rank])
            if reports[rank].error:                             # then the others will know soon, or never
                until = min(until, time.monotonic() + timeout + 1)
    for rank in open_desks.values():
        reports[rank] = Report(rank, error="gave no answer")
    return [reports[rank] for rank in sorted(reports)]


def _report(desk, rank, process):
    try:
        return desk.recv()
    except (EOFError, OSError):
        process.join()
        return Report(rank, error=f"ended with exit code {process.exitcode}", exit_code=process.exitcode)
