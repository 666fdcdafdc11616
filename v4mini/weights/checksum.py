"""A safetensors file that carries its own checksum: the SHA-256 of the whole file, with the checksum's 64 digits as zeros.

    metadata "checksum"     64 hex digits, in the header

One changed bit anywhere, a lost tail or a swapped half is then known before a number is used. Not here: the format (file.py).
"""

import hashlib
import re

from v4mini.shapes import Refused

ZEROS = "0" * 64                # what the metadata hold while the file is written
AT_ONCE = 1 << 22               # bytes read at once


def sign(file):
    """Put the checksum in the place of its zeros. For write_file's `finish`: an open file, written but not yet in its place."""
    file.seek(0)
    header = _header(file)
    digits = _checksum(file, header).encode()
    file.seek(header.index(b'"checksum":"' + ZEROS.encode()) + len(b'"checksum":"'))
    file.write(digits)


def check_signed(path, checksum, try_this):
    """Refused unless the file's bytes are those that were signed. checksum: what its metadata say; try_this: what to do."""
    try:
        with open(path, "rb", buffering=0) as file:
            header = _header(file)
            if not re.fullmatch("[0-9a-f]{64}", checksum) or header.count(checksum.encode()) != 1:
                raise Refused(f"{path}: expected one sha256 as checksum, got {checksum[:80]!r}; is the file damaged? {try_this}")
            got = _checksum(file, header.replace(checksum.encode(), ZEROS.encode()))
    except OSError as error:
        raise Refused(f"{path}: cannot be read ({error.strerror}); check its permissions.") from None
    if got != checksum:
        raise Refused(f"{path}: expected bytes of checksum {checksum[:12]}..., got {got[:12]}...; it is damaged. {try_this}")


def _header(file):                                      # -> bytes, the length before it included
    length = file.read(8)
    return length + file.read(int.from_bytes(length, "little"))


def _checksum(file, header):                            # a file read up to its header's end -> 64 hex digits
    digest = hashlib.sha256(header)
    file.seek(len(header))
    while block := file.read(AT_ONCE):
        digest.update(block)
    return digest.hexdigest()
