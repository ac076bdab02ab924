"""No secret is anywhere: each of ``secret_forms``, sent in each way to a real server, and then looked for in all
that the gateway wrote and tells."""

import json
import re
from collections.abc import Iterator

import psycopg
import pytest
from psycopg import sql

from proxy.core.records import Record, StatementPrepared, StatementStarted
from proxy.protocols.postgres import messages
from proxy.protocols.postgres.tokens import Kind, tokens
from proxy.recording import reader
from tests.peers.gateway import Gateway
from tests.peers.wire import Wire, log_in
from tests.protocols.postgres.ladder import SYNC, bind, execute, parse
from tests.protocols.postgres.secret_forms import CANARY, FORMS, NUMBERS

CANARIES = re.compile(rb"zlux\w*|7{6}\d\d\d")
"""Every secret sent here, and nothing else, looks so: no id of ours, which are random, has an l or a u in it."""
CONTROL = "innocent-words"
"""Sent as well, where no secret would be: what cannot find this would find no secret either."""
BOUND = [
    "insert into u (name, password) values ($1, $2)",
    "select crypt($1, $2)",
    "select 1 where lower($1::text) = lower(password) and $2 = password",
    "select set_config('app.password', $1, false), $2::text as secret",
]


class Sent:
    """A session in which secrets are sent. ``texts``: what was, in turn; ``live``: the files of its recording
    before it ended, and ``told`` what they said."""

    def __init__(self, gateway: Gateway) -> None:
        self.grant = gateway.grant("postgres")
        self.texts: list[str] = []
        self.live = self.told = b""
        self._wire = Wire(gateway, port=gateway.plain_port)
        self._wire.start(user="postgres")
        log_in(self._wire, gateway.token(grant=self.grant))

    def say(self, *parts: bytes) -> None:
        self._wire.say(b"".join(parts))
        assert self._wire.until(b"Z")[-1][0] == b"Z"

    def send(self, form: str, number: int) -> None:
        """In a transaction that is rolled back: some of the forms would do harm."""
        for way, text in enumerate((form, form, f"{form}; nonsense")):
            secret = f"zlux{number:03}way{way}"
            text = text.replace(CANARY, secret).replace("424242", f"777777{number:03}")
            self.texts.append(text)
            self.say(messages.query(f"begin /* {len(self.texts)} */"))
            if way == 1:
                self.say(parse("", text), bind(), execute(), SYNC)
            else:
                self.say(messages.query(text))
            self.say(messages.query("rollback"))

    def bind(self, text: str, number: int) -> None:
        values = [f"zlux{number:03}one".encode(), f"zlux{number:03}two".encode()]
        for formats in ((), (1,)):
            self.say(parse("", text, 25, 25), bind("", "", values, formats), execute(), SYNC)

    def close(self) -> None:
        self._wire.close()


@pytest.fixture(scope="module")
def sent(gateway15: Gateway) -> Iterator[Sent]:
    session = Sent(gateway15)
    for number, form in enumerate([*FORMS, *NUMBERS]):
        session.send(form, number)
    for number, text in enumerate(BOUND, 900):
        session.bind(text, number)
    session.say(messages.query("prepare login (text, text) as select $1 = $2 as password"))
    session.say(messages.query("execute login('zlux990', 'zlux991')"))
    session.say(messages.query("select 'zlux992'::int as password"))
    session.say(messages.query(f"select '{CONTROL}'"))
    key = gateway15.sessions(grant=session.grant)[0]["id"]
    session.live = b"".join(path.read_bytes() for path in gateway15.recordings.rglob(f"{key}.*"))
    session.told = repr(records(gateway15, key)).encode()
    yield session
    session.close()


def found(content: bytes) -> set[bytes]:
    return set(CANARIES.findall(content))


def records(gateway: Gateway, session: str) -> list[Record]:
    """All that a session's recording holds; of a live one, what is not sealed yet included."""
    day = str(gateway.call("GET", f"/v1/sessions/{session}", user="carol")["started"])[:10]
    recording = reader.Recording(gateway.recordings, f"{day.replace('-', '/')}/{session}")
    return [each.record for each in recording.records()]


