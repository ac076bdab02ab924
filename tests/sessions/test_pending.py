"""How many may wait at the door: in all, per source, and under a name that a proxy gives later; and who makes room
for others where all places are taken."""

from proxy.sessions.pending import Pending, Place
from proxy.sessions.services import Settings


def a_hall(total: int = 3, per_source: int = 2) -> Pending:
    return Pending(lambda: Settings(pending=total, pending_per_source=per_source))


def entered(hall: Pending, source: str, gone: list[str], *, for_others: bool = False) -> Place:
    """A place for ``source``, whose name is in ``gone`` once it was made to leave."""
    place = hall.enter(source, for_others=for_others)
    assert place is not None
    place.evict = lambda: gone.append(source)
    return place


def test_places_are_bounded_per_source() -> None:
    hall = a_hall()
    first, second = hall.enter("10.0.0.1"), hall.enter("10.0.0.1")
    assert first is not None and second is not None
    assert hall.enter("10.0.0.1") is None, "its source is full"
    assert hall.enter("10.0.0.2") is not None
    first.leave()
    first.leave()
    assert hall.enter("10.0.0.1") is not None
    assert hall.enter("10.0.0.1") is None, "a place is given back once"
    assert len(hall) == 3


def test_when_all_are_taken_the_oldest_of_the_largest_crowd_makes_room() -> None:
    hall, gone = a_hall(total=5, per_source=9), list[str]()
    entered(hall, "192.0.2.1", gone)
    for last in (1, 2, 3):
        entered(hall, f"10.0.0.{last}", gone)
    entered(hall, "10.0.1.1", gone)
    for count in range(1, 4):
        entered(hall, f"198.51.{count}.1", gone)
    assert gone == ["10.0.0.1", "10.0.0.2", "192.0.2.1"], "at the end all have one, and that is the oldest"
    assert len(hall) == 5


def test_of_crowds_of_the_same_size_the_newcomers_own_makes_room() -> None:
    hall, gone = a_hall(total=4, per_source=9), list[str]()
    for source in ("10.0.0.1", "10.0.0.2", "192.0.2.1", "192.0.2.2", "192.0.2.3"):
        entered(hall, source, gone)
    assert gone == ["192.0.2.1"]


def test_who_made_room_has_no_place_to_give_back() -> None:
    hall, gone = a_hall(total=1, per_source=1), list[str]()
    first = entered(hall, "10.0.0.1", gone)
    entered(hall, "10.0.1.1", gone)
    assert (first.evicted, gone) == (True, ["10.0.0.1"])
    first.leave()
    assert len(hall) == 1


def test_a_refused_source_leaves_nothing_behind() -> None:
    hall = a_hall(total=2, per_source=1)
    place = hall.enter("10.0.0.1")
    assert place is not None
    assert hall.enter("10.0.0.1") is None
    assert hall.enter("10.0.0.2") is not None
    place.leave()
    assert hall.enter("10.0.0.1") is not None


def test_an_ipv6_network_is_one_source_and_what_is_routed_together_is_one_crowd() -> None:
    hall, gone = a_hall(total=3, per_source=1), list[str]()
    entered(hall, "192.0.2.1", gone)
    entered(hall, "2001:db8::1", gone)
    assert hall.enter("2001:db8::2") is None
    entered(hall, "2001:db8:0:7::1", gone)
    entered(hall, "2001:db8:1::1", gone)
    assert gone == ["2001:db8::1"]


def test_the_clients_of_a_proxy_are_counted_by_their_own_addresses() -> None:
    hall, gone = a_hall(total=4, per_source=1), list[str]()
    first, second, third = (entered(hall, "127.0.0.1", gone, for_others=True) for _ in range(3))
    assert first.move("10.0.0.1")
    assert not second.move("10.0.0.1"), "one each"
    assert third.move("10.0.0.2")
    second.leave()
    first.leave()
    assert entered(hall, "127.0.0.1", gone, for_others=True).move("10.0.0.1")
    assert not gone


def test_who_has_no_name_yet_counts_for_the_proxy_and_makes_room_too() -> None:
    hall, gone = a_hall(total=4, per_source=1), list[str]()
    assert entered(hall, "127.0.0.1", gone, for_others=True).move("10.0.0.1")
    for _ in range(4):
        entered(hall, "127.0.0.1", gone, for_others=True)
    assert gone == ["127.0.0.1"], "and not the one that has been named, though it is the oldest"


def test_nothing_is_remembered_of_who_has_gone() -> None:
    hall = a_hall(total=9)
    places = [hall.enter(f"10.0.{each}.1", for_others=bool(each % 2)) for each in range(6)]
    for place in places:
        assert place is not None
        place.leave()
    assert (len(hall), dict(hall._sources), hall._networks) == (0, {}, {})
