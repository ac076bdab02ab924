"""``tidegate token RESOURCE [--as ACCOUNT] [--json]``, and ``ssh-certificate`` likewise, before Typer is loaded.

They are run for every connection (``PGPASSWORD=$(tidegate token shop) psql …``, ``Match … exec``), and loading the
whole command line costs more than the call itself. Only the plain spelling comes here; any other goes the long way,
to the command of the same name in ``commands``.
"""

import os
import sys
from collections.abc import Sequence

from proxy.cli.client import logged_in
from proxy.cli.documents import json_text
from proxy.cli.tokens import ticket


def plain_token(argv: Sequence[str]) -> tuple[str, str, bool] | None:
    """(resource, account, as JSON) when ``argv`` is the plain spelling of ``token``, else None."""
    return _plain("token", argv)


def plain_certificate(argv: Sequence[str]) -> tuple[str, str, bool] | None:
    """The same for ``ssh-certificate``."""
    return _plain("ssh-certificate", argv)


def _plain(command: str, argv: Sequence[str]) -> tuple[str, str, bool] | None:
    if not argv or argv[0] != command:
        return None
    rest = [each for each in argv[1:] if each != "--json"]
    as_json = len(rest) < len(argv) - 1
    match rest:
        case [resource] if not resource.startswith("-"):
            return resource, "", as_json
        case [resource, "--as", account] | ["--as", account, resource] if not resource.startswith("-"):
            return resource, account, as_json
        case _:
            return None


def print_token(resource: str, account: str, as_json: bool) -> None:
    """The JWT alone on standard output; with ``--json`` beside what it is for."""
    made = ticket(logged_in(), resource, account)
    told = {name: getattr(made, name) for name in ("token", "jti", "grant", "account")} | {"expires_in": made.life}
    sys.stdout.write((json_text(told) if as_json else made.token) + "\n")


def ready_certificate(resource: str, account: str, as_json: bool) -> None:
    """See to it that ssh has a certificate; nothing is said but with ``--json``."""
    from proxy.cli.connect.ssh import Folder, certify

    made = certify(logged_in(), Folder(os.environ), resource, account)
    if as_json:
        sys.stdout.write(json_text(made) + "\n")
