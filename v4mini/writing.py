"""Every file that v4mini writes is written here: complete under its name, or not there at all.

    folder/NAME                                         the file, old or new, never half of either
    folder/.NAME.v4mini-HOST-RANDOM-CHECK.part          what is being written; locked by its writer as long as that lives

A link is followed: the file behind it is replaced and the link stays. What is no regular file (a device, a pipe, a socket, a
folder) and what is protected against writing is refused before anything is written. A full disk or Ctrl-C leaves the old file and
nothing else; what a killed writer left goes when the next file is written into that folder.
Not here: what is in the files; which files of a folder are ours to replace (weights/ours.py).
"""

import contextlib
import errno
import hashlib
import os
import re
import secrets
import shutil
import socket
import stat
import time
import warnings

from v4mini.printable import printable
from v4mini.shapes import Refused
from v4mini.untrusted import kind_of

try:
    import fcntl
except ImportError:                     # Windows, where nobody can remove a file that is open
    fcntl = None

_PART = re.compile(r"(\..*\.v4mini-([0-9a-f]{8})-[0-9a-f]{16})-([0-9a-f]{8})\.part", re.DOTALL)
_OTHER_HOST = 24 * 3600                 # seconds without a change after which another computer's unlocked file was left behind
_FULL = {errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)}
_BUSY = {errno.EACCES, errno.EAGAIN, errno.EWOULDBLOCK}


# ---- where ----

def target(path):                       # -> str, absolute, links followed
    """Where a file called `path` is to be written. Refused unless there is nothing yet, or a regular file that may be written."""
    text = _text(path)
    if text.endswith((os.sep, os.altsep or os.sep)) or not text:
        raise Refused(f"{shown(text)}: cannot be written; expected the name of a file, got a folder's. Add a file name.")
    try:
        place = os.path.realpath(text)
        with contextlib.suppress(FileNotFoundError):
            _expect_regular(text, os.stat(text))
        with contextlib.suppress(FileNotFoundError):
            _expect_regular(text, os.lstat(place))
    except Refused:
        raise
    except (OSError, ValueError) as error:
        if getattr(error, "errno", None) == errno.ELOOP:
            raise Refused(f"{shown(text)}: cannot be written; expected a file or a new name, got a link in a circle.") from None
        raise _refused(text, error) from None
    return place


def expect_writable(path):              # -> path
    """Refused where a file called `path` could not be written: asked before the work whose result it is to hold."""
    folder = os.path.dirname(target(path))
    if not os.path.isdir(folder) or not os.access(folder, os.W_OK | os.X_OK):
        reason = "no right to write there" if os.path.isdir(folder) else "there is no such folder"
        raise Refused(f"{shown(path)}: cannot be written ({reason}). Choose another.")
    return path


def _text(path):
    try:
        return os.fsdecode(path)
    except TypeError:
        raise Refused(f"expected the path of a file, got {shown(repr(path)[:80])}. Try a str or a Path.") from None


def _expect_regular(path, found):
    if not stat.S_ISREG(found.st_mode):
        kind = "a link in a circle" if stat.S_ISLNK(found.st_mode) else kind_of(found.st_mode)
        raise Refused(f"{shown(path)}: cannot be written; expected a file or a new name, got {kind}. Choose another.")
    if not found.st_mode & 0o222 or not os.access(path, os.W_OK):
        raise Refused(f"{shown(path)}: cannot be written; expected a file that may be replaced, got one protected "
                      "against writing. Choose another name, or take the protection away (chmod u+w).")


def shown(path):                        # -> str that does nothing to a terminal
    """A path as it may stand in a sentence."""
    return printable(_text(path))


def _refused(path, error):              # OSError or ValueError -> Refused
    reason = getattr(error, "strerror", None) or error
    if getattr(error, "errno", None) in _FULL:
        return Refused(f"{shown(path)}: got no more room ({reason}); make room or choose another disk.")
    return Refused(f"{shown(path)}: cannot be written ({reason}); is the folder there, and yours?")


# ---- a whole file ----

