"""A world for each test."""

import pytest

from tests.api.world import ApiWorld, api_world


@pytest.fixture
def world() -> ApiWorld:
    return api_world()
