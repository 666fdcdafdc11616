"""Bring planned bytes into a folder: under temporary names, to be gone on with after any interruption, checked before they count.

    folder/.fetching/NAME.part, NAME.verified       what has come so far; how much of it is verified, and its SHA-256
    folder/NAME                                 complete: length, header and checksums are right
    folder/fetched.json                         knows its checksum, and which digest of the release it was held to
    folder/model.safetensors.index.json         lists it: only now does a reader see it

Killed at any moment, the folder holds what its index lists, and the next fetch goes on from the last verified byte.
Not here: what to bring (plan.py), asking for it (hub.py).
"""

import contextlib
import dataclasses
import hashlib
import json
import os
import shutil

from v4mini.shapes import Refused
from v4mini.viz.tables import human_bytes
from v4mini.weights.file import read_header
from v4mini.weights.ours import expect_as_written
from v4mini.weights.remote.budget import Listed
from v4mini.weights.remote.record import STAGING, blocks
from v4mini.weights.remote.responses import digest
from v4mini.weights.store import INDEX
from v4mini.writing import alone, make_folder, open_to_append, put_in_place, remove, write_whole

VERIFY_EVERY = 32 << 20                   # bytes after which what has come is made safe against a power cut
HEADROOM = 16 << 20                     # bytes left free on the disk


def fetch(release, plan, progress=None):            # -> Path of the folder
    """Carry out a plan. progress(bytes so far) is called often, bytes of an earlier try included. Raises Refused.

    Every file is in the index as soon as it is complete, so what came before a fault is of use.
    """
    folder = plan.folder
    there = dict(plan.there)
    nbytes = plan.there_bytes
    done = 0
    record = dataclasses.replace(plan.record, tensors=len(release.names), total_size=release.total_size)
    make_folder(folder / STAGING)
    busy = f"{folder}: another fetch is writing into this folder. Wait for it, or choose another folder."
    with alone(folder / STAGING / "lock", busy):
        _check_room(folder, plan)
        expect_as_written(folder, {file.name for file in plan.files}, _known(folder, plan))
        record.write(folder)
        for file in plan.files:
            report = progress and (lambda so_far, done=done: progress(done + so_far))
            checksum = _bring(release.source, file, folder, report)
            record = dataclasses.replace(record, sha256=record.sha256 | {file.name: checksum},
                                         compared=record.compared | {file.name: file.compared(release.source)})
            record.write(folder)
            done += file.size
            if file.tensors:
                there |= {entry.name: file.name for entry in file.tensors}
                nbytes += sum(entry.nbytes for entry in file.tensors)
                _write_index(folder, there, nbytes)
            remove(_journal(folder, file))
    return folder


def _known(folder, plan):               # -> {file name: [SHA-256 of what we brought]}, the one killed before it was recorded too
    known = {name: [checksum] for name, checksum in plan.record.sha256.items()}
    for file in plan.files:
        told = _journaled(folder, file, plan.record.revision)
        if told.get("bytes") == file.size:
            known[file.name] = [*known.get(file.name, []), told["sha256"]]
    return known


def already_came(plan):                 # -> bytes of the plan that lie unfinished in the folder
    return sum(_sure_bytes(plan.folder, file, plan.record.revision)[0] for file in plan.files)


def _bring(source, file, folder, report):           # -> SHA-256 of the complete file
    part = folder / STAGING / f"{file.name}.part"
    final = folder / file.name
    make_folder(part.parent)
    have, expected = _sure_bytes(folder, file, source.revision)
    hasher = hashlib.sha256()
    for block in blocks(part, have) if have else ():
        hasher.update(block)
    if hasher.hexdigest() != expected:
        have = 0                                        # not the bytes that came: begin again
        hasher = hashlib.sha256()
    try:
        _append(source, file, folder, part, have, hasher, report)
    except OSError as error:
        raise Refused(f"{final}: cannot be written ({error.strerror}). Make room, or choose another disk.") from error
    _check_complete(source, file, part, hasher.hexdigest())
    make_folder(final.parent)
    put_in_place(part, final)
    return hasher.hexdigest()


def _append(source, file, folder, part, have, hasher, report):
    verified = have
    with open_to_append(part, have) as out:
        try:
            for chunk in _bytes_of(source, file, have):
                view = memoryview(chunk)
                while view:                         # one call takes at most 2 GiB on Linux
                    view = view[out.write(view):]
                hasher.update(chunk)
                have += len(chunk)
                if report:
                    report(have)
                if have - verified >= VERIFY_EVERY:
                    verified = _mark_verified(out, folder, file, source.revision, have, hasher)
        finally:                                    # after a fault or Ctrl-C too
            with contextlib.suppress(OSError, Refused):
                _mark_verified(out, folder, file, source.revision, have, hasher)


def _bytes_of(source, file, skip):      # yields the file's bytes from `skip` on
    if skip < len(file.header):
        yield file.header[skip:]
    skip = max(0, skip - len(file.header))
    for name, start, stop in file.pieces:
        if skip < stop - start:
            yield from source.stream(name, start + skip, stop)
        skip = max(0, skip - (stop - start))


def _mark_verified(out, folder, file, revision, have, hasher):      # -> have
    os.fsync(out.fileno())
    text = json.dumps({"key": file.key(revision), "bytes": have, "size": file.size, "sha256": hasher.hexdigest()}).encode()
    write_whole(_journal(folder, file), text)
    return have


def _sure_bytes(folder, file, revision):            # -> bytes that may be kept, and their SHA-256
    told = _journaled(folder, file, revision)
    part = folder / STAGING / f"{file.name}.part"
    if part.is_file() and 0 < told.get("bytes", 0) <= min(file.size, part.stat().st_size):
        return told["bytes"], told["sha256"]
    return 0, hashlib.sha256().hexdigest()


def _journaled(folder, file, revision):             # -> dict, empty unless it is of this file at this commit
    try:
        told = json.loads(_journal(folder, file).read_bytes())
        is_ours = told["key"] == file.key(revision) and type(told["bytes"]) is int and type(told["sha256"]) is str
        return told if is_ours else {}
    except (OSError, ValueError, TypeError, KeyError):
        return {}


def _check_complete(source, file, part, came):
    """Raise Refused, and throw the file away, unless what lies on the disk is what came and what was asked for."""
    listed = source.listed(file.whole) if file.whole else None
    fault = ""
    if part.stat().st_size != file.size or digest(Listed(file.size), blocks(part)) != came:
        fault = "the disk gave back other bytes"
    elif listed and listed.digest and digest(listed, blocks(part)) != listed.digest:
        fault = f"its checksum is not the release's, {listed.digest}"
    elif file.tensors and read_header(part)[0] != {entry.name: entry for entry in file.tensors}:
        fault = "its header is not the one that was planned"
    if fault:
        remove(part)
        raise Refused(f"{file.name}: expected the bytes that were asked for, got others ({fault}). Run the command again.")


def _check_room(folder, plan):
    needed = plan.nbytes - already_came(plan) + HEADROOM
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise Refused(f"{folder}: expected room for {human_bytes(needed)}, got {human_bytes(free)} free. Choose another disk.")


def _journal(folder, file):
    return folder / STAGING / f"{file.name}.verified"


def _write_index(folder, there, nbytes):
    text = json.dumps({"metadata": {"total_size": nbytes}, "weight_map": dict(sorted(there.items()))}, indent=2).encode()
    write_whole(folder / INDEX, text)
