"""Sessions, their receipts, and the nodes that hold them."""

from typing import Any

from pydantic import Field

from proxy.api.shapes.values import Instant, Shape
from proxy.core.identity import Catalog
from proxy.core.sessions import SessionRecord


class TotalsShown(Shape):
    bytes_in: int
    bytes_out: int
    statements: int
    failed: int


class ReceiptShown(Shape):
    """The measured times of a cut."""

    requested: Instant
    seen: Instant
    client_closed: Instant | None
    target_stopped: Instant | None
    verified: str


class Running(Shape):
    """The statement a live session runs now."""

    seq: int
    text: str
    started: Instant


class SessionShown(Shape):
    id: str
    node: str
    protocol: str
    grant: str
    identity: str
    identity_id: str = Field(description="the id behind the name, which never changes")
    resource: str
    account: str
    database: str
    source: str
    client: str
    started: Instant
    status: str = Field(description="live or ended")
    ended: Instant | None
    end_reason: str | None
    detail: str = Field(description="the last word for a person: who revoked it, and why")
    totals: TotalsShown
    receipt: ReceiptShown | None
    recording_digest: str
    target_pid: int | None = Field(
        description="of the target's process that serves it; null where that is not known, as behind a pooler"
    )
    backend_start: Instant | None = Field(description="when that process was started, by the target's clock")
    running: Running | None = Field(None, description="where this node holds the live recording")

    @classmethod
    def of(cls, record: SessionRecord, catalog: Catalog, running: Running | None = None) -> "SessionShown":
        made = {"identity": catalog.name_of(record.who), "identity_id": record.identity, "running": running}
        facts = {name: getattr(record, name) for name in cls.model_fields if name not in made}
        return cls.model_validate(facts | made)


class StatementsShown(Shape):
    """Joined records, oldest first: one object a statement (see the README for its members)."""

    session: str
    items: list[dict[str, Any]]
    next: int | None = Field(
        description="goes into ``after`` of the next call; null when there is nothing more now"
    )
    truncated: bool = Field(description="the recording ends without its seal: still live, or its node died")


class NoteShown(Shape):
    """Something worth keeping that is not a statement, as `warning`, `cancel` or `farewell`."""

    at: Instant
    kind: str
    data: dict[str, Any]


class NotesShown(Shape):
    """Oldest first, at most 1000; ``more``: there are others after these."""

    session: str
    items: list[NoteShown]
    more: bool
    next: int | None = Field(
        description="goes into ``after`` of the next call; null when there is nothing more now"
    )


class KeptShown(Shape):
    """Bytes of a statement (``output``, ``input``, ``errors``) or its terminal's size (``resize``)."""

    number: int = Field(description="of its record: each is larger than the one before")
    at: float = Field(description="seconds from the recording's start")
    statement: int = Field(description="the `seq` of the statement")
    kind: str
    data: str | None = Field(description="the bytes, base64; null for `resize`")
    columns: int | None
    rows: int | None


class OutputShown(Shape):
    """Oldest first; at most 1 MiB of bytes, and ``limit`` items."""

    session: str
    began: Instant
    items: list[KeptShown]
    next: int | None = Field(
        description="goes into ``after`` of the next call; null when there is nothing more now"
    )
    reached: int = Field(description="what follows later of a live session follows after this number")
    live: bool


class NodeShown(Shape):
    """A worker process that serves sessions."""

    id: str
    host: str
    started: Instant
    heartbeat: Instant
    fresh: bool = Field(description="its heartbeat is within the lease")
    feed_seen: int
    feed_behind: int = Field(description="items of the feed it has not acted on")
    digest: str
    drains: Instant | None = Field(
        None, description="it takes nobody new, and then cuts who is left; null while it serves"
    )
