"""Each operation of SFTP is recorded before it leaves, with what passed; what we do not know never leaves."""

import hashlib

import pytest

from proxy.core.records import Content, Flow, Outcome, StatementFinished
from proxy.protocols.ssh import sftp_packets as packets
from proxy.protocols.ssh.sftp_files import OPEN_MOST, WAITING_MOST
from tests.protocols.ssh.sftp_words import (
    CLIENT,
    HELLO,
    INIT,
    TARGET,
    VERSION,
    Talk,
    Turn,
    closing,
    data,
    extended,
    handle,
    name,
    on,
    opening,
    packet,
    read,
    status,
    text,
    u32,
    u64,
    write,
)

FILE = b"abc" * 20_000
SHA = hashlib.sha256(FILE).hexdigest()
NOTHING = hashlib.sha256().hexdigest()


def opened(path: bytes, flags: int, value: bytes = b"h0") -> list[Turn]:
    return [*HELLO, (CLIENT, opening(1, path, flags)), (TARGET, handle(1, value))]


def test_a_put() -> None:
    talk = Talk(opened(b"/tmp/f", 2 | 8 | 16))
    assert talk.began == [b"put /tmp/f"] and not talk.ended
    talk.say([(CLIENT, write(2, b"h0", 0, FILE[:32768]) + write(3, b"h0", 32768, FILE[32768:]))])
    talk.say([(TARGET, status(3) + status(2)), (CLIENT, closing(4, b"h0"))])
    assert not talk.ended and talk.reader.running()
    talk.say([(TARGET, status(4))])
    assert talk.records[1:] == [
        Content(1, Flow.INPUT, 0, len(FILE), SHA),
        StatementFinished(1, Outcome.DONE, b"ok", -1, len(FILE), b"", b"", 0),
    ]
    assert not talk.reader.running() and not talk.reader.finish(Outcome.CUT)


def test_a_get_answered_in_another_order_and_after_its_close() -> None:
    talk = Talk(opened(b"/tmp/f", 1))
    asks = b"".join(read(2 + n, b"h0", n * 20_000, 20_000) for n in range(4))
    talk.say([(CLIENT, asks + closing(9, b"h0")), (TARGET, data(4, FILE[40_000:]) + data(2, FILE[:20_000]))])
    talk.say([(TARGET, status(5, 1) + status(9))])
    assert not talk.ended
    talk.say([(TARGET, data(3, FILE[20_000:40_000]))])
    assert talk.began == [b"get /tmp/f"]
    assert talk.records[1:] == [
        Content(1, Flow.OUTPUT, 0, len(FILE), SHA),
        StatementFinished(1, Outcome.DONE, b"ok", -1, len(FILE), b"", b"", 0),
    ]


def test_a_get_from_the_middle() -> None:
    talk = Talk(opened(b"f", 1)).say([(CLIENT, read(2, b"h0", 700, 50)), (TARGET, data(2, b"x" * 9))])
    talk.say([(CLIENT, closing(3, b"h0")), (TARGET, status(3))])
    assert talk.records[1] == Content(1, Flow.OUTPUT, 700, 9, hashlib.sha256(b"x" * 9).hexdigest())


@pytest.mark.parametrize(
    ("flags", "verb", "flow"),
    [(1, b"get", Flow.OUTPUT), (2 | 8, b"put", Flow.INPUT), (2 | 4, b"append", Flow.INPUT), (3, b"update", None)],
)
def test_verbs_and_empty_files(flags: int, verb: bytes, flow: Flow | None) -> None:
    talk = Talk([*opened(b"/e", flags), (CLIENT, closing(2, b"h0")), (TARGET, status(2))])
    assert talk.began == [verb + b" /e"]
    contents = [each for each in talk.records if isinstance(each, Content)]
    assert contents == ([] if flow is None else [Content(1, flow, 0, 0, NOTHING)])


def test_an_update_has_both_flows() -> None:
    talk = Talk(opened(b"/e", 3)).say([(CLIENT, read(2, b"h0", 0, 9) + write(3, b"h0", 5, b"new"))])
    talk.say([(TARGET, data(2, b"old") + status(3)), (CLIENT, closing(4, b"h0")), (TARGET, status(4))])
    flows = [(each.flow, each.offset, each.size) for each in talk.records if isinstance(each, Content)]
    assert flows == [(Flow.INPUT, 5, 3), (Flow.OUTPUT, 0, 3)]


def test_a_file_that_does_not_open_or_fails_later() -> None:
    talk = Talk([*HELLO, (CLIENT, opening(1, b"/x", 1)), (TARGET, status(1, 2, b"No such\nfile"))])
    assert talk.ended == [(1, Outcome.FAILED, b"no such file", b"No such file")] and len(talk.records) == 2
    talk = Talk(opened(b"/full", 2)).say([(CLIENT, write(2, b"h0", 0, b"x") + closing(3, b"h0"))])
    talk.say([(TARGET, status(2, 4, b"No space") + status(3))])
    assert talk.ended == [(1, Outcome.FAILED, b"failure", b"No space")]


