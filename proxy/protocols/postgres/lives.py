"""Which life of which backend serves a session: its pid, when its server was started, and when it was. Pure: what
``control`` asks on a line to the target, and what the answers say.

A pid alone names nobody for sure: a pooler tells pids of its own, a balanced address leads to another server the
next time, and a pid is used again.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

HIDDEN = "hidden"
_LIFE = re.compile(r"([1-9][0-9]{0,9}) ([0-9]{1,18}) ([0-9]{1,18})", re.ASCII)
_STARTED = "pg_catalog.pg_postmaster_start_time()"


class Life(NamedTuple):
    """``server`` and ``backend``: when each was started, in microseconds since 1970, as decimal digits."""

    pid: int
    server: str
    backend: str

    @property
    def since(self) -> float:
        """When the backend was started, in epoch seconds."""
        return int(self.backend) / 1_000_000


def _micros(moment: str) -> str:
    """As text that depends on no setting of the session's."""
    seconds = f"pg_catalog.date_part('epoch', {moment})"
    return f"({seconds} operator(pg_catalog.*) 1000000)::pg_catalog.int8::pg_catalog.text"


_OWN = ", ".join(("pid::pg_catalog.text", _micros(_STARTED), _micros("backend_start")))
OWN = (
    f"select pg_catalog.concat_ws(' ', {_OWN}) "  # noqa: S608
    "from pg_catalog.pg_stat_get_activity(pg_catalog.pg_backend_pid())"
)


def own_life(rows: Sequence[str], pid: int) -> Life | None:
    """Of the answer to ``OWN`` on a fresh line whose log-in named ``pid``. None where it is no answer, or is
    another's: then there is a pooler between."""
    found = _LIFE.fullmatch(rows[0]) if len(rows) == 1 else None
    return Life(pid, found[2], found[3]) if found is not None and found[1] == str(pid) else None


def look(life: Life, role: str) -> str:
    """The question, for another account, whether it goes on; ``goes_on`` reads the answer."""
    backend = f"(select coalesce({_micros('backend_start')}, '{HIDDEN}') {_sought(life, role)})"
    return f"select pg_catalog.concat_ws(' ', {_micros(_STARTED)}, {backend})"


def goes_on(rows: Sequence[str], life: Life) -> bool | None:
    """None where the answer is another server's. A backend of that pid whose start the account may not see is taken
    for it."""
    server, _, backend = (rows[0] if rows else "").partition(" ")
    return backend in (life.backend, HIDDEN) if server == life.server else None


def end(life: Life, role: str) -> str:
    """What ends that life of that pid, and no other."""
    same = f"{_micros('backend_start')} operator(pg_catalog.=) '{life.backend}'"
    ended = "pg_catalog.pg_terminate_backend(pid)::pg_catalog.text"
    return f"select {ended} {_sought(life, role)} and {same}"


def _sought(life: Life, role: str) -> str:
    """By pid and by the role it logged in as, which a session cannot change. Its application_name it can, and SET
    ROLE and SET SESSION AUTHORIZATION leave usename as it is. It is quoted so that it means the same whatever
    standard_conforming_strings is."""
    quoted = role.replace("\\", "\\\\").replace("'", "''")
    return (
        f"from pg_catalog.pg_stat_activity where pid operator(pg_catalog.=) {life.pid} "
        f"and usename operator(pg_catalog.=) E'{quoted}'::pg_catalog.name"
    )
