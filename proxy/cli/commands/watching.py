"""Sessions: who is in, what runs, what was run."""

import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping
from enum import StrEnum
from typing import Annotated, Any

import typer

from proxy.cli.casting import of_terminal, of_text
from proxy.cli.client import Api, logged_in, part
from proxy.cli.commands.options import Json, Limit, screen_of
from proxy.cli.failures import Failed
from proxy.cli.following import Followed
from proxy.cli.playing import play, shown_raw
from proxy.cli.replaying import Frame, Pace, Shown, closing, json_lines, opening, raw, terminal, text
from proxy.cli.screen import Screen
from proxy.cli.watched import AsJson, AsSeen, AsText, View
from proxy.core.sessions import OWN_PIDS
from proxy.recording.replay import LONGEST_PAUSE
from proxy.recording.terminal import Screened

PAGE = 500
IDLE = 2.0
"""Seconds that nothing happens in a terminal, at most."""


class Format(StrEnum):
    TEXT = "text"
    TERMINAL = "terminal"
    JSON = "json"
    ASCIICAST = "asciicast"
    ASCIICAST_V3 = "asciicast-v3"


CASTS: Mapping[Format, int] = {Format.ASCIICAST: 2, Format.ASCIICAST_V3: 3}
Pid = Annotated[
    int | None, typer.Option("--pid", min=1, max=OWN_PIDS - 1, help="Only of this process of a target.")
]
Statement = Annotated[int, typer.Option("--statement", min=0, metavar="N", help="Only this one of the session.")]


def sessions(
    context: typer.Context,
    live: Annotated[bool, typer.Option("--live", help="Only live ones, with what they run.")] = False,
    user: Annotated[str, typer.Option("--user", help="Only this person's.")] = "",
    resource: Annotated[str, typer.Option("--resource", help="Only on this resource.")] = "",
    pid: Pid = None,
    limit: Limit = 50,
    json: Json = False,
) -> None:
    """Sessions, newest first: your own; auditors and admins see all."""
    asked = {
        "live": "true" if live else None,
        "identity": user,
        "resource": resource,
        "pid": str(pid) if pid else None,
    }
    found = list(logged_in().every("/v1/sessions", asked, most=limit))
    rows = [{**each, "to": f"{each['account']}@{each['resource']}", "what": _what(each)} for each in found]
    headings = {
        "id": "SESSION",
        "identity": "WHO",
        "to": "ACCOUNT",
        "started": "SINCE",
        **({"target_pid": "PID"} if live or pid else {}),
        "what": "RUNS" if live else "END",
    }
    screen = screen_of(context)
    empty = ("there are no live sessions" if live else "there are no sessions") + (f" of pid {pid}" if pid else "")
    screen.show({"items": found}, lambda: screen.table(rows, headings, empty))


def _what(session: dict[str, Any]) -> str:
    if session["running"]:
        return " ".join(session["running"]["text"].split())[:80]
    return str(session["end_reason"] or "-")


def replay(
    context: typer.Context,
    session: Annotated[str, typer.Argument(metavar="[SESSION]", help="The session; else the newest.")] = "",
    user: Annotated[str, typer.Option("--user", help="Without SESSION: the newest of this person.")] = "",
    speed: Annotated[
        float | None,
        typer.Option("--speed", min=0.0, help="1 as it was (terminals), 10 ten times as fast, 0 at once (else)."),
    ] = None,
    idle: Annotated[
        float | None,
        typer.Option("--idle", min=0.0, metavar="SECONDS", help="No pause is longer: 2 in terminals, else 5."),
    ] = None,
    statement: Statement = 0,
    format: Annotated[Format | None, typer.Option("--format", help="How to tell it.")] = None,
    json: Json = False,
) -> None:
    """What a session did: a terminal is played in yours. Else, with --format text and into a pipe: statements with
    their times, results and errors, what was seen of commands, the lines terminals showed, and how it ended."""
    replayed = Replayed(logged_in(), session, user, statement)
    if json:
        screen_of(context).document(replayed.document())
        return
    told = format or (Format.TERMINAL if sys.stdout.isatty() and replayed.terminals() else Format.TEXT)
    if told is Format.TERMINAL:
        replayed.played(Pace(1.0 if speed is None else speed, IDLE if idle is None else idle))
        return
    pace = Pace(speed or 0.0, LONGEST_PAUSE if idle is None else idle)
    if told in CASTS:
        play(replayed.cast(CASTS[told], screen_of(context)))
    elif told is Format.JSON:
        play(json_lines(replayed.ran(), *pace))
    else:
        play(replayed.text(pace))


