"""Keys in files: what signs tokens and trail heads, seals stored rows, and names cancel requests.

One folder (mode 0700, files 0600), made at first use; several processes may start at once and agree, since whoever
holds the folder's lock makes what is missing and the others read it. Nothing here is in the store, so that a copy
of the database gives nobody a grant. Built by ``app``; the objects are handed out behind their ports. Back the
folder up: without ``grant.key`` every grant and pending request of the store is void.

``tokens.json`` names the signing keys with the instants between which each signs and is believed; ``<kid>.pem`` are
the private halves, deleted by the first rotation after a key signs no more. A new key is believed at once and signs
a little later, when every process has read it. ``ssh_keys`` has its own, rotated in the same way.
"""

import base64
import fcntl
import hashlib
import hmac
import json
import os
import secrets
import shlex
import stat
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from proxy.core.errors import Unavailable
from proxy.core.events import plain
from proxy.core.ports import Clock
from proxy.core.trail import TrailHead
from proxy.core.words import newer_keys, read

SECRET_BYTES = 32
OVERLAP = 15.0
"""Seconds between a new key's being believed and its signing: longer than the lease of the feed that tells it."""


class KeyFolder:
    """The folder. ``Unavailable`` (code ``keys_unsafe``) when others could read it, or it cannot be used."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            check_private(path)
        except OSError as error:
            raise unsafe(path, error.strerror or "cannot be used") from error

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder against other processes. Short: nothing but making and rotating keys is done under it."""
        descriptor = os.open(self.path / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def read(self, name: str) -> bytes | None:
        """The file's bytes; None when there is none."""
        path = self.path / name
        try:
            check_private(path)
            return path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise unsafe(path, error.strerror or "cannot be read") from error

    def write(self, name: str, data: bytes) -> None:
        """Put the file in place whole and on disk, or not at all."""
        # mkstemp makes it readable by its owner alone.
        descriptor, temporary = tempfile.mkstemp(dir=self.path, prefix=".new-")
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            Path(temporary).replace(self.path / name)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
        self._sync()

    def _sync(self) -> None:
        descriptor = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def once(self, name: str, make: Callable[[], bytes]) -> bytes:
        """The file's bytes; whoever comes first makes it, and all get the same."""
        data = self.read(name)
        if data is not None:
            return data
        with self.locked():
            data = self.read(name)
            if data is None:
                data = make()
                self.write(name, data)
            return data

    def secret(self, name: str) -> bytes:
        """32 random bytes under ``name``, made at first use."""
        data = self.once(name, lambda: secrets.token_bytes(SECRET_BYTES))
        if len(data) != SECRET_BYTES:
            raise unsafe(self.path / name, f"does not hold {SECRET_BYTES} bytes")
        return data

    def signing_key(self, name: str) -> Ed25519PrivateKey:
        """The Ed25519 key in the PEM file ``name``, made at first use."""
        return private_key(self.path / name, self.once(name, lambda: pem(Ed25519PrivateKey.generate())))


def cluster_secret(folder: KeyFolder) -> bytes:
    """32 bytes that all nodes of a cluster share: the root of cancel keys."""
    return folder.secret("cluster.key")


@dataclass(frozen=True, slots=True)
class TokenKey:
    """One signing key's row in ``tokens.json``: it signs from ``signs`` until the next one does, and is believed
    until ``believed`` (epoch seconds; None: no end yet). ``public`` is its public half, base64url."""

    kid: str
    public: str
    signs: float
    believed: float | None = None
    newer: Mapping[str, Any] = newer_keys()

    def public_key(self) -> Ed25519PublicKey:
        return Ed25519PublicKey.from_public_bytes(decoded(self.public))


class FileTokenKeys:
    """``core.ports.TokenKeys`` over a folder. Holds keys in memory: ``reload`` reads what others rotated.

    ``longest_token`` gives how many seconds a token may live after it was signed, as configured now.
    """

    INDEX = "tokens.json"
    PREFIX = "k-"

    def __init__(self, folder: KeyFolder, clock: Clock, longest_token: Callable[[], float]) -> None:
        self._folder = folder
        self._clock = clock
        self._longest = longest_token
        self._keys: tuple[TokenKey, ...] = ()
        self._public: dict[str, Ed25519PublicKey] = {}
        self._private: dict[str, Ed25519PrivateKey] = {}
        self._before: tuple[str, list[TokenKey]] = ("", [])
        self._folder.once(self.INDEX, self._first)
        self.reload()

    def current(self) -> tuple[str, object]:
        """(kid, private key) that signs now."""
        key = signing(self._keys, self._clock.now())
        if key is None or key.kid not in self._private:
            raise Unavailable(
                "tokens cannot be signed now", detail="no signing key: was the folder restored whole?"
            )
        return key.kid, self._private[key.kid]

    def public(self) -> Mapping[str, object]:
        """kid -> public key, of every key whose tokens may still live, and of one that will sign soon."""
        now = self._clock.now()
        return {key.kid: self._public[key.kid] for key in self._keys if key.believed is None or now < key.believed}

    def reload(self) -> None:
        """Read the folder again. On any error the keys known before stay."""
        keys = self._rows()
        private: dict[str, Ed25519PrivateKey] = {}
        for key in keys:
            data = self._folder.read(f"{key.kid}.pem")
            if data is not None:
                private[key.kid] = self._private_key(self._folder.path / f"{key.kid}.pem", data)
        self._public = {key.kid: key.public_key() for key in keys}
        self._keys, self._private = keys, private

    def rotate(self, now: float, *, overlap: float = OVERLAP, distrust: bool = False) -> str:
        """``prepare`` and ``adopt``; the kid."""
        kid = self.prepare(now, overlap=overlap, distrust=distrust)
        self.adopt(now)
        return kid

    def prepare(self, now: float, *, overlap: float = OVERLAP, distrust: bool = False) -> str:
        """Put a key into the folder that signs from ``now + overlap``; its kid. Tokens of the old ones stay good
        for their life, or, with ``distrust`` (a key was stolen), until the new one signs. Whoever calls ``reload``
        goes by it: tell the nodes by a KEYS feed item."""
        with self._folder.locked():
            keys = self._rows()
            signs = now + overlap
            new = self._make(signs)
            kept = [retired(key, signs if distrust else signs + self._longest()) for key in keys]
            rows = [key for key in kept if key.believed is None or now < key.believed]
            self._put([*rows, new])
        self._before = (new.kid, list(keys))
        return new.kid

    def adopt(self, now: float) -> None:
        """Go by what was prepared, and delete the private halves that sign no more."""
        self.reload()
        signs = signing(self._keys, now)
        needed = {key.kid for key in self._keys if key is signs or key.signs > now}
        for file in self._folder.path.glob(f"{self.PREFIX}*.pem"):
            if file.stem not in needed:
                file.unlink(missing_ok=True)

    def undo(self, kid: str) -> None:
        """Take back the last ``prepare``, which gave ``kid``; nothing where others have rotated since."""
        with self._folder.locked():
            if self._before[0] != kid or self._rows()[-1].kid != kid:
                return
            self._put(self._before[1])
            (self._folder.path / f"{kid}.pem").unlink(missing_ok=True)
        self.reload()

    def _put(self, keys: list[TokenKey]) -> None:
        """Write the index anew; what a later version says in it besides the keys stays."""
        self._folder.write(self.INDEX, as_json(keys, json.loads(self._folder.read(self.INDEX) or b"{}")))

    def _rows(self) -> tuple[TokenKey, ...]:
        """What the index says now."""
        return index(self._folder.read(self.INDEX), self._folder.path / self.INDEX)

    def _first(self) -> bytes:
        return as_json([self._make(0.0)])

    def _make(self, signs: float) -> TokenKey:
        """A new key, its private half on disk before anything names it."""
        key = Ed25519PrivateKey.generate()
        kid = self.PREFIX + secrets.token_hex(8)
        self._folder.write(f"{kid}.pem", self._pem(key))
        return TokenKey(kid, encoded(key.public_key().public_bytes_raw()), signs)

    # -- how a private half is written ---------------------------------------------------------------------------

    def _pem(self, key: Ed25519PrivateKey) -> bytes:
        return pem(key)

    def _private_key(self, path: Path, data: bytes) -> Ed25519PrivateKey:
        return private_key(path, data)


def signing(keys: tuple[TokenKey, ...], now: float) -> TokenKey | None:
    """The key that signs at ``now``: of those whose time has come, the last."""
    return max((key for key in keys if key.signs <= now), key=lambda key: key.signs, default=None)


def retired(key: TokenKey, believed: float) -> TokenKey:
    """``key`` with an end; one that it has already is not moved further out."""
    return replace(key, believed=believed if key.believed is None else min(key.believed, believed))


def as_json(keys: list[TokenKey], before: Mapping[str, Any] = MappingProxyType({})) -> bytes:
    return json.dumps({**before, "keys": [plain(key) for key in keys]}, indent=1).encode()


def index(data: bytes | None, path: Path) -> tuple[TokenKey, ...]:
    """The rows of ``tokens.json``."""
    try:
        keys = tuple(read(TokenKey, row) for row in json.loads(data or b"")["keys"])
        for key in keys:
            key.public_key()
    except (ValueError, TypeError, KeyError) as error:
        raise unsafe(path, "cannot be understood") from error
    return keys


class FileSeal:
    """``core.ports.Seal``: HMAC-SHA256 over the domain, a line feed, and the text in UTF-8."""

    def __init__(self, folder: KeyFolder) -> None:
        self._key = folder.secret("grant.key")

    def mac(self, domain: str, text: str) -> str:
        """The code (hex). ValueError for a domain that is not one line."""
        if "\n" in domain:
            raise ValueError("a domain is one line")
        return hmac.new(self._key, f"tidegate {domain}\n{text}".encode(), hashlib.sha256).hexdigest()

    def fits(self, domain: str, text: str, mac: str) -> bool:
        """Whether ``mac`` is the text's; compared in the same time whatever it is."""
        try:
            return hmac.compare_digest(self.mac(domain, text).encode(), mac.encode())
        except UnicodeEncodeError:
            return False


class HeadSigner:
    """Signs trail heads, with a key of its own: who may mint tokens may not rewrite the trail."""

    FILE = "head.pem"

    def __init__(self, folder: KeyFolder) -> None:
        def make() -> bytes:
            # First: a key without a memory is taken for one that came from another host.
            folder.write(FileHeadMemory.FILE, as_text(NOTHING_SIGNED))
            return pem(Ed25519PrivateKey.generate())

        self._key = private_key(folder.path / self.FILE, folder.once(self.FILE, make))
        digest = hashlib.sha256(self._key.public_key().public_bytes_raw()).hexdigest()
        self.kid = f"head-{digest[:16]}"

    def sign(self, text: bytes) -> tuple[str, str]:
        """(kid, signature in base64url without padding)"""
        return self.kid, encoded(self._key.sign(text))

    def public(self) -> Mapping[str, Ed25519PublicKey]:
        """kid -> public key"""
        return {self.kid: self._key.public_key()}


NOTHING_SIGNED = TrailHead(0, "", 0.0, "", "")


class FileHeadMemory:
    """``core.ports.HeadMemory`` in a file beside the key. Written after the commit that holds the head, whole or
    not at all: it may be older than the store, and is never newer than what was signed. It is this host's own: who
    copies the keys to another host may leave it out."""

    FILE = "seen-head.json"

    def __init__(self, folder: KeyFolder) -> None:
        self._folder = folder

    def newest(self) -> TrailHead | None:
        data = self._folder.read(self.FILE)
        if data is None:
            return None
        try:
            found = TrailHead(**json.loads(data))
            texts = (found.digest, found.kid, found.signature)
            if any(type(each) is not int for each in (found.seq, found.origin)) or not all(
                isinstance(each, str) for each in texts
            ):
                raise ValueError(data)
        except (ValueError, TypeError) as error:
            raise unsafe(self._folder.path / self.FILE, "cannot be understood") from error
        return found

    def keep(self, head: TrailHead) -> None:
        with self._folder.locked():
            before = self.newest()
            if before is None or (before.origin, before.seq) < (head.origin, head.seq):
                self._folder.write(self.FILE, as_text(head))


def as_text(head: TrailHead) -> bytes:
    return json.dumps(plain(head), indent=1).encode()


def encoded(data: bytes) -> str:
    """base64url without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def decoded(text: str) -> bytes:
    """The bytes of ``encoded``."""
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def pem(key: Ed25519PrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def private_key(path: Path, data: bytes) -> Ed25519PrivateKey:
    try:
        key = load_pem_private_key(data, password=None)
    except ValueError as error:
        raise unsafe(path, "does not hold a key") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise unsafe(path, "does not hold an Ed25519 key")
    return key


def check_private(path: Path) -> None:
    """``Unavailable`` when others than the owner may read or write ``path``."""
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077:
        raise unsafe(path, f"is open to others (mode {mode:04o})", hint=f"chmod go= {shlex.quote(str(path))}")


def unsafe(path: Path, what: str, hint: str = "") -> Unavailable:
    return Unavailable("the keys cannot be used", detail=f"{path} {what}", hint=hint, code="keys_unsafe")
