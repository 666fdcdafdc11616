"""Bring planned bytes into a folder: under temporary names, to be gone on with after any interruption, checked before they count.

    folder/.fetching/NAME.part, NAME.sure       what has come so far; how much of it is sure, and its SHA-256
    folder/NAME                                 complete: length, header and checksums are right
    folder/fetched.json                         knows its checksum
    folder/model.safetensors.index.json         lists it: only now does a reader see it

Killed at any moment, the folder holds what its index lists, and the next fetch goes on from the last sure byte.
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
from v4mini.weights.file import read_header, replacing
from v4mini.weights.remote.answers import digest
from v4mini.weights.remote.meter import Listed
from v4mini.weights.remote.record import STAGING, blocks
from v4mini.weights.store import INDEX

SURE_EVERY = 32 << 20                   # bytes after which what has come is made safe against a power cut
HEADROOM = 16 << 20                     # bytes left free on the disk


def fetch(release, plan, progress=None):            # -> Path of the folder
    """Carry out a plan. progress(bytes so far) is called often, bytes of an earlier try included. Raises Refused.

    Every file is in the index as soon as it is complete, so what came before a fault is of use.
    """
    from filelock import FileLock, Timeout

    folder, there, nbytes, done = plan.folder, dict(plan.there), plan.there_bytes, 0
    record = dataclasses.replace(plan.record, tensors=len(release.names), total_size=release.total_size)
    _make_folder(folder)
    try:
        with FileLock(folder / STAGING / "lock", timeout=0):
            _check_room(folder, plan)
            record.write(folder)
            for file in plan.files:
                report = progress and (lambda so_far, done=done: progress(done + so_far))
                checksum = _bring(release.source, file, folder, report)
                record = dataclasses.replace(record, sha256=record.sha256 | {file.name: checksum})
                record.write(folder)
                done += file.size
                if file.tensors:
                    there |= {entry.name: file.name for entry in file.tensors}
                    nbytes += sum(entry.nbytes for entry in file.tensors)
                    _write_index(folder, there, nbytes)
                _journal(folder, file).unlink(missing_ok=True)
    except Timeout:
        raise Refused(f"{folder}: another fetch is writing into this folder. Wait for it, or choose another folder.") from None
    return folder


def already_came(plan):                 # -> bytes of the plan that lie unfinished in the folder
    return sum(_sure_bytes(plan.folder, file, plan.record.revision)[0] for file in plan.files)


def _bring(source, file, folder, report):           # -> SHA-256 of the complete file
    part, final = folder / STAGING / f"{file.name}.part", folder / file.name
    part.parent.mkdir(parents=True, exist_ok=True)
    have, expected = _sure_bytes(folder, file, source.revision)
    hasher = hashlib.sha256()
    for block in blocks(part, have) if have else ():
        hasher.update(block)
    if hasher.hexdigest() != expected:
        have, hasher = 0, hashlib.sha256()          # not the bytes that came: begin again
    try:
        _append(source, file, folder, part, have, hasher, report)
    except OSError as error:
        raise Refused(f"{final}: cannot be written ({error.strerror}). Make room, or choose another disk.") from error
    _check_complete(source, file, part, hasher.hexdigest())
    final.parent.mkdir(parents=True, exist_ok=True)
    os.replace(part, final)
    return hasher.hexdigest()


def _append(source, file, folder, part, have, hasher, report):
    sure = have
    with open(part, "ab", buffering=0) as out:
        out.truncate(have)
        try:
            for chunk in _bytes_of(source, file, have):
                view = memoryview(chunk)
                while view:                         # one call takes at most 2 GiB on Linux
                    view = view[out.write(view):]
                hasher.update(chunk)
                have += len(chunk)
                if report:
                    report(have)
                if have - sure >= SURE_EVERY:
                    sure = _make_sure(out, folder, file, source.revision, have, hasher)
        finally:                                    # after a fault or Ctrl-C too
            with contextlib.suppress(OSError, Refused):
                _make_sure(out, folder, file, source.revision, have, hasher)


def _bytes_of(source, file, skip):      # yields the file's bytes from `skip` on
    if skip < len(file.header):
        yield file.header[skip:]
    skip = max(0, skip - len(file.header))
    for name, start, stop in file.pieces:
        if skip < stop - start:
            yield from source.stream(name, start + skip, stop)
        skip = max(0, skip - (stop - start))


def _make_sure(out, folder, file, revision, have, hasher):      # -> have
    os.fsync(out.fileno())
    text = json.dumps({"key": file.key(revision), "bytes": have, "size": file.size, "sha256": hasher.hexdigest()}).encode()
    with replacing(_journal(folder, file), len(text)) as write:
        write(text)
    return have


def _sure_bytes(folder, file, revision):            # -> bytes that may be kept, and their SHA-256
    nothing = 0, hashlib.sha256().hexdigest()
    try:
        told = json.loads(_journal(folder, file).read_bytes())
        part = folder / STAGING / f"{file.name}.part"
        is_ours = told["key"] == file.key(revision) and 0 < told["bytes"] <= min(file.size, part.stat().st_size)
        return (told["bytes"], told["sha256"]) if is_ours else nothing
    except (OSError, ValueError, TypeError, KeyError):
        return nothing


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
        part.unlink()
        raise Refused(f"{file.name}: expected the bytes that were asked for, got others ({fault}). Run the command again.")


def _check_room(folder, plan):
    needed = plan.nbytes - already_came(plan) + HEADROOM
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise Refused(f"{folder}: expected room for {human_bytes(needed)}, got {human_bytes(free)} free. Choose another disk.")


def _make_folder(folder):
    try:
        (folder / STAGING).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Refused(f"{folder}: cannot be made ({error.strerror}). Choose another folder.") from error


def _journal(folder, file):
    return folder / STAGING / f"{file.name}.sure"


def _write_index(folder, there, nbytes):
    text = json.dumps({"metadata": {"total_size": nbytes}, "weight_map": dict(sorted(there.items()))}, indent=2).encode()
    with replacing(folder / INDEX, len(text)) as write:
        write(text)
