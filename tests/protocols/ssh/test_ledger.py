"""A session that records much waits for the recorder, whatever it records; one that records little does not."""

from proxy.core.records import Flow, Passed
from proxy.protocols.ssh.ledger import KEPT_MOST, Ledger
from proxy.protocols.ssh.statements import started
from tests.fakes.clock import FakeClock
from tests.fakes.recordings import MemoryRecordings
from tests.fakes.things import a_grant


def test_who_records_much_waits_where_the_recorder_is_behind() -> None:
    clock = FakeClock()
    _, recorder = MemoryRecordings().open("s", {})
    ledger = Ledger(recorder, a_grant("g", starts=clock.now(), ends=clock.now() + 60), False, print)
    recorder.behind = True
    ledger.write(Passed(1, Flow.OUTPUT, b"x" * KEPT_MOST))
    assert not ledger.behind
    ledger.write(started(2, 0, b"list /"))
    assert ledger.behind
    recorder.behind = False
    assert not ledger.behind


async def test_and_then_it_may_go_on() -> None:
    clock = FakeClock()
    _, recorder = MemoryRecordings().open("s", {})
    ledger = Ledger(recorder, a_grant("g", starts=clock.now(), ends=clock.now() + 60), False, print)
    recorder.behind = True
    ledger.write(Passed(1, Flow.OUTPUT, b"x" * (KEPT_MOST + 1)))
    await ledger.caught_up()
    assert not ledger.behind
