"""Somebody is renamed in the file while a session of theirs runs: it goes on, and no lock is slipped by it."""

import psycopg
import pytest

from tests.peers.gateway import Gateway, Refused, gateway
from tests.peers.postgres import Cluster
from tests.peers.proof import until

AS_ALICE = '[[users]]\nname = "alice"\n'
AS_ALICIA = '[[users]]\nname = "alicia"\nid = "alice"\n'


def rewritten(gate: Gateway, old: str, new: str) -> list[str]:
    """Edit the file and have it read; what the reload warns of."""
    path = gate.folder / "gateway.toml"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    return list(gate.call("POST", "/v1/config/reload")["warnings"])


@pytest.mark.timeout(120)
def test_a_rename_keeps_a_session_and_slips_no_lock(postgres16: Cluster) -> None:
    with gateway(postgres16) as gate:
        grant = gate.grant()
        token = gate.token(grant=grant)
        with psycopg.connect(gate.dsn(token=token), autocommit=True) as going:
            assert rewritten(gate, AS_ALICE, AS_ALICIA) == []
            assert going.execute("select 1").fetchone() == (1,)
            (session,) = gate.sessions(live="true", identity="alicia")
            assert (session["identity"], session["identity_id"]) == ("alicia", "alice")
            # the log-in and the token of before are still hers
            assert gate.call("GET", "/v1/me", user="alice")["name"] == "alicia"
            with psycopg.connect(gate.dsn(token=token), autocommit=True) as another:
                assert another.execute("select 2").fetchone() == (2,)
            gate.call("POST", "/v1/locks", {"scope": "identity", "key": "alicia", "reason": "lunch"})
            with pytest.raises(psycopg.OperationalError, match="your user is locked by dave: lunch"):
                going.execute("select 3")
        until(lambda: gate.call("GET", f"/v1/sessions/{session['id']}")["end_reason"] == "user_locked")
        # back to the old name, in either order: the lock stays on her
        assert rewritten(gate, AS_ALICIA, AS_ALICE) == []
        with pytest.raises(psycopg.OperationalError, match="alice is locked"):
            psycopg.connect(gate.dsn(token=token))
        with pytest.raises(Refused) as refused:
            gate.call("GET", "/v1/me", user="alice")
        assert refused.value.status == 401
        assert gate.call("GET", "/v1/audit/verify", user="carol")["ok"]


@pytest.mark.timeout(120)
def test_a_rename_without_the_id_is_told_where_it_leaves_a_lock_behind(postgres16: Cluster) -> None:
    with gateway(postgres16) as gate:
        token = gate.token(grant=gate.grant())
        gate.call("POST", "/v1/locks", {"scope": "identity", "key": "alice", "reason": "lunch"})
        (warning,) = rewritten(gate, AS_ALICE, '[[users]]\nname = "alicia"\n')
        assert warning.startswith("the lock of user alice holds nobody")
        assert "the lock of user alice holds nobody" in gate.log()
        # what was hers is nobody's now
        with pytest.raises(psycopg.OperationalError):
            psycopg.connect(gate.dsn(token=token))
        with pytest.raises(Refused):
            gate.call("GET", "/v1/me", user="alice")
        assert rewritten(gate, '[[users]]\nname = "alicia"\n', AS_ALICIA) == []
        with pytest.raises(psycopg.OperationalError, match="alicia is locked"):
            psycopg.connect(gate.dsn(token=token))
