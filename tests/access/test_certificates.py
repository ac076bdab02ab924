"""User certificates: only what we signed is believed, for one account, for minutes, from where it is for."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import dsa, ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from proxy.access import ssh_wire as wire
from proxy.access.certificates import BACKDATED, IDENTITY, SOURCES, Certificates, kept_life, user_key
from proxy.adapters.ssh_keys import Ed25519SshKeys, public, signed
from proxy.core.access import Claims, Grant, Refusal, Wish
from proxy.core.errors import Denied, PeerError, Unavailable
from tests.fakes.clock import FakeClock
from tests.fakes.ssh_keys import MemoryTargets, OneUserAuthority
from tests.fakes.things import a_grant

CLOCK = FakeClock()
NOW = int(CLOCK.now())
USERS, TARGETS, HOSTS, HOST, OWN = (Ed25519PrivateKey.generate() for _ in range(5))
KEYS = Ed25519SshKeys(OneUserAuthority(USERS), MemoryTargets(TARGETS), HOSTS, HOST, CLOCK)
CERTIFICATES = Certificates(KEYS, CLOCK)
KEY = wire.read_key(public(OWN))


def grant(**changes: Any) -> Grant:
    given: dict[str, Any] = {"account": "ops", "resource": "box", "networks": (), "ends": NOW + 3600.0}
    return a_grant("grant-1", **(given | changes))


def wish(account: str = "ops", source: str = "10.1.2.3") -> Wish:
    return Wish("session-1", "ssh", account, source)


def says(**changes: Any) -> wire.Statement:
    """What a certificate of ours says, but for ``changes``."""
    plain = wire.Statement(
        key=KEY,
        serial=7,
        kind=wire.USER,
        key_id="grant-1",
        principals=("ops",),
        valid_after=NOW - BACKDATED,
        valid_before=NOW + 600,
        extensions={IDENTITY: wire.string(b"alice")},
    )
    return replace(plain, **changes)


def blob(statement: wire.Statement, authority: Ed25519PrivateKey = USERS) -> bytes:
    return wire.read_line(signed(statement, authority).decode())


def refusal(data: bytes, asked: Wish | None = None, by: Certificates = CERTIFICATES) -> Refusal:
    with pytest.raises(Denied) as refused:
        by.verify(data, asked or wish())
    return Refusal(refused.value.code)


# -- issued and believed


def test_what_is_issued_is_believed() -> None:
    line, claims = CERTIFICATES.issue(grant(), "alice", KEY.blob)
    assert CERTIFICATES.verify(wire.read_line(line), wish()) == claims
    assert (claims.grant, claims.subject) == ("grant-1", "alice")
    assert (claims.issued, claims.expires) == (NOW - BACKDATED, NOW + 600)
    certificate = wire.read_certificate(wire.read_line(line))
    assert claims.jti == f"ssh-{certificate.says.serial:016x}"
    assert certificate.says.critical == {}
    assert set(certificate.says.extensions) == {IDENTITY}


def test_a_certificate_ends_with_its_grant_at_the_latest() -> None:
    _, claims = CERTIFICATES.issue(grant(ends=NOW + 90.9), "alice", KEY.blob)
    assert claims.expires == NOW + 90
    with pytest.raises(Denied) as refused:
        CERTIFICATES.issue(grant(ends=NOW + 0.5), "alice", KEY.blob)
    assert refused.value.code == Refusal.GRANT_EXPIRED


@pytest.mark.parametrize(("asked", "kept"), [(1, 300), (300, 300), (600, 600), (900, 900), (86_400, 900)])
def test_a_life_is_5_to_15_minutes(asked: float, kept: float) -> None:
    assert kept_life(asked) == kept
    _, claims = Certificates(KEYS, CLOCK, lambda: asked).issue(grant(), "alice", KEY.blob)
    assert claims.expires == NOW + kept


@pytest.mark.parametrize("account", ["", "a,b", "*", "op?", "!ops", "a\nb", "x" * 257])
def test_accounts_that_are_lists_or_patterns_get_none(account: str) -> None:
    with pytest.raises(PeerError):
        CERTIFICATES.issue(grant(account=account), "alice", KEY.blob)


@pytest.mark.parametrize("name", ["", "a\x1bb", "x" * 257])
def test_what_would_be_refused_is_not_given_out(name: str) -> None:
    with pytest.raises(Unavailable):
        CERTIFICATES.issue(grant(), name, KEY.blob)


def test_leeway_has_its_bound() -> None:
    with pytest.raises(ValueError, match="leeway"):
        Certificates(KEYS, CLOCK, leeway=11)


# -- one answer for what is not ours


class Old:
    """``SshKeys`` whose believed authorities are whatever one likes."""

    def __init__(self, *authorities: bytes) -> None:
        self._authorities = authorities

    def user_authorities(self) -> tuple[bytes, ...]:
        return self._authorities


def test_one_of_our_other_authorities_is_not_enough() -> None:
    for authority in (TARGETS, HOSTS, HOST, Ed25519PrivateKey.generate()):
        assert refusal(blob(says(), authority)) is Refusal.BAD_TOKEN
    assert CERTIFICATES.verify(blob(says()), wish()).subject == "alice"
    pem, line = KEYS.issue_for_target("ops", "grant-1")
    assert pem
    assert refusal(wire.read_line(line.decode())) is Refusal.BAD_TOKEN
    assert refusal(wire.read_line(KEYS.host_certificate(["ops"]).decode())) is Refusal.BAD_TOKEN


def test_an_authority_that_is_a_certificate_vouches_for_nothing() -> None:
    """CVE-2025-49825: the inner certificate is ours, and its holder signs another with it."""
    inner = blob(says())
    body = says(principals=("root",)).to_sign(b"n" * 32, inner)
    forged = body + wire.string(wire.string(b"ssh-ed25519") + wire.string(OWN.sign(body)))
    assert refusal(forged, wish("root")) is Refusal.BAD_TOKEN
    # not even where the configuration would believe it
    assert refusal(forged, wish("root"), Certificates(Old(inner), CLOCK)) is Refusal.BAD_TOKEN  # type: ignore[arg-type]


def test_a_claimed_authority_must_have_signed() -> None:
    body = says().to_sign(b"n" * 32, public(USERS))
    for algorithm in (b"ssh-ed25519", b"ssh-rsa", b"rsa-sha2-512"):
        forged = body + wire.string(wire.string(algorithm) + wire.string(OWN.sign(body)))
        assert refusal(forged) is Refusal.BAD_TOKEN
    other_name = body + wire.string(wire.string(b"ssh-rsa") + wire.string(USERS.sign(body)))
    assert refusal(other_name) is Refusal.BAD_TOKEN


@pytest.mark.parametrize(
    "take",
    [KEY.blob, b"", b"\0\0\0\0", b"\xff" * 100, b"x" * 10_000],
    ids=["key", "empty", "zeros", "ones", "long"],
)
def test_what_is_no_certificate(take: bytes) -> None:
    assert refusal(take) is Refusal.BAD_TOKEN


@pytest.mark.parametrize(
    "changes",
    [
        {"kind": wire.HOST},
        {"kind": 0},
        {"principals": ()},
        {"principals": ("ops", "root")},
        {"principals": ("ops,root",)},
        {"principals": ("",)},
        {"principals": ("*",)},
        {"key_id": ""},
        {"key_id": "x" * 257},
        {"key_id": "a\nb"},
        {"extensions": {}},
        {"extensions": {IDENTITY: b"alice"}},
        {"extensions": {IDENTITY: wire.string(b"")}},
        {"extensions": {IDENTITY: wire.string(b"alice") + b"x"}},
        {"critical": {"force-command": wire.string(b"id")}},
        {"critical": {"verify-required": b""}},
        {"critical": {SOURCES: wire.string(b"10.0.0.0/8"), "odd@example": b""}},
        {"critical": {SOURCES: b""}},
        {"critical": {SOURCES: wire.string(b"")}},
        {"critical": {SOURCES: wire.string(b"10.1.2.3/8")}},
        {"critical": {SOURCES: wire.string(b"10.0.0.0/8,everywhere")}},
        {"valid_after": NOW + 6},
        {"valid_before": NOW + 901},
        {"valid_before": 2**64 - 1},
        {"valid_after": 0},
        {"valid_after": NOW, "valid_before": NOW},
        {"valid_after": NOW, "valid_before": NOW - 1},
    ],
    ids=str,
)
def test_what_we_would_never_sign_is_not_believed_though_it_is_signed(changes: Mapping[str, Any]) -> None:
    assert refusal(blob(says(**changes))) is Refusal.BAD_TOKEN


def test_extensions_that_mean_nothing_here_do_no_harm() -> None:
    more = {IDENTITY: wire.string(b"alice"), "permit-pty": b"", "zone@example": wire.string(b"x")}
    assert CERTIFICATES.verify(blob(says(extensions=more)), wish()).subject == "alice"


@pytest.mark.parametrize("names", [("permit-pty", "permit-pty"), ("permit-pty", IDENTITY)])
def test_options_that_are_twice_there_or_out_of_order(names: tuple[str, str]) -> None:
    plain = says().to_sign(b"n" * 32, public(USERS))
    values = {IDENTITY: wire.string(b"alice"), "permit-pty": b""}
    ordered = wire.string(wire.string(IDENTITY.encode()) + wire.string(values[IDENTITY]))
    odd = wire.string(b"".join(wire.string(name.encode()) + wire.string(values[name]) for name in names))
    assert plain.count(ordered) == 1
    body = plain.replace(ordered, odd)
    data = body + wire.string(wire.string(b"ssh-ed25519") + wire.string(USERS.sign(body)))
    assert refusal(data) is Refusal.BAD_TOKEN


# -- answers of its own, once it is ours


def test_times_with_leeway() -> None:
    for before, expected in ((NOW - 4, None), (NOW - 5, Refusal.TOKEN_EXPIRED)):
        data = blob(says(valid_after=NOW - 600, valid_before=before))
        if expected is None:
            assert CERTIFICATES.verify(data, wish()).expires == before
        else:
            assert refusal(data) is expected
    assert CERTIFICATES.verify(blob(says(valid_after=NOW + 5)), wish()).issued == NOW + 5


@pytest.mark.parametrize("account", ["root", "", "OPS", "ops ", "ops\0"])
def test_another_account(account: str) -> None:
    assert refusal(blob(says()), wish(account)) is Refusal.WRONG_ACCOUNT


def test_networks() -> None:
    line, _ = CERTIFICATES.issue(grant(networks=("10.0.0.0/8", "2001:db8::/32")), "alice", KEY.blob)
    data = wire.read_line(line)
    for source in ("10.9.9.9", "::ffff:10.1.1.1", "2001:db8::7"):
        assert CERTIFICATES.verify(data, wish(source=source)).grant == "grant-1"
    for source in ("11.0.0.1", "", "nowhere", "2001:db9::1"):
        assert refusal(data, wish(source=source)) is Refusal.WRONG_NETWORK


def test_from_elsewhere_nothing_more_is_told() -> None:
    critical = {SOURCES: wire.string(b"10.0.0.0/8")}
    data = blob(says(critical=critical, valid_after=NOW - 600, valid_before=NOW - 100))
    assert refusal(data, wish("root", "192.0.2.1")) is Refusal.WRONG_NETWORK


def test_a_certificate_fits_into_its_grant() -> None:
    claims = Claims("ssh-1", "alice", "grant-1", NOW - 60.0, NOW + 600.0)
    assert CERTIFICATES.fits(claims, grant(ends=NOW + 600.0))
    assert not CERTIFICATES.fits(claims, grant(ends=NOW + 599.0))


# -- mutations

GOOD = blob(says(critical={SOURCES: wire.string(b"10.0.0.0/8")}))


@given(st.integers(0, len(GOOD) - 1), st.integers(1, 255))
def test_no_byte_can_be_another(at: int, by: int) -> None:
    mutated = bytearray(GOOD)
    mutated[at] ^= by
    assert refusal(bytes(mutated)) is Refusal.BAD_TOKEN


@given(st.integers(0, len(GOOD)), st.integers(0, len(GOOD)), st.binary(max_size=40))
def test_no_part_can_be_another(start: int, end: int, put: bytes) -> None:
    mutated = GOOD[:start] + put + GOOD[max(start, end) :]
    if mutated != GOOD:
        assert refusal(mutated) is Refusal.BAD_TOKEN


@given(st.binary(max_size=300))
def test_bytes_of_strangers(data: bytes) -> None:
    assert refusal(data) is Refusal.BAD_TOKEN


@given(st.text(max_size=300))
def test_lines_of_strangers(line: str) -> None:
    with pytest.raises(PeerError):
        user_key(line)


TEXT = st.text(st.characters(min_codepoint=33, max_codepoint=0x2FF).filter(str.isprintable), max_size=20)


@given(
    TEXT,
    st.lists(TEXT, max_size=3),
    st.dictionaries(TEXT, st.binary(max_size=9), max_size=3),
    st.integers(0, 2**64 - 1),
)
def test_what_is_written_is_read(
    key_id: str, principals: list[str], options: dict[str, bytes], serial: int
) -> None:
    statement = says(
        key_id=key_id, principals=tuple(principals), critical=options, extensions=options, serial=serial
    )
    assert wire.read_certificate(blob(statement)).says == statement


# -- users' public keys


def line(key: Any) -> str:
    return str(key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode())


SK = [
    wire.PublicKey("sk-ssh-ed25519@openssh.com", (b"k" * 32, b"ssh:")),
    wire.PublicKey(
        "sk-ecdsa-sha2-nistp256@openssh.com",
        (*wire.read_key(wire.read_line(line(ec.generate_private_key(ec.SECP256R1())))).parts, b"ssh:work"),
    ),
]


@pytest.mark.parametrize(
    "text",
    [
        line(OWN),
        *(line(ec.generate_private_key(curve())) for curve in (ec.SECP256R1, ec.SECP384R1, ec.SECP521R1)),
        line(rsa.generate_private_key(65537, 2048)),
        *(wire.as_line(key.blob) for key in SK),
    ],
    ids=lambda text: text.partition(" ")[0],
)
def test_keys_that_are_taken_can_be_certified(text: str) -> None:
    key = user_key(f"  {text} alice@laptop, her own\n")
    made, claims = CERTIFICATES.issue(grant(), "alice", key)
    assert wire.read_certificate(wire.read_line(made)).says.key.blob == key
    assert CERTIFICATES.verify(wire.read_line(made), wish()) == claims


def certificate_as_key() -> str:
    return signed(says(), USERS).decode()


def off_the_curve() -> str:
    return wire.as_line(wire.PublicKey("ecdsa-sha2-nistp256", (b"nistp256", b"\4" + b"\1" * 64)).blob)


def another_curve() -> str:
    point = wire.read_key(wire.read_line(line(ec.generate_private_key(ec.SECP384R1())))).parts[1]
    return wire.as_line(wire.PublicKey("ecdsa-sha2-nistp256", (b"nistp384", point)).blob)


def two_names() -> str:
    return line(OWN).replace("ssh-ed25519", "ssh-rsa", 1)


def option_before() -> str:
    return f'command="id" {line(OWN)}'


REFUSED: list[Callable[[], str]] = [
    lambda: line(dsa.generate_private_key(1024)),
    lambda: line(rsa.generate_private_key(65537, 1024)),
    lambda: wire.as_line(wire.PublicKey("ssh-rsa", (b"\2", b"\0" + b"\xff" * 256)).blob),
    lambda: wire.as_line(wire.PublicKey("ssh-ed25519", (b"k" * 31,)).blob),
    lambda: wire.as_line(wire.PublicKey("sk-ssh-ed25519@openssh.com", (b"k" * 32, b"https://x")).blob),
    lambda: wire.as_line(KEY.blob + b"x"),
    lambda: "ssh-ed25519",
    lambda: "ssh-ed25519 !!!",
    lambda: "",
    lambda: "x" * 20_000,
    certificate_as_key,
    off_the_curve,
    another_curve,
    two_names,
    option_before,
]


@pytest.mark.filterwarnings("ignore::cryptography.utils.CryptographyDeprecationWarning")
@pytest.mark.parametrize("make", REFUSED)
def test_keys_that_are_not_taken(make: Callable[[], str]) -> None:
    with pytest.raises(PeerError):
        user_key(make())
