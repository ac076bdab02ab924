"""The plan of the house holds: every rule on the whole tree, and every rule on a small source that breaks it.

The rules are in ``tests/architecture``; the second half of this file shows that each of them can fail.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from tests.architecture import habits, layers
from tests.architecture.source import Source, sources

ROOT = Path(__file__).parents[1]
Rule = Callable[[Sequence[Source]], Iterator[str]]
RULES: Sequence[Rule] = (
    layers.ranks,
    layers.sides,
    layers.protocol_folders,
    layers.configuration,
    layers.purity,
    layers.cycles,
    habits.banned_calls,
    habits.admissions,
    habits.file_sizes,
    habits.functions,
    habits.classes,
    habits.names,
    habits.docstrings,
    habits.module_globals,
)


@pytest.fixture(scope="module")
def tree() -> Sequence[Source]:
    return sources(ROOT)


def test_the_tree_is_read(tree: Sequence[Source]) -> None:
    names = {source.name for source in tree}
    assert {"proxy", "proxy.core", "proxy.core.access"} <= names
    assert {source.area for source in tree if len(source.parts) > 1} >= {"core", "cli"}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_tree_keeps(rule: Rule, tree: Sequence[Source]) -> None:
    broken = list(rule(tree))
    assert not broken, "\n" + "\n".join(broken)


def made_up(**modules: str) -> list[Source]:
    """Sources by name, ``__`` for a dot: ``proxy__core__x="import os"``."""
    return [Source(name.replace("__", "."), text) for name, text in modules.items()]


def broken_by(rule: Rule, every: Sequence[Source]) -> str:
    return "\n".join(rule(every))


@pytest.mark.parametrize(
    "text",
    [
        "import proxy.sessions.relay",
        "from proxy.sessions import relay",
        "from proxy.sessions.relay import Relay",
        "from ..sessions import relay",
        "def lazily():\n    from proxy.sessions import relay",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import proxy.sessions.relay",
        "import importlib\nimportlib.import_module('proxy.sessions.relay')",
    ],
)
def test_a_higher_rank_is_refused_however_it_is_imported(text: str) -> None:
    assert "rank 2) may import only lower ranks, and sessions has rank 3" in broken_by(
        layers.ranks, made_up(proxy__access__gate=text)
    )


def test_an_equal_rank_is_refused_and_lower_and_own_are_not() -> None:
    assert "audit has rank 2" in broken_by(layers.ranks, made_up(proxy__access__gate="import proxy.audit.chain"))
    fine = "import proxy.core.access, proxy.access.tokens, proxy.policy.decide, json, jwt"
    assert not broken_by(layers.ranks, made_up(proxy__access__gate=fine))
    assert not broken_by(layers.ranks, made_up(proxy__app="import proxy.api.x, proxy.protocols.postgres.engine"))


def test_a_package_without_a_rank_is_named() -> None:
    assert "proxy.attic has no rank" in broken_by(layers.ranks, made_up(proxy__attic__x=""))
    assert "rank unknown" in broken_by(layers.ranks, made_up(proxy__cli__x="import proxy.attic.x"))


def test_the_api_does_not_know_sessions() -> None:
    assert "only through the store" in broken_by(
        layers.sides, made_up(proxy__api__live="from proxy.sessions import registry")
    )
    assert not broken_by(layers.sides, made_up(proxy__adapters__x="from proxy.sessions import registry"))


def test_protocols_do_not_know_each_other() -> None:
    both = {"proxy__protocols__ssh__engine": "", "proxy__protocols__postgres__wire": ""}
    assert "never imports another's" in broken_by(
        layers.protocol_folders, made_up(**both, proxy__protocols__ssh__keys="import proxy.protocols.postgres.wire")
    )
    table = made_up(**both, proxy__protocols__table="import proxy.protocols.postgres.wire")
    assert not broken_by(layers.protocol_folders, table)


def test_configuration_stands_alone() -> None:
    assert "imports nothing of proxy" in broken_by(
        layers.configuration, made_up(gateway_config__model="from proxy.core import identity")
    )
    assert "not the configuration's models" in broken_by(
        layers.configuration, made_up(proxy__access__gate="import gateway_config.model")
    )
    assert not broken_by(
        layers.configuration, made_up(proxy__adapters__configuration="import gateway_config.model")
    )


@pytest.mark.parametrize(
    ("module", "text", "why"),
    [
        ("proxy__core__ids", "import secrets", "no randomness"),
        ("proxy__core__ids", "from os import path", "no I/O"),
        ("proxy__core__ids", "import pydantic", "standard library only"),
        ("proxy__policy__decide", "from time import monotonic", "no clock"),
        ("proxy__protocols__postgres__wire", "import asyncio.streams", "this is pure"),
        ("proxy__protocols__postgres__wire", "def f():\n    import ssl", "this is pure"),
        (
            "proxy__protocols__postgres__wire",
            "from proxy.protocols.postgres import engine",
            "cannot build on engine",
        ),
        ("proxy__protocols__postgres__wire", "from proxy.sessions.relay import Relay", "the kernel is asyncio's"),
    ],
)
def test_impurity_is_refused(module: str, text: str, why: str) -> None:
    assert why in broken_by(layers.purity, made_up(**{module: text}))


def test_purity_where_it_is_not_asked_for() -> None:
    outside = "import asyncio, ssl, os, time, scramp\nfrom proxy.sessions import session"
    every = made_up(proxy__protocols__postgres__engine=outside, proxy__protocols__postgres__upstream=outside)
    assert not broken_by(layers.purity, every)
    assert not broken_by(layers.purity, made_up(proxy__core__access="import re, dataclasses, proxy.core.states"))


def test_a_cycle_is_shown_the_whole_way_round() -> None:
    every = made_up(
        proxy__core__a="from proxy.core import b",
        proxy__core__b="def f():\n    from proxy.core.c import Thing",
        proxy__core__c="from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import proxy.core.a",
        proxy__core__d="import proxy.core.a",
    )
    assert list(layers.cycles(every)) == [
        "import cycle: proxy.core.a -> proxy.core.b -> proxy.core.c -> proxy.core.a"
    ]


@pytest.mark.parametrize(
    "text",
    [
        "import asyncio\nasyncio.create_task(f())",
        "from asyncio import create_task as go\ngo(f())",
        "import asyncio as aio\naio.ensure_future(f())",
        "import time\nclock = time.time",
        "from time import time\ntime()",
        "from datetime import datetime\ndatetime.now()",
        "import datetime\ndatetime.datetime.now(datetime.UTC)",
    ],
)
def test_banned_calls_are_found_under_any_name(text: str) -> None:
    assert "proxy/access/x.py:2 uses" in broken_by(habits.banned_calls, made_up(proxy__access__x=text))


def test_calls_that_are_not_banned() -> None:
    clock = "import time\ntime.time()"
    assert not broken_by(habits.banned_calls, made_up(proxy__adapters__clock=clock, proxy__cli__x=clock))
    task = "import asyncio\nasyncio.create_task(f())"
    assert "every task has an owner" in broken_by(habits.banned_calls, made_up(proxy__adapters__clock=task))
    group = "import asyncio, time\ngroup.create_task(f())\ntime.monotonic()\ntime = 3\nself.time.time()"
    assert not broken_by(habits.banned_calls, made_up(proxy__access__x=group))


@pytest.mark.parametrize(
    "text",
    [
        "from proxy.core.access import Admission\nAdmission('s')",
        "from proxy.core import access\naccess.Admission('s')",
        "import proxy.core.access\nproxy.core.access.Admission('s')",
    ],
)
def test_only_the_gate_makes_an_admission(text: str) -> None:
    assert ":2 makes an Admission" in broken_by(habits.admissions, made_up(proxy__sessions__session=text))
    assert not broken_by(habits.admissions, made_up(proxy__access__gate=text))


def test_reading_about_an_admission_is_not_making_one() -> None:
    text = "from proxy.core.access import Admission\ndef dial(admission: Admission) -> None: ..."
    assert not broken_by(habits.admissions, made_up(proxy__sessions__session=text))


def test_sizes_have_bounds() -> None:
    long_file = "\n" * 501
    assert "501 lines: 500 at most" in broken_by(habits.file_sizes, made_up(proxy__core__x=long_file))
    assert not broken_by(habits.file_sizes, made_up(proxy__core__x="\n" * 500))
    body = "async def long():\n" + "    pass\n" * 60
    assert "long has 61 lines" in broken_by(habits.functions, made_up(proxy__core__x=body))
    nine = "class A:\n    def f(self, a, b, c, d, *, e, f, g, h, i): ..."
    assert "f has 9 parameters" in broken_by(habits.functions, made_up(proxy__core__x=nine))
    assert not broken_by(habits.functions, made_up(proxy__core__x=nine.replace(", i", "")))
    methods = "class A:\n" + "".join(f"    def m{n}(self): ...\n" for n in range(17))
    assert "class A has 17 public methods" in broken_by(habits.classes, made_up(proxy__core__x=methods))
    assert not broken_by(habits.classes, made_up(proxy__core__x=methods.replace("m16", "_m16")))


@pytest.mark.parametrize(
    "name", ["proxy__utils__x", "proxy__core__helpers", "proxy__core__base", "proxy__api__service"]
)
def test_names_that_say_nothing_are_refused(name: str) -> None:
    assert "says nothing" in broken_by(habits.names, made_up(**{name: ""}))
    assert not broken_by(habits.names, made_up(proxy__core__access="", proxy__core__baseline=""))


def test_modules_have_docstrings() -> None:
    assert "has no docstring" in broken_by(habits.docstrings, made_up(proxy__core__x="import re"))
    assert not broken_by(habits.docstrings, made_up(proxy__core__x='"""What it is."""'))
    assert not broken_by(habits.docstrings, [Source("proxy.core", "", package=True)])


@pytest.mark.parametrize(
    "text",
    [
        "cache = {}",
        "CACHE: dict[str, int] = {}",
        "from typing import Final\nSEEN: Final = set()",
        "if True:\n    queue = collections.deque()",
        "names = [n for n in range(3)]",
        "lock = threading.Lock()",
        "def f():\n    global state\n    state = 1",
    ],
)
def test_mutable_globals_are_refused(text: str) -> None:
    assert "global" in broken_by(habits.module_globals, made_up(proxy__core__x=text))


def test_constants_are_not_mutable_globals() -> None:
    text = (
        "__all__ = ['a']\n"
        "TABLE: Mapping[str, int] = {'a': 1}\n"
        "ORDER: Final[Sequence[str]] = ['a']\n"
        "NAMES = frozenset({'a'})\n"
        "PAIR = ('a', 'b')\n"
        "router = APIRouter()\n"
        "class A:\n    def __init__(self):\n        self.seen = {}\n"
    )
    assert not broken_by(habits.module_globals, made_up(proxy__core__x=text))
