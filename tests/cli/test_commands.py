"""The commands against a live API: what they print, as tables and as JSON, and how they end."""

import asyncio
import json
from dataclasses import replace
from typing import Any

import pytest

from proxy.cli.main import COMMANDS, GROUPS
from tests.api.test_ending import ended
from tests.api.world import OFFICE, ApiWorld
from tests.cli.conftest import Shell
from tests.fakes.things import SERVED

ASK = ("request", "shop", "--as", "readonly", "--for", "30m", "--reason", "ticket 7")


def test_ask_use_and_give_back(tidegate: Shell, world: ApiWorld) -> None:
    done = tidegate("alice", *ASK)
    assert done.code == 0, done.err
    assert "approved" in done.out
    (grant,) = world.store.state.grants.values()
    assert grant.id in done.out
    assert grant.id in tidegate("alice", "grants").out
    token = tidegate("alice", "token", "shop")
    assert token.code == 0
    assert world.tokens.verify(token.out.removesuffix("\n")).grant == grant.id
    assert tidegate("alice", "give-back", grant.id).code == 0
    done = tidegate("alice", "token", "shop")
    assert done.code == 3
    assert done.out == ""
    assert "no active grant for shop" in done.err
    assert "tidegate request shop" in done.err


def test_json_is_the_apis_own(tidegate: Shell) -> None:
    made = tidegate("alice", *ASK, "--json").json
    assert made["request"]["status"] == "approved"
    listed = tidegate("alice", "--json", "grants").json
    assert [each["id"] for each in listed["items"]] == [made["grant"]["id"]]
    told = tidegate("alice", "token", "shop", "--json").json
    assert told["grant"] == made["grant"]["id"]
    assert told["token"].startswith("eyJ")


def test_denied_is_3_and_says_why(tidegate: Shell) -> None:
    done = tidegate("alice", "request", "shop", "--as", "readonly", "--for", "5h", "--reason", "x")
    assert done.code == 3
    assert "the longest you could ask for is 1h" in done.out


def test_what_one_may_not_know_of_is_1(tidegate: Shell) -> None:
    done = tidegate("alice", "request", "vault", "--as", "root", "--for", "1h", "--reason", "x")
    assert done.code == 1
    assert "no such resource or account, or not for you" in done.err
    assert "reference: " in done.err


def test_approval_by_another(tidegate: Shell, world: ApiWorld) -> None:
    words = ("request", "shop", "--as", "owner", "--for", "1h", "--reason", "fix order 7")
    made = tidegate("alice", *words, "--json").json
    assert made["request"]["status"] == "pending"
    told = tidegate("alice", *words)
    assert "next: 1 approval by group approvers: tidegate approve request-" in told.err
    request = made["request"]["id"]
    assert tidegate("alice", "approve", request).code == 3
    assert "fix order 7" in tidegate("bob", "requests").out
    assert "0, 0 live" in tidegate("bob", "use", request).out
    assert tidegate("bob", "use", request, "--json").json["sessions"] == 0
    assert tidegate("eve", "use", request).code == 1
    done = tidegate("bob", "approve", request, "--reason", "fine")
    assert done.code == 0
    assert "approved" in done.out
    done = tidegate("bob", "deny", request, "--reason", "too late")
    assert done.code == 1
    assert "already approved" in done.err


def test_a_yes_that_policy_turned_into_a_no_is_3(tidegate: Shell, world: ApiWorld) -> None:
    words = ("request", "shop", "--as", "owner", "--for", "1h", "--reason", "fix order 7", "--json")
    request = tidegate("alice", *words).json["request"]["id"]
    tidegate("bob", "whoami")
    world.reload(rules=())
    done = tidegate("bob", "approve", request)
    assert (done.code, "denied" in done.out) == (3, True)


def test_a_no_ends_it(tidegate: Shell) -> None:
    words = ("request", "shop", "--as", "owner", "--for", "1h", "--reason", "x", "--json")
    first, second = (tidegate("alice", *words).json["request"]["id"] for _ in range(2))
    assert "denied" in tidegate("bob", "deny", first, "--reason", "no").out
    assert "withdrawn" in tidegate("alice", "withdraw", second).out


