"""The log-in at a target, against a server in memory: TLS modes, the choice of SCRAM or SCRAM-PLUS, what is
answered to whom, and the salted passwords that are kept."""

import asyncio
import base64
import datetime
import hashlib
import hmac
import ssl
import struct
from collections.abc import Callable
from pathlib import Path
from typing import cast

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from proxy.core.errors import PeerError, Unreachable
from proxy.core.targets import PostgresCredential, PostgresTarget, Secret
from proxy.protocols.postgres import messages, scram, upstream
from proxy.protocols.postgres.upstream import Entry, LoggedIn, Targets, make_context, server_end_point
from proxy.sessions.transport import Measure, Stream
from tests.peers.certificates import Authority

STARTUP = messages.startup_packet({"user": "ro"})
READY = messages.frame(b"R", bytes(4)) + messages.backend_key_data(7, b"key!") + messages.ready_for_query(b"I")
ADDRESS = ("192.0.2.7", 5432)
DER = x509.load_pem_x509_certificate(Authority.create().server().certificate).public_bytes(
    serialization.Encoding.DER
)
PLUS, SCRAM = "SCRAM-SHA-256-PLUS", "SCRAM-SHA-256"
Answer = Callable[[bytes], bytes]


class Server:
    """A server that knows a password. ``offers`` are its mechanisms; ``chosen`` and ``header`` what came of it;
    ``binding`` what it holds for its certificate's hash."""

    def __init__(
        self,
        *,
        password: str = "secret",
        salt: bytes = b"salt",
        iterations: int = 4096,
        offers: tuple[str, ...] = (SCRAM,),
    ) -> None:
        self.salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, min(iterations, 10_000))
        self.salt, self.iterations, self.offers = salt, iterations, offers
        self.binding = hashlib.sha256(DER).digest()
        self.chosen = self.header = ""
        self.answers = iter((self.offer, self.first, self.final))
        self._bare = self._first = ""

    def __call__(self, said: bytes) -> bytes:
        return next(self.answers)(said)

    def offer(self, said: bytes) -> bytes:
        assert said == STARTUP
        return messages.authentication_sasl(self.offers)

    def first(self, said: bytes) -> bytes:
        mechanism, at = messages.cstring(said, 5)
        self.chosen = mechanism.decode()
        text = said[at + 4 :].decode()
        self.header, self._bare = text[: text.index("n=,r=")], text[text.index("n=,r=") :]
        salt = base64.b64encode(self.salt).decode()
        self._first = f"r={self._bare.split('r=')[1]}theirs,s={salt},i={self.iterations}"
        return messages.authentication_sasl_continue(self._first.encode())

    def final(self, said: bytes) -> bytes:
        text, proof = said[5:].decode().rsplit(",p=", 1)
        bound = self.binding if self.header.startswith("p=") else b""
        assert base64.b64decode(text.split(",")[0][2:]) == self.header.encode() + bound
        signed = f"{self._bare},{self._first},{text}".encode()
        key = hmac.digest(self.salted, b"Client Key", "sha256")
        signature = hmac.digest(hashlib.sha256(key).digest(), signed, "sha256")
        if base64.b64decode(proof) != bytes(a ^ b for a, b in zip(key, signature, strict=True)):
            return messages.error_response("FATAL", "28P01", "password authentication failed")
        verifier = hmac.digest(hmac.digest(self.salted, b"Server Key", "sha256"), signed, "sha256")
        return messages.authentication_sasl_final(b"v=" + base64.b64encode(verifier)) + READY


