"""What a recorded terminal showed, made safe for the terminal of who looks at it. Pure, bounded state.

A recording holds whatever a target sent, and a terminal obeys: it sets clipboards, opens links, renames windows,
and *answers* some sequences by typing on its owner's keyboard. ``Screened`` lets through what only paints: text,
cursor movement, colours, erasing, scrolling, the alternate screen. It knows what is allowed; all else goes.
``Lines`` makes plain lines of the same bytes. How the bytes are split makes no difference to either.

Sequences are those of ECMA-48 and of xterm (invisible-island.net/xterm/ctlseqs/ctlseqs.html). Called by the command
line for replaying, following and exports.
"""

import codecs
import re
from collections.abc import Callable

ESC = "\x1b"
LONGEST = 256
"""Characters of a control sequence; longer ones go. True colours for both grounds take 50."""
_LARGE = re.compile("[0-9]{5}")
"""No number in a sequence is as long: more repetitions than cells are work for nothing."""
COLUMNS_MOST = 4096

_PASSED = frozenset("\r\n\b\t\x0e\x0f")
"""Control characters that only move the cursor or choose a character set."""
_ESCAPES = frozenset("78DEM")
"""Save and restore the cursor; index, next line, reverse index."""
_STRINGS = frozenset("]PX^_")
"""OSC, DCS, SOS, PM, APC: up to their terminator they are meant for the terminal, not for the eye."""
_TITLE = "k"
"""A title, for GNU screen and tmux. Other terminals show it as text, so it hides only the rest of a line."""
_SETS = frozenset("()*+")
_CHARACTERS = frozenset("0AB")
"""Line drawing, British, ASCII."""
_CONTROL = re.compile(r"([<=>?]?)([0-9:;]*)([ -/]*)([@-~])")
_MOVES = frozenset("@ABCDEFGHIJKLMPSTXZ`abdefjkr")
"""Moving, inserting, deleting, erasing, scrolling, repeating: with plain numbers, separated by semicolons."""
_BARE = frozenset("su")
"""Save and restore the cursor, but with numbers something else."""
_SWITCHES = frozenset({5, 7, 25, 45, 47, 1047, 1048, 1049})
"""Private modes that only paint: reverse video, wrapping, whether the cursor is seen, the alternate screen."""
_ALTERNATE = frozenset({47, 1047, 1049})
_INSERT = "4"
_PLAIN = re.compile("[^\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]+")
"""A run of characters that are to be seen: no C0 or C1 control, no DEL, nothing that makes a text read as another
by turning its direction."""
_RUN = re.compile(_PLAIN.pattern + rf"|[\r\n\b\t]+|\x1b\[([ -?]{{0,{LONGEST - 1}}}[@-~])")
"""What ``Screened`` takes at once instead of character by character: plain text, or a whole control sequence."""
_TOKEN = re.compile(r"\x1b\[(\??)([0-9:;]*)([@-~])|\x1b[()*+].|\x1b.|[\x00-\x1f]|[^\x00-\x1f]+", re.DOTALL)
"""What ``Screened`` gives is made of."""


