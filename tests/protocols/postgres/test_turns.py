"""No step takes long to make, whatever a chunk holds: work is counted between one step and the next. And what is
unanswered is bounded by not going on, never by an end."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from proxy.core.records import Outcome, StatementFinished, StatementStarted
from proxy.core.steps import TURN, Close, Forward, Observe, Recorded, Side, Step, Tell, Think, Wait
from proxy.protocols.postgres import binding, redact
from proxy.protocols.postgres import messages as m
from proxy.protocols.postgres.backend import TOGETHER, Backend
from proxy.protocols.postgres.extended import Extended
from proxy.protocols.postgres.inspector import PostgresInspector
from proxy.protocols.postgres.limits import Limits
from proxy.protocols.postgres.pending import AT_ONCE, Pending
from proxy.protocols.postgres.simple import Simple
from tests.protocols.postgres.ladder import (
    BOUND,
    CLIENT,
    COPY_IN,
    FLUSH,
    ONE_ROW,
    PARSED,
    READY,
    SYNC,
    TARGET,
    TERMINATE,
    Talk,
    bind,
    close,
    complete,
    copy_data,
    describe,
    error,
    execute,
    frames,
    function_call,
    parse,
    query,
    row,
)

NOTICE = m.notice_response("NOTICE", "00000", "hello")
STATUS = m.frame(b"S", b"TimeZone\0UTC\0")


class Work:
    """Counts calls since the last step; ``most`` is the highest count there was."""

    def __init__(self) -> None:
        self.now = self.most = self.steps = 0

    def count(self, monkeypatch: pytest.MonkeyPatch, owner: Any, *names: str) -> None:
        for name in names:
            monkeypatch.setattr(owner, name, self._counted(getattr(owner, name)))

    def _counted(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*arguments: Any, **named: Any) -> Any:
            self.now += 1
            self.most = max(self.most, self.now)
            return function(*arguments, **named)

        return counted

    def over(self, inspector: PostgresInspector, side: Side, chunk: bytes) -> list[Step]:
        """All steps of a chunk, one by one."""
        steps: list[Step] = []
        self.now = self.most = 0
        for step in inspector.feeder(side)(chunk):  # type: ignore[union-attr]
            assert not isinstance(step, int)
            steps.append(step)  # type: ignore[arg-type]
            self.now = 0
            self.steps += 1
        return steps


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> Work:
    work = Work()
    work.count(monkeypatch, Pending, "expect", "synced", "_skip", "failed", "completed", "described")
    work.count(monkeypatch, Simple, "start")
    work.count(monkeypatch, Extended, "parse", "bind_message", "describe", "close", "execute")
    work.count(monkeypatch, Backend, "_look", "_keep_row", "_parameter")
    return work


@pytest.mark.parametrize(
    "message",
    [
        query("select 1"),
        query("select 1; select 2"),
        parse("", "select 1"),
        bind("", "s", [b"1"] * 20),
        bind() + execute(),
        describe("S", "s"),
        close("S", "s"),
        SYNC,
        FLUSH,
        function_call(1),
        parse("s", "deallocate all"),
        query("begin"),
    ],
    ids=lambda message: repr(message[:20]),
)
def test_of_many_messages_of_a_client_each_is_a_step_or_more(work: Work, message: bytes) -> None:
    count = 3000 // len(frames(message))
    inspector = PostgresInspector()
    work.over(inspector, CLIENT, message * count)
    assert work.most <= 3
    assert work.steps >= count


@pytest.mark.parametrize(
    "answer",
    [
        NOTICE,
        STATUS,
        error("42601"),
        READY,
        complete("SELECT 1"),
        PARSED,
        m.frame(b"t", b"\0\0"),
        m.frame(b"A", b"\0\0\0\1a\0b\0"),
    ],
    ids=lambda message: repr(message[:20]),
)
def test_of_many_messages_of_a_target_a_few_are_a_step(work: Work, answer: bytes) -> None:
    inspector = PostgresInspector()
    inspector.feed(CLIENT, query("select 1") * 20)
    work.over(inspector, TARGET, answer * 3000)
    assert work.most <= 2 * TOGETHER
    assert work.steps >= 3000 // TOGETHER


def test_of_the_statements_of_a_string_each_is_a_step(work: Work) -> None:
    text = "select;" * 9_000
    talk = Talk()
    (think,) = talk.inspector.feed(CLIENT, query(text))
    assert isinstance(think, Think)
    think.done(think.work(think.data))
    started = 0
    for step in talk.inspector.resume(None):
        assert work.now <= 2
        work.now = 0
        started += isinstance(step, Observe)
    assert started == 9_000


def test_what_an_error_undoes_is_recorded_bit_by_bit(work: Work) -> None:
    inspector = PostgresInspector()
    inspector.feed(CLIENT, (bind() + execute()) * 2000 + SYNC)
    steps = work.over(inspector, TARGET, error("42601") + READY)
    assert work.most <= AT_ONCE + 3
    ended = [step.record for step in steps if isinstance(step, Observe)]
    assert [each.seq for each in ended if isinstance(each, StatementFinished)] == list(range(1, 2001))


def test_so_is_a_string_whose_first_statement_fails(work: Work) -> None:
    talk = Talk().client(query("select;" * 5000))
    steps = work.over(talk.inspector, TARGET, error("42601") + READY)
    ended = [step.record for step in steps if isinstance(step, Observe)]
    outcomes = {each.seq: each.outcome for each in ended if isinstance(each, StatementFinished)}
    assert outcomes == {1: Outcome.FAILED, **dict.fromkeys(range(2, 5001), Outcome.SKIPPED)}
    assert work.steps > 5000 / AT_ONCE


@pytest.mark.parametrize("limits", [Limits(), Limits(record_bytes=10_000_000)])
def test_rows_are_hopped_over_some_thousands_at_a_time(limits: Limits) -> None:
    inspector = PostgresInspector(limits)
    inspector.feed(CLIENT, query("select 1"))
    inspector.feed(TARGET, NOTICE)  # the general way, then
    passed = [len(step.data) for step in inspector.feeder(TARGET)(row() * 50_000) if isinstance(step, Forward)]  # type: ignore[union-attr]
    assert max(passed) <= 5000 * len(row()) and sum(passed) == 50_000 * len(row())


def test_copy_data_is_counted_a_thousand_at_a_time(work: Work) -> None:
    talk = Talk().client(query("copy t from stdin")).target(COPY_IN)
    steps = work.over(talk.inspector, CLIENT, copy_data(b"x") * 50_000)
    assert steps.count(TURN) >= 50_000 // 1024
    assert talk.inspector._pending.queue[0][1].current.data_bytes == 50_000


@pytest.mark.parametrize("at_once", [True, False])
def test_the_values_of_a_bind_are_read_some_at_a_time(at_once: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    work = Work()
    work.count(monkeypatch, binding.BindReader, "_value")
    message = bind("", "", [b"1234"] * 60_000)
    inspector = PostgresInspector()
    if at_once:
        work.over(inspector, CLIENT, message + execute())
    else:
        for at in range(0, len(message), 100_000):
            work.over(inspector, CLIENT, message[at : at + 100_000])
    assert 1 < work.most <= binding.VALUES_A_TURN
    (started,) = Talk().client(message, execute()).started
    assert [each[2] for each in started.parameters] == [b"1234"] * 60_000


SECRETS = "select " + "password='x'," * 600


MANY = ["select;" * 150, "select;" * 1160]
"""Much work as a Query; a Parse of several statements is refused before anybody looks at them."""
MUCH = [
    SECRETS[:1100],
    SECRETS[:8000],
    SECRETS * 10,
    "-- nothing\n" * 1_000_000 + "prepare x as select 1",
    "select 'a" + "''" * 100_000 + "'",
    "select " + "(" * 20_000 + ")" * 20_000,
    "select $a$" + "x" * 1_000_000 + "$a$",
]


@pytest.mark.parametrize(
    ("text", "parses"),
    [*((text, False) for text in MANY), *((text, parses) for text in MUCH for parses in (False, True))],
    ids=lambda each: f"{each[:14]}…{len(each)}" if isinstance(each, str) else ("query", "parse")[each],
)
def test_what_is_much_work_is_not_looked_at_here(text: str, parses: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    inspector = PostgresInspector()
    looked: list[int] = []
    for owner, name in ((redact, "Reading"), (redact, "_suspect")):
        function = getattr(owner, name)
        monkeypatch.setattr(
            owner,
            name,
            lambda text, *rest, function=function, **named: (
                looked.append(len(text)),
                function(text, *rest, **named),
            )[1],
        )
    (think,) = inspector.feed(CLIENT, parse("s", text) if parses else query(text))
    assert isinstance(think, Think)
    assert max(looked, default=0) <= 8192
    result = think.work(think.data)
    looked.clear()
    think.done(result)
    steps = list(inspector.resume(None))
    assert isinstance(steps[-1], Forward) and not looked, "what was found is all there is to know"


# -- what is unanswered ------------------------------------------------------------------------------------------

FEW = Limits(max_pending=10)


def taken(steps: Iterator[Step]) -> tuple[list[Step], Wait | None]:
    """The steps up to the next Wait."""
    some: list[Step] = []
    for step in steps:
        if isinstance(step, Wait):
            return some, step
        some.append(step)
    return some, None


def passed(steps: list[Step]) -> bytes:
    return b"".join(bytes(each.data) for each in steps if isinstance(each, Forward | Recorded))


def feeding(inspector: PostgresInspector, chunk: bytes) -> Iterator[Step]:
    return iter(inspector.feeder(CLIENT)(chunk))  # type: ignore[arg-type]


def test_while_too_much_is_unanswered_nothing_more_is_sent() -> None:
    inspector = PostgresInspector(FEW)
    pair = bind() + execute()
    steps = feeding(inspector, pair * 12 + SYNC)
    some, wait = taken(steps)
    assert passed(some) == pair * 5 and some[-1] == Tell(FLUSH), "or the server would keep its answers"
    assert wait is not None and not wait.over()
    inspector.feed(TARGET, (BOUND + complete("SELECT 1")) * 2)
    assert not wait.over()
    inspector.feed(TARGET, BOUND)
    assert wait.over()
    inspector.feed(TARGET, complete("SELECT 1") + BOUND + complete("SELECT 1"))
    some, wait = taken(steps)
    assert passed(some) == pair * 4 and wait is not None
    inspector.feed(TARGET, (BOUND + complete("SELECT 1")) * 9)
    some, wait = taken(steps)
    assert passed(some) == pair * 3 + SYNC and wait is None
    assert [type(step) for step in taken(feeding(inspector, TERMINATE))[0]][-1] is Close


def test_where_every_message_has_a_ready_of_its_own_no_flush_is_said() -> None:
    inspector = PostgresInspector(FEW)
    some, wait = taken(feeding(inspector, query("select 1") * 11))
    assert wait is not None and not [step for step in some if isinstance(step, Tell)]


@pytest.mark.parametrize("first", [parse("", "selec"), bind("", "none"), execute(), describe("S", "none")])
def test_after_an_error_in_a_pipeline_the_rest_counts_as_skipped_at_once(first: bytes) -> None:
    inspector = PostgresInspector(FEW)
    steps = feeding(inspector, first + (bind() + execute()) * 40_000 + SYNC + query("select 2"))
    _, wait = taken(steps)
    assert wait is not None
    inspector.feed(TARGET, error("42601"))
    assert wait.over()
    some, wait = taken(steps)
    assert wait is None and passed(some).endswith(execute() + SYNC + query("select 2"))
    skipped = [each.record for each in some if isinstance(each, Observe)]
    ends = [each for each in skipped if isinstance(each, StatementFinished)]
    assert ends and {each.outcome for each in ends} == {Outcome.SKIPPED}
    told = inspector.feed(TARGET, READY + ONE_ROW + READY)
    ends = [
        each.record for each in told if isinstance(each, Observe) and isinstance(each.record, StatementFinished)
    ]
    assert (ends[-1].seq, ends[-1].outcome) == (40_001 + (first == execute()), Outcome.DONE)
    assert not inspector.running()


def test_after_an_error_to_a_query_the_next_message_runs() -> None:
    talk = Talk(FEW).client(query("selec") * 3, query("select 1"), parse("", "select 2"), bind(), execute(), SYNC)
    talk.target((error("42601") + READY) * 3, ONE_ROW + READY, PARSED + BOUND + complete("SELECT 1") + READY)
    assert [outcome for _, outcome in talk.outcomes] == [Outcome.FAILED] * 3 + [Outcome.DONE] * 2
    talk = Talk(FEW).client(function_call(1), query("select 1")).target(error("42883") + READY + ONE_ROW + READY)
    assert talk.outcomes[-1] == (2, Outcome.DONE)


def test_a_query_in_a_failing_pipeline_is_skipped_too_and_its_group_goes_on() -> None:
    talk = Talk(FEW).client(parse("", "selec")).target(error("42601"))
    talk.client(query("drop table t"), function_call(1), bind(), execute(), SYNC, query("select 1"))
    talk.target(READY + ONE_ROW + READY)
    assert dict(talk.outcomes)[1] is Outcome.SKIPPED and not talk.inspector.running()
    assert talk.outcomes[-1][1] is Outcome.DONE


def test_copy_data_pass_however_much_is_unanswered() -> None:
    inspector = PostgresInspector(FEW)
    _, wait = taken(feeding(inspector, query("copy t from stdin") + SYNC * 9 + copy_data(b"1\n") + m.COPY_DONE))
    assert wait is None, "the server may be waiting for them"


def test_values_in_memory_hold_the_client_too() -> None:
    inspector = PostgresInspector(Limits(max_kept=50_000))
    steps = feeding(inspector, bind("", "", [b"x" * 4000] * 2) * 20 + SYNC)
    some, wait = taken(steps)
    assert wait is not None and 5 <= len([each for each in frames(passed(some)) if each[0] == b"B"]) <= 8


# -- too long ----------------------------------------------------------------------------------------------------

SHORT = Limits(max_message=100_000)


@pytest.mark.parametrize("cut", [1, 4, 7, 999, 20_000, 150_000])
@pytest.mark.parametrize("way", ["simple", "extended"])
def test_a_statement_that_is_too_long_is_refused_alone(way: str, cut: int) -> None:
    text = "select '" + "x" * 200_000 + "'"
    said = query(text) if way == "simple" else parse("p", text) + bind("", "p") + execute() + SYNC
    stream = query("select 1") + said + query("select 2")
    talk = Talk(SHORT)
    for at in range(0, len(stream), cut) if cut > 500 else (0, len(query("select 1")) + cut):
        talk.client(
            stream[at : at + cut]
            if cut > 500
            else stream[at : at or len(query("select 1")) + cut]
            if at == 0
            else stream[at:]
        )
    sent = frames(talk.to_target)
    assert [kind for kind, _ in sent] == ([b"Q"] * 3 if way == "simple" else [b"Q", b"P", b"B", b"E", b"S", b"Q"])
    assert b"xxx" not in talk.to_target
    talk.target(ONE_ROW + READY + error("42601", "syntax") + READY + ONE_ROW + READY)
    assert talk.finished[1].outcome == Outcome.DONE
    told = [m.error_fields(body) for kind, body in frames(talk.to_client) if kind == b"E"]
    assert [each[b"C"] for each in told] == [b"54000"] and b"syntax" not in talk.to_client
    refused = next(each for each in talk.started if each.text.startswith(b"select 'xxx"))
    assert refused.text_length >= len(text) and len(refused.text) <= SHORT.brief_text
    assert talk.closed is None and not talk.inspector.running()


def test_nothing_of_what_is_too_long_is_held() -> None:
    inspector = PostgresInspector(SHORT)
    message = query("select '" + "x" * 900_000 + "'")
    for at in range(0, len(message) - 10, 50_000):
        inspector.feed(CLIENT, message[at : at + 50_000])
        frontend = inspector._frontend
        assert len(frontend._rest) + len(frontend._excess.begins if frontend._excess else b"") <= 20_000


def test_a_message_that_can_be_no_statement_is_an_end() -> None:
    talk = Talk(SHORT).client(b"B\x7f\xff\xff\xff")
    assert talk.closed is not None
    talk = Talk(SHORT).client(b"Q\x7f\xff\xff\xff")
    assert talk.closed is not None, "longer than any server takes"


def test_the_steps_are_the_same_when_the_target_speaks_between_them() -> None:
    """What the client sent before is answered while a chunk is worked through."""
    chunk = b"".join(query(f"select {number}") for number in range(200))
    inspector, started, finished = PostgresInspector(), 0, 0
    for step in feeding(inspector, chunk):
        started += isinstance(step, Observe) and isinstance(step.record, StatementStarted)
        if isinstance(step, Forward):
            told = inspector.feed(TARGET, (ONE_ROW + READY) * (len(frames(bytes(step.data)))))
            finished += len(
                [each for each in told if isinstance(each, Observe) and isinstance(each.record, StatementFinished)]
            )
        assert started >= finished
    assert (started, finished) == (200, 200) and not inspector.running()
