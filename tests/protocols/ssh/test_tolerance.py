"""What OpenSSH's sshd takes of clients, packet by packet, ends no connection here: the answers are sshd's, and
nothing of what is passed over is done."""

import asyncio
from typing import Any

import asyncssh
import pytest
from asyncssh.constants import (
    MSG_CHANNEL_CLOSE,
    MSG_CHANNEL_DATA,
    MSG_CHANNEL_EOF,
    MSG_CHANNEL_EXTENDED_DATA,
    MSG_CHANNEL_FAILURE,
    MSG_CHANNEL_OPEN,
    MSG_CHANNEL_OPEN_FAILURE,
    MSG_CHANNEL_REQUEST,
    MSG_CHANNEL_SUCCESS,
    MSG_CHANNEL_WINDOW_ADJUST,
    MSG_DEBUG,
    MSG_DISCONNECT,
    MSG_EXT_INFO,
    MSG_GLOBAL_REQUEST,
    MSG_IGNORE,
    MSG_REQUEST_FAILURE,
    MSG_REQUEST_SUCCESS,
    MSG_SERVICE_ACCEPT,
    MSG_SERVICE_REQUEST,
    MSG_UNIMPLEMENTED,
    MSG_USERAUTH_BANNER,
    MSG_USERAUTH_FAILURE,
    MSG_USERAUTH_REQUEST,
    MSG_USERAUTH_SUCCESS,
)
from asyncssh.packet import Boolean, String, UInt32

from proxy.core.states import EndReason
from tests.contracts.test_engines import World, until, world
from tests.protocols.ssh.bare import BareClient, bare
from tests.protocols.ssh.test_engine import denied, rows

__all__ = ["world"]

pytestmark = pytest.mark.parametrize("world", ["ssh"], indirect=True)
INFO_REQUEST, INFO_RESPONSE = 60, 61
LATIN = "naïve".encode("latin-1")
ALIVE = String("keepalive@openssh.com"), Boolean(True)
IGNORED: list[tuple[int, bytes]] = [
    (MSG_IGNORE, b""),
    (MSG_IGNORE, String(b"x" * 100)),
    (MSG_IGNORE, b"\0\0\xff\xff"),
    (MSG_DEBUG, b""),
    (MSG_DEBUG, Boolean(True) + String(LATIN) + String(LATIN)),
    (MSG_UNIMPLEMENTED, UInt32(3)),
    (MSG_UNIMPLEMENTED, b""),
    (MSG_EXT_INFO, UInt32(1) + String("no-flow-control") + String("p")),
    (MSG_EXT_INFO, b"\xff\xff\xff\xff"),
]
"""What a peer may send at any time, and what is no more than noise."""
UNKNOWN: list[tuple[int, bytes]] = [
    (192, b""),
    (255, b"anything"),
    (8, b""),
    (MSG_SERVICE_ACCEPT, String("ssh-userauth")),
    (MSG_USERAUTH_FAILURE, String("password") + Boolean(False)),
    (MSG_USERAUTH_SUCCESS, b""),
    (MSG_USERAUTH_BANNER, String("x") + String("")),
    (INFO_RESPONSE, UInt32(0)),
    (79, b"\0"),
    (31, String("not now")),
]
"""What nobody asked for, or what servers say."""


async def alive(peer: BareClient) -> None:
    """Nothing has been said meanwhile, and there is somebody at the other end."""
    peer.say(MSG_GLOBAL_REQUEST, *ALIVE)
    assert await peer.hear() == (MSG_REQUEST_SUCCESS, b"")


async def ran(peer: BareClient, channel: int) -> None:
    """A command runs to its end on a channel of the client's number 0."""
    peer.request(channel, "exec", String("quick"))
    assert await peer.hear(MSG_CHANNEL_WINDOW_ADJUST) == (MSG_CHANNEL_SUCCESS, b"")
    await peer.until(MSG_CHANNEL_CLOSE)