ATTRIBUTES = u32(1 | 2 | 4 | 8) + u64(10) + u32(5) + u32(6) + u32(0o100644) + u32(1) + u32(2)


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        (packet(packets.MKDIR, 7, text(b"/d"), u32(0)), b"mkdir /d"),
        (on(packets.RMDIR, 7, b"/d"), b"rmdir /d"),
        (on(packets.REMOVE, 7, b"/\xff\xfe"), b"remove /\xff\xfe"),
        (on(packets.REMOVE, 7, b"/a\n\x1b]0;"), b'remove "/a\\n\\x1b]0;"'),
        (on(packets.RENAME, 7, b"/a", b"/b c"), b"rename /a -> /b c"),
        (on(packets.RENAME, 7, b"/a -> /b", b"/c"), b'rename "/a -> /b" -> /c'),
        (on(packets.SYMLINK, 7, b"/a", b"/b"), b"symlink /a -> /b"),
        (extended(7, b"posix-rename@openssh.com", text(b"/a"), text(b"/b")), b"rename /a -> /b"),
        (extended(7, b"hardlink@openssh.com", text(b"/a"), text(b"/b")), b"link /a -> /b"),
        (extended(7, b"statvfs@openssh.com", text(b"/a")), b"statvfs /a"),
        (packet(packets.SETSTAT, 7, text(b"/p"), u32(4), u32(0o100644)), b"chmod 0644 /p"),
        (packet(packets.SETSTAT, 7, text(b"/p"), u32(8), u32(1), u32(99)), b"touch @99 /p"),
        (
            packet(packets.SETSTAT, 7, text(b"/p"), ATTRIBUTES),
            b"truncate 10, chown 5:6, chmod 0644, touch @2 /p",
        ),
        (extended(7, b"lsetstat@openssh.com", text(b"/p"), u32(2), u32(0), u32(7)), b"chown 0:7 /p"),
        (packet(packets.FSETSTAT, 7, text(b"h0"), u32(4), u32(0o755)), b"chmod 0755 /tmp/f"),
        (extended(7, b"fsync@openssh.com", text(b"h0")), b"fsync /tmp/f"),
        (
            extended(7, b"copy-data", text(b"h0"), u64(0), u64(0), text(b"h1"), u64(0)),
            b"copy /tmp/f -> /tmp/g",
        ),
    ],
)
def test_operations(request_: bytes, expected: bytes) -> None:
    turns = [*opened(b"/tmp/f", 1), (CLIENT, opening(2, b"/tmp/g", 2)), (TARGET, handle(2, b"h1"))]
    talk = Talk(turns).say([(CLIENT, request_)])
    assert talk.began[2:] == [expected] and talk.passed[CLIENT].endswith(request_)
    talk.say([(TARGET, status(7, 3, b"Permission denied"))])
    assert talk.ended == [(3, Outcome.FAILED, b"permission denied", b"Permission denied")]
    assert Talk(turns).say([(CLIENT, request_), (TARGET, status(7))]).ended == ([(3, Outcome.DONE, b"ok", b"")])


def test_questions_and_folders() -> None:
    talk = Talk(HELLO)
    talk.say([(CLIENT, on(packets.STAT, 1, b"/a") + on(packets.REALPATH, 2, b"."))])
    talk.say([(TARGET, packet(packets.ATTRS, 1, u32(0)) + name(2, b"/root"))])
    assert talk.began == [b"stat /a", b"realpath ."] and [each[0] for each in talk.ended] == [1, 2]
    talk.say([(CLIENT, on(packets.OPENDIR, 3, b"/d")), (TARGET, handle(3, b"d")), (CLIENT, on(12, 4, b"d"))])
    talk.say([(TARGET, name(4, b"x", b"y")), (CLIENT, on(12, 5, b"d")), (TARGET, status(5, 1))])
    talk.say([(CLIENT, closing(6, b"d")), (TARGET, status(6))])
    assert talk.began[2:] == [b"list /d"] and talk.ended[2:] == [(3, Outcome.DONE, b"ok", b"")]


