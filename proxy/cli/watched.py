"""What is shown of a session that is followed: JSON lines, lines of text, or its terminal. Writes to standard
output.

Called by ``commands.watching`` with what ``following`` found. A session whose only statement has a terminal is
shown as that terminal; as soon as more runs in it, all is told as text, since one terminal cannot show two.
"""

import sys
from contextlib import ExitStack
from typing import Protocol, Self

from proxy.cli.documents import json_text
from proxy.cli.following import News
from proxy.cli.playing import say, shown_raw
from proxy.cli.replaying import Record, Shown, begun, closing, data_of, line_as_text, number, opening, raw
from proxy.recording.replay import QUIET, as_text, begun_as_text, ended_as_text, note_as_text, safe
from proxy.recording.terminal import Screened


class View(Protocol):
    """Shows what is new, and at the end how the session ended. Entered before, left after, however that comes."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *exc: object) -> None: ...

    def show(self, news: News) -> None: ...

    def over(self, session: Record) -> None: ...


class AsJson:
    """One object a line; its one member says what it is."""

    def __init__(self, session: Record) -> None:
        self._session = session

    def __enter__(self) -> Self:
        self._line("session", self._session)
        return self

    def __exit__(self, *exc: object) -> None:
        sys.stdout.flush()

    def show(self, news: News) -> None:
        for kind, items in (
            ("statement", news.begun),
            ("output", news.kept),
            ("note", news.notes),
            ("statement", news.ended),
        ):
            for each in items:
                self._line(kind, each)
        sys.stdout.flush()

    def over(self, session: Record) -> None:
        self._line("ended", session)

    def _line(self, kind: str, item: Record) -> None:
        sys.stdout.write(json_text({kind: item}) + "\n")


class AsText:
    """Statements when they begin and when they end, notes, and the lines that terminals show."""

    def __init__(self, session: Record) -> None:
        self._session = session
        self._shown: Shown | None = None

    def __enter__(self) -> Self:
        say(opening(self._session))
        return self

    def __exit__(self, *exc: object) -> None:
        sys.stdout.flush()

    def show(self, news: News) -> None:
        self._shown = self._shown or Shown(news.began)
        lines = [line for each in news.kept for line in self._shown.feed(each)]
        if not news.live:
            lines += self._shown.rest()
        notes = [{**each, "started": each["at"]} for each in news.notes if each["kind"] not in QUIET]
        for each in sorted([*news.begun, *notes, *lines], key=begun):
            say(_told(each) + "\n")
        for each in news.ended:
            say(ended_as_text(each) + "\n")
        sys.stdout.flush()

    def pass_over(self, news: News) -> None:
        """What is shown in another way."""
        self._shown = self._shown or Shown(news.began)
        for each in news.kept:
            list(self._shown.feed(each))

    def over(self, session: Record) -> None:
        say(closing(session))


def _told(record: Record) -> str:
    if "line" in record:
        return line_as_text(record)
    if "kind" in record:
        return note_as_text(record)
    return begun_as_text(record) if record["outcome"] is None else as_text(record)


class AsSeen:
    """The terminal of the only statement, in this one. Told as text: what comes before there is one, and all from
    where there is a second statement."""

    def __init__(self, session: Record) -> None:
        self._text = AsText(session)
        self._screened = Screened()
        self._raw = ExitStack()
        self._statements: list[Record] = []
        self._seen = False

    def __enter__(self) -> Self:
        self._text.__enter__()
        return self

    def __exit__(self, *exc: object) -> None:
        self._leave()

    def show(self, news: News) -> None:
        self._statements += news.begun
        if self._seen and len(self._statements) > 1:
            self._leave()
            only = self._statements[0]["seq"]
            say(f"-- more runs in this session: told as text from here on; --statement {only} shows the terminal\n")
        elif not self._seen and len(self._statements) == 1 and _has_terminal(self._statements[0], news):
            self._seen = True
            self._raw.enter_context(shown_raw(self._screened))
            say(raw(safe(f"[{self._statements[0]['started']}] {number(self._statements[0])}") + "\n"))
        if self._seen:
            self._paint(news)
        else:
            self._text.show(news)

    def over(self, session: Record) -> None:
        self._leave()
        self._text.over(session)

    def _paint(self, news: News) -> None:
        self._text.pass_over(news)
        seq = self._statements[0]["seq"]
        for each in news.kept:
            if each["statement"] == seq and each["kind"] in ("output", "errors"):
                say(self._screened.feed(data_of(each)))
        sys.stdout.flush()
        for each in (*news.begun, *news.ended):
            if each["outcome"] is not None:
                say(self._screened.rest())
                self._leave()
                say(ended_as_text(each) + "\n")

    def _leave(self) -> None:
        """The terminal is one's own again."""
        if self._seen:
            say(self._screened.leave() + raw("\n"))
        self._seen = False
        self._raw.close()
        sys.stdout.flush()


def _has_terminal(statement: Record, news: News) -> bool:
    """As it was told, or as its bytes tell since."""
    sizes = {each["statement"] for each in news.kept if each["kind"] == "resize"}
    return "terminal" in statement or statement["seq"] in sizes