def words(text: str) -> list[str]:
    """The words outside of literals, but for a secret that is one."""
    raw = text.encode()
    kinds = (Kind.WORD, Kind.QUOTED_NAME)
    found = [raw[each.start : each.end] for each in tokens(raw) if each.kind in kinds and each.ended]
    return [word.decode() for word in found if not CANARIES.search(word)]


@pytest.fixture(scope="module")
def session(gateway15: Gateway, sent: Sent) -> str:
    return str(gateway15.sessions(grant=sent.grant)[0]["id"])


def test_no_secret_is_in_the_recording_while_the_session_lives(sent: Sent) -> None:
    for content in (sent.live, sent.told):
        assert CONTROL.encode() in content
        assert not found(content)


def test_nor_in_what_the_api_tells(gateway15: Gateway, session: str) -> None:
    notes = gateway15.call("GET", f"/v1/sessions/{session}/notes", user="carol")
    told = json.dumps([gateway15.statements(session), notes]).encode()
    assert CONTROL.encode() in told
    assert b"error" in told
    assert not found(told)


def test_what_was_sent_is_recorded_with_all_that_it_does(gateway15: Gateway, sent: Sent, session: str) -> None:
    texts = [
        each.text.decode()
        for each in records(gateway15, session)
        if isinstance(each, StatementPrepared | StatementStarted)
    ]
    _, *shown = "\n".join(texts).split("begin /* ")
    assert len(shown) == len(sent.texts)
    for text, kept in zip(sent.texts, shown, strict=True):
        assert not [word for word in words(text) if word not in kept], (text, kept)


def test_nor_is_it_anywhere_once_the_session_has_ended(gateway15: Gateway, sent: Sent, session: str) -> None:
    sent.close()
    gateway15.ended(sent.grant)
    content = repr(records(gateway15, session)).encode()
    assert CONTROL.encode() in content
    assert not found(content)
    for path in (each for each in gateway15.folder.rglob("*") if each.is_file()):
        assert not found(path.read_bytes()), path


def test_passwords_in_statements_are_nowhere_on_disk(gateway15: Gateway) -> None:
    canary = "canary-4711"
    grant = gateway15.grant("postgres")
    token = gateway15.token(grant=grant)
    with psycopg.connect(gateway15.dsn("postgres", token=token), autocommit=True) as connection:
        connection.execute("drop role if exists redacted")
        connection.execute(sql.SQL("create role redacted login password {}").format(sql.Literal(canary)))
        connection.execute("drop role redacted")
    session = gateway15.ended(grant)["id"]
    assert any("***" in each["text"] for each in gateway15.statements(session))
    assert canary not in repr(records(gateway15, session))
    assert not holding(gateway15, canary, token)


def test_no_token_and_no_password_is_written_anywhere(gateway15: Gateway) -> None:
    grant = gateway15.grant()
    token = gateway15.token(grant=grant)
    with psycopg.connect(gateway15.dsn(token=token), autocommit=True) as connection:
        connection.execute("select 1")
    for spoiled in (token[:-6], token + "A", "x" + token):
        with pytest.raises(psycopg.OperationalError):
            psycopg.connect(gateway15.dsn(token=spoiled))
    canaries = [token.rsplit(".", 1)[1][:20], token.split(".")[1][:60], gateway15.cluster.passwords["readonly"]]
    session = gateway15.ended(grant)["id"]
    told = repr(records(gateway15, session)) + str(gateway15.call("GET", "/metrics"))
    assert not [canary for canary in canaries if canary in told]
    assert not holding(gateway15, *canaries)


def holding(gateway: Gateway, *canaries: str) -> list[str]:
    """The files in which one of ``canaries`` is; containers are compressed, so they have to be unpacked beside."""
    files = [path for path in gateway.folder.rglob("*") if path.is_file() and path.parent.name != "secrets"]
    contents = {path.name: path.read_bytes() for path in files}
    return [name for name, content in contents.items() for canary in canaries if canary.encode() in content]