@pytest.mark.parametrize(
    ("request_", "code", "started"),
    [
        (packet(21, 7, b"whatever"), packets.OP_UNSUPPORTED, b"packet type 21"),
        (packet(packets.HANDLE, 7, text(b"h0")), packets.OP_UNSUPPORTED, b"packet type 102"),
        (packet(packets.INIT, 7), packets.OP_UNSUPPORTED, b"packet type 1"),
        (extended(7, b"run\n@x", text(b"/a")), packets.OP_UNSUPPORTED, b'extension "run\\n@x"'),
        (write(7, b"guess", 0, b"x" * 99), packets.FAILURE, b"write"),
        (read(7, b"guess", 0, 9), packets.FAILURE, b"read"),
        (closing(7, b"guess"), packets.FAILURE, b"close"),
        (packet(packets.FSETSTAT, 7, text(b"guess"), u32(4), u32(0)), packets.FAILURE, b"chmod 0000"),
        (on(packets.REMOVE, 7, b"/a", b"/b"), packets.BAD_MESSAGE, b"packet type 13"),
        (packet(packets.REMOVE, 7, u32(99)), packets.BAD_MESSAGE, b"packet type 13"),
        (on(packets.REMOVE, 7, b"/a\0b"), packets.BAD_MESSAGE, b"packet type 13"),
        (packet(packets.WRITE, 7, text(b"h0"), u64(0), u32(5), b"1234"), packets.BAD_MESSAGE, b"packet type 6"),
        (packet(packets.WRITE, 7, text(b"h" * 300), u64(0), text(b"1")), packets.BAD_MESSAGE, b"packet type 6"),
        (packet(packets.WRITE, 7), packets.BAD_MESSAGE, b"packet type 6"),
        (packet(packets.READ, 7, text(b"h0")), packets.BAD_MESSAGE, b"packet type 5"),
        (packet(packets.SETSTAT, 7, text(b"/p"), u32(16), u32(0)), packets.BAD_MESSAGE, b"packet type 9"),
    ],
)
def test_refused_in_place(request_: bytes, code: int, started: bytes) -> None:
    talk = Talk(opened(b"/tmp/f", 3))
    before, sent = bytes(talk.to_client), bytes(talk.passed[CLIENT])
    after = on(packets.STAT, 8, b"/later")
    talk.say([(CLIENT, request_ + after)])
    assert talk.began[1:] == [started, b"stat /later"]
    assert [each[:2] for each in talk.ended] == [(2, Outcome.DENIED)]
    assert bytes(talk.passed[CLIENT]) == sent + after, "it left"
    reply = bytes(talk.to_client)[len(before) :]
    assert reply[4] == packets.STATUS and reply[5:13] == u32(7) + u32(code)
    assert len(reply) == 4 + int.from_bytes(reply[:4])


def test_a_refusal_waits_for_the_end_of_the_answer_in_flight() -> None:
    talk = Talk(opened(b"/f", 1)).say([(CLIENT, read(2, b"h0", 0, 100))])
    answer = data(2, b"y" * 100)
    talk.say([(TARGET, answer[:50])])
    told = len(talk.to_client)
    talk.say([(CLIENT, packet(99, 7))])
    assert len(talk.to_client) == told, "in the middle of the target's packet"
    talk.say([(TARGET, answer[50:] + status(9)[:3])])
    assert talk.to_client[told:].startswith(answer[50:])
    assert talk.to_client[told + len(answer) - 50 :][4:9] == bytes((packets.STATUS,)) + u32(7)


@pytest.mark.parametrize(
    "turns",
    [
        [(CLIENT, on(packets.STAT, 1, b"/"))],
        [(CLIENT, INIT), (CLIENT, on(packets.STAT, 1, b"/"))],
        [(TARGET, VERSION)],
        [(CLIENT, INIT), (TARGET, packet(packets.VERSION, 4))],
        [(CLIENT, INIT), (TARGET, packet(packets.VERSION, 2))],
        [(CLIENT, packet(packets.INIT, 6)), (TARGET, packet(packets.VERSION, 6))],
        [(CLIENT, INIT), (TARGET, b"Welcome to box!\n")],
        [*HELLO, (TARGET, status(1))],
        [*HELLO, (CLIENT, on(packets.STAT, 1, b"/")), (TARGET, status(2))],
        [*HELLO, (CLIENT, on(packets.STAT, 1, b"/")), (TARGET, handle(1, b"h"))],
        [*HELLO, (CLIENT, on(packets.STAT, 1, b"/")), (TARGET, data(1, b"h"))],
        [*HELLO, (CLIENT, on(packets.STAT, 1, b"/") * 2)],
        [*HELLO, (CLIENT, u32(0) + b"\x11")],
        [*HELLO, (CLIENT, u32(4) + b"\x11")],
        [*HELLO, (CLIENT, u32(packets.PACKET_MOST + 1) + b"\x11")],
        [*HELLO, (TARGET, u32(packets.PACKET_MOST + 1) + b"\x67")],
        [*HELLO, (CLIENT, opening(1, b"f", 1)), (TARGET, status(1, 0))],
        [*HELLO, (CLIENT, opening(1, b"f", 1)), (TARGET, handle(1, b"h" * 300))],
        [*opened(b"f", 1), (CLIENT, opening(2, b"g", 1)), (TARGET, handle(2, b"h0"))],
        [*opened(b"f", 1), (CLIENT, read(2, b"h0", 0, 4)), (TARGET, data(2, b"12345"))],
        [*opened(b"f", 1), (CLIENT, read(2, b"h0", 0, 9)), (TARGET, packet(103, 2, u32(4), b"123"))],
        [*HELLO, *[(CLIENT, on(packets.STAT, n, b"/")) for n in range(WAITING_MOST + 1)]],
        [*HELLO, *[(CLIENT, opening(n, b"/", 1)) for n in range(OPEN_MOST + 1)]],
    ],
)
def test_lies_and_floods_end_it(turns: list[Turn]) -> None:
    talk = Talk(turns)
    assert talk.closed and not talk.reader.feed(CLIENT, INIT) and not talk.reader.feed(TARGET, VERSION)


