"""What a target sent cannot drive the terminal of who looks at it, however it is split."""

import itertools
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from proxy.recording.terminal import COLUMNS_MOST, LONGEST, Lines, Screened

SAFE = re.compile(
    r"(?:[^\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]"
    r"|[\r\n\b\t\x0e\x0f]"
    r"|\x1b[78DEM]"
    r"|\x1b[()*+][0AB]"
    r"|\x1b\[[0-9:;]*m"
    r"|\x1b\[[0-9;]*[@A-HIJKLMPSXZ`abdefjkr]"
    r"|\x1b\[[0-9]*T"
    r"|\x1b\[[su]"
    r"|\x1b\[4[hl]"
    r"|\x1b\[\?(?:5|7|25|45|47|1047|1048|1049)(?:;(?:5|7|25|45|47|1047|1048|1049))*[hl])*"
)
"""The grammar of what may be printed, written down a second time."""

PIECES = st.one_of(
    st.binary(max_size=12),
    st.text(max_size=6).map(str.encode),
    st.sampled_from(
        [b"\x1b", b"\x1b[", b"\x1b]", b"\x1bP", b"\x1b\\", b"\x07", b"\x1b[?", b"\x1b(", b"\x9b", b"\xc2\x9b"]
    ),
    st.from_regex(rb"\x1b\[[<=>?]?[0-9:;]{0,8}[ -/]?[@-~]", fullmatch=True),
    st.from_regex(rb"\x1b[ -/]?[0-~]", fullmatch=True),
    st.from_regex(rb"\x1b[\]PX^_k][ -~\n]{0,9}(\x07|\x1b\\)?", fullmatch=True),
)
STREAMS = st.lists(PIECES, max_size=12).map(b"".join)


def printed(*pieces: bytes) -> str:
    screened = Screened()
    return "".join([*(screened.feed(each) for each in pieces), screened.rest()])


def plain(*pieces: bytes) -> list[str]:
    lines = Lines()
    return [*(line for each in pieces for line in lines.feed(each)), *lines.rest()]


@given(STREAMS, st.lists(st.integers(0, 200), max_size=6))
@example(b"\xe2\x82\xac\x1b]52;c;aGk=\x07", [1, 2, 5])
def test_every_split_prints_the_same(data: bytes, cuts: list[int]) -> None:
    places = [0, *sorted(min(each, len(data)) for each in cuts), len(data)]
    pieces = [data[begin:end] for begin, end in itertools.pairwise(places)]
    assert printed(*pieces) == printed(data)
    assert printed(*[data[at : at + 1] for at in range(len(data))]) == printed(data)
    assert plain(*pieces) == plain(data)


@given(STREAMS)
def test_only_what_paints_is_printed(data: bytes) -> None:
    found = printed(data)
    assert SAFE.fullmatch(found), found
    assert printed(found.encode()) == found, "what is safe passes as it is"


@given(STREAMS)
def test_lines_are_plain(data: bytes) -> None:
    for line in plain(data):
        assert re.fullmatch(r"[^\x00-\x1f\x7f-\x9f]*", line)
        assert len(line) <= COLUMNS_MOST


@given(STREAMS, STREAMS)
def test_leaving_is_safe_too_and_leaves_nothing(data: bytes, more: bytes) -> None:
    screened = Screened()
    screened.feed(data)
    leaving = screened.leave()
    assert SAFE.fullmatch(leaving)
    assert "\x1b[?1049l" not in screened.leave()
    assert SAFE.fullmatch(screened.rest() + screened.feed(more))


PAINTS = [
    "plain \u20ac \N{GRINNING FACE} text\r\n\t\b",
    "\x1b[1;31mred\x1b[0m",
    "\x1b[38:2::1:2:3m\x1b[38;2;1;2;3m\x1b[4:3m",
    "\x1b[2;5H\x1b[A\x1b[3B\x1b[C\x1b[9D\x1b[7G\x1b[4d\x1b[5`",
    "\x1b[J\x1b[2J\x1b[K\x1b[1K\x1b[3X",
    "\x1b[2L\x1b[M\x1b[3@\x1b[4P\x1b[2S\x1b[2T",
    "\x1b[2;20r\x1b[r\x1b7\x1b8\x1b[s\x1b[u\x1bD\x1bE\x1bM",
    "\x1b[?1049h\x1b[?25l\x1b[?25h\x1b[?7l\x1b[?1049l",
    "\x1b(0lqk\x1b(B\x1b)0\x0e\x0f",
    "\x1b[4h\x1b[4l\x1b[80b",
]


@pytest.mark.parametrize("text", PAINTS)
def test_what_paints_passes(text: str) -> None:
    assert printed(text.encode()) == text


