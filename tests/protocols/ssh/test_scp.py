"""The old scp is followed line by line: each file recorded before it passes, with its content; and whatever comes,
the bytes that pass are those that came."""

import hashlib
import itertools
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.records import Content, Note, Outcome, Record, StatementFinished, StatementStarted
from proxy.core.steps import Forward, Observe, Reply, Tell
from proxy.protocols.ssh.commands import scp_command
from proxy.protocols.ssh.scp import COMPLAINTS_MOST, PATH_MOST, ScpReader
from tests.protocols.ssh.sftp_words import CLIENT, TARGET, Turn, cut


class Talk:
    def __init__(self, command: bytes, turns: Iterable[Turn] = ()) -> None:
        found = scp_command(command)
        assert found is not None
        self.reader = ScpReader(itertools.count(2).__next__, found, 1)
        self.records: list[Record] = []
        self.passed = {CLIENT: bytearray(), TARGET: bytearray()}
        self.say(turns)

    def say(self, turns: Iterable[Turn]) -> "Talk":
        for side, chunk in turns:
            for step in self.reader.feed(side, chunk):
                if isinstance(step, Observe):
                    self.records.append(step.record)
                elif isinstance(step, Forward):
                    self.passed[side] += step.data
                elif isinstance(step, Tell):
                    self.passed[CLIENT] += step.data
                else:
                    assert isinstance(step, Reply)
                    self.passed[TARGET] += step.data
        return self

    @property
    def began(self) -> list[bytes]:
        return [each.text for each in self.records if isinstance(each, StatementStarted)]

    @property
    def ended(self) -> list[tuple[int, Outcome, bytes]]:
        return [
            (each.seq, Outcome(each.outcome), each.error)
            for each in self.records
            if isinstance(each, StatementFinished)
        ]


def file(name: bytes, data: bytes) -> bytes:
    return b"C0644 %d %s\n" % (len(data), name)


DATA = b"x" * 10_000


def test_a_put() -> None:
    talk = Talk(b"scp -t /tmp/f", [(TARGET, b"\0"), (CLIENT, b"T1 0 2 0\n"), (TARGET, b"\0")])
    talk.say([(CLIENT, file(b"f", DATA))])
    assert talk.began == [b"put /tmp/f"]
    talk.say([(TARGET, b"\0"), (CLIENT, DATA + b"\0")])
    assert not talk.ended and talk.reader.running()
    talk.say([(TARGET, b"\0")])
    assert talk.records[1] == Content(2, 0, 0, len(DATA), hashlib.sha256(DATA).hexdigest())
    assert talk.ended == [(2, Outcome.DONE, b"")] and not talk.reader.running()


@pytest.mark.parametrize(
    ("command", "line", "expected"),
    [
        (b"scp -t /tmp", b"C0644 1 f\n", b"put /tmp[/f]"),
        (b"scp -t /tmp/", b"C0644 1 f\n", b"put /tmp/f"),
        (b"scp -t .", b"C0644 1 f\n", b"put ./f"),
        (b"scp -d -t /tmp", b"C0644 1 f\n", b"put /tmp/f"),
        (b"scp -t /tmp/f", b"C0644 1 f\n", b"put /tmp/f"),
        (b"scp -r -t /tmp/d", b"D0755 0 d\n", b"mkdir /tmp/d[/d]"),
        (b"scp -d -t /tmp", b"C0644 1 a\x1b[2J\n", b'put "/tmp/a\\x1b[2J"'),
        (b"scp -f /tmp/f", b"C0644 1 f\n", b"get /tmp/f"),
        (b"scp -f '/tmp/*'", b"C0644 1 f\n", b"get /tmp/f"),
        (b"scp -f x*", b"C0644 1 xy\n", b"get xy"),
        (b"scp -r -f /var/log/", b"D0755 0 log\n", b"list /var/log"),
    ],
)
def test_where_it_goes(command: bytes, line: bytes, expected: bytes) -> None:
    side, other = (CLIENT, TARGET) if b"-t" in command else (TARGET, CLIENT)
    assert Talk(command, [(other, b"\0"), (side, line)]).began == [expected]


TREE: list[Turn] = [
    (CLIENT, b"\0"),
    (TARGET, b"D0755 0 d\n"),
    (CLIENT, b"\0"),
    (TARGET, file(b"a", b"12345")),
    (CLIENT, b"\0"),
    (TARGET, b"12345\0"),
    (CLIENT, b"\0"),
    (TARGET, b"\x01scp: /d/b: Permission denied\n"),
    (TARGET, file(b"c", b"123")),
    (CLIENT, b"\x01disk\x1b full\n"),
    (TARGET, file(b"e", b"")),
    (CLIENT, b"\0"),
    (TARGET, b"\0"),
    (CLIENT, b"\0"),
    (TARGET, b"E\n"),
    (CLIENT, b"\0"),
]