class Line:
    """The gateway's end of a line to a server that answers at once."""

    def __init__(self, answer: Answer, *, tls: bytes = b"S") -> None:
        self.encrypted = False
        self.said: list[bytes] = []
        self.server_name: str | None = None
        self._answer, self._tls, self._heard = answer, tls, bytearray()

    async def send(self, data: bytes) -> None:
        self.said.append(data)
        self._heard += self._tls if data == messages.SSL_REQUEST else self._answer(data)

    async def read_exactly(self, size: int) -> bytes:
        if len(self._heard) < size:
            raise PeerError("the connection was closed", code="closed")
        found = bytes(self._heard[:size])
        del self._heard[:size]
        return found

    async def read_one(self, measure: Measure, most: int) -> bytes:
        size = measure(self._heard[:most])
        assert size <= most
        return await self.read_exactly(size or 1_000_000)

    async def start_tls(self, context: ssl.SSLContext, *, server_side: bool, server_name: str | None) -> None:
        assert not server_side and not self._heard
        self.encrypted, self.server_name = True, server_name

    @property
    def tls(self) -> "Line | None":
        return self if self.encrypted else None

    def getpeercert(self, binary_form: bool) -> bytes:
        assert binary_form
        return DER


def entry(mode: str = "require", password: str | None = "secret", **target: str) -> Entry:
    secret = None if password is None else Secret(password)
    return Entry(PostgresTarget(tls_mode=mode, **target), "ro", PostgresCredential(secret))  # type: ignore[arg-type]


async def log_in(line: Line, how: Entry, targets: Targets | None = None) -> LoggedIn:
    targets = targets or Targets(asyncio.get_running_loop())
    return await targets.login(cast(Stream, line), ADDRESS, how, STARTUP)


async def refused(line: Line, how: Entry) -> Unreachable:
    with pytest.raises(Unreachable) as caught:
        await log_in(line, how)
    for told in (caught.value.public, caught.value.hint):
        assert "192.0.2.7" not in told and "secret" not in told
    assert "secret" not in caught.value.detail
    return caught.value


# -- TLS ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mode", "verifies", "checks_the_name"),
    [
        ("verify-full", ssl.CERT_REQUIRED, True),
        ("verify-ca", ssl.CERT_REQUIRED, False),
        ("require", ssl.CERT_NONE, False),
    ],
)
async def test_each_tls_mode_verifies_what_it_says(
    mode: str, verifies: ssl.VerifyMode, checks_the_name: bool, tmp_path: Path
) -> None:
    Authority.create().write(tmp_path)
    target = PostgresTarget(tls_mode=mode, tls_ca=tmp_path / "ca.crt")
    context = make_context(target, PostgresCredential())
    assert (context.verify_mode, context.check_hostname) == (verifies, checks_the_name)
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    assert [each["subject"] for each in context.get_ca_certs()]
    line = Line(Server())
    await log_in(line, entry(mode))
    assert line.said[0] == messages.SSL_REQUEST and line.encrypted
    assert line.server_name == "192.0.2.7"
    named = Line(Server())
    await log_in(named, entry(mode, tls_server_name="db.example"))
    assert named.server_name == "db.example"


async def test_disable_asks_for_no_tls() -> None:
    line = Line(Server())
    await log_in(line, entry("disable"))
    assert line.said[0] == STARTUP and not line.encrypted


@pytest.mark.parametrize("mode", ["verify-full", "verify-ca", "require"])
@pytest.mark.parametrize("answer", [b"N", b"E", b"X"])
async def test_no_mode_goes_on_without_the_tls_it_wants(mode: str, answer: bytes) -> None:
    line = Line(Server(), tls=answer)
    assert "does not offer TLS" in (await refused(line, entry(mode))).public
    assert line.said == [messages.SSL_REQUEST]


async def test_tls_settings_that_cannot_be_read_are_the_operators(tmp_path: Path) -> None:
    with pytest.raises(Unreachable) as caught:
        make_context(PostgresTarget(tls_ca=tmp_path / "nowhere"), PostgresCredential())
    assert "nowhere" not in caught.value.public