GONE = [
    ("OSC 52: the clipboard", "\x1b]52;c;aGk=\x07"),
    ("OSC 52 with ST", "\x1b]52;c;aGk=\x1b\\"),
    ("OSC 8: a link", "\x1b]8;;http://evil\x1b\\"),
    ("OSC 0: a title", "\x1b]0;title\x07"),
    ("OSC 11: asks for a colour", "\x1b]11;?\x07"),
    ("an OSC that is cancelled", "\x1b]0;title\x18"),
    ("DCS: asks for a setting", "\x1bP$qm\x1b\\"),
    ("a sixel image", "\x1bPq#0;2;0;0;0~~@@\x1b\\"),
    ("tmux's way through", "\x1bPtmux;\x1b\x1b]52;c;aGk=\x07\x1b\\"),
    ("APC", "\x1b_Ga=T,f=100;AAAA\x1b\\"),
    ("PM", "\x1b^x\x1b\\"),
    ("SOS", "\x1bXx\x1b\\"),
    ("a title of screen", "\x1bktitle\x1b\\"),
    ("DSR", "\x1b[5n\x1b[6n\x1b[?6n"),
    ("DA", "\x1b[c\x1b[>c\x1b[=c\x1b[0c\x1bZ"),
    ("XTVERSION", "\x1b[>0q"),
    ("DECRQM", "\x1b[?2026$p\x1b[4$p"),
    ("DECREQTPARM", "\x1b[x\x1b[1x"),
    ("windows", "\x1b[14t\x1b[3;0;0t\x1b[21t"),
    ("kitty's keyboard", "\x1b[?u\x1b[>1u\x1b[<u\x1b[=5u"),
    ("checksums", "\x1b[1;1;1;1;2;2*y"),
    ("printing", "\x1b[5i\x1b[?5i"),
    ("ENQ, BEL, NUL", "\x05\x07\x00"),
    ("the mouse", "\x1b[?1000h\x1b[?1002;1003;1006h\x1b[1;1;1;2;3T"),
    ("focus, pasting", "\x1b[?1004h\x1b[?2004h"),
    ("keys", "\x1b[?1h\x1b=\x1b>\x1b[>4;2m\x1b[2h\x1b[20h\x1b[?66h"),
    ("held updates, 132 columns", "\x1b[?2026h\x1b[?3h"),
    ("what scrolled away", "\x1b[3J\x1b[03J"),
    ("margins of another kind", "\x1b[1;5s\x1b[?69h"),
    ("C1", "\x80\x85\x90\x9b\x9c\x9d\x9e\x9f"),
    ("other character sets, out of UTF-8", "\x1b%@\x1b%G\x1b N\x1b F\x1b(<\x1bn\x1bo\x1b|"),
    ("double height", "\x1b#3\x1b#8"),
    ("tab stops", "\x1bH\x1b[3g"),
    ("too large", "\x1b[99999b\x1b[1;99999H"),
    ("too long", "\x1b[" + "1;" * LONGEST + "m"),
    ("directions", "\u202e\u2066\u200f"),
    ("not finished", "\x1b[1;3"),
]


@pytest.mark.parametrize(("what", "text"), GONE, ids=[each[0] for each in GONE])
def test_what_is_more_than_paint_goes(what: str, text: str) -> None:
    assert printed(f"a{text}".encode()) == "a"


def test_what_follows_something_dropped_is_seen() -> None:
    assert printed(b"\x1b]52;c;x\x07seen\x1b[6nhere") == "seenhere"
    assert printed("\x9dno title\x9bm".encode()) == "no titlem", "not every terminal takes these for controls"
    assert printed(b"\x1bkhidden\r\nseen") == "\r\nseen", "other terminals show it, so it hides no more than a line"
    assert printed(b"\x1b[?1049;2004h") == "\x1b[?1049h", "of modes that are set together, those that paint"
    assert printed(b"\x1b[1\xe2\x82\xacm") == "\u20acm"


def test_bytes_that_are_no_text_are_replaced() -> None:
    assert printed(b"a\xff\x9bb\xe2\x82") == "a\ufffd\ufffdb\ufffd"


def test_a_full_reset_clears_the_screen_and_nothing_else() -> None:
    found = printed(b"\x1b[?1049h\x1bc")
    assert "\x1bc" not in found
    assert found.endswith("\x1b[H\x1b[2J")
    assert "\x1b[?1049l" in found


def test_leaving_the_alternate_screen_only_where_it_is_shown() -> None:
    screened = Screened()
    screened.feed(b"\x1b[?1049h")
    assert screened.leave().startswith("\x1b[?1049l")
    screened.feed(b"\x1b[?47h\x1b[?47l")
    assert "[?47l" not in screened.leave()


def test_state_is_bounded() -> None:
    screened, lines = Screened(), Lines()
    for opening in (b"\x1b]", b"\x1b[", b"\x1b(((("):
        screened.feed(opening)
        for _ in range(100):
            screened.feed(b"1" * 1000)
            lines.feed(b"1" * 1000)
        assert len(screened._sequence) <= LONGEST
        assert len(lines._line) <= COLUMNS_MOST
        screened.rest()


LINES = [
    (b"$ ls\r\na  b\r\n$ ", ["$ ls", "a  b", "$"]),
    (b"$ lx\b\x1b[Ks\r\n", ["$ ls"]),
    (b"50%\r100%\r\n", ["100%"]),
    (b"abc\x1b[2D\x1b[PX\r\n", ["aX"]),
    (b"ac\x1b[D\x1b[@b\r\n", ["abc"]),
    (b"a\tb\r\n\r\n", ["a       b", ""]),
    (b"\x1b[31mred\x1b[0m\x1b]0;t\x07 x\n", ["red x"]),
    (b"\x1b[H\x1b[2Jtop\x1b[5;1Hlow", ["top", "low"]),
    (b"abcdef\r\x1b[3X\x1b[2C12\n", ["  12ef"]),
    (b"abc\x1b[1K\x1b[1G12\n", ["12"]),
    (b"abc\x1b[2Kx\n", ["   x"]),
    (b"a\x1b[3Gb\x1b[10@\n", ["a b"]),
]


@pytest.mark.parametrize(("data", "expected"), LINES)
def test_lines_are_what_was_seen(data: bytes, expected: list[str]) -> None:
    assert plain(data) == expected
