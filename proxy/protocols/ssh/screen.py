"""A guess at the command lines typed in a terminal, from what it shows and when Enter is pressed. Pure; fed by
``engine`` with both ways of a channel that has a terminal.

Never exact: an aid to find a place in a recording, and no more. What is typed without an echo is not shown, so it
is not seen. A shell that marks its prompts (OSC 133 of FinalTerm, OSC 633 of VS Code) is believed before the screen
is; whatever prints such marks is believed too.

Both sides may send anything, as fast as they like, while all other sessions wait: every way is linear in what is
fed, and what takes more work than terminals do is not looked at any more (``WORK_MOST``). Work is counted, not
measured: a busy machine changes nothing.
"""

import re
from collections import deque
from typing import NamedTuple

from proxy.protocols.ssh.screen_line import Line

TEXT_MOST = 4096
STRING_MOST = 8192
ENTERS_MOST = 100
LINES_MOST = 64
"""So many lines a press of Enter waits for its own, where it came before the last one's."""
WORK_A_STEP = 4
WORK_MOST = 500_000
"""A unit is some 0.2 µs, and each byte that is fed takes one off: the echo of a key is 4, a sequence that moves a
wide row some 100, a chunk of whole lines 4. So a screen takes about 0.1 s at once, then 0.2 s a MiB at most."""
GAVE_UP = "the rest of this terminal is not looked at for commands: it takes too much work"
"""Said with ``NOT_SEEN`` as the source."""
NOT_SEEN = ""

_TEXT = re.compile(rb"[ -~\x80-\xff]+")
_CUT = re.compile(rb"(?:[\xc2-\xdf]|[\xe0-\xef][\x80-\xbf]?|[\xf0-\xf4][\x80-\xbf]{0,2})\Z")
"""The beginning of a character whose end is still to come."""
_BARE = re.compile(rb"\n+|\r+|\x08+|[\x00-\x07\x0e-\x1a\x1c-\x1f\x7f]+")
"""Controls of which many at once are as quick as one."""
_HIDDEN = re.compile(rb"(?:[^\x1b]++|\x1b\[[0-?]{0,64}[ -/]{0,4}[@-gi-km-~])*+")
"""What does not end the alternate screen."""
_OUTPUT = re.compile(rb"(?:[^\x1b]++|\x1b\[[0-9;]{0,64}[mK])*+")
"""What changes nothing but the line it is in: text, colours, erasing to an end."""
_CSI = re.compile(rb"\x1b\[([0-?]{0,64})([ -/]{0,4})")
_STRING = re.compile(rb"\x1b[]P^_X][^\x07\x18\x1a\x1b]{0,%d}" % STRING_MOST)
_KEYS = re.compile(rb"\x1b\[(?:[0-?]{0,64}[ -/]{0,4})|\x1bO|\x1b|[\r\n]+|[^\x1b\r\n]+")
_ALTERNATE = frozenset((b"?1049", b"?1047", b"?47"))
_REPORTS = frozenset(b"RcnIOty")
_ESCAPED = re.compile(r"\\(?:x([0-9a-fA-F]{2})|(\\))")


class Observed(NamedTuple):
    """A command line that was probably typed: ``source`` is "screen", "osc133" or "osc633"; ``exit`` what the shell
    said that it ended with, where it said so. With ``NOT_SEEN`` as the source it is none, but a word about what
    follows."""

    text: str
    source: str
    exit: int | None = None


def _kept(text: str) -> str:
    """As much of a command line as is kept, without what a terminal would act on."""
    text = "".join(each if each.isprintable() or each == "\n" else " " for each in text[:TEXT_MOST])
    return text.strip().encode(errors="replace")[:TEXT_MOST].decode(errors="ignore")


