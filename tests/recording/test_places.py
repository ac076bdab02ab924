"""A reader that stops and goes on later, in another look, sees every record once."""

from pathlib import Path

from proxy.core.records import Flow, Passed
from proxy.recording.reader import Place, Recording
from proxy.recording.recorder import FileRecordings
from tests.fakes.clock import FakeClock
from tests.recording.things import records


def passed(number: int) -> Passed:
    return Passed(1, Flow.OUTPUT, b"%d " % number * (number % 90))


async def test_a_reader_goes_on_where_it_was_while_it_is_written_and_sealed(
    recordings: FileRecordings, tmp_path: Path, clock: FakeClock
) -> None:
    key, pen = recordings.open("s1", {})
    found, place = [], Place()
    for number in range(1, 600):
        clock.advance(7.0)  # the wall clock is noted between records, too
        pen.write(passed(number))
        if number % 7 == 0:
            found += Recording(tmp_path, key).records_from(place)
            place = place.after(place.next - 1)
    await pen.close({})
    found += Recording(tmp_path, key).records_from(place)
    assert [each.record for each in found] == [passed(number) for number in range(1, 600)]
    assert records(tmp_path, key) == [each.record for each in found]
    numbers = [each.number for each in found]
    assert numbers == sorted(set(numbers))
    assert [each.offset for each in found] == [7.0 * number for number in range(1, 600)]


async def test_a_place_in_the_middle_of_a_chunk_is_gone_on_from(recordings: FileRecordings, tmp_path: Path) -> None:
    key, pen = recordings.open("s1", {})
    for number in range(1, 900):
        pen.write(passed(number))
    await pen.close({})
    found, place = [], Place()
    while True:
        look = Recording(tmp_path, key).records_from(place)
        taken = [each for _, each in zip(range(13), look, strict=False)]
        if not taken:
            break
        found += taken
        place = place.after(taken[-1].number)
    assert [each.record for each in found] == [passed(number) for number in range(1, 900)]
    assert place.begun[0] > 0, "it began behind what it had read"
