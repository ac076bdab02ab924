"""The old scp (rcp's protocol) on its channel: each file is recorded before it passes, with what was in it. Pure;
called by ``engine`` in front of the bytes of a channel whose command is ``commands.scp_command``.

One side sends ``T`` (times), ``C`` (a file of so many bytes), ``D`` and ``E`` (into a folder and out of it); the
other answers each, and each file's content, with a zero byte, or with 1 or 2 and a line. The command itself is
recorded as such by the engine, so what is not understood here is not refused: it is counted, and said so.

Where a file goes is the target's to decide: ``put /tmp[/f]`` is /tmp/f if /tmp is a folder there, else /tmp.
"""

import re
from collections import deque
from collections.abc import Callable, Sequence

from proxy.core.records import Flow, Outcome, Record, Via
from proxy.core.steps import Forward, Observe, Reply, Side, Step, Tell
from proxy.protocols.ssh.commands import ScpCommand
from proxy.protocols.ssh.content import Hashed
from proxy.protocols.ssh.names import said, shown
from proxy.protocols.ssh.statements import finished, started, warning

LINE_MOST = 16 * 1024
DEPTH_MOST = 1000
EXPECTED_MOST = 1000
PATH_MOST = 4096
"""Of a file's path as shown: each folder's is in those of all that is in it."""
COMPLAINTS_MOST = 1000
"""Files that the sender could not begin with: two bytes make two records of one."""
_LINE = re.compile(rb"([CD])([0-7]{1,7}) ([0-9]{1,19}) ([^\n]+)")
_TIMES = re.compile(rb"T[0-9]{1,20} [0-9]{1,9} [0-9]{1,20} [0-9]{1,9}")


class _File:
    """A file or (``folder``) a folder that one side announced: ``left`` bytes of it are to come."""

    __slots__ = ("error", "folder", "hashed", "left", "seq")

    def __init__(self, seq: int, left: int, folder: bool) -> None:
        self.seq = seq
        self.left = left
        self.folder = folder
        self.hashed = Hashed()
        self.error = b""