class Replayed:
    """A session that is told again, or one ``statement`` of it (0: all)."""

    def __init__(self, api: Api, session: str, user: str, statement: int) -> None:
        self._api = api
        self._session = session or _newest(api, user)
        self._statement = statement
        self._about = api.get(f"/v1/sessions/{part(self._session)}")

    def ran(self) -> Iterator[dict[str, Any]]:
        """Its statements."""
        after = max(self._statement - 1, 0)
        limit = 1 if self._statement else PAGE
        found = _pages(self._api, self._session, "statements", after, limit=limit)
        for each in found:
            if self._statement and each["seq"] != self._statement:
                break
            yield each
            if self._statement:
                return
        if self._statement:
            raise Failed(f"there is no statement {self._statement} in {self._session}")

    def terminals(self) -> list[dict[str, Any]]:
        """Its statements that have a terminal. Only SSH has such."""
        return [each for each in self.ran() if "terminal" in each] if self._about["protocol"] == "ssh" else []

    def notes(self) -> list[dict[str, Any]]:
        wanted = (0, self._statement)
        found = _pages(self._api, self._session, "notes", 0)
        return [each for each in found if not self._statement or each["data"].get("statement", 0) in wanted]

    def kept(self, statement: int) -> Iterator[dict[str, Any]]:
        """The bytes and sizes that were kept of a statement; 0: of all."""
        return _pages(self._api, self._session, "output", 0, statement=statement or None)

    def document(self) -> dict[str, Any]:
        return {"session": self._about, "items": list(self.ran()), "notes": self.notes()}

    def text(self, pace: Pace) -> Iterator[Frame]:
        lines = self._lines() if self._about["protocol"] == "ssh" else ()
        return text(self._about, self.ran(), pace.speed, self.notes(), lines, pace.most)

    def _lines(self) -> Iterator[Mapping[str, Any]]:
        """What its terminals showed."""
        path = f"/v1/sessions/{part(self._session)}/output"
        shown = Shown(self._api.get(path, limit=1)["began"])
        for each in self.kept(self._statement):
            yield from shown.feed(each)
        yield from shown.rest()

    def cast(self, version: int, screen: Screen) -> Iterator[Frame]:
        """Of a terminal, the first where there are several; else of the text."""
        terminals = self.terminals()
        if not terminals:
            return of_text(self._about, self.ran(), self.notes(), version)
        first = terminals[0]
        if len(terminals) > 1:
            others = ", ".join(str(each["seq"]) for each in terminals[1:])
            screen.note(f"this is the terminal of statement {first['seq']}; --statement for others: {others}")
        return of_terminal(self._about, first, self.kept(first["seq"]), version)

    def played(self, pace: Pace) -> None:
        """Its terminals, one after the other, in this one. ``Failed`` where it has none."""
        terminals = self.terminals()
        if not terminals:
            raise Failed(f"{self._session} has no terminal", hint="--format text tells what it did")
        screened = Screened()
        with shown_raw(screened):
            play([Frame(0.0, raw(opening(self._about) + _torn(terminals)))])
            for each in terminals:
                play(terminal(each, self.kept(each["seq"]), screened, pace))
        sys.stdout.write(closing(self._about))


def _torn(terminals: Iterable[dict[str, Any]]) -> str:
    """Says where this terminal is smaller than one that was recorded: what does not fit is painted over."""
    columns, rows = shutil.get_terminal_size()
    sizes = [(each["terminal"]["columns"], each["terminal"]["rows"]) for each in terminals]
    if all(wide <= columns and high <= rows for wide, high in sizes):
        return ""
    wide, high = max(each[0] for each in sizes), max(each[1] for each in sizes)
    return f"-- it had {wide}x{high} characters, this terminal has {columns}x{rows}: it may look torn\n"


def watch(
    context: typer.Context,
    session: Annotated[str, typer.Argument(metavar="SESSION", help="The session.")],
    statement: Statement = 0,
    json: Json = False,
) -> None:
    """Follow a session from its beginning until it ends, or Ctrl-C: its terminal in yours, or statements and notes
    as they come."""
    api = logged_in()
    about = api.get(f"/v1/sessions/{part(session)}")
    view: View = AsJson(about) if json else AsSeen(about) if sys.stdout.isatty() else AsText(about)
    try:
        with view:
            for news in Followed(api, session, statement).news():
                view.show(news)
            view.over(api.get(f"/v1/sessions/{part(session)}"))
    except KeyboardInterrupt:
        screen_of(context).note("\nno longer watched; the session goes on")


def _newest(api: Api, user: str) -> str:
    """The newest session one may see."""
    for each in api.every("/v1/sessions", {"identity": user}, most=1):
        return str(each["id"])
    raise Failed("there are no sessions" + (f" of {user}" if user else ""))


def _pages(api: Api, session: str, kind: str, after: int, **query: int | None) -> Iterator[dict[str, Any]]:
    """The ``statements``, ``notes`` or ``output`` of a session over their pages."""
    while True:
        page = api.get(f"/v1/sessions/{part(session)}/{kind}", after=after, **query)
        yield from page["items"]
        if page["next"] is None:
            return
        after = page["next"]


def nodes(context: typer.Context, json: Json = False) -> None:
    """The workers that serve sessions. For auditors and admins."""
    found = logged_in().get("/v1/nodes")["items"]
    headings = {
        "id": "NODE",
        "host": "HOST",
        "started": "SINCE",
        "heartbeat": "HEARTBEAT",
        "fresh": "ALIVE",
        "feed_behind": "BEHIND",
        "drains": "DRAINS UNTIL",
    }
    screen = screen_of(context)
    screen.show({"items": found}, lambda: screen.table(found, headings, "there are no nodes"))
