"""``tidegate``, the command: which word is which function, and how the command ends.

A word's module is imported only when that word is typed, and ``token`` and ``ssh-certificate`` go past Typer
altogether (see ``quick``): they are called for every connection. Knows no command's work.
"""

import errno
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any

from proxy.cli import streams
from proxy.cli.failures import FAILED, Failed
from proxy.cli.quick import plain_certificate, plain_token, print_token, ready_certificate
from proxy.cli.screen import Screen

if TYPE_CHECKING:
    import typer

COMMANDS: Mapping[str, str] = {
    "serve": "operating:serve",
    "demo": "operating:demo",
    "login": "people:login",
    "logout": "people:logout",
    "whoami": "people:whoami",
    "resources": "asking:resources",
    "request": "asking:request",
    "requests": "asking:requests",
    "use": "asking:use",
    "approve": "asking:approve",
    "deny": "asking:deny",
    "withdraw": "asking:withdraw",
    "grants": "holding:grants",
    "extend": "holding:extend",
    "give-back": "holding:give_back",
    "token": "connecting:token",
    "connect": "connecting:connect",
    "passfile": "connecting:passfile",
    "ssh-config": "certifying:ssh_config",
    "ssh-certificate": "certifying:ssh_certificate",
    "sessions": "watching:sessions",
    "watch": "watching:watch",
    "replay": "watching:replay",
    "nodes": "watching:nodes",
    "drain": "operating:drain",
    "revoke": "ending:revoke",
    "cut": "ending:cut",
    "lock": "ending:lock",
    "unlock": "ending:unlock",
    "locks": "ending:locks",
    "reload": "operating:reload",
}
GROUPS: Mapping[str, tuple[str, Mapping[str, str]]] = {
    "audit": (
        "The trail: who did what, and whether it is whole.",
        {"log": "auditing:log", "verify": "auditing:verify", "restored": "auditing:restored"},
    ),
    "config": (
        "The gateway's configuration file.",
        {
            "check": "configuring:check",
            "test": "testing:test",
            "schema": "configuring:schema",
            "explain": "configuring:explain",
        },
    ),
    "keys": (
        "The keys that sign tokens, and SSH's authorities.",
        {
            "rotate": "operating:rotate",
            "ssh": "certifying:authorities",
            "rotate-targets": "certifying:rotate_targets",
        },
    ),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; its exit code: 0 done, 1 failed, 2 wrong usage, 3 denied, 4 not reachable."""
    words = list(sys.argv[1:] if argv is None else argv)
    screen = Screen(json="--json" in words[: words.index("--")] if "--" in words else "--json" in words)
    streams.settle()
    code = FAILED
    try:
        code = _ended(words, screen)
        sys.stdout.flush()
    except streams.Unwritten as lost:
        if lost.errno != errno.EPIPE:  # a reader who has gone needs no word
            what = f"standard output cannot be written: {lost.strerror}"
            screen.failure(Failed(what, hint="it may have been done all the same: look before you ask again"))
        streams.drop(sys.stdout)
        code = code or FAILED
    streams.settle_errors()
    return code


def _ended(words: Sequence[str], screen: Screen) -> int:
    """The exit code of the command, which has said why where it failed."""
    try:
        return _run(words, screen)
    except Failed as failed:
        screen.failure(failed)
        return failed.code
    except KeyboardInterrupt:
        sys.stderr.write("\n")
        return 130
    except streams.Unwritten:
        raise
    except OSError as error:  # a file, a folder, a program of this machine
        said = ": ".join(str(each) for each in (error.filename, error.strerror or error) if each)
        screen.failure(Failed(said))
        return FAILED


def _run(words: Sequence[str], screen: Screen) -> int:
    plain = plain_token(words)
    if plain is not None:
        print_token(*plain)
        return 0
    plain = plain_certificate(words)
    if plain is not None:
        ready_certificate(*plain)
        return 0
    try:
        application(words)(args=list(words), prog_name="tidegate", obj=screen)
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else FAILED
    return 0


def application(words: Sequence[str] = ()) -> "typer.Typer":
    """The commands: only the one that is typed first, or all of them where that is not plain (help, mistakes)."""
    import typer

    from proxy.cli.commands.options import root

    app = _typer("Temporary production access: ask for it, use it, see it end.")
    app.callback()(root)
    first = next((word for word in words if not word.startswith("-")), "")
    wanted = (
        [first] if (first in COMMANDS or first in GROUPS) and "--help" not in words[:1] else [*COMMANDS, *GROUPS]
    )
    for word in wanted:
        if word in COMMANDS:
            app.command(word)(_function(COMMANDS[word]))
            continue
        about, members = GROUPS[word]
        group = _typer(about)
        # a callback keeps a group with one command a group
        group.callback()(_nothing)
        for name, place in members.items():
            group.command(name)(_function(place))
        app.add_typer(group, name=word, help=about)
    assert isinstance(app, typer.Typer)  # noqa: S101 - for the reader: what comes back
    return app


def _typer(help: str) -> "typer.Typer":
    import typer

    return typer.Typer(
        help=help, no_args_is_help=True, add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False
    )


def _nothing() -> None:
    """A group does nothing itself."""


def _function(place: str) -> Any:
    module, _, name = place.partition(":")
    return getattr(import_module(f"proxy.cli.commands.{module}"), name)


if __name__ == "__main__":
    sys.exit(main())