# -- the version ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("said", [b"SSH-2.0-na\xefve", b"SSH-2.0-x y (z) \xff\xfe", b"SSH-1.99-Cisco-1.25"])
async def test_a_client_may_call_its_software_anything(
    world: World, said: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def greet(line: Any) -> None:
        line._client_version = said
        line._send(said + b"\n")

    monkeypatch.setattr(BareClient, "_send_version", greet)
    async with bare(world.port) as peer:
        await peer.enter()
        await alive(peer)


@pytest.mark.parametrize(
    ("kind", "rest"),
    [
        *IGNORED,
        (8, b""),
        (192, b""),
        (MSG_GLOBAL_REQUEST, b"".join(ALIVE)),
        (MSG_SERVICE_REQUEST, String("ssh-userauth")),
    ],
)
async def test_nothing_is_passed_over_before_there_are_keys(
    world: World, kind: int, rest: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever is on the way could put it in (CVE-2023-48795, Terrapin)."""
    made = BareClient._send_kexinit

    def and_more(line: Any) -> None:
        made(line)
        line._send(packed(kind, rest))
        line._send_seq += 1

    monkeypatch.setattr(BareClient, "_send_kexinit", and_more)
    with pytest.raises((TimeoutError, asyncssh.Error, OSError)):
        async with bare(world.port, patience=2) as peer:
            await peer.service()
    assert len(world.services.registry) == 0
    assert world.peer.dialled == 0


def packed(kind: int, rest: bytes) -> bytes:
    """A packet without a cipher (RFC 4253, 6)."""
    size = 5 + 1 + len(rest)
    padding = -size % 8 + 8
    return UInt32(1 + 1 + len(rest) + padding) + bytes((padding, kind)) + rest + bytes(padding)


# -- before the log-in ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "rest"), IGNORED)
async def test_what_must_be_ignored_is_at_any_time(world: World, kind: int, rest: bytes) -> None:
    async with bare(world.port) as peer:
        peer.say(kind, rest)
        await peer.service()
        peer.say(kind, rest)
        peer.attempt("password", Boolean(False), String("good"))
        assert await peer.hear() == (MSG_USERAUTH_SUCCESS, b"")
        peer.say(kind, rest)
        await alive(peer)
        channel = await peer.session()
        peer.say(kind, rest)
        await ran(peer, channel)


@pytest.mark.parametrize(("kind", "rest"), UNKNOWN)
async def test_what_is_not_expected_is_not_implemented_and_nothing_else(
    world: World, kind: int, rest: bytes
) -> None:
    async with bare(world.port) as peer:
        peer.say(kind, rest)
        heard = await peer.hear()
        assert heard[0] == MSG_UNIMPLEMENTED, heard
        await peer.service()
        peer.say(kind, rest)
        heard = await peer.hear()
        assert heard[0] == MSG_UNIMPLEMENTED, heard
        peer.attempt("password", Boolean(False), String("good"))
        assert await peer.hear() == (MSG_USERAUTH_SUCCESS, b"")
        peer.say(kind, rest)
        heard = await peer.hear()
        assert heard[0] == MSG_UNIMPLEMENTED, heard
        await alive(peer)


@pytest.mark.parametrize(
    ("kind", "parts"),
    [
        (MSG_GLOBAL_REQUEST, ALIVE),
        (MSG_GLOBAL_REQUEST, (String("keepalive@lag.net"), Boolean(False))),
        (MSG_CHANNEL_OPEN, (String("session"), UInt32(0), UInt32(9999), UInt32(9999))),
        (MSG_CHANNEL_REQUEST, (UInt32(0), String("exec"), Boolean(True), String("quick"))),
        (MSG_CHANNEL_DATA, (UInt32(0), String("x"))),
        (MSG_USERAUTH_REQUEST, (String("any"), String("ssh-connection"), String("none"))),
    ],
)
async def test_nothing_is_done_before_the_log_in(world: World, kind: int, parts: tuple[bytes, ...]) -> None:
    """paramiko's keep-alive runs while a person types."""
    async with bare(world.port) as peer:
        peer.say(kind, *parts)
        heard = await peer.hear()
        assert heard[0] == MSG_UNIMPLEMENTED, heard
        await peer.service()
        if kind != MSG_USERAUTH_REQUEST:
            peer.say(kind, *parts)
            heard = await peer.hear()
        assert heard[0] == MSG_UNIMPLEMENTED, heard
        peer.attempt("password", Boolean(False), String("good"))
        assert await peer.hear() == (MSG_USERAUTH_SUCCESS, b"")
        await alive(peer)
    await world.ended()
    assert world.peer.ran == []


async def test_the_service_may_be_asked_for_before_each_try(world: World) -> None:
    """paramiko does."""
    async with bare(world.port) as peer:
        await peer.service()
        await peer.service()
        peer.attempt("publickey", Boolean(False), String("ssh-ed25519"), String("no key"))
        assert (await peer.hear())[0] == MSG_USERAUTH_FAILURE
        await peer.service()
        peer.attempt("password", Boolean(False), String("bad"))
        assert (await peer.hear(MSG_USERAUTH_BANNER))[0] == MSG_USERAUTH_FAILURE
        await peer.service()
        peer.attempt("password", Boolean(False), String("good"))
        assert await peer.hear() == (MSG_USERAUTH_SUCCESS, b"")
        peer.say(MSG_SERVICE_REQUEST, String("ssh-userauth"))
        heard = await peer.hear()
        assert heard[0] == MSG_UNIMPLEMENTED, heard
        await alive(peer)


@pytest.mark.parametrize("service", ["ssh-connection", "", "other"])
async def test_no_other_service_is_granted(world: World, service: str) -> None:
    async with bare(world.port) as peer:
        await peer.service()
        peer.say(MSG_SERVICE_REQUEST, String(service))
        assert (await peer.hear())[0] in (MSG_DISCONNECT, 0)


FAILURES = [
    ("none", ()),
    ("hostbased", (String("ssh-rsa"), String("k"), String("h"), String("u"), String("s"))),
    ("gssapi-with-mic", (UInt32(1), String("oid"))),
    ("gssapi-keyex", (String("mic"),)),
    ("publickey-hostbound-v00@openssh.com", (Boolean(False), String("ssh-ed25519"), String("k"), String("h"))),
    ("publickey", (Boolean(False), String("no-such-algorithm@example.com"), String("key"))),
    ("publickey", (Boolean(False), String("ssh-rsa"), String(b"\xff" * 40))),
    ("publickey", (Boolean(True), String("ssh-dss"), String("key"), String("signature"))),
    ("password", (Boolean(True), String("old"), String("new"))),
    ("", ()),
    ("Password", (Boolean(False), String("good"))),
]


async def test_tries_that_cannot_succeed_are_failures_and_no_tries(world: World) -> None:
    async with bare(world.port) as peer:
        await peer.service()
        for method, parts in FAILURES * 2:
            peer.attempt(method, *parts)
            kind, rest = await peer.hear()
            assert (kind, rest) == (
                MSG_USERAUTH_FAILURE,
                String("publickey,keyboard-interactive,password") + Boolean(False),
            ), method
        peer.attempt("password", Boolean(False), String("good"))
        assert await peer.hear() == (MSG_USERAUTH_SUCCESS, b"")


@pytest.mark.parametrize("password", [LATIN, b"\x1b[200~good\x1b[201~", b"\0", "x\u00adgood".encode(), b""])
async def test_a_password_that_cannot_be_read_is_a_wrong_one(world: World, password: bytes) -> None:
    """It is counted: after three it is over."""
    async with bare(world.port) as peer:
        await peer.service()
        for _ in range(2):
            peer.attempt("password", Boolean(False), String(password))
            assert (await peer.hear())[0] == MSG_USERAUTH_BANNER
            assert (await peer.hear())[0] == MSG_USERAUTH_FAILURE
        peer.attempt("keyboard-interactive", String(LATIN), String(LATIN))
        assert (await peer.hear())[0] == INFO_REQUEST
        peer.say(INFO_RESPONSE, UInt32(1), String(password))
        kind, rest = await peer.hear()
        assert kind == MSG_DISCONNECT
        assert b"the token is not valid" in rest
    assert world.peer.dialled == 0


@pytest.mark.parametrize("answers", [(), ("good", "good")])
async def test_not_to_answer_the_question_is_a_try(world: World, answers: tuple[str, ...]) -> None:
    async with bare(world.port) as peer:
        await peer.service()
        for _ in range(2):
            peer.attempt("keyboard-interactive", String(""), String(""))
            assert (await peer.hear())[0] == INFO_REQUEST
            peer.say(INFO_RESPONSE, UInt32(len(answers)), *map(String, answers))
            assert (await peer.hear(MSG_USERAUTH_BANNER))[0] == MSG_USERAUTH_FAILURE
        peer.attempt("keyboard-interactive", String(""), String(""))
        assert (await peer.hear())[0] == INFO_REQUEST
        peer.say(INFO_RESPONSE, UInt32(len(answers)), *map(String, answers))
        assert (await peer.hear(MSG_USERAUTH_BANNER))[0] == MSG_DISCONNECT


async def test_a_question_may_be_left_for_another_method(world: World) -> None:
    """RFC 4256, 3.1."""
    async with bare(world.port) as peer:
        await peer.service()
        peer.attempt("keyboard-interactive", String(""), String(""))
        assert (await peer.hear())[0] == INFO_REQUEST
        peer.attempt("password", Boolean(False), String("good"))
        assert await peer.hear() == (MSG_USERAUTH_SUCCESS, b"")
        peer.say(INFO_RESPONSE, UInt32(1), String("bad"))
        heard = await peer.hear()
        assert heard[0] == MSG_UNIMPLEMENTED, heard
        await alive(peer)


async def test_tries_that_do_not_wait_for_answers_are_answered_in_their_order(world: World) -> None:
    """RFC 4252, 5.1; and what comes after the one that succeeded is passed over."""
    async with bare(world.port) as peer:
        await peer.service()
        peer.attempt("none")
        peer.attempt("password", Boolean(False), String("bad"))
        peer.attempt("publickey", Boolean(False), String("ssh-ed25519"), String("no key"))
        peer.attempt("password", Boolean(False), String("good"))
        peer.attempt("password", Boolean(False), String("bad"))
        peer.say(MSG_GLOBAL_REQUEST, *ALIVE)
        heard = [(await peer.hear())[0] for _ in range(6)]
        assert heard == [
            MSG_USERAUTH_FAILURE, MSG_USERAUTH_BANNER, MSG_USERAUTH_FAILURE, MSG_USERAUTH_FAILURE,
            MSG_USERAUTH_SUCCESS, MSG_REQUEST_SUCCESS,
        ]  # fmt: skip
        peer.attempt("password", Boolean(False), String("bad"))
        await alive(peer)


async def test_tries_that_do_not_wait_are_counted(world: World) -> None:
    async with bare(world.port) as peer:
        await peer.service()
        for _ in range(20):
            peer.attempt("password", Boolean(False), String("bad"))
        answers = []
        while not answers or answers[-1] not in (MSG_DISCONNECT, 0):
            answers.append((await peer.hear(MSG_USERAUTH_BANNER))[0])
        assert answers == [MSG_USERAUTH_FAILURE] * 2 + [MSG_DISCONNECT]
    assert world.peer.dialled == 0


async def test_the_tries_are_the_same_for_whatever_user(world: World) -> None:
    async with bare(world.port) as peer:
        await peer.service()
        for user in ("", "any"):
            peer.attempt("password", Boolean(False), String("bad"), user=user)
            assert (await peer.hear(MSG_USERAUTH_BANNER))[0] == MSG_USERAUTH_FAILURE
        peer.attempt("password", Boolean(False), String("bad"), user="root")
        assert (await peer.hear(MSG_USERAUTH_BANNER))[0] == MSG_DISCONNECT


async def test_who_has_no_name_is_let_in_as_nobody_is(world: World) -> None:
    async with bare(world.port) as peer:
        await peer.service()
        peer.attempt("password", Boolean(False), String("bad"), user="")
        assert (await peer.hear(MSG_USERAUTH_BANNER))[0] == MSG_USERAUTH_FAILURE
        peer.attempt("password", Boolean(False), String("good"))
        assert await peer.hear() == (MSG_USERAUTH_SUCCESS, b"")


# -- requests of a connection, and goodbyes ------------------------------------------------------------------------


async def test_requests_that_are_not_known_fail_and_leave_rows(world: World) -> None:
    async with bare(world.port) as peer:
        await peer.enter()
        for name in (b"unknown@example.com", LATIN, b"hostkeys-prove-00@openssh.com", b"cancel-tcpip-forward"):
            peer.say(MSG_GLOBAL_REQUEST, String(name), Boolean(True), b"anything")
            assert await peer.hear() == (MSG_REQUEST_FAILURE, b"")
        for name in (b"tcpip-forward", b"streamlocal-forward@openssh.com"):
            peer.say(MSG_GLOBAL_REQUEST, String(name), Boolean(True), String("/place"))
            assert await peer.hear() == (MSG_REQUEST_FAILURE, b"")
        peer.say(MSG_GLOBAL_REQUEST, String("tcpip-forward"), Boolean(True), String(""), UInt32(80))
        assert await peer.hear() == (MSG_REQUEST_FAILURE, b"")
        peer.say(MSG_GLOBAL_REQUEST, String("tcpip-forward"), Boolean(True), b"\xff")
        assert await peer.hear() == (MSG_REQUEST_FAILURE, b"")
        for name in (b"keepalive@lag.net", b"keepalive@libssh2.org"):  # each library has its own
            peer.say(MSG_GLOBAL_REQUEST, String(name), Boolean(True))
            assert await peer.hear() == (MSG_REQUEST_FAILURE, b"")
        peer.say(MSG_GLOBAL_REQUEST, String("unknown@example.com"), Boolean(False))
        await alive(peer)
    await world.ended()
    assert [(each["what"], each["detail"]) for each in rows(world)] == [
        ("connection request", "unknown@example.com"),
        ("connection request", "na\ufffdve"),
        ("connection request", "hostkeys-prove-00@openssh.com"),
        ("connection request", "cancel-tcpip-forward"),
        ("remote forward", "/place"),
        ("remote forward", "/place"),
        ("remote forward", ":80"),
        ("remote forward", "it cannot be read"),
        ("connection request", "unknown@example.com"),
    ]
    assert rows(world)[-1]["times"] == 2


async def test_who_says_no_more_sessions_opens_none(world: World) -> None:
    async with bare(world.port) as peer:
        await peer.enter()
        first = await peer.session()
        peer.say(MSG_GLOBAL_REQUEST, String("no-more-sessions@openssh.com"), Boolean(True))
        assert await peer.hear() == (MSG_REQUEST_SUCCESS, b"")
        peer.say(MSG_CHANNEL_OPEN, String("session"), UInt32(1), UInt32(9999), UInt32(9999))
        assert (await peer.hear())[0] == MSG_CHANNEL_OPEN_FAILURE
        await ran(peer, first)
    await world.ended()
    assert denied(world) == ["channel"]


@pytest.mark.parametrize(
    "rest",
    [b"", UInt32(11), UInt32(11) + String(LATIN) + String(""), UInt32(2) + String("no") + String("x") + b"!"],
)
async def test_a_goodbye_is_one_however_it_is_written(world: World, rest: bytes) -> None:
    async with bare(world.port) as peer:
        await peer.enter()
        peer.say(MSG_DISCONNECT, rest)
        assert (await peer.hear())[0] == 0
        assert (await world.ended()).end_reason is EndReason.CLIENT_CLOSED


async def test_who_answers_no_keepalive_but_says_something_lives(world: World) -> None:
    async with bare(world.port) as peer:
        await peer.enter()
        (session,) = world.services.registry
        talk: Any = session.relaying
        line: Any = talk._client.line
        for _ in range(20):
            line._keepalive_timer_callback()
            assert (await peer.hear())[0] == MSG_GLOBAL_REQUEST
            peer.say(MSG_UNIMPLEMENTED, UInt32(0))
            await until(lambda: line._keepalive_count == 0)
        assert not line._global_request_waiters
        for kind in (MSG_REQUEST_SUCCESS, MSG_REQUEST_FAILURE):  # more answers than questions
            peer.say(kind)
        await alive(peer)
        for _ in range(5):
            line._keepalive_timer_callback()
        assert (await world.ended()).end_reason is EndReason.CLIENT_CLOSED


# -- channels ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "rest", "word"),
    [
        (b"unknown@example.com", b"", "channel type"),
        (LATIN, b"", "channel type"),
        (b"x11", String("127.0.0.1") + UInt32(6000), "channel type"),
        (b"forwarded-tcpip", String("h") + UInt32(1) + String("h") + UInt32(1), "channel type"),
        (b"auth-agent@openssh.com", b"", "channel type"),
        (b"direct-tcpip", b"\xff\xff\xff\xff", "direct-tcpip"),
        (b"direct-tcpip", String(LATIN) + UInt32(1) + String("h") + UInt32(1), "direct-tcpip"),
        (b"direct-streamlocal@openssh.com", String("/x"), "direct-streamlocal@openssh.com"),
        (b"session", b"more", "session"),
        (b"tun@openssh.com", UInt32(1) + UInt32(0), "tunnel device"),
        (b"tun@openssh.com", UInt32(7) + UInt32(0), "tunnel device"),
    ],
)
async def test_channels_that_are_not_opened(world: World, kind: bytes, rest: bytes, word: str) -> None:
    async with bare(world.port) as peer:
        await peer.enter()
        peer.say(MSG_CHANNEL_OPEN, String(kind), UInt32(5), UInt32(9999), UInt32(9999), rest)
        failed, answer = await peer.hear()
        assert (failed, answer[:4]) == (MSG_CHANNEL_OPEN_FAILURE, UInt32(5))
        await ran(peer, await peer.session())
    await world.ended()
    assert denied(world) == [word]


REQUESTS: list[tuple[bytes, bytes, str | None]] = [
    (b"unknown@example.com", b"anything", "request"),
    (LATIN, b"", "request"),
    (b"xon-xoff", Boolean(True), "request"),
    (b"exit-status", UInt32(0), "request"),
    (b"keepalive@openssh.com", b"", None),
    (b"winadj@putty.projects.tartarus.org", b"", "request"),
    (b"window-change", b"\0", "request"),
    (b"pty-req", String("xterm"), "request"),
    (b"signal", String("x" * 100), "signal"),
    (b"signal", String("TERM"), "signal"),
    (b"break", UInt32(500), "break"),
    (b"env", String("LD_PRELOAD") + String("x"), "environment"),
    (b"subsystem", String("netconf"), "subsystem"),
    (b"subsystem", String(LATIN), "subsystem"),
    (b"exec", String(""), "command"),
    (b"exec", b"\xff\xff\xff\xff", "request"),
]


async def test_requests_of_a_channel_that_are_refused_leave_rows_and_end_nothing(world: World) -> None:
    async with bare(world.port) as peer:
        await peer.enter()
        channel = await peer.session()
        for name, rest, _ in REQUESTS:
            peer.request(channel, name, rest)
            assert await peer.hear() == (MSG_CHANNEL_FAILURE, b""), name
            peer.request(channel, name, rest, answer=False)
        await ran(peer, channel)
    await world.ended()
    assert denied(world) == [word for _, _, word in REQUESTS if word for _ in range(2)]
    assert world.peer.ran == ["quick"]


async def test_many_refusals_leave_few_rows(world: World) -> None:
    async with bare(world.port) as peer:
        await peer.enter()
        channel = await peer.session()
        for _ in range(1500):
            peer.request(channel, "winadj@putty.projects.tartarus.org", answer=False)
        await ran(peer, channel)
    await world.ended()
    assert [each.get("times", 1) for each in rows(world)] == [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 1500]


@pytest.mark.parametrize(
    "modes", [b"", b"\0", b"\x01\0\0\0\x03", b"\x01\0\0\0\x03\x81\0\0", b"\xa0\xff", b"\x01\0"], ids=bytes.hex
)
async def test_a_terminals_modes_may_be_cut_short(world: World, modes: bytes) -> None:
    async with bare(world.port) as peer:
        await peer.enter()
        channel = await peer.session()
        size = UInt32(80) + UInt32(24) + UInt32(0) + UInt32(0)
        peer.request(channel, "pty-req", String(LATIN), size, String(modes))
        assert await peer.hear() == (MSG_CHANNEL_SUCCESS, b"")
        peer.request(channel, "pty-req", String("xterm"), size, String(modes))
        assert await peer.hear() == (MSG_CHANNEL_FAILURE, b"")
        await ran(peer, channel)
    await world.ended()
    assert denied(world) == ["terminal"]


async def test_what_comes_late_on_a_channel_is_dropped(world: World) -> None:
    async with bare(world.port) as peer:
        await peer.enter()
        channel = await peer.session()
        peer.request(channel, "exec", String("slow"))
        assert await peer.hear() == (MSG_CHANNEL_SUCCESS, b"")
        number = UInt32(channel)
        peer.say(MSG_CHANNEL_WINDOW_ADJUST, number, UInt32(0))
        peer.say(MSG_CHANNEL_WINDOW_ADJUST, number, UInt32(0xFFFFFFFF))
        peer.say(MSG_CHANNEL_SUCCESS, number)
        peer.say(MSG_CHANNEL_FAILURE, number)
        peer.say(MSG_CHANNEL_DATA, number, String("heard"))
        for datatype in (0, 1, 2, 0xFFFFFFFF):
            peer.say(MSG_CHANNEL_EXTENDED_DATA, number, UInt32(datatype), String("not"))
            assert await peer.hear() == (MSG_CHANNEL_WINDOW_ADJUST, UInt32(3))
        for _ in range(2):
            peer.say(MSG_CHANNEL_EOF, number)
        peer.say(MSG_CHANNEL_DATA, number, String("not heard"))
        (host,) = world.peer.processes  # type: ignore[attr-defined]
        await until(lambda: host.heard == len("heard"))
        for _ in range(3):
            peer.say(MSG_CHANNEL_CLOSE, number)
        await peer.until(MSG_CHANNEL_CLOSE)
        peer.say(MSG_CHANNEL_WINDOW_ADJUST, number, UInt32(1))
        peer.say(MSG_CHANNEL_DATA, number, String("not heard"))
        peer.say(MSG_CHANNEL_REQUEST, number, String("signal"), Boolean(False), String("TERM"))
        peer.say(MSG_CHANNEL_CLOSE, number)
        await alive(peer)
        assert host.heard == len("heard")
        await ran(peer, await peer.session())


async def test_data_after_an_end_are_bounded_by_the_window(world: World) -> None:
    async with bare(world.port) as peer:
        await peer.enter()
        channel = await peer.session()
        peer.request(channel, "exec", String("slow"))
        assert await peer.hear() == (MSG_CHANNEL_SUCCESS, b"")
        peer.say(MSG_CHANNEL_EOF, UInt32(channel))
        for _ in range(80):
            peer.say(MSG_CHANNEL_DATA, UInt32(channel), String(b"x" * 32768))
            await asyncio.sleep(0)
        assert (await peer.hear(MSG_GLOBAL_REQUEST))[0] in (MSG_DISCONNECT, 0)
        assert (await world.ended()).end_reason is EndReason.PROTOCOL_ERROR


@pytest.mark.parametrize("kind", [MSG_CHANNEL_DATA, MSG_CHANNEL_EOF, MSG_CHANNEL_CLOSE, MSG_CHANNEL_REQUEST])
async def test_a_channel_that_never_was_is_a_broken_protocol(world: World, kind: int) -> None:
    async with bare(world.port) as peer:
        await peer.enter()
        peer.say(MSG_CHANNEL_WINDOW_ADJUST, UInt32(77), UInt32(1))
        peer.say(MSG_CHANNEL_SUCCESS, UInt32(77))
        await alive(peer)
        peer.say(kind, UInt32(77), String("x"), Boolean(False))
        assert (await peer.hear())[0] in (MSG_DISCONNECT, 0)
        assert (await world.ended()).end_reason is EndReason.PROTOCOL_ERROR


async def test_a_start_that_was_refused_may_be_followed_by_another(world: World) -> None:
    """As of sshd: a client that asks for a subsystem which is not there may have a command instead."""
    async with bare(world.port) as peer:
        await peer.enter()
        channel = await peer.session()
        peer.request(channel, "subsystem", String("netconf"))
        assert await peer.hear() == (MSG_CHANNEL_FAILURE, b"")
        await ran(peer, channel)
    assert world.peer.ran == ["quick"]
