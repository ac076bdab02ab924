"""One client connection, from its first byte to its last record: the five verbs an engine speaks to.

``admit`` (credential -> Admission), ``dial`` (-> upstream stream), ``relay``, ``decide`` (action -> Decision), and
``end``, the one place where sessions are cut, whatever the cause (``parting`` is how). Owned by the kernel; knows
no protocol.
"""

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from dataclasses import replace

from proxy.core.access import Admission, Claims, Decision, Outcome, UserCertificate, Wish
from proxy.core.actions import Action
from proxy.core.errors import Denied, Ended, TidegateError, Unavailable
from proxy.core.events import AdmissionUnused
from proxy.core.feed import FeedItem, Scope
from proxy.core.ports import Recorder
from proxy.core.records import Note, Record
from proxy.core.records import Outcome as Ending
from proxy.core.sessions import CutReceipt, ServedBy, SessionRecord, Totals
from proxy.core.states import EndReason, SessionStatus
from proxy.core.steps import Inspector
from proxy.sessions.burden import Burden, RelayWeight, Weight
from proxy.sessions.conversation import Conversation, Farewell
from proxy.sessions.deadline import Deadline
from proxy.sessions.dialling import Reached, connect
from proxy.sessions.ending import LATE, NOT_A_CUT, End, farewell_text, reason_of
from proxy.sessions.ledger import Ledger, nothing_came
from proxy.sessions.parting import Parting, Sides
from proxy.sessions.relay import STALL, Relay
from proxy.sessions.services import Services, TargetControl
from proxy.sessions.silence import nothing
from proxy.sessions.transport import Stream

DIAL = 10.0
NOBODY = ServedBy()
BLIND = "the gateway cannot see revocations any more"