class NewFile:
    """A file in the making, under a temporary name. `write`, then `seal`, then `take_place`; or `drop`.

    wanted: bytes that will be written, for the sentence when the disk is full. `file` is the open file: what was written can be
    read and changed before it is sealed. `sha256` is that of what was written, where `is_hashed` asks for it.
    """

    def __init__(self, path, wanted=0, is_hashed=False):
        self.path, self.wanted, self.part = path, wanted, ""
        self.place = target(path)
        self.folder, self.name = os.path.split(self.place)
        self._hasher = hashlib.sha256() if is_hashed else None
        with self._refusing():
            sweep(self.folder)
            self._begin()

    def _begin(self):
        while True:
            self.part = os.path.join(self.folder, part_name(self.name))
            self.file = open(self.part, "xb+", buffering=0)     # noqa: SIM115 - closed by take_place and drop
            try:
                _lock(self.file, wait=True)
                if _is_at(self.file, self.part):                # else somebody swept it before it was locked
                    return
            except BaseException:
                self.drop()
                raise
            self.file.close()

    def write(self, raw):
        """Add bytes, or an array's."""
        view = memoryview(raw)
        if self._hasher is not None:
            self._hasher.update(view)
        with self._refusing():
            while view:                                         # one call takes at most 2 GiB on Linux
                view = view[self.file.write(view):]

    @property
    def sha256(self):                   # -> hex
        return self._hasher.hexdigest()

    def seal(self):
        """All of it is on the disk, with the permissions and owner of the file whose place it will take."""
        with self._refusing():
            with contextlib.suppress(FileNotFoundError):
                _as_before(self.file, os.stat(self.place))
            os.fsync(self.file.fileno())

    def take_place(self):
        """The file gets its name; one that had it is gone."""
        with self._refusing():
            target(self.place)                                  # something else may have come there in the meantime
            if fcntl is None:
                self.file.close()                               # Windows renames no open file
            os.replace(self.part, self.place)
        self.file.close()
        _sync_folder(self.folder)

    def drop(self):
        """As if it had not been begun."""
        _close_and_unlink(self.file, self.part)

    @contextlib.contextmanager
    def _refusing(self):
        try:
            yield
        except OSError as error:
            if error.errno not in _FULL:
                raise _refused(self.path, error) from error
            begun = os.path.getsize(self.part) if os.path.exists(self.part) else 0
            free = shutil.disk_usage(self.folder).free + begun
            raise Refused(f"{shown(self.path)}: wanted {self.wanted:,} bytes, got no more room ({error.strerror}; {free:,} bytes "
                          "free); make room or choose another disk.") from error


@contextlib.contextmanager
def replacing(path, wanted=0, is_hashed=False):     # gives NewFile
    """A new file that takes the name `path` when the block ends well, and vanishes when it does not."""
    new = NewFile(path, wanted, is_hashed)
    try:
        yield new
        new.seal()
        new.take_place()
    except BaseException:                                       # Ctrl-C too
        new.drop()
        raise


def write_whole(path, content):         # bytes, or text as UTF-8
    """One file at once. Refused if it cannot be; then an old one stays as it was."""
    raw = content.encode() if isinstance(content, str) else content
    with replacing(path, len(raw)) as new:
        new.write(raw)


def _close_and_unlink(file, path):      # unlinked first, while nobody else can hold its lock, where the system removes open files
    try:
        if fcntl is None:
            file.close()
        with contextlib.suppress(OSError):
            os.unlink(path)
    finally:
        file.close()


def _as_before(file, old):
    if not hasattr(os, "fchmod"):
        return
    now = os.fstat(file.fileno())
    if (now.st_uid, now.st_gid) != (old.st_uid, old.st_gid):
        with contextlib.suppress(OSError):                      # only root gives files away
            os.fchown(file.fileno(), old.st_uid, old.st_gid)
    with contextlib.suppress(OSError):                          # some file systems know no permissions
        os.fchmod(file.fileno(), stat.S_IMODE(old.st_mode))