# -- SCRAM ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mode", "offers", "chosen", "header"),
    [
        ("require", (PLUS, SCRAM), PLUS, "p=tls-server-end-point,,"),
        ("require", (SCRAM, PLUS), PLUS, "p=tls-server-end-point,,"),
        ("require", (PLUS,), PLUS, "p=tls-server-end-point,,"),
        ("require", (SCRAM,), SCRAM, "y,,"),
        ("disable", (SCRAM,), SCRAM, "n,,"),
        ("disable", (PLUS, SCRAM), SCRAM, "n,,"),
        ("require", ("OAUTHBEARER", SCRAM), SCRAM, "y,,"),
    ],
)
async def test_the_strongest_scram_the_line_allows(
    mode: str, offers: tuple[str, ...], chosen: str, header: str
) -> None:
    server = Server(offers=offers)
    logged_in = await log_in(Line(server), entry(mode))
    assert (server.chosen, server.header) == (chosen, header)
    assert (logged_in.pid, logged_in.key, logged_in.status) == (7, b"key!", ord("I"))


@pytest.mark.parametrize("mode", ["require", "disable"])
@pytest.mark.parametrize("offers", [(), ("OAUTHBEARER",), ("SCRAM-SHA-1",), ("SCRAM-SHA-256-PLUSX",)])
async def test_no_scram_that_is_known(mode: str, offers: tuple[str, ...]) -> None:
    await refused(Line(Server(offers=offers)), entry(mode))


async def test_plus_cannot_be_used_without_tls() -> None:
    await refused(Line(Server(offers=(PLUS,))), entry("disable"))


async def test_who_stands_between_with_another_certificate_is_found_out() -> None:
    """What the target holds for its certificate is not what we saw: its check fails, as ours would."""
    server = Server(offers=(PLUS, SCRAM))
    server.binding = hashlib.sha256(b"the target's own").digest()
    with pytest.raises(AssertionError):
        await log_in(Line(server), entry())


@pytest.mark.parametrize(
    ("signed_with", "hashed_with"),
    [(hashes.SHA256(), "sha256"), (hashes.SHA384(), "sha384"), (hashes.SHA512(), "sha512"), (None, "sha256")],
)
def test_the_binding_is_the_certificates_hash_by_its_signatures(
    signed_with: hashes.HashAlgorithm | None, hashed_with: str
) -> None:
    certificate = signed(signed_with)
    assert server_end_point(certificate) == hashlib.new(hashed_with, certificate).digest()


def signed(algorithm: hashes.HashAlgorithm | None) -> bytes:
    """A certificate (DER) with a signature of that hash; Ed25519's has none of its own."""
    key = ec.generate_private_key(ec.SECP256R1()) if algorithm else ed25519.Ed25519PrivateKey.generate()
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "target")])
    day = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, day, day + datetime.timedelta(days=1))
    return builder.sign(key, cast("hashes.SHA256", algorithm)).public_bytes(serialization.Encoding.DER)


def test_a_certificate_that_cannot_be_read_is_nothing_to_bind_to() -> None:
    with pytest.raises(Unreachable):
        server_end_point(b"")


async def test_iterations_over_the_cap_are_not_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scram, "salted", None)
    await refused(Line(Server(iterations=scram.MAX_ITERATIONS + 1)), entry())


async def test_a_server_that_forgets_to_prove_itself_is_refused() -> None:
    """It may say OK at once (trust), but not in the middle of SCRAM."""
    for stage, answer in ((1, READY), (2, READY), (2, messages.authentication_sasl_final(b"v=AAAA") + READY)):
        server = Server()
        stages = [server.offer, server.first, server.final]
        stages[stage] = lambda said, answer=answer: answer
        server.answers = iter(stages)
        await refused(Line(server), entry())