def test_waiting_for_a_decision(tidegate: Shell, world: ApiWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    def approve(_seconds: float) -> None:
        (request,) = world.store.state.requests.values()
        if request.status == "pending":
            asyncio.run(world.requests.approve(request.id, world.who("bob")))

    monkeypatch.setattr("time.sleep", approve)
    done = tidegate("alice", "request", "shop", "--as", "owner", "--for", "1h", "--reason", "x", "--wait")
    assert done.code == 0
    assert "approved" in done.out
    assert "waiting for 1 approval by group approvers: tidegate approve request-" in done.err
    assert "bob said yes" in done.err


def test_an_interrupted_wait_leaves_the_request(
    tidegate: Shell, world: ApiWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(_seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("time.sleep", interrupted)
    done = tidegate("alice", "request", "shop", "--as", "owner", "--for", "1h", "--reason", "x", "--wait")
    assert done.code == 1
    assert "still pending" in done.err
    assert [each.status for each in world.store.state.requests.values()] == ["pending"]


def test_more_time(tidegate: Shell, world: ApiWorld) -> None:
    made = tidegate("alice", "request", "shop", "--as", "readonly", "--for", "5m", "--reason", "x", "--json").json
    grant, before = made["grant"]["id"], made["grant"]["ends"]
    assert tidegate("alice", "extend", grant, "--for", "10m", "--reason", "more").code == 0
    after = tidegate("alice", "grants", "--json").json["items"][0]["ends"]
    assert after > before
    assert tidegate("alice", "request", "--extend", grant, "--for", "10m", "--reason", "yet more").code == 0


def test_which_of_several_accounts(tidegate: Shell, world: ApiWorld) -> None:
    asyncio.run(world.granted("alice"))
    pending = asyncio.run(world.pending("alice"))
    asyncio.run(world.requests.approve(pending.id, world.who("bob")))
    done = tidegate("alice", "token", "shop")
    assert done.code == 2
    assert "--as owner" in done.err
    token = tidegate("alice", "token", "--as", "owner", "shop").out.strip()
    claims = world.tokens.verify(token)
    assert world.store.state.grants[claims.grant].account == "owner"


def test_revoke_says_first_and_does_then(tidegate: Shell, world: ApiWorld) -> None:
    grant = asyncio.run(world.granted("alice"))
    asyncio.run(world.session(grant, "session-a"))
    asyncio.run(world.node())
    done = tidegate("dave", "revoke", "--user", "alice")
    assert done.code == 0
    assert "this would end 1 grant and cut 1 session:" in done.out
    assert "session-a  alice  readonly@shop  runs: select secret from orders" in done.out
    assert "nothing was done" in done.out
    assert world.store.state.grants[grant.id].revoked is None


def test_revoke_follows_the_receipts(tidegate: Shell, world: ApiWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    grant = asyncio.run(world.granted("alice"))
    sessions = [asyncio.run(world.session(grant, f"session-{each}")) for each in "ab"]
    asyncio.run(world.node(feed_seen=0))

    def node_acts(_seconds: float) -> None:
        for session, milliseconds in zip(sessions, (11.0, 4.0), strict=True):
            asyncio.run(ended(world, session, milliseconds))
        asyncio.run(world.node())

    monkeypatch.setattr("time.sleep", node_acts)
    done = tidegate("dave", "revoke", grant.id, "--yes", "--reason", "laptop stolen")
    assert done.code == 0
    assert "cut 2 sessions; slowest 11 ms" in done.out
    assert world.store.state.grants[grant.id].revoked_reason == "laptop stolen"


def test_what_did_not_end_in_time_is_said(
    tidegate: Shell, world: ApiWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    asyncio.run(world.session(asyncio.run(world.granted("alice")), "session-a"))
    asyncio.run(world.node(feed_seen=0))
    monkeypatch.setattr("proxy.cli.commands.ending.WAIT_MOST", 0.0)
    done = tidegate("dave", "cut", "session-a", "--reason", "x")
    assert done.code == 1
    assert "STILL LIVE: session-a" in done.out
    assert "not confirmed by: node-1" in done.out
    done = tidegate("dave", "--json", "revoke", "--all", "--yes", "--reason", "x")
    assert done.code == 1
    assert done.json["progress"]["unconfirmed"] == ["node-1"]


def test_one_token_is_revoked_by_its_id(tidegate: Shell, world: ApiWorld) -> None:
    grant = asyncio.run(world.granted("alice"))
    told = tidegate("alice", "token", "shop", "--json").json
    done = tidegate("dave", "revoke", "--token", told["jti"])
    assert (done.code, f"would have token {told['jti']} refused" in done.out) == (0, True)
    assert told["jti"] not in world.store.state.tokens
    done = tidegate("dave", "revoke", "--token", told["jti"], "--yes", "--reason", "pasted into a chat")
    assert (done.code, "every node has ended what it opened" in done.out) == (0, True)
    assert told["jti"] in world.store.state.tokens
    assert world.store.state.grants[grant.id].revoked is None
    done = tidegate("dave", "revoke", "--token", told["token"], "--yes", "--reason", "x")
    assert (done.code, "jti" in done.err, told["token"] in done.err) == (2, True, False)


def test_only_an_admin_revokes_all(tidegate: Shell) -> None:
    assert tidegate("alice", "revoke", "--all", "--yes", "--reason", "x").code == 3


def test_lock_and_unlock(tidegate: Shell, world: ApiWorld) -> None:
    assert tidegate("dave", "lock", "--user", "eve", "--reason", "left").code == 0
    assert "left" in tidegate("dave", "locks").out
    tidegate.become("eve")
    assert tidegate.run("login", "--user", "eve").code == 3
    assert tidegate("dave", "unlock", "--user", "eve").code == 0
    assert "nothing is locked" in tidegate("dave", "locks").out


def test_looking(tidegate: Shell, world: ApiWorld) -> None:
    asyncio.run(world.lived())
    assert "session-1" in tidegate("carol", "sessions", "--live").out
    assert "select secret from orders" in tidegate("carol", "sessions", "--live").out
    assert "node-1" in tidegate("carol", "nodes").out
    assert "grant_issued" in tidegate("carol", "audit", "log").out
    assert "the trail is whole" in tidegate("carol", "audit", "verify").out
    assert tidegate("alice", "audit", "log").code == 3
    assert "readonly" in tidegate("alice", "resources").out


def test_a_renamed_person_is_shown_by_the_name_of_now(tidegate: Shell, world: ApiWorld) -> None:
    asyncio.run(world.lived())
    tidegate("dave", "lock", "--user", "eve", "--reason", "left")
    for old, new in (("alice", "alicia"), ("eve", "evelyn")):
        changed = replace(world.catalog.identities[old], name=new)
        world.catalog = replace(world.catalog, identities={**world.catalog.identities, old: changed})
    for command in (("sessions",), ("sessions", "--user", "alicia"), ("grants",), ("requests",)):
        shown = tidegate("carol", *command).out
        assert "alicia" in shown, command
        assert "alice" not in shown, command
    log = tidegate("carol", "audit", "log", "--about", "identity:alicia")
    assert "alice" not in log.out
    assert "identity=alicia" in log.out
    listed = tidegate("carol", "audit", "log", "--actor", "alicia", "--json").json
    assert listed["names"] == {"alice": "alicia"}
    assert {each["actor"] for each in listed["items"]} == {"alice"}
    assert "evelyn (eve)" in tidegate("dave", "locks").out
    assert tidegate("dave", "unlock", "--user", "eve").code == 0
    me = [line.split() for line in tidegate("evelyn", "whoami").out.splitlines()]
    assert me[:2] == [["name", "evelyn"], ["id", "eve"]]


def test_who_is_behind_a_process_of_the_target(tidegate: Shell, world: ApiWorld) -> None:
    grant = asyncio.run(world.granted("alice"))
    asyncio.run(world.session(grant, "session-1", **SERVED))
    asyncio.run(world.session(grant, "session-2"))
    shown = tidegate("carol", "sessions", "--live").out
    assert "PID" in shown and "4194304" in shown
    shown = tidegate("carol", "sessions", "--pid", "4194304").out
    assert "session-1" in shown and "session-2" not in shown
    assert "there are no live sessions of pid 5" in tidegate("carol", "sessions", "--live", "--pid", "5").out
    assert tidegate("carol", "sessions", "--pid", "0").code == 2
    (one,) = tidegate("carol", "sessions", "--pid", "4194304", "--json").json["items"]
    assert one["target_pid"] == 4_194_304


def test_a_node_is_drained(tidegate: Shell, world: ApiWorld) -> None:
    assert tidegate("dave", "drain").code == 1
    asyncio.run(world.lived())
    assert tidegate("alice", "drain").code == 3
    assert tidegate("dave", "drain", "--for", "banana").code == 2
    done = tidegate("dave", "drain", "node-1", "--for", "10m")
    assert (done.code, "node-1" in done.out, "sessions --live" in done.err) == (0, True, True)
    assert "DRAINS UNTIL" in tidegate("dave", "nodes").out
    (node,) = tidegate("dave", "nodes", "--json").json["items"]
    assert node["drains"] is not None


def test_a_trail_that_is_not_whole_is_1(tidegate: Shell, world: ApiWorld) -> None:
    from dataclasses import replace

    asyncio.run(world.granted("alice"))
    tidegate("carol", "whoami")
    world.store.state.trail[1] = replace(world.store.state.trail[1], actor="mallory")
    done = tidegate("carol", "audit", "verify")
    assert done.code == 1
    assert "row 2" in done.out


def test_targets_are_to_believe_the_next_authority_before_it_signs(tidegate: Shell) -> None:
    lines = tidegate("dave", "keys", "ssh", "--targets").out.splitlines()
    assert tidegate("dave", "keys", "rotate-targets", "--switch").code == 1
    made = tidegate("dave", "keys", "rotate-targets")
    assert "keys ssh --targets" in made.err
    assert tidegate("dave", "keys", "ssh", "--targets").out.splitlines() == [*lines, made.out.strip()]
    switched = tidegate("dave", "keys", "rotate-targets", "--switch")
    assert switched.out.split()[1] == made.out.split()[1]
    assert "can go" in switched.err
    assert tidegate("dave", "keys", "ssh", "--targets").out == switched.out


def test_operating(tidegate: Shell, world: ApiWorld) -> None:
    told = tidegate("dave", "reload").out
    assert told == "reloaded; changed: policies[0].accounts; read anew: listeners[pg].tls.certificate\n"
    world.reload_changes = ((), ())
    assert tidegate("dave", "reload").out == "reloaded; changed: nothing\n"
    world.reload_changes = ((), ("api.tls.key", "store.password"))
    assert tidegate("dave", "reload").out == "reloaded; read anew: api.tls.key, store.password\n"
    assert "k2" in tidegate("dave", "keys", "rotate").out
    stolen = tidegate("dave", "keys", "rotate", "--distrust")
    assert "live sessions go on" in stolen.err
    assert [row.body["distrust"] for row in world.store.state.trail if row.kind == "keys_rotated"] == [False, True]
    world.reload_fails = True
    done = tidegate("dave", "reload")
    assert done.code == 1
    assert "store.url" in done.err


@pytest.mark.parametrize(
    "words",
    [
        ("nonsense",),
        ("token",),
        ("token", "shop", "--odd"),
        ("request", "shop"),
        ("request", "shop", "--as", "readonly", "--for", "banana", "--reason", "x"),
        ("revoke",),
        ("revoke", "grant-1", "--all"),
        ("revoke", "grant-1", "--yes"),
        ("lock", "--reason", "x"),
        ("lock", "--user", "eve"),
        ("deny", "request-1"),
        ("audit", "odd"),
        ("--odd",),
    ],
    ids=" ".join,
)
def test_wrong_usage_is_2(tidegate: Shell, words: tuple[str, ...]) -> None:
    done = tidegate("alice", *words)
    assert done.code == 2
    assert done.err


def test_escape_sequences_of_others_do_nothing(tidegate: Shell, world: ApiWorld) -> None:
    session = asyncio.run(world.session(asyncio.run(world.granted("alice")), "session-1"))
    world.recordings.held[session.id] = [{"seq": 1, "text": "select '\x1b[2J\x1b]0;pwned\x07\u202e'"}]
    done = tidegate("carol", "sessions", "--live")
    assert "\x1b" not in done.out
    assert "\x07" not in done.out
    assert "\u202e" not in done.out
    assert "select '" in done.out


def test_every_command_says_what_it_does(tidegate: Shell) -> None:
    listed = tidegate.run("--help")
    assert listed.code == 0
    for word in [*COMMANDS, *GROUPS]:
        assert f"  {word} " in listed.out
    for words in [*((word,) for word in COMMANDS), *((g, m) for g, (_, ms) in GROUPS.items() for m in ms)]:
        done = tidegate.run(*words, "--help")
        assert done.code == 0, (words, done.err)
        assert "Usage: tidegate" in done.out
        if words[0] not in ("serve", "demo"):
            assert "--json" in done.out, words


def test_every_list_is_json_too(tidegate: Shell, world: ApiWorld) -> None:
    asyncio.run(world.lived())
    for words in (
        ("requests",),
        ("grants",),
        ("sessions",),
        ("nodes",),
        ("locks",),
        ("resources",),
        ("audit", "log"),
    ):
        found: Any = json.loads(tidegate("dave", *words, "--json").out)
        assert isinstance(found["items"], list), words
    assert OFFICE
