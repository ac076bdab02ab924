"""How many may wait at the door: in all, per source, and under a name that a proxy gives later."""

from proxy.sessions.pending import Pending
from proxy.sessions.services import Settings


def a_hall(total: int = 3, per_source: int = 2) -> Pending:
    return Pending(lambda: Settings(pending=total, pending_per_source=per_source))


def test_places_are_bounded_per_source_and_in_all() -> None:
    hall = a_hall()
    first, second = hall.enter("10.0.0.1"), hall.enter("10.0.0.1")
    assert first is not None and second is not None
    assert hall.enter("10.0.0.1") is None, "its source is full"
    assert hall.enter("10.0.0.2") is not None
    assert hall.enter("10.0.0.3") is None, "all is full"
    first.leave()
    first.leave()
    assert hall.enter("10.0.0.1") is not None
    assert hall.enter("10.0.0.9") is None, "a place is given back once"


def test_a_refused_source_leaves_nothing_behind() -> None:
    hall = a_hall(total=2, per_source=1)
    place = hall.enter("10.0.0.1")
    assert place is not None
    assert hall.enter("10.0.0.1") is None
    assert hall.enter("10.0.0.2") is not None
    place.leave()
    assert hall.enter("10.0.0.1") is not None


def test_an_ipv6_network_is_one_source() -> None:
    hall = a_hall(total=9, per_source=1)
    assert hall.enter("2001:db8::1") is not None
    assert hall.enter("2001:db8::2") is None


def test_the_clients_of_a_proxy_are_counted_by_their_own_addresses() -> None:
    hall = a_hall(total=4, per_source=1)
    first, second, third = hall.enter(None), hall.enter(None), hall.enter(None)
    assert first is not None and second is not None and third is not None
    assert first.move("10.0.0.1")
    assert not second.move("10.0.0.1"), "one each"
    assert third.move("10.0.0.2")
    second.leave()
    first.leave()
    again = hall.enter(None)
    assert again is not None and again.move("10.0.0.1")
