"""The packets of SFTP: numbers, limits, and what a whole request asks for. Pure; called by ``sftp``.

Sources: draft-ietf-secsh-filexfer-02 (version 3), OpenSSH's PROTOCOL file for the extensions. SSH_FXP_SYMLINK has
its two paths the other way round in OpenSSH than in the draft; they are shown as they stand in the packet.
"""

import struct
from collections.abc import Callable, Mapping
from typing import NamedTuple

from proxy.protocols.ssh.names import shown

PACKET_MOST = 256 * 1024 + 1024
HANDLE_MOST = 256
PATH_MOST = 4096
"""No file system that we know takes more of a path, or of an attribute's name."""

INIT, VERSION, OPEN, CLOSE, READ, WRITE, LSTAT, FSTAT, SETSTAT, FSETSTAT = range(1, 11)
OPENDIR, READDIR, REMOVE, MKDIR, RMDIR, REALPATH, STAT, RENAME, READLINK, SYMLINK = range(11, 21)
STATUS, HANDLE, DATA, NAME, ATTRS = range(101, 106)
EXTENDED, EXTENDED_REPLY = 200, 201

OK, EOF, FAILURE, BAD_MESSAGE, OP_UNSUPPORTED = 0, 1, 4, 5, 8
STATUS_WORDS = (
    b"ok",
    b"eof",
    b"no such file",
    b"permission denied",
    b"failure",
    b"bad message",
    b"no connection",
    b"connection lost",
    b"op unsupported",
)

F_READ, F_WRITE, F_APPEND = 1, 2, 4
_SIZE, _OWNER, _MODE, _TIMES, _EXTENDED_ATTRIBUTES = 1, 2, 4, 8, 0x80000000

_U32 = struct.Struct("!I")
_U64 = struct.Struct("!Q")


class Malformed(ValueError):
    """The packet's inside is not what its type says."""


class TooLong(ValueError):
    """It may well be what its type says, but nobody needs it so long."""


class Unsupported(ValueError):
    """No request that we know; the text says which."""


class Asked(NamedTuple):
    """What a request asks for. ``text`` names it in the record, b"" where it is no statement of its own; one on a
    handle gets the handle's path behind its text; ``second`` is the handle it writes to (copy-data)."""

    text: bytes
    handle: bytes | None = None
    second: bytes | None = None


class Fields:
    """Reads what is in a packet from ``at`` on. ``Malformed`` where it is not there."""

    __slots__ = ("_at", "_data")

    def __init__(self, data: bytes, at: int) -> None:
        self._data = data
        self._at = at

    def u32(self) -> int:
        return int.from_bytes(self._bytes(4))

    def u64(self) -> int:
        return int.from_bytes(self._bytes(8))

    def string(self) -> bytes:
        return self._bytes(self.u32())

    def path(self) -> bytes:
        path = self._named("a path")
        if b"\0" in path:
            raise Malformed("a path with a NUL byte")
        return path

    def _named(self, what: str) -> bytes:
        """A string that goes into a record."""
        found = self.string()
        if len(found) > PATH_MOST:
            raise TooLong(f"{what} of more than {PATH_MOST} bytes")
        return found

    def handle(self) -> bytes:
        handle = self.string()
        if len(handle) > HANDLE_MOST:
            raise Malformed("a handle that is too long")
        return handle

    def attributes(self) -> bytes:
        """What they would change, as the commands that do it: ``chmod 0644, touch @1700000000``."""
        flags = self.u32()
        changes = []
        if flags & _SIZE:
            changes.append(b"truncate %d" % self.u64())
        if flags & _OWNER:
            changes.append(b"chown %d:%d" % (self.u32(), self.u32()))
        if flags & _MODE:
            changes.append(b"chmod %04o" % (self.u32() & 0o7777))
        if flags & _TIMES:
            self.u32()
            changes.append(b"touch @%d" % self.u32())
        if flags & _EXTENDED_ATTRIBUTES:
            names = [(self._named("an attribute's name"), self.string())[0] for _ in range(self._few())]
            if sum(map(len, names)) > PATH_MOST:
                raise TooLong(f"attributes' names of more than {PATH_MOST} bytes")
            changes += [b"set %s" % shown(each) for each in names]
        if flags & ~(_SIZE | _OWNER | _MODE | _TIMES | _EXTENDED_ATTRIBUTES):
            raise Malformed("attributes of a later version")
        return b", ".join(changes) or b"setstat"

    def _few(self) -> int:
        count = self.u32()
        if count > 64:
            raise Malformed("too many extended attributes")
        return count

    def end(self) -> None:
        if self._at != len(self._data):
            raise Malformed("more bytes than the request has")

    def _bytes(self, size: int) -> bytes:
        found = self._data[self._at : self._at + size]
        if len(found) < size:
            raise Malformed("a field that goes beyond the packet")
        self._at += size
        return found


