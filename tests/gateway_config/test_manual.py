"""The README describes every setting as the schema has it."""

import re
from pathlib import Path

import pytest

import gateway_config
from gateway_config.loading import read
from gateway_config.manual import settings, tables
from gateway_config.problems import ConfigProblems

README = Path(gateway_config.__file__).parent / "README.md"


def test_the_readme_has_every_table_as_the_schema_has_it():
    assert tables() in README.read_text(), "write the output of `python -m gateway_config.manual` into the README"


def test_every_setting_is_there_by_name():
    text = README.read_text()
    assert [each.name for each in settings() if f"`{each.name}`" not in text] == []


def test_the_rows():
    rows = {(each.table, each.name): each for each in settings() if each.protocol in ("", "postgres")}
    assert rows["tokens", "life"].default == '"10m"'
    assert rows["resources[].accounts[]", "name"].default == "required"
    assert rows["policies[]", "approval"].default == "required"
    assert rows["policies[].approval", "count"].default == "1"
    assert rows["limits", "idle"].default == "none"
    assert rows["listeners[]", "require_tls"].default == "true"
    assert rows["api", "listen"].default == '"127.0.0.1:8443"'
    assert ("listeners[]", "tls") not in rows


def test_each_protocol_has_the_tables_of_its_resources():
    rows = {(each.protocol, each.table, each.name): each.default for each in settings()}
    assert rows["ssh", "resources[].accounts[]", "allow"] == '["shell", "exec", "transfer"]'
    assert rows["ssh", "resources[].accounts[]", "environment"] == '["LANG", "LC_*", "TERM", "COLORTERM"]'
    assert rows["ssh", "resources[]", "trust_first_use"] == "false"
    assert rows["tcp", "resources[].accounts[]", "name"] == "required"
    assert ("postgres", "resources[]", "tls_mode") in rows
    assert ("ssh", "resources[]", "tls_mode") not in rows
    assert {protocol for protocol, table, _ in rows if table == "policies[]"} == {""}
    headings = [line for line in tables().splitlines() if line.startswith("### `[[resources]]`")]
    assert headings == [f'### `[[resources]]` where `protocol = "{each}"`' for each in ("postgres", "ssh", "tcp")]


def test_the_readme_shows_problems_as_they_are():
    text = (README.parent / "examples" / "minimal.toml").read_text()
    for right, wrong in (
        ('tls = { certificate = "tls/gateway.pem", key = "tls/gateway.key" }', ""),
        ('env:SHOP_READONLY_PASSWORD"\n', 'hunter2"\n'),
        ("max_duration", "max_duraton"),
    ):
        assert right in text
        text = text.replace(right, wrong)
    with pytest.raises(ConfigProblems) as raised:
        read(text, source="gateway.toml", base=README.parent)
    shown = [line for line in README.read_text().splitlines() if line.startswith("gateway.toml:")]
    said = str(raised.value).splitlines()
    assert len(shown) == len(said) == 3
    for line, whole in zip(shown, said, strict=True):
        assert whole.startswith(line.removesuffix(" …"))


def test_the_readme_links_to_files_that_exist():
    for target in re.findall(r"\]\(([^)#]+)\)", README.read_text()):
        assert (README.parent / target).exists(), target
