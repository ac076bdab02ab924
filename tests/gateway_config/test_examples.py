"""Every example is whole: it loads, with the files and secrets it speaks of, and gives a catalog."""

import shutil
from pathlib import Path

import pytest

from gateway_config.loading import load
from proxy.adapters.configuration import catalog
from tests.gateway_config.files import EXAMPLES, Pair, furnish, pair


@pytest.fixture(scope="session")
def certificates() -> Pair:
    return pair()


def test_there_are_four():
    assert [each.name for each in EXAMPLES] == ["hosts.toml", "minimal.toml", "postgres-store.toml", "team.toml"]


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda each: each.stem)
def test_an_example_loads(example, tmp_path, certificates, monkeypatch):
    file = Path(shutil.copy(example, tmp_path))
    environ = furnish(load(file, with_surroundings=False), tmp_path, certificates)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    config = load(file)
    found = catalog(config)
    assert set(found.resources) == {each.name for each in config.resources}
    assert [each.name for each in found.rules] == [each.name for each in config.policies]
    assert found.resources
    assert found.rules
    assert config.listeners