def status(request: int, code: int, text: str) -> bytes:
    """A whole STATUS packet in the gateway's own words."""
    message = text.encode()
    inside = _U32.pack(code) + _U32.pack(len(message)) + message + _U32.pack(2) + b"en"
    return _U32.pack(5 + len(inside)) + bytes((STATUS,)) + _U32.pack(request) + inside


def status_word(code: int) -> bytes:
    return STATUS_WORDS[code] if code < len(STATUS_WORDS) else b"status %d" % code


def read_status(packet: bytes) -> tuple[int, bytes]:
    """Code and message of a whole STATUS packet; old servers send no message."""
    fields = Fields(packet, 9)
    code = fields.u32()
    return code, fields.string() if len(packet) > 13 else b""


def asked(packet: bytes) -> Asked:
    """What a whole request asks for. ``Malformed``, ``TooLong`` or ``Unsupported``."""
    fields = Fields(packet, 9)
    kind = packet[4]
    read = _REQUESTS.get(kind)
    if kind == EXTENDED:
        name = fields.string()
        read = _EXTENSIONS.get(name)
        if read is None:
            raise Unsupported(f"extension {shown(name[:200]).decode(errors='replace')}")
    if read is None:
        raise Unsupported(f"packet type {kind}")
    found = read(fields)
    fields.end()
    return found


def _open(fields: Fields) -> Asked:
    path, flags = fields.path(), fields.u32()
    fields.attributes()
    verb = b"get"
    if flags & F_WRITE:
        verb = b"update" if flags & F_READ else b"append" if flags & F_APPEND else b"put"
    return Asked(b"%s %s" % (verb, shown(path)))


def _on_path(verb: bytes) -> Callable[[Fields], Asked]:
    return lambda fields: Asked(b"%s %s" % (verb, shown(fields.path())))


def _on_two(verb: bytes) -> Callable[[Fields], Asked]:
    return lambda fields: Asked(b"%s %s -> %s" % (verb, shown(fields.path()), shown(fields.path())))


def _on_handle(fields: Fields) -> Asked:
    return Asked(b"", fields.handle())


def _read(fields: Fields) -> Asked:
    handle = fields.handle()
    fields.u64(), fields.u32()
    return Asked(b"", handle)


def _mkdir(fields: Fields) -> Asked:
    path = fields.path()
    fields.attributes()
    return Asked(b"mkdir %s" % shown(path))


def _setstat(fields: Fields) -> Asked:
    path = shown(fields.path())
    return Asked(b"%s %s" % (fields.attributes(), path))


def _fsetstat(fields: Fields) -> Asked:
    handle = fields.handle()
    return Asked(fields.attributes(), handle)


def _copy(fields: Fields) -> Asked:
    source = fields.handle()
    fields.u64(), fields.u64()
    target = fields.handle()
    fields.u64()
    return Asked(b"copy", source, target)


def _people(fields: Fields) -> Asked:
    fields.string(), fields.string()
    return Asked(b"users-groups-by-id")


_REQUESTS: Mapping[int, Callable[[Fields], Asked]] = {
    OPEN: _open,
    CLOSE: _on_handle,
    READ: _read,
    LSTAT: _on_path(b"lstat"),
    FSTAT: _on_handle,
    SETSTAT: _setstat,
    FSETSTAT: _fsetstat,
    OPENDIR: _on_path(b"list"),
    READDIR: _on_handle,
    REMOVE: _on_path(b"remove"),
    MKDIR: _mkdir,
    RMDIR: _on_path(b"rmdir"),
    REALPATH: _on_path(b"realpath"),
    STAT: _on_path(b"stat"),
    RENAME: _on_two(b"rename"),
    READLINK: _on_path(b"readlink"),
    SYMLINK: _on_two(b"symlink"),
}

_EXTENSIONS: Mapping[bytes, Callable[[Fields], Asked]] = {
    b"posix-rename@openssh.com": _on_two(b"rename"),
    b"statvfs@openssh.com": _on_path(b"statvfs"),
    b"fstatvfs@openssh.com": _on_handle,
    b"hardlink@openssh.com": _on_two(b"link"),
    b"fsync@openssh.com": lambda fields: Asked(b"fsync", fields.handle()),
    b"lsetstat@openssh.com": _setstat,
    b"limits@openssh.com": lambda fields: Asked(b""),
    b"expand-path@openssh.com": _on_path(b"expand"),
    b"copy-data": _copy,
    b"home-directory": _on_path(b"home"),
    b"users-groups-by-id@openssh.com": _people,
}