class Screen:
    """One terminal. What is observed is given once: a marked command when it is over, or at ``finish``."""

    def __init__(self, columns: int, rows: int) -> None:
        self._line = Line(columns or 80)
        self._rest = b""
        self._string = False  # one too long to be kept goes by
        self._alternate = False
        self._saved = 0
        self._keys = Keys()
        self._prompt: str | None = None  # what stood before the first key of the line that is typed now
        self._known = ""  # the last prompt there was
        self._enters: deque[tuple[str | None, int]] = deque()
        self._marks = Marks()
        self._found: list[Observed] = []
        self._stop = 0  # in what is fed, where output that changes only its line ends
        self._last = -1  # and the last line end before that
        self._off = False
        self.resize(columns, rows)

    def resize(self, columns: int, rows: int) -> None:
        """The terminal has another size; 0 is not known."""
        del rows  # the line knows no other rows than its own
        self._line.resize(columns or 80)

    def feed_input(self, data: bytes) -> list[Observed]:
        """What the client typed, before it is passed on. Nothing is observed before the echo comes."""
        if self._off:
            return []
        self._found = []
        self._paid(len(data))
        keys = self._keys.feed(data)
        self._line.work += WORK_A_STEP * len(keys)
        for key, enter in keys:
            if self._alternate:
                self._prompt = None
            elif not enter:
                self._touch(key)
            elif len(self._enters) < ENTERS_MOST:
                self._touch(key)
                self._enters.append((self._prompt, 0))
                self._prompt = None
        if self._line.work > WORK_MOST:
            self._give_up()
        return self._found

    def _touch(self, key: bool) -> None:
        if key and self._prompt is None and not self._enters:
            self._prompt = self._line.before()

    def feed_output(self, data: bytes) -> list[Observed]:
        """What the terminal shows: the commands that are observed by it."""
        if self._off:
            return []
        self._found = []
        self._paid(len(data))
        data = self._rest + data if self._rest else data
        self._rest = b""
        self._stop, self._last = 0, -1
        position, end = 0, len(data)
        line = self._line
        while 0 <= position < end:
            position = self._next(data, position, end)
            line.work += WORK_A_STEP
            if line.work > WORK_MOST:
                self._give_up()
                break
        return self._found

    def _paid(self, size: int) -> None:
        self._line.work = max(0, self._line.work - size)

    def _give_up(self) -> None:
        self._found += [*self.finish(), Observed(GAVE_UP, NOT_SEEN)]
        self._off = True
        self._rest, self._known, self._prompt = b"", "", None
        self._enters.clear()
        self._line.cells.clear()

    def _next(self, data: bytes, position: int, end: int) -> int:
        """Deal with what is at ``position``: where it ends, or -1 where it is not whole and waits for more."""
        if self._string:
            return self._skip_string(data, position)
        if data[position] == 27:
            after = self._escape(data, position, end)
            if after < 0:
                self._rest = data[position:]
            return after
        if self._alternate:
            hidden = _HIDDEN.match(data, position)
            return hidden.end() if hidden is not None else end
        found = _TEXT.match(data, position)
        if found is None:
            return self._control(data, position)
        text, stop = found[0], found.end()
        if text.isascii():
            self._line.put(text.decode("ascii"))
            return stop
        cut = _CUT.search(text) if stop == end else None
        if cut is not None:
            self._rest = cut[0]
            text = text[: cut.start()]
        self._line.put(text.decode(errors="replace"))
        return stop

    def finish(self) -> list[Observed]:
        """The command that still runs when the terminal goes away, where it was marked."""
        last = self._marks.over(None)
        return [last] if last is not None else []

    # -- output --------------------------------------------------------------------------------------------------

    def _control(self, data: bytes, position: int) -> int:
        byte = data[position]
        if byte == 9:
            self._line.tab()
            return position + 1
        if byte in (11, 12):
            self._line.fresh()
            return position + 1
        if byte == 10:
            return self._line_end(data, position)
        bare = _BARE.match(data, position)
        stop = bare.end() if bare is not None else position + 1
        if byte == 13:
            self._line.move(0)
        elif byte == 8:
            self._line.right(position - stop)
        return stop

    def _line_end(self, data: bytes, position: int) -> int:
        last = self._nothing_to_see(data, position)
        if last > position + 1:
            self._line.fresh(0)  # of whole lines of output, only the last one's end matters
            return last + 2
        self._feed_line()
        if self._enters or self._marks.typing or self._line.cells:
            return position + 1
        bare = _BARE.match(data, position)  # another one changes nothing
        return bare.end() if bare is not None else position + 1

    def _nothing_to_see(self, data: bytes, start: int) -> int:
        """Where the last line of these ends of which none can be one that was typed; -1: there are none such."""
        if self._enters or self._marks.typing or len(self._line.cells) > self._line.columns:
            return -1
        if start >= self._stop:  # else what was found then still holds
            found = _OUTPUT.match(data, start)
            self._stop = found.end() if found is not None else start + 1
            self._last = data.rfind(b"\r\n", start, self._stop)
        return self._last

    def _feed_line(self) -> None:
        """The cursor goes to the next line: was this one typed?"""
        if self._marks.typing:
            if self._enters:
                self._enters.popleft()
                self._marks.typed(self._line.text())
        elif self._enters:
            self._entered()
        if not self._line.down(1):
            self._line.fresh()

    def _entered(self) -> None:
        prompt, seen = self._enters[0]
        text = self._line.text()
        if prompt is None and not (self._known and text.startswith(self._known.rstrip())):
            # It was typed ahead: only a line with the prompt can be its own.
            self._enters[0] = (None, seen + 1)
            if seen >= LINES_MOST:
                self._enters.popleft()
            return
        self._enters.popleft()
        before = next(
            (each for each in (prompt, self._known) if each and each.strip() and text.startswith(each.rstrip())), ""
        )
        text = _kept(text[len(before.rstrip()) :])
        self._line.work += len(text)
        if text:
            self._known = before or self._known
            self._found.append(Observed(text, "screen"))

    def _escape(self, data: bytes, position: int, end: int) -> int:
        """Where the sequence at ``position`` ends; -1 where it is not whole."""
        if position + 1 == end:
            return -1
        kind = data[position + 1]
        if kind == 91:  # [
            found = _CSI.match(data, position)
            if found is None or found.end() == end:
                return -1
            if not 64 <= data[found.end()] <= 126:
                return found.end()  # it is none: what follows stands for itself
            if data[found.end()] != 109:  # colours
                self._sequence(found[1], found[2], data[found.end()])
            return found.end() + 1
        if kind in b"]P^_X":
            return self._string_at(data, position, end)
        if kind in b" #%()*+-./":
            return position + 3 if position + 3 <= end else -1
        if kind == 27:
            return position + 1
        if not self._alternate:
            self._simple(kind)
        return position + 2

    def _simple(self, kind: int) -> None:
        if kind == 55:  # 7
            self._saved = self._line.at
        elif kind == 56:  # 8
            self._line.at = min(self._saved, len(self._line.cells))
            self._line.over = False
        elif kind == 69:  # E
            self._line.move(0)
            self._feed_line()
        elif kind in b"DMc":
            self._line.fresh(0 if kind == 99 else None)

    def _string_at(self, data: bytes, position: int, end: int) -> int:
        found = _STRING.match(data, position)
        stop = found.end() if found is not None else position + 2
        if stop == end:
            return -1
        if data[stop] == 27 and stop + 1 == end:
            return -1
        if data[stop] == 7 or data[stop : stop + 2] == b"\x1b\\":
            if data[position + 1] == 93:  # ]
                self._mark(data[position + 2 : stop])
            return stop + (1 if data[stop] == 7 else 2)
        self._string = data[stop] not in (24, 26, 27)
        return stop

    def _skip_string(self, data: bytes, position: int) -> int:
        ends = [
            at for at in (data.find(each, position) for each in (b"\x07", b"\x1b", b"\x18", b"\x1a")) if at >= 0
        ]
        if not ends:
            return len(data)
        self._string = False
        return min(ends) + (data[min(ends)] == 7)

    def _sequence(self, parameters: bytes, between: bytes, final: int) -> None:
        """A control sequence, as far as it changes the line."""
        if final in b"hl":
            if set(parameters.split(b";")) & {*_ALTERNATE, b"?1049"} and not between:
                self._alternate = final == 104
                self._enters.clear()
                self._prompt = None
            elif parameters == b"4":
                self._line.insert = final == 104
            return
        if self._alternate or between or parameters[:1] in (b"?", b">", b"<", b"="):
            return
        numbers = [int(each) if each.isdigit() else 0 for each in parameters[:20].split(b";")]
        first = min(numbers[0], 10_000)
        if final in b"CaD`GAB":
            self._move(final, first or 1)
        elif final in b"HfEFd":
            column = 1 if len(numbers) < 2 else numbers[1]
            self._line.fresh(max(0, column - 1) if final != 100 else None)
        else:
            self._edit(final, first)

    def _move(self, final: int, count: int) -> None:
        line = self._line
        match chr(final):
            case "C" | "a":
                line.right(count)
            case "D":
                line.right(-count)
            case "G" | "`":
                line.move(count - 1)
            case "A":
                line.up(count)
            case "B":
                line.down(count)

    def _edit(self, final: int, first: int) -> None:
        line, count = self._line, first or 1
        match chr(final):
            case "K":
                line.erase(first)
            case "J" if first == 0:
                line.erase_below()
            case "J":
                line.fresh()
            case "P":
                line.take_out(count)
            case "@":
                line.blank_in(count)
            case "X":
                line.blank(count)

    def _mark(self, text: bytes) -> None:
        """An OSC string: a mark of the shell's, or nothing to us."""
        if self._alternate or text[:4] not in (b"133;", b"633;"):
            return
        before = self._line.before()
        self._line.work += len(text)  # all of it may be escapes
        found = self._marks.mark(text.decode(errors="replace"), before)
        if found is not None:
            self._line.work += len(found.text)
            self._found.append(found)
        if self._marks.typing:
            self._known = before
            self._prompt = None