class Session:
    """``id`` is shown to people; ``source`` is the client's address as text. ``started`` says whether its start is
    stored; ``relaying`` is there while the two sides talk, ``relayed`` from then on. What is
    in ``leaving`` is called at the very end."""

    def __init__(self, services: Services, ledger: Ledger, client: Stream, source: str) -> None:
        self.id = services.ids.new("sess")
        self.client = client
        self.source = source
        self.admission: Admission | None = None
        self.ending: End | None = None
        self.record: SessionRecord | None = None
        self.started = False
        self.startup_by = services.loop.time() + services.settings.startup_timeout
        self.relaying: Conversation | None = None
        self.relayed: Conversation | None = None
        self.burden: Burden | None = None
        self.vouched: Callable[[], None] = nothing
        self.logged_in: Callable[[], None] = nothing
        self.leaving: list[Callable[[], None]] = []
        self._services = services
        self._ledger = ledger
        self._settings = services.settings
        self._task = asyncio.current_task()
        self._ended: asyncio.Future[End] = services.loop.create_future()
        self._recorder: Recorder | None = None
        self._target: Stream | None = None
        self._deadline = Deadline(services.loop, services.clock, self._expire)
        self._waits_for = EndReason.PROTOCOL_ERROR
        self._refused = ""
        self._looked = float("-inf")
        self._warned = float("inf")
        self._moved = (0, services.loop.time())

    # -- the verbs of an engine ----------------------------------------------------------------------------------

    async def admit(self, credential: str | UserCertificate, wish: Wish) -> Admission:
        """The admission this token or certificate gives, or ``Denied`` / ``Unavailable``. From here on the session
        can be cut: it is filed under its grant before anything is checked."""
        services = self._services
        self._waits_for = EndReason.STORE_LOST
        services.holdings.check()
        admission = await services.gate.admit(credential, wish, self._file)
        self._waits_for = EndReason.TARGET_UNREACHABLE
        services.registry.file(self, Scope.RESOURCE, admission.resource.name)
        self.admission = admission
        self.vouched()
        self._deadline.start(admission.grant.ends, admission.admitted)
        services.watch.catch_up(self, admission.feed_position, self._keys(admission))
        self.check()
        return admission

    def _file(self, claims: Claims) -> None:
        registry = self._services.registry
        registry.file(self, Scope.GRANT, claims.grant)
        registry.file(self, Scope.IDENTITY, claims.subject)
        registry.file(self, Scope.TOKEN, claims.jti)

    def _keys(self, admission: Admission) -> set[tuple[str, str]]:
        return {
            (Scope.ALL, ""),
            (Scope.ALL, "*"),
            (Scope.GRANT, admission.grant.id),
            (Scope.IDENTITY, admission.identity.id),
            (Scope.RESOURCE, admission.resource.name),
            (Scope.TOKEN, admission.jti),
        }

    async def dial(self, admission: Admission, port: int = 0) -> tuple[Stream, Reached]:
        """A connection to the admission's resource, at ``port`` where that is not 0, and the address that answered.
        ``Unreachable`` when none."""
        addresses = tuple(each for each in admission.resource.addresses if port in (0, each[1]))
        return await connect(self._services.loop, addresses, DIAL)

    async def start(
        self, protocol: str, client: str, header: Mapping[str, object], served_by: ServedBy = NOBODY
    ) -> Recorder:
        """Open the recording and commit the session's start: after this the client may be told OK.

        ``Unavailable`` when either cannot be had, ``Denied`` when the grant has too many sessions by now.
        """
        admission = self._admitted()
        services = self._services
        self._waits_for = EndReason.STORE_LOST
        key, recorder = services.recordings.open(
            self.id, {"protocol": protocol, "identity_id": admission.identity.id, **header}
        )
        self._recorder = recorder
        record = SessionRecord(
            id=self.id,
            node=services.node,
            protocol=protocol,
            grant=admission.grant.id,
            identity=admission.identity.id,
            identity_name=admission.identity.name,
            resource=admission.resource.name,
            account=admission.account.name,
            database=admission.database,
            source=self.source,
            client=client,
            started=services.clock.now(),
            status=SessionStatus.LIVE,
            recording=key,
            served_by=served_by,
        )
        self.record = record  # first: whoever is cancelled while it commits cannot know whether it was kept
        await self._ledger.began(record, admission, self._settings.sessions_per_grant)
        self.started = True
        self._waits_for = EndReason.STALLED
        services.metrics.count("tidegate_admissions_total", result="allowed")
        self.check()
        return recorder

    async def decide(self, action: Action) -> Decision:
        """What is decided about an action of this session. Fails closed: what cannot be decided is denied, and ends
        the session."""
        try:
            return await self._services.decide(self._admitted(), action)
        except Exception as error:
            self._services.log.error("not decided", session=self.id, exc_info=error)
            public = error.public if isinstance(error, TidegateError) else "internal error"
            self.end(reason_of(error), public)
            return Decision(Outcome.DENY, reason=public)

    def check(self) -> None:
        """``Ended`` when the session was ended meanwhile."""
        if self.ending is not None:
            raise Ended(self.ending.detail or self.ending.reason, code=self.ending.reason)

    def _admitted(self) -> Admission:
        if self.admission is None:
            raise Unavailable("nothing was admitted")
        return self.admission

    async def relay(self, inspector: Inspector, target: Stream, control: TargetControl) -> None:
        """Move bytes until the session ends, then end it well. Returns when both sides are closed."""
        recorder = self._recorded()
        boottime = self._services.clock.boottime
        relay = Relay(inspector, recorder, self.client, target, self.end, boottime)
        relay.waits.decide = self.decide
        relay.durable = self._settings.durable
        relay.waits.workshop = self._services.workshop
        relay.rests = self._services.rests
        relay.may_forward = self.may_forward
        relay.failed_with = self.broke
        if self._admitted().grant.conditions.get("record_traffic"):
            relay.keep_step()
        await self.converse(relay, target, control, RelayWeight(relay))

    async def converse(
        self, conversation: Conversation, target: Stream, control: TargetControl, weight: Weight
    ) -> None:
        """``relay`` for any kind of conversation: go on until the session ends, then end it well."""
        self._recorded()
        sides = Sides(self.client, target, conversation, control)
        async with asyncio.TaskGroup() as tasks:
            self.relaying = self.relayed = conversation
            self._target = target
            self.burden = Burden(self.id, self.client, target, weight, self.end)
            self.client.on_bulk = self._much_came
            self.logged_in()
            conversation.start(tasks)
            if self.ending is not None:
                conversation.freeze(self._farewell(self.ending))
            try:
                end = await self._ended
                receipt = await Parting(self._services, sides, end, self.id, self._note).run(tasks)
                await self._conclude(end, conversation, receipt)
            except BaseException:
                self.client.close()
                raise
            finally:  # the client, who may still be reading its last words, is let go by ``Parting``
                self.relaying = None
                self._services.registry.remove(self)
                target.close()

    def _much_came(self) -> None:
        if self.ending is None and self.burden is not None:
            self._services.holdings.look(self.burden)

    def _recorded(self) -> Recorder:
        if self._recorder is None or self.record is None:
            raise Unavailable("the session was not started")
        return self._recorder

    # -- the one place that cuts ---------------------------------------------------------------------------------

    def end(self, reason: EndReason, detail: str = "", requested: float | None = None) -> None:
        """End the session for a reason; the first reason counts. Takes effect in this turn: nothing of the client
        is read any more."""
        if self.ending is not None:
            return
        seen = self._services.clock.now()
        self.ending = End(reason, detail, seen if requested is None else requested, seen)
        if self.relaying is not None:
            self.relaying.freeze(self._farewell(self.ending))
        if not self._ended.done():
            self._ended.set_result(self.ending)
        if self.relaying is None and self._task is not None and self._task is not asyncio.current_task():
            self._task.cancel()

    def fail(self, error: Exception) -> None:
        """An error ended it, in the log-in or while it was served: the reason says whose fault that was."""
        if isinstance(error, Denied):
            self._refused = error.code
        self.end(reason_of(error), error.public if isinstance(error, TidegateError) else "internal error")

    def took_too_long(self) -> None:
        """The log-in has had its time: whose fault that is depends on whom it is waiting for."""
        self.end(self._waits_for, LATE[self._waits_for])

    def _expire(self) -> None:
        self.end(EndReason.GRANT_EXPIRED, "", self._deadline.ends)

    def may_forward(self) -> bool:
        """Asked before a chunk of the client when it was not just now: this process may have been stopped, or the
        machine asleep, while the grant ended or a revocation was made that has not been read yet."""
        services = self._services
        if self._deadline.over():
            self._expire()
        elif not services.watch.fresh():
            self.end(EndReason.STORE_LOST, BLIND)
        return self.ending is None

    def passes(self) -> bool:
        """``may_forward``, asked of it only where it was not just now. For conversations that are no relay."""
        moment = self._services.clock.boottime()
        if moment - self._looked < STALL:
            return self.ending is None
        self._looked = moment
        return self.may_forward()

    def broke(self, error: Exception) -> None:
        """What could not be inspected cannot be recorded either, so it must not pass."""
        if isinstance(error, TidegateError):
            recorder = isinstance(error, Unavailable)
            self.end(EndReason.RECORDER_FAILED if recorder else EndReason.PROTOCOL_ERROR, error.public)
            return
        self._services.log.error("relay failed", session=self.id, exc_info=error)
        self.end(EndReason.RECORDER_FAILED, "internal error")

    def _farewell(self, end: End) -> Farewell | None:
        return None if end.reason in NOT_A_CUT else Farewell(end.reason, *farewell_text(end))

    def _note(self, record: Record) -> None:
        """Record something at the end; a recorder that is broken by now has ended the session already."""
        if self._recorder is not None:
            with contextlib.suppress(Unavailable):
                self._recorder.write(record)

    async def _conclude(self, end: End, conversation: Conversation, receipt: CutReceipt | None) -> None:
        failed = sum(conversation.outcomes) - conversation.outcomes[Ending.DONE]
        totals = Totals(self.client.bytes_read, self.client.bytes_written, conversation.statements, failed)
        await self._commit_end(end, totals, receipt)

    async def _commit_end(self, end: End, totals: Totals, receipt: CutReceipt | None) -> None:
        record = self.record
        if record is None:
            return
        self.record = None
        digest = await self._seal(end)
        ended = replace(
            record,
            status=SessionStatus.ENDED,
            ended=self._services.clock.now(),
            end_reason=end.reason,
            detail=end.detail,
            totals=totals,
            receipt=receipt,
            recording_digest=digest,
        )
        await self._ledger.ended(ended, self._nothing_came(end))
        if self.started:
            self._services.metrics.count(
                "tidegate_sessions_total", protocol=record.protocol, end_reason=end.reason.value
            )

    def _nothing_came(self, end: End) -> AdmissionUnused:
        return nothing_came(self._admitted(), self._refused or end.reason.value, end.detail)

    async def _seal(self, end: End) -> str:
        """Close the recording, whatever became of its folder; its digest, "" where there is none."""
        recorder, self._recorder = self._recorder, None
        if recorder is None:
            return ""
        try:
            return await recorder.close({"end_reason": end.reason.value, "detail": end.detail})
        except (Unavailable, OSError) as error:
            self._services.log.error("recording not sealed", session=self.id, detail=str(error))
            return ""

    async def close(self) -> None:
        """Whatever happened: leave nothing open, in the registry or in the store."""
        self._deadline.close()
        self.client.close()
        self._services.registry.remove(self)
        if self.burden is not None:
            self._services.holdings.forget(self.burden)
        if self.ending is None:  # from here on nothing may interrupt: ``end`` does nothing any more
            now = self._services.clock.now()
            self.ending = End(EndReason.SHUTDOWN, "", now, now)
        if self.record is not None:
            await self._commit_end(self.ending, Totals(self.client.bytes_read, self.client.bytes_written), None)
        elif self.admission is not None and not self.started:
            await self._ledger.unused(self._nothing_came(self.ending))
        await self._seal(self.ending)
        self._let_go()

    def _let_go(self) -> None:
        """Know nobody any more who knows this session: what it held goes now, not when Python's collector runs."""
        self.vouched = self.logged_in = nothing
        self._task = self._target = self.burden = None
        while self.leaving:
            self.leaving.pop()()
        if self.relayed is not None:
            self.relayed.close()

    # -- time ----------------------------------------------------------------------------------------------------

    def extend(self, item: FeedItem) -> None:
        """The grant has a new end, if its seal says so: whoever can write to the store could write an item too."""
        if self.admission is None:
            return  # what is admitted later is read from the store, seal and all
        grant = self._services.gate.extended(self.admission.grant, item.data)
        if grant is None:
            self._services.log.error("an extension without our seal", session=self.id)
            return
        self.admission = replace(self.admission, grant=grant)
        self._warned = float("inf")
        self._deadline.move(grant.ends)

    def tick(self, monotonic: float) -> None:
        """Once a second: the absolute end again (the wall clock may have jumped), stalls, idleness, warnings."""
        settings = self._settings
        for stream in (self.client, self._target):
            if stream is not None and self.relaying is not None:
                stream.look()
        if self._deadline.over():
            self._expire()
        elif self.relaying is None:
            return
        elif who := self._stalled(monotonic):
            self.end(EndReason.STALLED, f"the {who} read nothing for {settings.write_stall:.0f} s")
        elif self._idle_for(monotonic) > (settings.idle or float("inf")):
            self.end(EndReason.IDLE, f"nothing was asked for {settings.idle:.0f} s")
        else:
            self._warn(self._deadline.left())

    def _stalled(self, monotonic: float) -> str:
        """Who takes no bytes any more; "" when both do."""
        for who, stream in (("client", self.client), ("target", self._target)):
            since = stream.stalled_since if stream is not None else None
            if since is not None and monotonic - since > self._settings.write_stall:
                return who
        return ""

    def _idle_for(self, monotonic: float) -> float:
        """Seconds since bytes went either way or the target was at work, to the second."""
        moved, busy = self.relaying.activity() if self.relaying is not None else (0, False)
        if busy or moved != self._moved[0]:
            self._moved = moved, monotonic
        return monotonic - self._moved[1]

    def _warn(self, left: float) -> None:
        due = next((mark for mark in (60.0, 300.0) if left <= mark), None)
        if due is None or due >= self._warned or self.relaying is None:
            return
        minutes = round(left / 60)
        ends = f"{minutes} minutes" if minutes > 1 else "1 minute" if left > 45 else f"{left:.0f} seconds"
        text = f"your access ends in {ends}"
        if self.relaying.warn(text, "tidegate extend prolongs it without dropping this session"):
            self._warned = due
            self._note(Note("warning", (("text", text),)))