def test_as_much_as_is_allowed() -> None:
    talk = Talk(HELLO).say([(CLIENT, opening(n, b"/", 1)) for n in range(OPEN_MOST)])
    assert not talk.closed
    talk.say([(TARGET, status(n, 4)) for n in range(OPEN_MOST)]).say([(CLIENT, opening(5, b"/", 1))])
    assert not talk.closed


def test_a_cut_ends_all_that_is_open_in_order() -> None:
    talk = Talk(opened(b"/f", 2)).say([(CLIENT, write(2, b"h0", 0, b"half") + on(packets.REMOVE, 3, b"/x"))])
    talk.say([(CLIENT, opening(4, b"/never", 2) + closing(5, b"h0"))])
    last = talk.reader.finish(Outcome.CUT)
    assert last[0] == Content(1, Flow.INPUT, 0, 4, hashlib.sha256(b"half").hexdigest())
    ends = [(each.seq, each.outcome) for each in last if isinstance(each, StatementFinished)]
    assert ends == [(1, Outcome.CUT), (2, Outcome.CUT), (3, Outcome.CUT)] and len(last) == 4
    assert not talk.reader.finish(Outcome.CUT) and not talk.reader.running()


LONG = b"/" + b"\x01" * packets.PATH_MOST


@pytest.mark.parametrize(
    "request_",
    [
        opening(7, LONG, 1),
        on(packets.OPENDIR, 7, LONG),
        on(packets.STAT, 7, LONG),
        on(packets.RENAME, 7, b"/a", LONG),
        on(packets.SYMLINK, 7, LONG, b"/a"),
        packet(packets.MKDIR, 7, text(LONG), u32(0)),
        packet(packets.SETSTAT, 7, text(LONG), u32(4), u32(0o644)),
        packet(packets.MKDIR, 7, text(b"/d"), u32(0x80000000), u32(1), text(LONG), text(b"")),
        packet(
            packets.MKDIR,
            7,
            text(b"/d"),
            u32(0x80000000),
            u32(9),
            *(text(b"n" * 999) + text(b"") for _ in range(9)),
        ),
        extended(7, b"posix-rename@openssh.com", text(LONG), text(b"/b")),
        extended(7, b"expand-path@openssh.com", text(LONG)),
    ],
)
def test_a_path_longer_than_paths_are_is_refused_in_its_own_words(request_: bytes) -> None:
    talk = Talk([*HELLO, (CLIENT, request_ + on(packets.STAT, 8, b"/a"))])
    ((seq, outcome, _, error),) = talk.ended
    assert (seq, outcome) == (1, Outcome.DENIED) and b"of more than 4096 bytes" in error
    assert talk.passed[CLIENT] == INIT + on(packets.STAT, 8, b"/a") and not talk.closed
    assert talk.to_client[len(VERSION) :] == packets.status(7, packets.FAILURE, "tidegate: " + error.decode())
    assert talk.began == [b"packet type %d" % request_[4], b"stat /a"]


def test_the_longest_path_is_recorded_whole_and_what_is_done_with_it_in_short() -> None:
    path = b"/" + b"\x01" * 4000
    talk = Talk([*opened(path, 1), (CLIENT, extended(2, b"fsync@openssh.com", text(b"h0")))])
    whole, short = talk.began
    assert whole == b'get "/' + rb"\x01" * 4000 + b'"'
    assert len(short) < 1100 and short.endswith(b"...")


def test_open_files_with_long_paths_cost_little() -> None:
    talk = Talk(HELLO)
    for number in range(OPEN_MOST):
        talk.say([(CLIENT, opening(1, b"\x01" * packets.PATH_MOST, 1)), (TARGET, handle(1, b"%d" % number))])
    talk.records.clear()
    kept = sum(len(each.path) for each in talk.reader._table.handles.values())
    assert kept <= OPEN_MOST * 1024 and len(talk.reader._table.handles) == OPEN_MOST