class Marks:
    """What a shell says of itself: A: a prompt begins; B: it ends, and the person types; E: the command line; C: it
    runs; D: it is over. ``typing``: between B and C."""

    def __init__(self) -> None:
        self.typing = False
        self._prompt = ""
        self._text = ""
        self._source = ""
        self._runs = False

    def mark(self, text: str, before: str) -> Observed | None:
        """``text`` is all of it; ``before`` stands before the cursor. The command that is over by it."""
        kind = text[4:5]
        found = None
        if kind in ("A", "B"):
            found = self.over(None)
            self._text = ""
            self.typing = kind == "B"
            self._prompt = before
            self._source = f"osc{text[:3]}"
        elif kind == "E" and text[:4] == "633;":
            line = text[6:].split(";", 1)[0]
            self._text = _ESCAPED.sub(lambda each: "\\" if each[2] else chr(int(each[1], 16)), line)
        elif kind == "C":
            self.typing = False
            self._runs = bool(self._text.strip())
        elif kind == "D":
            self.typing = False
            word = text.split(";")[2] if text.count(";") > 1 else ""
            found = self.over(int(word) if re.fullmatch(r"[0-9]{1,3}", word) else None)
        return found

    def typed(self, line: str) -> None:
        """Enter was pressed and this is the line with the prompt; the shell's own word comes after it, if ever."""
        prompt = self._prompt.rstrip()
        self._text = (self._text + "\n" if self._text else "") + line.removeprefix(prompt).strip()
        self._text = self._text[:TEXT_MOST]

    def over(self, ended: int | None) -> Observed | None:
        """The command that ran, if one did."""
        if not self._runs:
            return None
        self._runs = False
        text, self._text = _kept(self._text), ""
        return Observed(text, self._source or "osc133", ended)