class Screened:
    """``feed`` gives what may be printed of the bytes, ``rest`` what is left at their end, ``leave`` what makes the
    terminal usable again."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._state: Callable[[str], str] = self._text
        self._sequence = ""
        self._alternate = 0
        """Which private mode entered the alternate screen; 0: it is not shown."""

    def feed(self, data: bytes) -> str:
        """What may be printed of the next bytes."""
        return self._screened(self._decoder.decode(data))

    def rest(self) -> str:
        """What an unfinished character at the end shows; an unfinished sequence shows nothing."""
        shown = self._screened(self._decoder.decode(b"", final=True))
        self._state, self._sequence = self._text, ""
        return shown

    def leave(self) -> str:
        """Undoes what the printed sequences may have left: the alternate screen, colours, margins, character sets,
        insert mode, wrapping, a hidden cursor. The cursor stays in its line."""
        alternate = f"{ESC}[?{self._alternate}l" if self._alternate else ""
        self._alternate = 0
        return f"{alternate}{ESC}7{ESC}[r{ESC}8{ESC}[?5;45l{ESC}[?7;25h{ESC}[4l{ESC}(B{ESC})B\x0f{ESC}[m"

    def _screened(self, text: str) -> str:
        shown: list[str] = []
        at = 0
        while at < len(text):
            found = _RUN.match(text, at) if self._state == self._text else None
            if found is None:
                shown.append(self._state(text[at]))
                at += 1
                continue
            shown.append(self._allowed(found[1]) if found[1] else found[0])
            at = found.end()
        return "".join(shown)

    # -- states: each takes a character and gives what is printed now ----------------------------------------

    def _text(self, each: str) -> str:
        if each == ESC:
            self._state = self._escape
            return ""
        return each if each in _PASSED or _PLAIN.match(each) else ""

    def _escape(self, each: str) -> str:
        if each == "[":
            return self._go(self._control)
        if each in _STRINGS:
            return self._go(self._string)
        if each == _TITLE:
            return self._go(self._title)
        if " " <= each <= "/":
            self._sequence = each
            self._state = self._designation
            return ""
        self._state = self._text
        if each in _ESCAPES:
            return ESC + each
        if each == "c":  # a full reset takes back more than was shown: only the screen is cleared
            return f"{self.leave()}{ESC}[H{ESC}[2J"
        if " " < each <= "~":
            return ""
        return self._text(each)

    def _designation(self, each: str) -> str:
        """Behind ESC and one or more intermediate characters."""
        if " " <= each <= "/":
            self._sequence = (self._sequence + each)[:2]
            return ""
        sequence = self._sequence
        self._go(self._text)
        if "0" <= each <= "~":
            return f"{ESC}{sequence}{each}" if sequence in _SETS and each in _CHARACTERS else ""
        return self._text(each)

    def _control(self, each: str) -> str:
        """Inside CSI. What moves the cursor there is done at once, as terminals do."""
        if "@" <= each <= "~":
            sequence = self._sequence + each
            self._go(self._text)
            return self._allowed(sequence) if len(sequence) <= LONGEST else ""
        if " " <= each <= "?":
            self._sequence = (self._sequence + each)[:LONGEST]
            return ""
        if each in "\r\n\b\t":
            return each
        if (each < " " and each not in "\x18\x1a\x1b") or each == "\x7f":
            return ""
        self._go(self._text)
        return self._text(each)

    def _string(self, each: str) -> str:
        """Inside OSC and its like: BEL and CAN end it, and whatever escape follows."""
        if each == ESC:
            return self._go(self._escape)
        if each in "\x07\x18\x1a":
            return self._go(self._text)
        return ""

    def _title(self, each: str) -> str:
        if each < " ":
            self._go(self._text)
            return self._text(each)
        return ""

    def _go(self, state: Callable[[str], str]) -> str:
        self._state, self._sequence = state, ""
        return ""

    # -- control sequences -----------------------------------------------------------------------------------------

    def _allowed(self, sequence: str) -> str:
        """The sequence, what may be passed of it, or nothing."""
        found = _CONTROL.fullmatch(sequence)
        if found is None:
            return ""
        private, numbers, between, final = found.groups()
        if between or _LARGE.search(numbers):
            return ""
        if final == "m" and not private:
            return f"{ESC}[{sequence}"
        if ":" in numbers:
            return ""
        if private:
            return self._switched(numbers, final) if private == "?" and final in "hl" else ""
        if final in "hl":
            return f"{ESC}[{_INSERT}{final}" if _INSERT in numbers.split(";") else ""
        if final in _BARE:
            return "" if numbers else f"{ESC}[{final}"
        return f"{ESC}[{sequence}" if _paints(numbers, final) else ""

    def _switched(self, numbers: str, final: str) -> str:
        """Private modes: those that only paint, of all that are named."""
        wanted = [int(each) for each in numbers.split(";") if each]
        passed = [each for each in wanted if each in _SWITCHES]
        for each in passed:
            if each in _ALTERNATE:
                self._alternate = each if final == "h" else 0
        return f"{ESC}[?{';'.join(map(str, passed))}{final}" if passed else ""


def _paints(numbers: str, final: str) -> bool:
    """Whether a sequence without private parts only paints."""
    if final not in _MOVES:
        return False
    if final == "T":  # with more numbers it is about the mouse
        return ";" not in numbers
    # 3: what scrolled out of sight, which is not the recording's
    return not (final == "J" and "3" in (each.lstrip("0") for each in numbers.split(";")))


class Lines:
    """The lines a terminal showed, as plain text: written over and erased within a line as on a screen, but what
    moves up or down begins a new one. Of a full-screen program that leaves pieces, in the order it painted them."""

    def __init__(self) -> None:
        self._screened = Screened()
        self._line: list[str] = []
        self._column = 0

    def feed(self, data: bytes) -> list[str]:
        """The lines that are complete now."""
        return self._told(self._screened.feed(data))

    def rest(self) -> list[str]:
        """The last line, if it has none of its own end."""
        return [*self._told(self._screened.rest()), *self._broken()]

    def _told(self, text: str) -> list[str]:
        lines: list[str] = []
        for token in _TOKEN.finditer(text):
            if token[3]:
                lines += self._moved(token[2], token[3])
            elif token[0] == "\n":
                lines.append(self._ended())
            elif token[0] in ("\x1bD", "\x1bE", "\x1bM"):
                lines += self._broken()
            elif token[0] in "\r\b\t":
                self._stepped(token[0])
            elif token[0] >= " ":
                lines += self._written(token[0])
        return lines

    def _written(self, text: str) -> list[str]:
        lines: list[str] = []
        while text:
            if self._column >= COLUMNS_MOST:
                lines.append(self._ended())
            piece, text = text[: COLUMNS_MOST - self._column], text[COLUMNS_MOST - self._column :]
            self._line += " " * (self._column - len(self._line))
            self._line[self._column : self._column + len(piece)] = piece
            self._column += len(piece)
        return lines

    def _stepped(self, each: str) -> None:
        if each == "\t":
            self._at(self._column // 8 * 8 + 8)
        else:
            self._at(0 if each == "\r" else self._column - 1)

    def _at(self, column: int) -> None:
        self._column = min(max(column, 0), COLUMNS_MOST)

    def _moved(self, numbers: str, final: str) -> list[str]:
        """A control sequence, for what it does within the line."""
        first = numbers.partition(";")[0]
        number = int(first) if first.isdigit() else 0
        count, at = max(number, 1), self._column
        if final in "CaD":
            self._at(at - count if final == "D" else at + count)
        elif final in "G`":
            self._at(count - 1)
        elif final in "KX":
            self._erased(*{"X": (at, at + count), "K": _erasing(number, at)}[final])
        elif final == "P":
            del self._line[at : at + count]
        elif final == "@":
            self._line[at:at] = " " * min(count, COLUMNS_MOST - at)
            del self._line[COLUMNS_MOST:]
        elif final not in "mhlsub":
            return self._broken()
        return []

    def _erased(self, begin: int, end: int) -> None:
        if end >= len(self._line):
            del self._line[begin:]
        else:
            self._line[begin:end] = " " * (end - begin)

    def _broken(self) -> list[str]:
        """The line so far, if there is anything in it."""
        line = self._ended()
        return [line] if line else []

    def _ended(self) -> str:
        line = "".join(self._line).rstrip()
        self._line, self._column = [], 0
        return line


def _erasing(number: int, at: int) -> tuple[int, int]:
    """What erasing in a line erases: from here on, up to here, or all."""
    return {1: (0, at + 1), 2: (0, COLUMNS_MOST)}.get(number, (at, COLUMNS_MOST))
