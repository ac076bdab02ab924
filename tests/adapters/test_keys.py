"""Keys in files: made once, agreed on by all, closed to others, rotated with overlap."""

import json
import multiprocessing
import os
import shlex
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from proxy.access.seals import Seals
from proxy.adapters.keys import (
    FileSeal,
    FileTokenKeys,
    HeadSigner,
    KeyFolder,
    cluster_secret,
    decoded,
    encoded,
)
from proxy.core.access import Grant
from proxy.core.errors import Unavailable
from tests.fakes.clock import FakeClock


def grant(**changes: Any) -> Grant:
    given_: dict[str, Any] = {
        "id": "grant-1",
        "request": "request-1",
        "identity": "alice",
        "resource": "shop",
        "account": "readonly",
        "starts": 1_800_000_000.25,
        "ends": 1_800_003_600.0,
        "networks": ("10.0.0.0/8",),
        "databases": ("shop",),
        "conditions": {"record_rows": 20, "nested": {"a": [1, 2.5, None, True]}},
        "rule": "auto",
    }
    return Grant(**(given_ | changes))


@pytest.fixture
def folder(tmp_path: Path) -> KeyFolder:
    return KeyFolder(tmp_path / "state" / "keys")


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def everything(folder: KeyFolder) -> tuple[str, bytes, str, str]:
    """One of each: kid, cluster secret, a mac, a signature."""
    keys = FileTokenKeys(folder, FakeClock(), lambda: 600.0)
    signature = HeadSigner(folder).sign(b"head")
    return keys.current()[0], cluster_secret(folder), FileSeal(folder).mac("grant 2", "text"), signature[1]


def test_all_is_made_at_first_use_and_stays(folder: KeyFolder) -> None:
    first = everything(folder)
    assert everything(KeyFolder(folder.path)) == first
    assert len(cluster_secret(folder)) == 32
    assert mode(folder.path) == 0o700
    assert {mode(each) for each in folder.path.iterdir()} == {0o600}
    assert not list(folder.path.glob(".new-*"))


def _start(path: str, barrier: Any, queue: Any) -> None:
    barrier.wait()
    queue.put(everything(KeyFolder(Path(path))))


def test_processes_that_start_at_once_agree(tmp_path: Path) -> None:
    spawn = multiprocessing.get_context("spawn")
    barrier, queue = spawn.Barrier(4), spawn.Queue()
    path = str(tmp_path / "keys")
    workers = [spawn.Process(target=_start, args=(path, barrier, queue)) for _ in range(4)]
    for worker in workers:
        worker.start()
    found = {queue.get(timeout=50) for _ in workers}
    for worker in workers:
        worker.join()
        worker.close()
    queue.close()
    queue.join_thread()
    assert len(found) == 1
    assert len(list((tmp_path / "keys").glob("k-*.pem"))) == 1


@pytest.mark.parametrize("name", ["grant.key", "cluster.key", "head.pem", "tokens.json"])
@pytest.mark.parametrize("bits", [0o640, 0o604, 0o620])
def test_a_key_that_others_may_read_is_not_used(folder: KeyFolder, name: str, bits: int) -> None:
    everything(folder)
    (folder.path / name).chmod(bits)
    with pytest.raises(Unavailable) as refused:
        everything(KeyFolder(folder.path))
    assert refused.value.code == "keys_unsafe"
    assert "chmod" in refused.value.hint


def test_what_it_says_to_do_is_a_line_for_a_shell(tmp_path: Path) -> None:
    folder = KeyFolder(tmp_path / "with a blank")
    everything(folder)
    (folder.path / "cluster.key").chmod(0o640)
    with pytest.raises(Unavailable) as refused:
        everything(KeyFolder(folder.path))
    assert shlex.split(refused.value.hint) == ["chmod", "go=", str(folder.path / "cluster.key")]


def test_a_folder_that_others_may_read_is_not_used(tmp_path: Path) -> None:
    (tmp_path / "keys").mkdir(mode=0o755)
    (tmp_path / "keys").chmod(0o755)
    with pytest.raises(Unavailable):
        KeyFolder(tmp_path / "keys")


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("grant.key", b"short"),
        ("cluster.key", b""),
        ("head.pem", b"-----BEGIN"),
        ("tokens.json", b"{}"),
        ("tokens.json", b'{"keys": [{"kid": "k"}]}'),
        ("tokens.json", b'{"keys": [{"kid": "k", "public": "AA", "signs": 0}]}'),
    ],
)
def test_a_damaged_key_is_not_replaced_but_refused(folder: KeyFolder, name: str, data: bytes) -> None:
    everything(folder)
    folder.write(name, data)
    with pytest.raises(Unavailable):
        everything(folder)
    assert (folder.path / name).read_bytes() == data


