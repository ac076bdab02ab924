"""The fast lane remembers texts by what they are but for their numbers: that must never let one through that would
be looked at closely."""

from hypothesis import example, given
from hypothesis import strategies as st

from proxy.protocols.postgres.express import Express
from proxy.protocols.postgres.limits import Limits
from proxy.protocols.postgres.pending import Pending

WORDS = st.sampled_from(
    [
        "select ",
        "md5",
        "MD4",
        "'md5",
        "password = ",
        "pass",
        "pw1",
        "eyJ",
        "'",
        "0",
        "12",
        "x9",
        ";",
        " ",
        "(",
        "\0",
        "://",
        "a",
    ]
)


def plain(lane: Express, text: str) -> bool:
    return lane._plain(text.encode())


@given(st.lists(WORDS, max_size=8).map("".join), st.lists(st.sampled_from("0123456789"), min_size=20, max_size=20))
@example("select md4('hunter')", list("5" * 20))
def test_other_numbers_in_a_text_that_is_known_change_nothing(text: str, digits: list[str]) -> None:
    lane = Express(Pending(Limits()))
    plain(lane, text)
    numbers = iter(digits)
    other = "".join(next(numbers, each) if each.isdigit() else each for each in text)
    assert plain(lane, other) == plain(Express(Pending(Limits())), other)


def test_what_is_remembered_is_bounded() -> None:
    lane = Express(Pending(Limits()))
    for number in range(1000):
        assert plain(lane, "select " + "a" * (number % 200) + "b" * (number // 200))
    assert len(lane._shapes) <= 64
    assert plain(lane, "select " + "a" * 5000)
    assert not any(len(each) > 512 for each in lane._shapes)


def test_a_setting_that_changes_counts_for_known_texts_too() -> None:
    pending = Pending(Limits())
    lane = Express(pending)
    assert plain(lane, "select 1")
    pending.texts.parameter("standard_conforming_strings", "off")
    assert not plain(lane, "select 1")
