"""Whether the gateway can enter a PostgreSQL server, as sessions and cuts would. Async; what ``app.trial`` asks of
this protocol. Runs nothing as an account but the question that each session asks too; knows no client.
"""

import asyncio
import ssl
from collections.abc import Mapping

from proxy.core.errors import TidegateError, Unavailable, Unreachable
from proxy.core.identity import Resource
from proxy.core.targets import PostgresCredential, PostgresTarget
from proxy.core.trials import Way
from proxy.protocols.postgres import messages, startup
from proxy.protocols.postgres.control import Backend, ask, life_of, startup_of
from proxy.protocols.postgres.login_refusal import TurnedAway
from proxy.protocols.postgres.upstream import Entry, NoTls, Targets
from proxy.sessions.dialling import Reached
from proxy.sessions.transport import Stream

DATABASE = "postgres"
"""Where an account that may open any database is tried."""
LACKS = (
    "select role from pg_catalog.unnest(array['pg_read_all_stats', 'pg_signal_backend']) role "
    "where not pg_catalog.pg_has_role(role::pg_catalog.name, 'usage')"
)
LET_IN = frozenset({"3D000", "42501"})
"""What a server says only after the log-in: no such database, and no right to connect to it."""
CERTIFICATE: Mapping[int, tuple[str, str]] = {
    **dict.fromkeys(
        (2, 18, 19, 20, 21),
        (
            "the target's certificate is of an authority that is not known",
            "tls_ca must hold the authority that signed it (for one that signed itself: the certificate)",
        ),
    ),
    **dict.fromkeys(
        (62, 64),
        (
            "the target's certificate is for another name",
            "set tls_server_name to a name that is in the certificate, or have one made for the host of address",
        ),
    ),
    10: ("the target's certificate has expired", "renew it on the target"),
    9: ("the target's certificate is not valid yet", "compare the clocks of the target and of this machine"),
}
"""By OpenSSL's X509_V_ERR_ numbers."""
STATES: Mapping[str, str] = {
    "28P01": "compare the password behind its reference in the configuration with the role's on the target",
    "28000": "the target's pg_hba.conf must let this role in from the gateway, and the role must be one with LOGIN",
    "3D000": "correct the name of the database in the configuration, or create it",
    "42501": "GRANT CONNECT on the database to the role",
    "53300": "the target's max_connections, or the role's or database's CONNECTION LIMIT, leaves no room",
    "57P03": "try again when the target is up",
}


class Lacking(Unreachable):
    """The control role is let in and cannot do its work."""


class PostgresTrial:
    """``protocols.table.Trial`` of PostgreSQL."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._targets = Targets(loop)

    def ways(self, resource: Resource) -> tuple[Way, ...]:
        """Each account into each of its databases, then the control role."""
        control = _target(resource).control
        any_database = control.database if control else DATABASE
        people = tuple(
            Way(account.name, database)
            for account in resource.accounts
            for database in account.databases or (any_database,)
        )
        return (*people, Way(control.user, control.database, control=True)) if control else people

    async def enter(self, stream: Stream, reached: Reached, resource: Resource, way: Way) -> str:
        """Log in and say goodbye; what is to be known although it went well."""
        how = _entry(resource, way)
        packet = startup_of(how, way.database) if way.control else _startup(way)
        try:
            logged_in = await self._targets.login(stream, reached, how, packet)
        except TurnedAway as refused:
            if refused.state in LET_IN and not way.control and not _listed(resource, way):
                return f"it may not open database {way.database}, where it was tried; list its `databases`"
            raise
        if way.control:
            lacks = await ask(stream, LACKS)
            if lacks:
                raise Lacking(
                    f"the control role lacks {' and '.join(lacks)}, so cuts cannot be verified",
                    hint=f'on the target: GRANT {", ".join(lacks)} TO "{way.login}"',
                )
        pooled = how.target.control is not None and not way.control and await life_of(logged_in) is None
        await stream.send(Backend.goodbye)
        return "a pooler stands before it, so cuts cannot be verified" if pooled else ""

    def words(self, error: TidegateError, resource: Resource, way: Way) -> tuple[str, str]:
        """What is wrong, and what to do next."""
        cause = error.__context__
        if isinstance(cause, ssl.SSLCertVerificationError) and cause.verify_code in CERTIFICATE:
            what, hint = CERTIFICATE[cause.verify_code]
            return f"{what} ({cause.verify_message})", hint
        if isinstance(error, Lacking):
            return error.public, error.hint
        if isinstance(error, NoTls):
            return str(
                error
            ), 'switch TLS on there (ssl = on), or set tls_mode = "disable" where the network is safe'
        if isinstance(error, TurnedAway):
            return f"{error.ours} ({error.detail})", self._hint(error, resource, way)
        if error.code == "tls":
            return str(
                error
            ), "the target must speak TLS 1.2 or newer, and take the client certificate if there is one"
        return str(error), "see the target's log for why"

    def _hint(self, refused: TurnedAway, resource: Resource, way: Way) -> str:
        hint = STATES.get(refused.state, "see the target's log for why")
        if refused.state == "28000" and not way.control and not _listed(resource, way):
            hint += f"; it was tried in database {way.database}: list its `databases` where that is none of them"
        return hint


def _target(resource: Resource) -> PostgresTarget:
    if not isinstance(resource.options, PostgresTarget):
        raise Unavailable("this resource is not set up for PostgreSQL")
    return resource.options


def _entry(resource: Resource, way: Way) -> Entry:
    target = _target(resource)
    if way.control and target.control is not None:
        return Entry(target, way.login, target.control.credential)
    account = resource.account(way.login)
    if account is None or not isinstance(account.credential, PostgresCredential):
        raise Unavailable("this resource is not set up for PostgreSQL")
    return Entry(target, account.name, account.credential)


def _startup(way: Way) -> bytes:
    """As a client's that asks for nothing more."""
    asked = startup.Startup(messages.PROTOCOL_3_0, way.login, way.database)
    return startup.upstream_packet(asked, account=way.login, application_name=b"tidegate config test")


def _listed(resource: Resource, way: Way) -> bool:
    """Whether the configuration names the database."""
    account = resource.account(way.login)
    return account is not None and way.database in account.databases
