"""Secrets are references; what they lead to is guarded and never prints."""

import copy
import pickle

import pytest

from gateway_config.references import MAX_SECRET, Secret, SecretReference, Unresolved, resolve
from tests.gateway_config.files import put


@pytest.mark.parametrize("text", ["env:NAME", "env:_a9", "file:secrets/x", "file:/etc/tidegate/x", "file:a:b"])
def test_references_print_as_they_are_written(text):
    assert str(SecretReference.parse(text)) == text


@pytest.mark.parametrize("literal", ["hunter2", "", "env:", "file:", "env", "ENV:X", "vault:x", "file:a\nb"])
def test_a_literal_is_refused_with_advice_and_not_repeated(literal):
    with pytest.raises(ValueError, match='write "env:NAME"') as raised:
        SecretReference.parse(literal)
    assert "hunter2" not in str(raised.value)


def test_a_variable_needs_a_name_of_a_variable():
    with pytest.raises(ValueError, match="environment variable"):
        SecretReference.parse("env:no-name")


def test_from_the_environment(tmp_path):
    assert resolve(SecretReference.parse("env:A"), tmp_path, {"A": "hunter2"}).reveal() == "hunter2"


def test_from_the_processes_own_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("TIDEGATE_TEST_SECRET", "hunter2")
    assert resolve(SecretReference.parse("env:TIDEGATE_TEST_SECRET"), tmp_path) == Secret("hunter2")


@pytest.mark.parametrize("environ", [{}, {"A": ""}])
def test_an_unset_or_empty_variable_is_no_secret(tmp_path, environ):
    with pytest.raises(Unresolved, match="env:A: the environment variable is not set, or empty"):
        resolve(SecretReference.parse("env:A"), tmp_path, environ)


@pytest.mark.parametrize(
    ("written", "read"),
    [("hunter2", "hunter2"), ("hunter2\n", "hunter2"), ("a\r\n", "a"), (" a b \n\n", " a b \n")],
)
def test_from_a_file_beside_the_configuration(tmp_path, written, read):
    put(tmp_path / "secrets" / "db", written)
    assert resolve(SecretReference.parse("file:secrets/db"), tmp_path).reveal() == read


def test_from_an_absolute_file(tmp_path):
    file = put(tmp_path / "db", "hunter2")
    assert resolve(SecretReference.parse(f"file:{file}"), tmp_path / "elsewhere").reveal() == "hunter2"


@pytest.mark.parametrize("mode", [0o604, 0o602, 0o644, 0o666])
def test_a_file_open_to_everyone_is_refused(tmp_path, mode):
    put(tmp_path / "db", "hunter2", mode)
    with pytest.raises(Unresolved, match="everyone on this machine"):
        resolve(SecretReference.parse("file:db"), tmp_path)


def test_the_group_may_read_it(tmp_path):
    put(tmp_path / "db", "hunter2", 0o640)
    assert resolve(SecretReference.parse("file:db"), tmp_path).reveal() == "hunter2"


@pytest.mark.parametrize(
    ("data", "why"),
    [("", "empty"), ("\n", "empty"), (b"\xff\xfe", "not UTF-8"), ("x" * (MAX_SECRET + 1), "larger than")],
)
def test_files_that_hold_no_secret(tmp_path, data, why):
    put(tmp_path / "db", data)
    with pytest.raises(Unresolved, match=why):
        resolve(SecretReference.parse("file:db"), tmp_path)


def test_no_file_and_a_folder(tmp_path):
    with pytest.raises(Unresolved, match="No such file"):
        resolve(SecretReference.parse("file:db"), tmp_path)
    with pytest.raises(Unresolved, match="directory"):
        resolve(SecretReference.parse("file:."), tmp_path)


def test_a_device_is_no_secret(tmp_path):
    with pytest.raises(Unresolved, match="not a regular file"):
        resolve(SecretReference.parse("file:/dev/null"), tmp_path)


def test_a_secret_never_prints():
    secret = Secret("hunter2")
    assert [str(secret), repr(secret), f"{secret}", f"{[secret]}"] == ["***", "***", "***", "[***]"]
    for leak in (pickle.dumps, copy.copy):
        with pytest.raises(TypeError):
            leak(secret)


def test_secrets_compare_by_their_text():
    assert Secret("a") == Secret("a")
    assert Secret("a") != Secret("b")
    assert Secret("a") != "a"
    assert len({Secret("a"), Secret("a")}) == 1