def test_a_lost_private_half_stops_signing_but_not_believing(folder: KeyFolder) -> None:
    kid, _ = FileTokenKeys(folder, FakeClock(), lambda: 600.0).current()
    (folder.path / f"{kid}.pem").unlink()
    keys = FileTokenKeys(folder, FakeClock(), lambda: 600.0)
    assert set(keys.public()) == {kid}
    with pytest.raises(Unavailable):
        keys.current()


# -- rotation


def test_a_new_key_is_believed_before_it_signs_and_the_old_one_after(folder: KeyFolder) -> None:
    clock = FakeClock()
    ours, theirs = FileTokenKeys(folder, clock, lambda: 600.0), FileTokenKeys(folder, clock, lambda: 600.0)
    old, _ = ours.current()
    new = ours.rotate(clock.now())
    assert ours.current()[0] == old
    assert set(theirs.public()) == {old}
    theirs.reload()
    assert set(theirs.public()) == set(ours.public()) == {old, new}
    clock.advance(15)
    assert ours.current()[0] == theirs.current()[0] == new
    clock.advance(599.9)
    assert set(theirs.public()) == {old, new}
    clock.advance(0.1)
    assert set(theirs.public()) == {new}


def test_what_signs_fits_what_is_believed(folder: KeyFolder) -> None:
    clock = FakeClock()
    keys = FileTokenKeys(folder, clock, lambda: 600.0)
    for _ in range(3):
        keys.rotate(clock.now())
        clock.advance(20)
        kid, private = keys.current()
        assert isinstance(private, Ed25519PrivateKey)
        assert keys.public()[kid] == private.public_key()


def test_a_stolen_key_is_believed_no_longer_than_it_must(folder: KeyFolder) -> None:
    clock = FakeClock()
    keys = FileTokenKeys(folder, clock, lambda: 600.0)
    old, _ = keys.current()
    new = keys.rotate(clock.now(), overlap=0.0, distrust=True)
    assert (keys.current()[0], set(keys.public())) == (new, {new})
    assert not (folder.path / f"{old}.pem").exists()


def test_private_halves_that_sign_no_more_are_deleted(folder: KeyFolder) -> None:
    clock = FakeClock()
    keys = FileTokenKeys(folder, clock, lambda: 600.0)
    first, _ = keys.current()
    second = keys.rotate(clock.now())
    assert (folder.path / f"{first}.pem").exists()
    clock.advance(20)
    third = keys.rotate(clock.now())
    assert {each.stem for each in folder.path.glob("k-*.pem")} == {second, third}
    assert set(keys.public()) == {first, second, third}
    clock.advance(700)
    keys.rotate(clock.now())
    assert first not in json.dumps(json.loads((folder.path / "tokens.json").read_text()))


def test_a_key_that_nobody_was_told_of_is_taken_back(folder: KeyFolder) -> None:
    clock = FakeClock()
    ours, theirs = (FileTokenKeys(folder, clock, lambda: 600.0) for _ in range(2))
    old, private = ours.current()
    kid = ours.prepare(clock.now(), overlap=0.0, distrust=True)
    assert ours.current() == (old, private)
    ours.undo(kid)
    clock.advance(3600)
    for keys in (ours, theirs, FileTokenKeys(folder, clock, lambda: 600.0)):
        keys.reload()
        assert (keys.current()[0], set(keys.public())) == (old, {old})
    assert [each.stem for each in folder.path.glob("k-*.pem")] == [old]


def test_taking_back_leaves_what_others_rotated_since(folder: KeyFolder) -> None:
    clock = FakeClock()
    ours, theirs = (FileTokenKeys(folder, clock, lambda: 600.0) for _ in range(2))
    mine = ours.prepare(clock.now())
    new = theirs.rotate(clock.now())
    ours.undo(mine)
    ours.reload()
    assert new in ours.public()


def test_rotating_again_does_not_prolong_an_old_key(folder: KeyFolder) -> None:
    clock = FakeClock()
    keys = FileTokenKeys(folder, clock, lambda: 600.0)
    old, _ = keys.current()
    keys.rotate(clock.now())
    clock.advance(300)
    keys.rotate(clock.now())
    clock.advance(315)
    assert old not in keys.public()


def test_a_reload_that_fails_keeps_what_was_known(folder: KeyFolder) -> None:
    keys = FileTokenKeys(folder, FakeClock(), lambda: 600.0)
    kid, _ = keys.current()
    folder.write("tokens.json", b"?")
    with pytest.raises(Unavailable):
        keys.reload()
    assert keys.current()[0] == kid


