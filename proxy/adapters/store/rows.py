"""Rows to core types and back: the only place that knows both.

Pure. A ``*_values`` function gives what is stored, by column name; its counterpart takes a row with those columns.
What JSON cannot tell apart (tuple and list) is put right here for the fields whose type says so.

A row may be of a later version: words and keys that are not known are taken as they are, see ``core.words``, and
put back so. Columns that are not known stay in the database, since a row is replaced by the columns that are.
"""

import json
from collections.abc import Mapping
from typing import Any

from proxy.core.access import Approval, Considered, Decision, Grant, Outcome, Request
from proxy.core.events import plain
from proxy.core.feed import Effect, FeedItem, FeedKind, Scope
from proxy.core.ports import Lock, Node
from proxy.core.sessions import CutReceipt, ServedBy, SessionRecord, Totals
from proxy.core.states import EndReason, RequestStatus, SessionStatus
from proxy.core.trail import TrailHead, TrailRow
from proxy.core.words import read

Values = dict[str, Any]

# Which column holds which subject: ``grant`` and ``session`` are SQL's own words.
SUBJECTS: Mapping[str, str] = {
    "request": "request_id",
    "grant": "grant_id",
    "session": "session_id",
    "identity": "identity",
    "resource": "resource",
}

_encode = json.JSONEncoder(separators=(",", ":"), sort_keys=True).encode


def text(value: Any) -> str:
    """JSON of a value made of dataclasses, mappings, sequences, sets and scalars."""
    return _encode(plain(value))


def request_values(request: Request) -> Values:
    return {
        "id": request.id,
        "identity": request.identity,
        "groups": text(request.groups),
        "resource": request.resource,
        "account": request.account,
        "duration": request.duration,
        "reason": request.reason,
        "status": str(request.status),
        "created": request.created,
        "expires": request.expires,
        "decision": text(request.decision),
        "approvals": text(request.approvals),
        "decided": request.decided,
        "grant_id": request.grant,
        "extends": request.extends,
        "source": request.source,
        "identity_name": request.identity_name,
        "sealed": request.sealed,
        "mac": request.mac,
        "approvers": request.decision.approvers,
    }


def approval_values(request: Request) -> list[Values]:
    """Who said yes, each once."""
    names = sorted({each.by for each in request.approvals if each.approved})
    return [{"request_id": request.id, "by": name} for name in names]


def to_request(row: Any) -> Request:
    return Request(
        id=row.id,
        identity=row.identity,
        groups=frozenset(json.loads(row.groups)),
        resource=row.resource,
        account=row.account,
        duration=row.duration,
        reason=row.reason,
        status=RequestStatus(row.status),
        created=row.created,
        expires=row.expires,
        decision=to_decision(json.loads(row.decision)),
        approvals=tuple(read(Approval, each) for each in json.loads(row.approvals)),
        decided=row.decided,
        grant=row.grant_id,
        extends=row.extends,
        source=row.source,
        identity_name=row.identity_name,
        sealed=row.sealed,
        mac=row.mac,
    )


def to_decision(values: Values) -> Decision:
    """The decision whose ``plain`` form this is."""
    typed = {
        "outcome": Outcome(values["outcome"]),
        "networks": tuple(values["networks"]),
        "databases": tuple(values["databases"]),
        "trace": tuple(read(Considered, each) for each in values["trace"]),
    }
    return read(Decision, {**values, **typed})


def grant_values(grant: Grant) -> Values:
    return {
        "id": grant.id,
        "request": grant.request,
        "identity": grant.identity,
        "resource": grant.resource,
        "account": grant.account,
        "starts": grant.starts,
        "ends": grant.ends,
        "networks": text(grant.networks),
        "databases": text(grant.databases),
        "conditions": text(grant.conditions),
        "rule": grant.rule,
        "revoked": grant.revoked,
        "revoked_by": grant.revoked_by,
        "revoked_reason": grant.revoked_reason,
        "mac": grant.mac,
        "identity_name": grant.identity_name,
        "revoked_by_name": grant.revoked_by_name,
        "sealed": grant.sealed,
    }


def to_grant(row: Any) -> Grant:
    return Grant(
        id=row.id,
        request=row.request,
        identity=row.identity,
        resource=row.resource,
        account=row.account,
        starts=row.starts,
        ends=row.ends,
        networks=tuple(json.loads(row.networks)),
        databases=tuple(json.loads(row.databases)),
        conditions=json.loads(row.conditions),
        rule=row.rule,
        revoked=row.revoked,
        revoked_by=row.revoked_by,
        revoked_reason=row.revoked_reason,
        mac=row.mac,
        identity_name=row.identity_name,
        revoked_by_name=row.revoked_by_name,
        sealed=row.sealed,
    )


def lock_values(lock: Lock) -> Values:
    return {
        "scope": str(lock.scope),
        "key": lock.key,
        "by": lock.by,
        "reason": lock.reason,
        "at": lock.at,
        "name": lock.name,
        "by_name": lock.by_name,
    }