def test_a_tree_with_failures() -> None:
    talk = Talk(b"scp -r -f /x/d", TREE)
    assert talk.began == [b"list /x/d", b"get /x/d/a", b"get /x/d", b"get /x/d/c", b"get /x/d/e"]
    assert talk.ended == [
        (2, Outcome.DONE, b""),
        (3, Outcome.DONE, b""),
        (4, Outcome.FAILED, b"scp: /d/b: Permission denied"),
        (5, Outcome.FAILED, b"disk  full"),
        (6, Outcome.DONE, b""),
    ]
    assert not talk.reader.broken and not talk.reader.running()


def test_an_error_behind_the_content_and_a_folder_that_is_not_made() -> None:
    talk = Talk(b"scp -r -t /t", [(TARGET, b"\0"), (CLIENT, b"D0755 0 d\n"), (TARGET, b"\x01no\n")])
    talk.say([(CLIENT, file(b"f", b"12")), (TARGET, b"\0"), (CLIENT, b"12\x01read error\n"), (TARGET, b"\0")])
    assert talk.began == [b"mkdir /t[/d]", b"put /t[/f]"]
    assert talk.ended == [(2, Outcome.FAILED, b"no"), (3, Outcome.FAILED, b"read error")]


BROKEN: list[list[Turn]] = [
    [(CLIENT, b"GET / HTTP/1.1\r\n\r\n")],
    [(CLIENT, b"\n")],
    [(CLIENT, b"E\n")],
    [(CLIENT, b"C0644 x f\n")],
    [(CLIENT, b"C0644 99999999999999999999 f\n")],
    [(CLIENT, b"C" * 20_000)],
    [(TARGET, b"hello")],
    [(TARGET, b"\0\0")],
    [(CLIENT, b"C0644 9 f"), (TARGET, b"\0\0")],
    [(CLIENT, file(b"f", b"1") + b"1C0644 1 g\n"), (TARGET, b"\0\0")],
    [(TARGET, b"\x01" + b"y" * 40_000)],
    [(CLIENT, b"T1 0 2 0\n" * 2000)],
]


@pytest.mark.parametrize("turns", BROKEN)
def test_what_is_not_scp_passes_and_is_said(turns: list[Turn]) -> None:
    talk = Talk(b"scp -t /x", [*turns, (CLIENT, b"more"), (TARGET, b"more")])
    assert talk.reader.broken and talk.reader.counted >= 8
    notes = [each for each in talk.records if isinstance(each, Note)]
    assert len(notes) == 1 and notes[0].kind == "warning" and ("statement", 1) in notes[0].data
    for side in (CLIENT, TARGET):
        assert bytes(talk.passed[side]).replace(b"more", b"") == b"".join(
            each for who, each in turns if who is side
        )
    assert len(talk.ended) == len(talk.began) and not talk.reader.finish(Outcome.CUT)


def test_a_cut() -> None:
    talk = Talk(b"scp -t /x/f", [(TARGET, b"\0"), (CLIENT, file(b"f", DATA) + DATA[:9])])
    last = talk.reader.finish(Outcome.CUT)
    assert last[0] == Content(2, 0, 0, 9, hashlib.sha256(DATA[:9]).hexdigest())
    assert isinstance(last[1], StatementFinished) and last[1].outcome == Outcome.CUT and len(last) == 2


@given(st.lists(st.integers(1, 12), min_size=1, max_size=10))
def test_any_cut_gives_the_same(sizes: list[int]) -> None:
    whole, pieces = (Talk(b"scp -r -f /x/d", each) for each in (TREE, cut(TREE, sizes)))
    assert (pieces.records, pieces.passed) == (whole.records, whole.passed)


@given(st.lists(st.tuples(st.sampled_from([CLIENT, TARGET]), st.binary(max_size=40)), max_size=10))
def test_whatever_comes_passes_in_order(turns: list[Turn]) -> None:
    talk = Talk(b"scp -t /x", turns)
    for side in (CLIENT, TARGET):
        sent = b"".join(each for who, each in turns if who is side)
        assert sent.startswith(bytes(talk.passed[side])) and len(sent) - len(talk.passed[side]) < 16 * 1024


def test_folders_in_folders_cost_what_they_are_long() -> None:
    """Each has all that are above it in its path: a thousand of 16 KiB were 8 GiB."""
    talk = Talk(b"scp -r -t /up", [(CLIENT, b"D0755 0 " + b"n" * 1000 + b"\n") for _ in range(900)])
    assert talk.reader.broken and sum(map(len, talk.reader._folders)) < 4 * PATH_MOST
    assert len(talk.passed[CLIENT]) == 900 * 1009
    (note,) = (each for each in talk.records if isinstance(each, Note))
    assert "a path that cannot be" in str(note.data)


def test_complaints_are_counted() -> None:
    """Two bytes make two records, with the command's path in them."""
    talk = Talk(b"scp -t /" + b"a" * 4000, [(CLIENT, b"\x01\n" * 100_000)])
    assert talk.reader.broken and len(talk.began) == COMPLAINTS_MOST
    assert talk.passed[CLIENT] == b"\x01\n" * 100_000


def test_a_command_line_longer_than_scps_is_a_command() -> None:
    assert scp_command(b"scp -t /" + b"a" * 8000) is not None
    assert scp_command(b"scp -t /" + b"a" * 9000) is None