# -- the salted passwords that are kept ----------------------------------------------------------------------------


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The passwords that PBKDF2 was run for, in order."""
    done: list[str] = []
    real = scram.salted

    def counting(password: str, challenge: scram.Challenge) -> bytes:
        done.append(password)
        return real(password, challenge)

    monkeypatch.setattr(scram, "salted", counting)
    return done


async def test_a_salted_password_is_computed_once(computed: list[str]) -> None:
    targets = Targets(asyncio.get_running_loop())
    for _ in range(3):
        await log_in(Line(Server()), entry(), targets)
    assert computed == ["secret"]


async def test_what_has_changed_is_not_served_from_what_is_kept(computed: list[str]) -> None:
    """Each of these servers checks the proof: with a kept one it would refuse."""
    targets = Targets(asyncio.get_running_loop())
    for server in (
        Server(),
        Server(salt=b"another"),
        Server(iterations=5000),
        Server(password="other"),
        Server(password="other", salt=b"another"),
    ):
        password = "other" if len(computed) > 2 else "secret"
        await log_in(Line(server), entry(password=password), targets)
    assert computed == ["secret"] * 3 + ["other"] * 2


async def test_a_wrong_password_is_wrong_the_second_time_too(computed: list[str]) -> None:
    targets = Targets(asyncio.get_running_loop())
    await log_in(Line(Server()), entry(), targets)
    for _ in range(2):
        with pytest.raises(Unreachable, match="credential"):
            await log_in(Line(Server()), entry(password="guess"), targets)
    assert computed == ["secret", "guess"]


async def test_what_is_kept_is_bounded(monkeypatch: pytest.MonkeyPatch, computed: list[str]) -> None:
    monkeypatch.setattr(upstream, "SALTED_KEPT", 2)
    targets = Targets(asyncio.get_running_loop())
    for salt in (b"1", b"2", b"3", b"3", b"1"):
        await log_in(Line(Server(salt=salt)), entry(), targets)
    assert len(computed) == 4


# -- other ways to log in ------------------------------------------------------------------------------------------


def asks(code: int, data: bytes = b"") -> Answer:
    """A server that asks for a password in this way and takes any."""
    request = messages.frame(b"R", struct.pack("!I", code) + data)
    return lambda said: request if said == STARTUP else READY


@pytest.mark.parametrize(("code", "data"), [(3, b""), (5, b"salt")])
@pytest.mark.parametrize("mode", ["verify-full", "verify-ca", "require", "disable"])
async def test_a_weak_log_in_is_answered_over_a_verified_line_only(mode: str, code: int, data: bytes) -> None:
    line = Line(asks(code, data))
    if mode.startswith("verify"):
        await log_in(line, entry(mode))
        inner = hashlib.md5(b"secretro", usedforsecurity=False).hexdigest().encode()
        outer = hashlib.md5(inner + b"salt", usedforsecurity=False).hexdigest().encode()
        assert line.said[-1] == messages.password("secret" if code == 3 else b"md5" + outer)
    else:
        assert "weak log-in" in (await refused(line, entry(mode))).public
        assert line.said[-1] == STARTUP


async def test_a_target_that_trusts_is_taken_at_its_word() -> None:
    assert (await log_in(Line(lambda said: READY), entry())).pid == 7


@pytest.mark.parametrize("code", [3, 5, 10])
async def test_without_a_password_none_is_given(code: int) -> None:
    line = Line(asks(code, b"SCRAM-SHA-256\0\0"))
    assert "the gateway has none" in (await refused(line, entry("verify-full", None))).public


@pytest.mark.parametrize("code", [2, 6, 7, 8, 9, 11, 12, 13, 2**32 - 1])
async def test_other_requests_are_not_known(code: int) -> None:
    await refused(Line(asks(code)), entry())


async def test_a_server_that_asks_again_and_again_is_left() -> None:
    line = Line(lambda said: messages.authentication_cleartext())
    await refused(line, entry("verify-full"))
    assert len(line.said) < 12


async def test_a_target_that_hangs_up_is_unreachable() -> None:
    assert "closed" in (await refused(Line(lambda said: b""), entry())).public
