"""The outside of a JWT, by itself: libraries may grow more lenient, this may not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.access.compact import Malformed, cut_short, decoded, encoded, split


@given(st.binary(min_size=1, max_size=200))
def test_bytes_have_one_form(data: bytes) -> None:
    assert decoded(encoded(data)) == data


@pytest.mark.parametrize(
    "text", ["", "YQ==", "YR", "Y", "Y Q", "YQ\n", "Y+/Q", "\N{FULLWIDTH LATIN SMALL LETTER A}YQ"]
)
def test_other_forms_are_none(text: str) -> None:
    with pytest.raises(Malformed):
        decoded(text)


@given(st.text(max_size=100))
def test_whatever_comes_is_split_or_malformed(text: str) -> None:
    with pytest.raises(Malformed):
        split(text, 8192)


@pytest.mark.parametrize(
    ("text", "cut"),
    [
        ("eyJ", True),
        ("eyJhbGciOiJFZERTQSJ9.", True),
        ("eyJhbGciOiJFZERTQSJ9.eyJ9.AAAA", True),
        ("eyJhbGciOiJFZERTQSJ9.eyJ9." + "A" * 86, False),
        # Whole, but of somebody else's kind: nothing was cut.
        ("eyJhbGciOiJIUzI1NiJ9.eyJ9." + "A" * 43, False),
        ("eyJ.eyJ", False),
        ("password", False),
        ("", False),
    ],
)
def test_a_cut_is_seen_from_the_shape_alone(text: str, cut: bool) -> None:
    assert cut_short(text) is cut