class Keys:
    """Tells keys from what a terminal answers by itself, and presses of Enter from line ends that are pasted."""

    def __init__(self) -> None:
        self._rest = b""
        self._pasting = False

    def feed(self, data: bytes) -> list[tuple[bool, bool]]:
        """For each key, (whether it is one, whether it is Enter)."""
        data = self._rest + data
        self._rest = b""
        found: list[tuple[bool, bool]] = []
        position, end = 0, len(data)
        while position < end:
            each = _KEYS.match(data, position)
            stop = each.end() if each is not None else position + 1
            if data[position] != 27:
                enter = data[position] in (10, 13) and not self._pasting
                if enter:
                    found += [(True, True)] * min(stop - position, ENTERS_MOST)
                elif not found or found[-1] != (True, False):
                    found.append((True, False))
                position = stop
                continue
            if stop == end and data[position : position + 2] in (b"\x1b[", b"\x1b", b"\x1bO"):
                self._rest = data[position:]
                break
            if data[position + 1 : position + 2] == b"[":
                whole = data[position : stop + 1]
                if whole in (b"\x1b[200~", b"\x1b[201~"):
                    self._pasting = whole == b"\x1b[200~"
                report = data[stop] in _REPORTS
                found.append((not report, False))
                stop += 1
            else:
                found.append((True, False))
            position = stop
        return found
