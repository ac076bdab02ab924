"""No setting is only for show: the gateway asks for each of them by name."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway_config.manual import Setting, settings
from gateway_config.parts import INCLUDE

ROOT = Path(__file__).parents[2]


def _asked_for() -> Iterator[str]:
    """The attributes that anything reads: the gateway itself, or what the configuration derives for it."""
    for file in (*ROOT.glob("proxy/**/*.py"), *ROOT.glob("gateway_config/*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
                yield node.attr


# `include` is gone by before there is a schema: `parts` asks the text for it.
ASKED_FOR = frozenset({*_asked_for(), INCLUDE})


@pytest.mark.parametrize("setting", settings(), ids=lambda each: f"{each.table}.{each.name}")
def test_the_setting_is_used(setting: Setting) -> None:
    assert setting.name in ASKED_FOR, "it is read from the file, and nothing asks for it"
