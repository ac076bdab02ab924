"""Options that several commands share, and the command line's own."""

from typing import Annotated

import typer

from proxy.cli.failures import USAGE, Failed
from proxy.cli.screen import Screen


def _json_asked(context: typer.Context, value: bool) -> bool:
    screen = context.find_root().obj
    if value and isinstance(screen, Screen):
        screen.json = True
    return value


Json = Annotated[bool, typer.Option("--json", help="JSON for machines.", callback=_json_asked)]
As = Annotated[str, typer.Option("--as", metavar="ACCOUNT", help="The account on the resource.")]
Reason = Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why; others read it.")]
For = Annotated[str, typer.Option("--for", metavar="DURATION", help="As 30m, 1h30m or 90s.")]
Limit = Annotated[int, typer.Option("--limit", min=1, max=10_000, help="How many at most.")]


def root(json: Json = False) -> None:
    """Temporary production access: ask for it, use it, see it end.

    TIDEGATE_API is the gateway's API, TIDEGATE_CA the file of the authority that signed its certificate, and
    TIDEGATE_HOME where your log-in is kept (~/.config/tidegate). Exit codes: 0 done, 1 failed, 2 wrong usage,
    3 denied, 4 not reachable.
    """


def screen_of(context: typer.Context) -> Screen:
    """The command's output."""
    found = context.find_root().obj
    return found if isinstance(found, Screen) else Screen()


def checked_duration(text: str) -> str:
    """A duration as the API takes it; wrong usage if it is none."""
    from gateway_config.durations import duration

    try:
        if duration(text) > 0:
            return text
    except ValueError:
        pass
    raise Failed(f"--for {text!r} is no duration", hint="for example --for 30m, --for 1h30m", code=USAGE)