class ScpReader:
    """One channel. ``next_seq`` gives the session's next statement number, ``statement`` is that of the command.
    ``counted``: bytes that passed since it is not understood any more (``broken``)."""

    def __init__(self, next_seq: Callable[[], int], command: ScpCommand, statement: int) -> None:
        self.broken = False
        self.counted = 0
        self._next_seq = next_seq
        self._command = command
        self._statement = statement
        self._sender = Side.CLIENT if command.upload else Side.TARGET
        self._flow = Flow.INPUT if command.upload else Flow.OUTPUT
        self._verb = b"put" if command.upload else b"get"
        self._folders: list[bytes] = []
        self._complaints = 0
        self._line = bytearray()  # of the sender, held
        self._file: _File | None = None  # its content comes, then one byte
        self._said = bytearray()  # an answer with a message
        self._expected: deque[tuple[bytes, _File | None]] = deque([(b"start", None)])
        self._steps: list[Step] = []

    def feed(self, side: Side, chunk: bytes) -> Sequence[Step]:
        """``Observe`` and ``Forward`` for bytes that ``side`` sent."""
        self._steps = []
        if self.broken:
            self.counted += len(chunk)
        elif side == self._sender:
            return self._send(chunk)
        else:
            self._answers(chunk)
        if chunk:
            self._steps.append(Forward(chunk))
        return self._steps

    def running(self) -> bool:
        """Whether a file is on its way."""
        return self._file is not None or any(file is not None for _, file in self._expected)

    def finish(self, outcome: Outcome) -> list[Record]:
        """The records that end what is still open when the channel ends."""
        files = {file.seq: file for _, file in self._expected if file is not None}
        if self._file is not None:
            files[self._file.seq] = self._file
        self._file = None
        self._expected.clear()
        records: list[Record] = []
        for _, file in sorted(files.items()):
            records += self._ended(file, outcome, b"", file.error)
        return records

    # -- the side that has the files -----------------------------------------------------------------------------

    def _send(self, chunk: bytes) -> list[Step]:
        passed = bytearray()
        position, end = 0, len(chunk)
        view = memoryview(chunk)
        while position < end and not self.broken:
            file = self._file
            if file is not None and file.left:
                stop = min(end, position + file.left)
                file.hashed.add(view[position:stop])
                file.left -= stop - position
                self._pass(passed, view, position, stop)
                position = stop
            elif file is not None and not self._line:
                position = self._after(file, chunk, position, passed)
            else:
                position = self._more(chunk, position, passed)
        if position < end:  # broken: what was held went out with the line
            self.counted += end - position
            passed += view[position:]
        if passed:
            self._steps.append(Forward(bytes(passed)))
        return self._steps

    def _pass(self, passed: bytearray, view: memoryview, start: int, stop: int) -> None:
        """File content goes as it came, not copied, where it is much."""
        if stop - start < 4096:
            passed += view[start:stop]
            return
        if passed:
            self._steps.append(Forward(bytes(passed)))
            passed.clear()
        self._steps.append(Forward(view[start:stop]))

    def _after(self, file: _File, chunk: bytes, position: int, passed: bytearray) -> int:
        """The byte behind a file's content: 0 where the sender could read all of it."""
        if chunk[position] == 0:
            passed.append(0)
            self._file = None
            self._expect(b"content", file)
            return position + 1
        return self._more(chunk, position, passed)

    def _more(self, chunk: bytes, position: int, passed: bytearray) -> int:
        """A line of the sender, or more of one."""
        stop = chunk.find(b"\n", position, position + LINE_MOST - len(self._line))
        stop = stop + 1 if stop >= 0 else min(len(chunk), position + LINE_MOST - len(self._line))
        self._line += chunk[position:stop]
        line = bytes(self._line)
        if line[0] in b"CDET\x01\x02" and line.endswith(b"\n"):
            self._line.clear()
            self._read(line[:-1])
            passed += line
        elif line[0] not in b"CDET\x01\x02" or len(line) >= LINE_MOST:
            self._line.clear()
            self._break("no line of scp's")
            passed += line
        return stop

    def _read(self, line: bytes) -> None:
        if line[0] in b"\x01\x02":
            self._complaint(said(line[1:]))
        elif self._file is not None:
            self._break("a line where a file's end should be")
        elif line == b"E" and self._folders:
            self._folders.pop()
            self._expect(b"leave", None)
        elif _TIMES.fullmatch(line):
            self._expect(b"times", None)
        elif (found := _LINE.fullmatch(line)) is not None:
            self._announce(found[1] == b"D", int(found[3]), found[4])
        else:
            self._break("no line of scp's")

    def _announce(self, folder: bool, size: int, name: bytes) -> None:
        if size >= 1 << 63 or len(self._folders) >= DEPTH_MOST:
            self._break("a size or depth that cannot be")
            return
        path = self._path(name, folder)
        if len(path) > PATH_MOST:
            self._break("a path that cannot be")
            return
        verb = self._verb if not folder else b"mkdir" if self._command.upload else b"list"
        file = _File(self._next_seq(), 0 if folder else size, folder)
        self._observe([started(file.seq, Via.SCP, b"%s %s" % (verb, path))])
        if folder:
            self._folders.append(path)
        else:
            self._file = file
        self._expect(b"announce", file)

    def _path(self, name: bytes, folder: bool) -> bytes:
        """Where it goes, or where it is."""
        if self._folders:
            return self._folders[-1] + b"/" + shown(name)
        command = self._command
        path = command.path
        bare = path.rstrip(b"/") or b"/"
        if not command.upload:
            place, _, last = bare.rpartition(b"/")
            if last in (name, b"", b".", b".."):
                return shown(bare if last == name else bare + b" (" + name + b")")
            return shown((place + b"/" if b"/" in bare else b"") + name)
        inside = shown((b"" if bare == b"/" else bare) + b"/" + name)
        if command.directory or path.endswith(b"/") or bare in (b".", b"..", b"~"):
            return inside
        if bare.rpartition(b"/")[2] == name and not folder:
            return shown(bare)
        return shown(bare) + b"[/" + shown(name) + b"]"

    def _complaint(self, message: bytes) -> None:
        """The sender could not read a file: the one whose content came, or one that it never began."""
        if self._file is not None:
            file, self._file = self._file, None
            file.error = message
            self._expect(b"content", file)
            return
        self._complaints += 1
        if self._complaints > COMPLAINTS_MOST:
            self._break("a sender that only complains")
            return
        seq = self._next_seq()
        text = b"%s %s" % (self._verb, shown(self._command.path[:PATH_MOST]))
        self._observe([started(seq, Via.SCP, text), finished(seq, Outcome.FAILED, b"error", message)])

    # -- the other side ------------------------------------------------------------------------------------------

    def _expect(self, what: bytes, file: _File | None) -> None:
        if len(self._expected) >= EXPECTED_MOST:
            self._break("a sender that does not wait for answers")
            return
        self._expected.append((what, file))

    def _answers(self, chunk: bytes) -> None:
        position, end = 0, len(chunk)
        while position < end and not self.broken:
            if not self._said and chunk[position] == 0:
                position += 1
                self._answered(b"")
                continue
            if not self._said and chunk[position] not in (1, 2):
                self._break("no answer of scp's")
                return
            stop = chunk.find(b"\n", position, position + LINE_MOST)
            stop = stop + 1 if stop >= 0 else end
            self._said += chunk[position:stop]
            position = stop
            if self._said.endswith(b"\n"):
                message = said(bytes(self._said[1:-1])) or b"an error without a word"
                self._said.clear()
                self._answered(message)
            elif len(self._said) > LINE_MOST:
                self._break("an answer without an end")

    def _answered(self, error: bytes) -> None:
        """``error`` is b"" for yes."""
        if not self._expected:
            self._break("an answer to nothing")
            return
        what, file = self._expected.popleft()
        if file is None:
            return
        if what == b"announce":
            if file.folder:
                self._observe(self._ended(file, Outcome.FAILED if error else Outcome.DONE, b"", error))
                if error and self._folders:
                    self._folders.pop()
            elif error:
                self._turned_away(file, error)
        else:
            error = error or file.error
            self._observe(self._ended(file, Outcome.FAILED if error else Outcome.DONE, b"", error))

    def _turned_away(self, file: _File, error: bytes) -> None:
        """The receiver does not want this file, so it does not come."""
        if file is not self._file or file.hashed.size or self._line:
            self._break("a file that was sent though it was not wanted")
            return
        self._file = None
        self._observe(self._ended(file, Outcome.FAILED, b"", error))

    # -- records -------------------------------------------------------------------------------------------------

    def _observe(self, records: list[Record]) -> None:
        for record in records:
            self._steps.append(Observe(record))

    def _ended(self, file: _File, outcome: Outcome, tag: bytes, error: bytes) -> list[Record]:
        records: list[Record] = []
        if not file.folder and (file.hashed.size or outcome is not Outcome.FAILED):
            records.append(file.hashed.content(file.seq, self._flow))
        words = {Outcome.DONE: b"ok", Outcome.FAILED: b"error"}
        size = file.hashed.size
        records.append(finished(file.seq, outcome, tag or words.get(outcome, b""), error, size))
        return records

    def _break(self, why: str) -> None:
        """It is not understood any more: what was open ends here for the record."""
        self.broken = True
        self._observe(self.finish(Outcome.UNKNOWN))
        if self._line:  # held, and nobody will look at it any more
            self._steps.append((Tell if self._command.upload else Reply)(bytes(self._line)))
            self._line.clear()
        text = f"scp is not understood any more ({why}): its files are not recorded from here on"
        self._observe([warning(self._statement, text)])