def test_what_a_later_version_wrote_into_the_index_is_kept(folder: KeyFolder) -> None:
    clock = FakeClock()
    keys = FileTokenKeys(folder, clock, lambda: 600.0)
    written = json.loads((folder.path / "tokens.json").read_text())
    written["keys"][0]["hardware"] = {"slot": 3}
    folder.write("tokens.json", json.dumps({"witness": "w", **written}).encode())
    keys.reload()
    new = keys.rotate(clock.now())
    keys.undo(keys.prepare(clock.now()))
    after = json.loads((folder.path / "tokens.json").read_text())
    assert after["witness"] == "w"
    assert [each.get("hardware") for each in after["keys"]] == [{"slot": 3}, None]
    assert [each["kid"] for each in after["keys"]][1] == new


# -- the seal

CHANGES: dict[str, Any] = {
    "id": "grant-2",
    "request": "request-2",
    "identity": "eve",
    "resource": "vault",
    "account": "owner",
    "starts": 1_800_000_000.5,
    "ends": 1_800_003_601.0,
    "networks": (),
    "databases": (),
    "conditions": {},
    "rule": "other",
    "revoked": 1_800_000_001.0,
    "revoked_by": "dave",
    "revoked_reason": "x",
    "mac": "00",
    "identity_name": "alicia",
    "revoked_by_name": "dave",
    "sealed": '{"fields":{},"must":[]}',
}


def test_every_field_of_a_grant_is_sealed(folder: KeyFolder) -> None:
    assert set(CHANGES) == {each.name for each in fields(Grant)}
    seal = Seals(FileSeal(folder))
    sealed = seal.seal(grant())
    assert seal.intact(sealed)
    for name, value in CHANGES.items():
        assert not seal.intact(replace(sealed, **{name: value})), name


def test_a_seal_of_another_key_is_none(folder: KeyFolder, tmp_path: Path) -> None:
    other = Seals(FileSeal(KeyFolder(tmp_path / "other")))
    assert not Seals(FileSeal(folder)).intact(other.seal(grant()))
    assert not Seals(FileSeal(folder)).intact(grant())
    assert not Seals(FileSeal(folder)).intact(grant(mac="\N{SNOWMAN}"))
    assert not Seals(FileSeal(folder)).intact(grant(ends=float("nan")))


def through_json(each: Grant) -> Grant:
    """As a store gives it back: JSON for what is not a column, floats for numbers."""
    conditions = json.loads(json.dumps(dict(each.conditions)))
    return replace(each, networks=tuple(json.loads(json.dumps(each.networks))), conditions=conditions)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@pytest.fixture(scope="module")
def seal(tmp_path_factory: pytest.TempPathFactory) -> Seals:
    return Seals(FileSeal(KeyFolder(tmp_path_factory.mktemp("seal") / "keys")))


@given(conditions=st.dictionaries(st.text(max_size=8), JSON, max_size=4), starts=st.floats(0, 4e9))
def test_a_seal_survives_the_way_through_a_store(seal: Seals, conditions: dict[str, Any], starts: float) -> None:
    assert seal.intact(through_json(seal.seal(grant(conditions=conditions, starts=starts))))


def test_whole_numbers_may_come_back_as_either_kind(folder: KeyFolder) -> None:
    seal = Seals(FileSeal(folder))
    sealed = seal.seal(grant(ends=1_800_003_600, conditions={"record_rows": 20}))
    assert seal.intact(replace(sealed, ends=1_800_003_600.0, conditions={"record_rows": 20.0}))
    assert not seal.intact(replace(sealed, conditions={"record_rows": True}))


# -- trail heads


def test_a_head_is_signed_by_a_key_of_its_own(folder: KeyFolder) -> None:
    signer = HeadSigner(folder)
    kid, signature = signer.sign(b"head 7")
    signer.public()[kid].verify(decoded(signature), b"head 7")
    with pytest.raises(InvalidSignature):
        signer.public()[kid].verify(decoded(signature), b"head 8")
    assert kid == HeadSigner(folder).kid
    token_keys = FileTokenKeys(folder, FakeClock(), lambda: 600.0)
    assert encoded(signer.public()[kid].public_bytes_raw()) not in (folder.path / token_keys.INDEX).read_text()


def test_a_write_that_fails_leaves_what_was_there(folder: KeyFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    before = folder.secret("cluster.key")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError):
        folder.write("cluster.key", b"x" * 32)
    monkeypatch.undo()
    assert folder.secret("cluster.key") == before
    assert not list(folder.path.glob(".new-*"))