def to_lock(row: Any) -> Lock:
    return Lock(Scope(row.scope), row.key, row.by, row.reason, row.at, row.name, row.by_name)


def session_values(session: SessionRecord) -> Values:
    return {
        "id": session.id,
        "node": session.node,
        "protocol": session.protocol,
        "grant_id": session.grant,
        "identity": session.identity,
        "resource": session.resource,
        "account": session.account,
        "database": session.database,
        "source": session.source,
        "client": session.client,
        "started": session.started,
        "status": str(session.status),
        "recording": session.recording,
        "ended": session.ended,
        "end_reason": None if session.end_reason is None else str(session.end_reason),
        "detail": session.detail,
        "totals": text(session.totals),
        "receipt": None if session.receipt is None else text(session.receipt),
        "recording_digest": session.recording_digest,
        "identity_name": session.identity_name,
        "pid": session.served_by.pid,
        "backend_start": session.backend_start,
    }


def to_session(row: Any) -> SessionRecord:
    return SessionRecord(
        id=row.id,
        node=row.node,
        protocol=row.protocol,
        grant=row.grant_id,
        identity=row.identity,
        resource=row.resource,
        account=row.account,
        database=row.database,
        source=row.source,
        client=row.client,
        started=row.started,
        status=SessionStatus(row.status),
        recording=row.recording,
        ended=row.ended,
        end_reason=None if row.end_reason is None else EndReason(row.end_reason),
        detail=row.detail,
        totals=read(Totals, json.loads(row.totals)),
        receipt=None if row.receipt is None else read(CutReceipt, json.loads(row.receipt)),
        recording_digest=row.recording_digest,
        identity_name=row.identity_name,
        served_by=ServedBy(row.pid, row.backend_start),
    )


def node_values(node: Node) -> Values:
    return {
        "id": node.id,
        "host": node.host,
        "started": node.started,
        "heartbeat": node.heartbeat,
        "feed_seen": node.feed_seen,
        "digest": node.digest,
        "drains": node.drains,
        "refuses": text(node.refuses),
        "speaks": text(node.speaks),
    }


def to_node(row: Any) -> Node:
    return Node(
        id=row.id,
        host=row.host,
        started=row.started,
        heartbeat=row.heartbeat,
        feed_seen=row.feed_seen,
        digest=row.digest,
        drains=row.drains,
        refuses=tuple(json.loads(row.refuses or "[]")),
        speaks=frozenset(json.loads(row.speaks)),
    )


def feed_values(item: FeedItem) -> Values:
    return {
        "seq": item.seq,
        "at": item.at,
        "kind": str(item.kind),
        "scope": str(item.scope),
        "key": item.key,
        "by": item.by,
        "reason": item.reason,
        "data": _encode(item.data),
        "effect": str(item.effect),
    }


def to_feed_item(row: Any) -> FeedItem:
    """From a row in the order of ``feed``'s columns: also what the feed's raw connections give. Never raises: who
    cannot read one item hears of no revocation after it."""
    seq, at, kind, scope, key, by, reason, data, effect = row
    return FeedItem(seq, at, FeedKind(kind), Scope(scope), key, by, reason, _mapping(data), Effect(effect))


def _mapping(text: str) -> Mapping[str, object]:
    """What a JSON object holds; nothing, where the text is none."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def trail_values(row: TrailRow) -> Values:
    """Raises KeyError for a subject that has no column: it must not vanish from a chained row."""
    values: Values = {
        "seq": row.seq,
        "at": row.at,
        "node": row.node,
        "kind": row.kind,
        "actor": row.actor,
        "body": _encode(row.body),  # plain already, see Event.body
        "previous": row.previous,
        "digest": row.digest,
        "format": row.format,
        "body_digest": row.body_digest or None,
        "salt": row.salt or None,
    }
    values |= dict.fromkeys(SUBJECTS.values())
    return values | {SUBJECTS[name]: value for name, value in row.subjects.items()}


def to_trail_row(row: Any) -> TrailRow:
    columns = row._mapping
    found = {name: columns[column] for name, column in SUBJECTS.items() if columns[column] is not None}
    return TrailRow(
        seq=row.seq,
        at=row.at,
        node=row.node,
        kind=row.kind,
        actor=row.actor,
        subjects=found,
        body=_said(row.body),
        previous=row.previous,
        digest=row.digest,
        format=1 if row.format is None else row.format,
        body_digest=row.body_digest or "",
        salt=row.salt or "",
    )


def _said(body: str) -> Mapping[str, Any]:
    """What a row of the trail says; nothing where it was erased. Text that is no JSON object was put there by
    somebody else: it is given as it is, for the chain to find."""
    if not body:
        return {}
    try:
        said = json.loads(body)
    except (ValueError, RecursionError):
        said = None
    return said if isinstance(said, dict) else {"unreadable": body}


def trail_head_values(head: TrailHead) -> Values:
    names = ("seq", "digest", "at", "kid", "signature", "origin")
    return {name: getattr(head, name) for name in names}


def to_trail_head(row: Any) -> TrailHead:
    return TrailHead(row.seq, row.digest, row.at, row.kid, row.signature, row.origin)