def _sync_folder(folder):
    """Make the new name itself survive a power cut, where the system offers that."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


# ---- what killed writers left ----

def sweep(folder):
    """Remove temporary files of writers that are gone. A file that its writer has locked, or that is not ours, stays."""
    with contextlib.suppress(OSError), os.scandir(folder) as found:
        for entry in found:
            parts = _PART.fullmatch(entry.name)
            if parts and parts[3] == _check(parts[1]) and entry.is_file(follow_symlinks=False):
                with contextlib.suppress(OSError):
                    _sweep_one(entry.path, parts[2] == _host())


def _sweep_one(path, is_from_here):
    if fcntl is not None:
        with open(path, "rb+", buffering=0) as file:
            is_stale = is_from_here or time.time() - os.fstat(file.fileno()).st_mtime > _OTHER_HOST
            if is_stale and _lock(file) and _is_at(file, path):
                os.unlink(path)
    elif is_from_here:
        os.unlink(path)                                         # fails while its writer has it open


def part_name(name):                   # -> ".NAME.v4mini-HOST-RANDOM-CHECK.part", at most 250 bytes
    short = os.fsencode(name)[:180].decode("utf-8", "ignore")
    begin = f".{short}.v4mini-{_host()}-{secrets.token_hex(8)}"
    return f"{begin}-{_check(begin)}.part"


def _check(begin):                      # 8 digits that nobody types by chance
    return hashlib.sha256(begin.encode("utf-8", "surrogateescape")).hexdigest()[:8]


def _host():                            # -> 8 digits
    return hashlib.sha256(socket.gethostname().encode("utf-8", "surrogateescape")).hexdigest()[:8]


def _lock(file, wait=False):            # -> bool: got it? False too where the disk has no locks
    if fcntl is None:
        return True
    try:
        fcntl.flock(file.fileno(), fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        return True
    except OSError:
        return False


def _is_at(file, path):                 # has the open file still this name?
    try:
        return os.path.samestat(os.fstat(file.fileno()), os.lstat(path))
    except FileNotFoundError:
        return False


# ---- files that grow ----

def open_new(path):                     # -> open file, unbuffered, to read and write
    """A file that nobody has yet. Raises FileExistsError otherwise, OSError or ValueError where none can be."""
    return open(path, "xb+", buffering=0)                       # noqa: SIM115 - the caller closes it


def open_to_append(path, keep=None):    # -> open file, unbuffered
    """A file to write behind its end, or behind its first `keep` bytes. Made if it is not there."""
    place = target(path)
    try:
        file = open(place, "ab", buffering=0)                   # noqa: SIM115 - the caller closes it
        if keep is not None:
            file.truncate(keep)
    except OSError as error:
        raise _refused(path, error) from error
    return file


def append(path, text):
    """A line behind the others of a log. Refused if it cannot be written; then none of it is."""
    raw = memoryview(text.encode())
    with open_to_append(path) as file:
        before = os.fstat(file.fileno()).st_size
        try:
            while raw:
                raw = raw[file.write(raw):]
        except OSError as error:
            with contextlib.suppress(OSError):
                file.truncate(before)
            raise _refused(path, error) from error


# ---- folders and names ----

def make_folder(path):                  # -> path
    """A folder and those above it, unless it is there. Refused if it cannot be one."""
    try:
        os.makedirs(path, exist_ok=True)
    except (OSError, ValueError) as error:
        is_taken = isinstance(error, FileExistsError | NotADirectoryError)
        reason = "a file has that name" if is_taken else getattr(error, "strerror", None) or error
        raise Refused(f"{shown(path)}: cannot be made ({reason}). Choose another folder.") from error
    return path


def put_in_place(old, new):
    """A file that lies complete under `old` takes the name `new`."""
    try:
        os.replace(old, target(new))
    except OSError as error:
        raise _refused(new, error) from error


def remove(path):
    """Remove a file of ours, if it is there."""
    try:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
    except OSError as error:
        raise _refused(path, error) from error


@contextlib.contextmanager
def alone(path, sentence):
    """Hold the lock file `path` in this block. Refused with `sentence` if another process, or another thread, has it.

    The system takes the lock from a process that dies, so none is ever left behind; the file itself goes with the block.
    """
    file = _locked(path, sentence)
    try:
        yield
    finally:
        _close_and_unlink(file, path)


def _locked(path, sentence):            # -> open file
    while True:
        file = open_to_append(path)
        try:
            _expect_free(file, sentence)
            if _is_at(file, path):                              # else its last owner has just removed it
                return file
        except BaseException:
            file.close()
            raise
        file.close()


def _expect_free(file, sentence):
    try:
        if fcntl is None:
            import msvcrt

            file.seek(0)
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _BUSY:
            raise Refused(sentence) from None
        warnings.warn(f"{shown(file.name)}: this disk has no locks ({error.strerror}); nothing keeps a second process away.",
                      RuntimeWarning, stacklevel=4)
