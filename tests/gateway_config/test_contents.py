"""Another certificate behind the same setting is a change that a reload can tell of."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from gateway_config.contents import FileContent, contents, renewed
from gateway_config.difference import Change
from gateway_config.loading import load
from gateway_config.schema import Config
from gateway_config.surroundings import secrets
from tests.gateway_config.files import EXAMPLES, furnish, pair, put

CERTIFICATES = pair()


@pytest.fixture(params=EXAMPLES, ids=lambda each: each.stem)
def config(request: pytest.FixtureRequest, tmp_path: Path) -> Config:
    """Each of the examples, in a folder that has what it speaks of."""
    example: Path = request.param
    put(tmp_path / "gateway.toml", example.read_text())
    return load(tmp_path / "gateway.toml", with_surroundings=False)


def changed(config: Config, before: Mapping[str, FileContent], environ: Mapping[str, str]) -> set[str]:
    return {each.path for each in renewed(before, contents(config, environ))}


def test_each_file_and_variable_is_told_of_by_its_settings(config: Config, tmp_path: Path) -> None:
    environ = furnish(config, tmp_path, CERTIFICATES)
    before = contents(config, environ)
    assert changed(config, before, environ) == set()
    files = [each for each in tmp_path.rglob("*") if each.is_file() and each.name != "gateway.toml"]
    told: set[str] = set()
    for file in files:
        kept = file.read_bytes()
        file.write_bytes(kept + b"\n")
        told |= changed(config, before, environ)
        file.write_bytes(kept)
    for name in environ:
        told |= changed(config, before, environ | {name: "another"})
    assert changed(config, before, environ) == set()
    of_the_machine = {
        f"resources[{each.name}].tls_ca" for each in config.resources if getattr(each, "system_authorities", False)
    }
    assert told == {path for path in before if not path.endswith(("_dir", ".dir"))} - of_the_machine
    assert len([path for path in told if path.endswith("password")]) == len(list(secrets(config)))


def test_what_goes_and_comes_again_is_told(tmp_path: Path) -> None:
    text = '[api]\ntls = { certificate = "a.crt", key = "a.key" }\n'
    config = load(put(tmp_path / "gateway.toml", text), with_surroundings=False)
    nothing = contents(config, {})
    put(tmp_path / "a.crt", CERTIFICATES.certificate)
    there = contents(config, {})
    assert renewed(nothing, there) == [Change("api.tls.certificate", "live")]
    (tmp_path / "a.crt").unlink()
    assert renewed(there, contents(config, {})) == [Change("api.tls.certificate", "live")]


def test_nothing_of_a_secret_is_in_it(config: Config, tmp_path: Path) -> None:
    environ = furnish(config, tmp_path, CERTIFICATES)
    assert b"a secret" not in b"".join(each.digest for each in contents(config, environ).values())
