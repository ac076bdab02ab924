"""Log in, log out, who am I."""

import os
import sys
from typing import Annotated

import typer

from proxy.cli.client import Api, address, logged_in
from proxy.cli.commands.options import Json, screen_of
from proxy.cli.failures import USAGE, Failed
from proxy.cli.home import Home, SavedLogin

MAX_PASSWORD = 1024


def login(
    context: typer.Context,
    user: Annotated[str, typer.Option("--user", help="Your name; else who was logged in before, or $USER.")] = "",
    password_stdin: Annotated[
        bool, typer.Option("--password-stdin", help="Read the password from standard input.")
    ] = False,
    json: Json = False,
) -> None:
    """Log in with name and password; without a terminal the password may be in TIDEGATE_PASSWORD."""
    home = Home(os.environ)
    saved = _earlier(home)
    api, ca = address(os.environ, saved)
    name = user or (saved.user if saved else "") or os.environ.get("USER", "")
    if not name:
        raise Failed("who are you?", hint="tidegate login --user NAME", code=USAGE)
    answer = Api(api, ca=ca).post("/v1/login", {"user": name, "password": _password(name, password_stdin)})
    home.save(SavedLogin(api=api, user=answer["user"], token=answer["token"], expires=answer["expires"], ca=ca))
    told = {"user": answer["user"], "api": api, "expires": answer["expires"]}
    screen = screen_of(context)
    screen.show(told, lambda: screen.line(f"logged in at {api} as {answer['user']}"))


def logout(context: typer.Context, json: Json = False) -> None:
    """End your log-in, here and on the gateway; where that cannot be told, here all the same."""
    home = Home(os.environ)
    screen = screen_of(context)
    missed: Failed | None = None
    try:
        if home.load() is not None:
            logged_in().post("/v1/logout")
    except Failed as failed:
        missed = None if failed.problem.get("status") == 401 else failed  # 401: it was no log-in any more
    home.forget()
    told = f"logged out here; the gateway could not be told: {missed.what}" if missed else "logged out"
    screen.show({"done": missed is None, "detail": told}, lambda: screen.line(told))
    if missed is not None:
        raise typer.Exit(missed.code)


def whoami(context: typer.Context, json: Json = False) -> None:
    """Who you are to the gateway: name, groups, roles."""
    api = logged_in()
    me = api.get("/v1/me")
    screen = screen_of(context)
    screen.show(
        {**me, "api": api.url},
        lambda: screen.facts(
            [
                ("name", me["name"]),
                ("id", me.get("id") if me.get("id") != me["name"] else ""),
                ("display", me["display"]),
                ("groups", me["groups"]),
                ("roles", me["roles"]),
                ("api", api.url),
                ("logged in until", me["login_expires"]),
            ]
        ),
    )


def _earlier(home: Home) -> SavedLogin | None:
    """The log-in before; a broken one is no reason not to log in again."""
    try:
        return home.load()
    except Failed:
        return None


def _password(name: str, from_stdin: bool) -> str:
    if from_stdin:
        return sys.stdin.readline(MAX_PASSWORD + 2).rstrip("\r\n")
    if sys.stdin.isatty():
        import getpass

        return getpass.getpass(f"Password of {name}: ")
    if "TIDEGATE_PASSWORD" in os.environ:
        return os.environ["TIDEGATE_PASSWORD"]
    raise Failed(
        "there is no terminal to ask for the password",
        hint="use --password-stdin, or set TIDEGATE_PASSWORD",
        code=USAGE,
    )
