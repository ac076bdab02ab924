"""What waits in memory is bounded over all sessions: who is not read, who goes on, who is ended, in which order.
With sessions that are nothing but figures, and a clock that the test moves."""

from dataclasses import dataclass, field

import pytest
import structlog
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.core.errors import Unavailable
from proxy.core.states import EndReason
from proxy.sessions.holdings import GRACE, LAST, LITTLE, LOOK, REFUSING, STANDSTILL, Holdings

MIB = 1024 * 1024
MOST = 16 * MIB


@dataclass(eq=False)
class Figure:
    """A session: its message has ``size`` bytes, of which its client will ever send ``sends``."""

    size: int
    sends: int
    id: str = "sess-1"
    held: int = 0
    moved: int = 0
    pressed: bool = False
    ends: list[tuple[EndReason, str]] = field(default_factory=list)

    def holds(self) -> int:
        return self.held

    def press(self, on: bool) -> None:
        self.pressed = on

    def end(self, reason: EndReason, detail: str) -> None:
        self.ends.append((reason, detail))

    def send(self, size: int) -> int:
        """What comes of it in one turn of the loop."""
        if self.pressed or self.ends:
            return 0
        size = min(size, self.sends - self.moved)
        self.moved += size
        self.held = 0 if self.moved == self.size else self.moved
        return size


class World:
    """Some sessions and their client's bytes, in steps of ``LOOK`` seconds."""

    def __init__(self, *sessions: Figure, most: int = MOST) -> None:
        self.now = 0.0
        self.largest = 0
        self.sessions = sessions
        self.holdings = Holdings(lambda: most, lambda: self.now, structlog.get_logger())
        self.holdings._again = lambda: None  # type: ignore[method-assign]  # the test looks

    def goes_on(self, seconds: float) -> None:
        until = self.now + seconds
        while self.now < until:
            for each in self.sessions:
                for _ in range(8):
                    if each.send(256 * 1024):
                        self.holdings.look(each)
                        self.largest = max(self.largest, sum(each.held for each in self.sessions if not each.ends))
            self.now += LOOK
            self.holdings.step()

    def done(self) -> bool:
        return all(each.ends or each.moved == each.size for each in self.sessions)


def a_half(size: int = 16 * MIB) -> Figure:
    return Figure(size, size - 100)


def a_whole(size: int = 16 * MIB) -> Figure:
    return Figure(size, size)


def test_below_the_bound_nobody_is_asked_to_wait() -> None:
    world = World(a_half(4 * MIB), a_half(4 * MIB), a_whole(4 * MIB))
    world.goes_on(20)
    assert not any(each.pressed or each.ends for each in world.sessions)
    world.holdings.check()


def test_two_hundred_halves_take_no_more_than_the_bound_and_a_turn() -> None:
    most = 256 * MIB
    world = World(*(a_half() for _ in range(200)), most=most)
    world.goes_on(LAST + 30)
    assert world.largest <= most * 3 // 2
    assert world.holdings.total <= most


def test_whoever_finishes_is_let_finish_though_all_wait_for_each_other() -> None:
    world = World(*(a_whole() for _ in range(40)))
    world.goes_on(60)
    assert world.done()
    assert not any(each.ends for each in world.sessions), "nobody was ended who had something to say"


def test_who_says_nothing_in_its_turn_is_ended_at_last_with_the_reason() -> None:
    world = World(a_half(), a_half(), a_half())
    world.goes_on(REFUSING)
    assert not any(each.ends for each in world.sessions)
    world.goes_on(GRACE + 3 * STANDSTILL)
    ended = [each for each in world.sessions if each.ends]
    assert ended
    ((reason, detail),) = ended[0].ends
    assert reason is EndReason.STALLED
    assert "MiB of memory" in detail


def test_nobody_new_is_let_in_while_it_stays_too_much_and_somebody_is_afterwards() -> None:
    world = World(*(a_half() for _ in range(4)))
    world.goes_on(REFUSING / 2)
    world.holdings.check()
    world.goes_on(REFUSING)
    with pytest.raises(Unavailable) as refused:
        world.holdings.check()
    assert refused.value.code == "too_busy"
    world.goes_on(60)
    world.holdings.check()


def test_small_talk_goes_on_meanwhile() -> None:
    small = Figure(1 << 40, 1 << 40)
    world = World(*(a_half() for _ in range(4)))
    small.held = LITTLE
    world.holdings.survey([small, *world.sessions])
    world.goes_on(3)
    assert not small.pressed


def test_what_others_have_given_back_unseen_is_no_reason_to_wait() -> None:
    """What a session holds is counted when much comes of it; that it holds less by now shows later."""
    world = World(*(a_whole(6 * MIB) for _ in range(3)))
    for each in world.sessions:
        each.held = each.moved = 5 * MIB
        world.holdings.look(each)
    for each in world.sessions[:2]:
        each.held = 0
    last = world.sessions[2]
    last.held = 6 * MIB + MIB // 2
    world.holdings.look(last)
    assert not last.pressed
    last.held = 0
    world.goes_on(1)
    assert not any(each.pressed for each in world.sessions)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 24), st.booleans()), min_size=1, max_size=40))
def test_however_many_wait_for_each_other_all_come_to_an_end_or_have_room(crowd: list[tuple[int, bool]]) -> None:
    world = World(*((a_whole if whole else a_half)(size * MIB) for size, whole in crowd))
    world.goes_on(120)
    assert world.holdings.total <= MOST
    assert all(each.moved == each.sends for each in world.sessions if not each.ends), "nobody waits for ever"
