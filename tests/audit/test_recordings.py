"""Recordings are held against the trail."""

from proxy.audit.recordings import RecordingsVerifier, verify_recordings
from tests.audit.trails import link, session_rows


def test_recordings_are_as_the_trail_says() -> None:
    files = {"day/a": "aa", "day/b": "bb"}
    rows = session_rows(("a", "day/a", "aa"), ("b", "day/b", "bb"))
    report = verify_recordings(rows, files.get)
    assert (report.checked, report.findings, report.unsealed) == (2, (), ())


def test_a_removed_an_altered_and_a_replaced_recording_are_found() -> None:
    files = {"day/b": "", "day/c": "other", "day/d": "dd"}
    rows = session_rows(
        ("a", "day/a", "aa"), ("b", "day/b", "bb"), ("c", "day/c", "cc"), ("d", "day/d", "dd"), ("e", "day/e", "")
    )
    report = verify_recordings(rows, files.get)
    assert [(each.seq, each.what) for each in report.findings] == [
        (6, "the recording of session a is missing"),
        (7, "the recording of session b was altered: it is not whole"),
        (8, "the recording of session c was replaced: it is not the one that the trail speaks of"),
    ]
    assert (report.checked, report.unsealed) == (1, ("e",))


def test_an_end_without_a_start_is_a_finding() -> None:
    rows = session_rows(("a", "day/a", "aa"))[1:]
    assert [each.seq for each in verify_recordings(rows, {"day/a": "aa"}.get).findings] == [2]


def test_in_pages_as_at_once() -> None:
    files = {"day/b": "bb"}
    rows = session_rows(("a", "day/a", "aa"), ("b", "day/b", "bb"), ("c", "day/c", ""))
    verifier = RecordingsVerifier(files.get)
    for row in rows:
        verifier.feed([row])
    assert verifier.report() == verify_recordings(rows, files.get)


def test_recordings_of_other_machines_are_counted_not_missed() -> None:
    rows = session_rows(("a", "day/a", "aa"), ("b", "day/b", "bb"), node="tide-2-0")
    report = verify_recordings(rows, {"day/b": "bb"}.get, machine="tide-1")
    assert (report.checked, report.elsewhere, report.findings) == (0, 2, ())
    here = verify_recordings(rows, {"day/b": "bb"}.get, machine="tide-2")
    assert (here.checked, here.elsewhere, len(here.findings)) == (1, 0, 1)


def test_what_the_gateway_deleted_is_not_missing() -> None:
    rows = session_rows(("a", "day/a", "aa"), ("b", "day/b", "bb"))
    seq, at, digest = rows[-1].seq, rows[-1].at, rows[-1].digest
    gone = link(seq + 1, at, "n", "recording_deleted", "gateway", {"session": "a"}, {"recording": "day/a"}, digest)
    report = verify_recordings([*rows, gone], {}.get)
    assert report.deleted == 1
    assert [each.what for each in report.findings] == ["the recording of session b is missing"]
