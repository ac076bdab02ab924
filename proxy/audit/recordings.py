"""Compares what a trail says of recordings with the recordings. Pure: they are asked for by a function.

``RecordingsVerifier`` takes a trail in pages, ``verify_recordings`` at once. Called by the API and by tests. Knows
no store and no files.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from proxy.audit.chain import Finding
from proxy.audit.restores import Restore
from proxy.core.ports import Reader
from proxy.core.trail import TrailRow

DigestOf = Callable[[str], str | None]
"""key -> the digest of a recording that is whole, "" for one that is not, None where there is none"""


@dataclass(frozen=True, slots=True)
class RecordingsReport:
    """``checked`` recordings were as the trail says; ``findings`` tell, by trail row, of those that are not;
    ``unsealed``: sessions that ended without a digest (the recorder or the node was lost), which proves nothing;
    ``elsewhere`` recordings are on other machines and were not looked at; ``deleted`` ones the gateway deleted, as
    the trail says."""

    checked: int
    findings: tuple[Finding, ...]
    unsealed: tuple[str, ...]
    elsewhere: int = 0
    deleted: int = 0


class RecordingsVerifier:
    """``machine``: only recordings of this machine's nodes are looked at ("": of all). Remembers the sessions that
    are live at the place it has come to, and the recordings that it missed, no more."""

    def __init__(self, digest_of: DigestOf, machine: str = "") -> None:
        self._digest_of = digest_of
        self._machine = machine
        self._started: dict[str, tuple[str, str]] = {}
        self._checked = 0
        self._elsewhere = 0
        self._deleted = 0
        self._findings: list[Finding] = []
        self._missed: dict[str, Finding] = {}
        self._unsealed: list[str] = []

    def feed(self, rows: Iterable[TrailRow]) -> None:
        """The next rows: verified, oldest first."""
        for row in rows:
            session = row.subjects.get("session", "")
            if row.kind == "session_started":
                self._started[session] = str(row.body.get("recording", "")), str(row.body.get("node", ""))
            elif row.kind == "session_ended":
                self._ended(row, session, str(row.body.get("recording_digest", "")))
            elif row.kind == "recording_deleted" and session in self._missed:
                del self._missed[session]
                self._deleted += 1

    def report(self) -> RecordingsReport:
        """What was found."""
        findings = sorted([*self._findings, *self._missed.values()], key=lambda each: each.seq)
        return RecordingsReport(
            self._checked, tuple(findings), tuple(self._unsealed), self._elsewhere, self._deleted
        )

    def _ended(self, row: TrailRow, session: str, told: str) -> None:
        key, node = self._started.pop(session, ("", ""))
        if not told:
            self._unsealed.append(session)
            return
        if node and self._machine and node.rpartition("-")[0] != self._machine:
            self._elsewhere += 1
            return
        found = self._digest_of(key)
        what = _compared(told, found)
        if found is None:
            self._missed[session] = Finding(row.seq, f"the recording of session {session} {what}")
        elif what:
            self._findings.append(Finding(row.seq, f"the recording of session {session} {what}"))
        else:
            self._checked += 1


def verify_recordings(rows: Iterable[TrailRow], digest_of: DigestOf, machine: str = "") -> RecordingsReport:
    """The recordings of a whole trail, oldest row first."""
    verifier = RecordingsVerifier(digest_of, machine)
    verifier.feed(rows)
    return verifier.report()


def unnamed(reader: Reader, keys: Iterable[str], last: int) -> list[str]:
    """Return the keys of recordings that no row up to row ``last`` names. Each key ends in its session's id."""
    return [key for key in keys if not _named(reader, key, last)]


def _named(reader: Reader, key: str, last: int) -> bool:
    about = ("session", key.rpartition("/")[2])
    rows = reader.trail_after(0, 1, kind="session_started", subject=about)
    return bool(rows) and rows[0].seq <= last and rows[0].body.get("recording") == key


def lost_by(restores: Iterable[Restore], ended: float) -> Restore | None:
    """Return the restore by which the rows of a recording may be lost that ended at ``ended`` (epoch seconds)."""
    return next((each for each in restores if ended <= each.at), None)


def _compared(told: str, found: str | None) -> str:
    """What is wrong with a recording, "" when nothing is."""
    if found is None:
        return "is missing"
    if not found:
        return "was altered: it is not whole"
    return "" if found == told else "was replaced: it is not the one that the trail speaks of"
