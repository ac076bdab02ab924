"""What a host remembers of signed heads lies beside its key, whole, its own, and only moves on."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from proxy.adapters.keys import FileHeadMemory, HeadSigner, KeyFolder
from proxy.core.errors import Unavailable
from proxy.core.trail import TrailHead


@pytest.fixture
def folder(tmp_path: Path) -> KeyFolder:
    return KeyFolder(tmp_path / "keys")


def head(seq: int, origin: int = 1) -> TrailHead:
    return TrailHead(seq, f"{seq:064}", 0.1 + seq, "head-1", "c2ln", origin)


def test_where_the_key_is_made_nothing_was_signed(folder: KeyFolder) -> None:
    assert FileHeadMemory(folder).newest() is None
    HeadSigner(folder)
    found = FileHeadMemory(folder).newest()
    assert found is not None
    assert (found.seq, found.origin) == (0, 1)


def test_a_key_from_another_host_comes_with_nothing(folder: KeyFolder) -> None:
    HeadSigner(folder)
    (folder.path / FileHeadMemory.FILE).unlink()
    HeadSigner(folder)
    assert FileHeadMemory(folder).newest() is None


def test_what_is_kept_is_there_to_the_last_bit_and_nobody_else_reads_it(folder: KeyFolder) -> None:
    memory = FileHeadMemory(folder)
    memory.keep(head(3))
    assert FileHeadMemory(folder).newest() == head(3)
    assert (folder.path / FileHeadMemory.FILE).stat().st_mode & 0o777 == 0o600
    assert [each.name for each in folder.path.glob(".new-*")] == []


def test_it_only_moves_on(folder: KeyFolder) -> None:
    memory = FileHeadMemory(folder)
    for kept, newest in ((5, 1), (5, 1)), ((4, 1), (5, 1)), ((2, 2), (2, 2)), ((9, 1), (2, 2)), ((3, 2), (3, 2)):
        memory.keep(head(*kept))
        assert memory.newest() == head(*newest)


def test_hosts_that_share_a_folder_do_not_lose_the_newest(folder: KeyFolder) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda seq: FileHeadMemory(folder).keep(head(seq)), range(1, 65)))
    assert FileHeadMemory(folder).newest() == head(64)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"seq": 1}', '{"seq": "1"}'])
def test_one_that_cannot_be_understood_is_no_empty_one(folder: KeyFolder, text: str) -> None:
    """An empty memory would take up whatever store is there."""
    folder.write(FileHeadMemory.FILE, text.encode())
    with pytest.raises(Unavailable):
        FileHeadMemory(folder).newest()


def test_seq_must_be_a_number(folder: KeyFolder) -> None:
    FileHeadMemory(folder).keep(head(3))
    path = folder.path / FileHeadMemory.FILE
    path.write_text(json.dumps(json.loads(path.read_text()) | {"seq": "3"}))
    with pytest.raises(Unavailable):
        FileHeadMemory(folder).newest()


def test_one_that_others_may_write_is_not_believed(folder: KeyFolder) -> None:
    FileHeadMemory(folder).keep(head(3))
    (folder.path / FileHeadMemory.FILE).chmod(0o666)
    with pytest.raises(Unavailable):
        FileHeadMemory(folder).newest()
