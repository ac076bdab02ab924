"""A head that was altered, or signed by somebody else, proves nothing."""

import base64

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from proxy.audit.heads import make, problem, signed_text
from tests.audit.trails import PUBLIC, changed, head, sign, trail


def test_the_signed_text() -> None:
    assert signed_text(3, "ab", 1.25) == b"tidegate-trail-head-v1\n3\nab\n1.25\n"
    assert signed_text(3, "ab", 2) == b"tidegate-trail-head-v1\n3\nab\n2.0\n"


def test_a_good_head_is_good() -> None:
    assert problem(head(trail(3)[-1]), PUBLIC) == ""
    assert problem(make(3, "ab", 5, sign), PUBLIC) == ""


@pytest.mark.parametrize(
    "change",
    [
        {"seq": 4},
        {"digest": "ab"},
        {"at": 1.0},
        {"kid": "head-2"},
        {"signature": ""},
        {"signature": "!"},
        {"signature": "ü"},
        {"signature": "AAAA"},
    ],
    ids=str,
)
def test_an_altered_head_is_not_believed(change: dict[str, object]) -> None:
    good = head(trail(3)[-1])
    assert problem(type(good)(**{**{n: getattr(good, n) for n in good.__slots__}, **change}), PUBLIC)


def test_another_key_of_the_same_name_is_not_believed() -> None:
    other = Ed25519PrivateKey.from_private_bytes(b"o" * 32)
    row = trail(1)[0]
    forged = make(
        row.seq,
        row.digest,
        1.0,
        lambda text: ("head-1", base64.urlsafe_b64encode(other.sign(text)).rstrip(b"=").decode()),
    )
    assert problem(forged, PUBLIC)
    assert problem(forged, {"head-1": "not a key"})
    assert changed(row, seq=2).seq == 2
