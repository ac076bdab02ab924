"""Rules about who may know whom: ranks, the two sides, folders of protocols, purity, cycles.

A rule takes all sources and gives what breaks it, one line each, saying where and why.
"""

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence

from tests.architecture.source import Import, Source

RANKS: Mapping[str, int] = {
    "core": 0,
    "policy": 1,
    "access": 2,
    "audit": 2,
    "recording": 2,
    "sessions": 3,
    "protocols": 4,
    "adapters": 4,
    "api": 4,
    "web": 4,
    "app": 5,
    "cli": 6,
}
CONTROL_SIDE = ("api", "web")
DATA_SIDE = ("sessions", "protocols")
IMPURE_PROTOCOL_FILES = ("engine", "upstream", "control", "cancels", "trial")
ON_ASYNCSSH = (
    *("transport", "lines", "line_channels", "tolerance", "tries", "client_side", "ledger", "passing", "channels"),
    *("tunnels", "openings", "conversation"),
)
"""SSH brings its own connection: the files of it that asyncssh calls, or that call it."""
NOT_IN_PROTOCOLS = frozenset({"asyncio", "asyncssh", "socket", "ssl", "time", "threading", "os"})
NOT_IN_CORE = frozenset(
    {
        "asyncio",
        "socket",
        "ssl",
        "time",
        "random",
        "secrets",
        "os",
        "threading",
        "subprocess",
        "selectors",
        "select",
    }
)


def ranks(every: Sequence[Source]) -> Iterator[str]:
    """A package imports only packages of a lower rank, and itself."""
    for source in every:
        if source.area == "gateway_config" or len(source.parts) == 1:
            continue
        if source.area not in RANKS:
            yield f"{source.path}: proxy.{source.area} has no rank: give it one in tests/architecture/layers.py"
            continue
        for each in source.imports:
            area = _area(each.target)
            if area and area != source.area and RANKS.get(area, 99) >= RANKS[source.area]:
                yield (
                    f"{source.at(each.line)} imports {each.target}: {source.area} (rank {RANKS[source.area]}) "
                    f"may import only lower ranks, and {area} has rank {RANKS.get(area, 'unknown')}"
                )


def sides(every: Sequence[Source]) -> Iterator[str]:
    """The control side and the data side meet only through the store and its feed."""
    for source, each in _imports(every):
        if source.area in CONTROL_SIDE and _area(each.target) in DATA_SIDE:
            yield (
                f"{source.at(each.line)} imports {each.target}: {source.area} reaches sessions and protocols "
                "only through the store and its feed"
            )


def protocol_folders(every: Sequence[Source]) -> Iterator[str]:
    """A protocol's folder knows no other protocol's."""
    folders = {source.parts[2] for source in every if source.area == "protocols" and len(source.parts) > 3}
    for source, each in _imports(every):
        own, other = _protocol(source.name), _protocol(each.target)
        if own in folders and other in folders and own != other:
            yield f"{source.at(each.line)} imports {each.target}: one protocol's folder never imports another's"


def configuration(every: Sequence[Source]) -> Iterator[str]:
    """What an operator writes stands alone; and the inside knows nothing of files."""
    for source, each in _imports(every):
        root = each.target.split(".")[0]
        if source.area == "gateway_config" and root == "proxy":
            yield f"{source.at(each.line)} imports {each.target}: gateway_config imports nothing of proxy"
        if root == "gateway_config" and RANKS.get(source.area, 99) <= RANKS["sessions"]:
            yield (
                f"{source.at(each.line)} imports {each.target}: {source.area} gets a Catalog and plain settings, "
                "not the configuration's models"
            )


def purity(every: Sequence[Source]) -> Iterator[str]:
    """core and policy are the standard library without the outside world; a protocol's files, but for two, are
    bytes alone."""
    for source, each in _imports(every):
        root = each.target.split(".")[0]
        if source.area in ("core", "policy"):
            yield from _impure_core(source, each, root)
        elif (
            source.area == "protocols" and len(source.parts) > 3 and source.parts[3] not in _impure(source.parts[2])
        ):
            yield from _impure_protocol(source, each, root)


def _impure(protocol: str) -> tuple[str, ...]:
    return (*IMPURE_PROTOCOL_FILES, *ON_ASYNCSSH) if protocol == "ssh" else IMPURE_PROTOCOL_FILES


def _impure_core(source: Source, each: Import, root: str) -> Iterator[str]:
    if root in NOT_IN_CORE:
        yield f"{source.at(each.line)} imports {root}: {source.area} has no I/O, no clock and no randomness"
    elif root != "proxy" and root not in sys.stdlib_module_names:
        yield f"{source.at(each.line)} imports {root}: {source.area} uses the standard library only"


def _impure_protocol(source: Source, each: Import, root: str) -> Iterator[str]:
    files = " and ".join(f"{name}.py" for name in _impure(source.parts[2]))
    if root in NOT_IN_PROTOCOLS:
        yield f"{source.at(each.line)} imports {root}: only {files} of a protocol touch the outside; this is pure"
    target = each.target.split(".")
    if _protocol(each.target) == source.parts[2] and len(target) > 3 and target[3] in _impure(source.parts[2]):
        yield f"{source.at(each.line)} imports {each.target}: a pure file cannot build on {target[3]}.py"
    if _area(each.target) == "sessions":
        yield f"{source.at(each.line)} imports {each.target}: the kernel is asyncio's; only {files} may know it"


def cycles(every: Sequence[Source]) -> Iterator[str]:
    """No module needs itself, by whatever way round."""
    graph = import_graph(every)
    reported: set[str] = set()
    for start in graph:
        if start not in reported and (way := _way_back(graph, start)):
            reported.update(way)
            yield f"import cycle: {' -> '.join((*way, start))}"


def import_graph(every: Iterable[Source]) -> Mapping[str, frozenset[str]]:
    """Each module, and the modules of this project that it imports directly."""
    modules = {source.name: source for source in every}
    return {
        name: frozenset(_module(each.target, modules) for each in source.imports) & modules.keys() - {name}
        for name, source in modules.items()
    }


def _module(target: str, modules: Mapping[str, Source]) -> str:
    """The longest part of ``target`` that is a module: ``from a.b import c`` names a module or a thing in one."""
    while target and target not in modules:
        target = target.rpartition(".")[0]
    return target


def _way_back(graph: Mapping[str, frozenset[str]], start: str) -> tuple[str, ...]:
    """The shortest way from ``start`` back to itself, without its end; () if there is none."""
    ways: list[tuple[str, ...]] = [(start,)]
    seen = {start}
    for way in ways:
        for following in sorted(graph[way[-1]]):
            if following == start:
                return way
            if following not in seen:
                seen.add(following)
                ways.append((*way, following))
    return ()


def _imports(every: Iterable[Source]) -> Iterator[tuple[Source, Import]]:
    return ((source, each) for source in every for each in source.imports)


def _area(target: str) -> str:
    parts = target.split(".")
    return parts[1] if parts[0] == "proxy" and len(parts) > 1 and not parts[1].startswith("_") else ""


def _protocol(name: str) -> str:
    parts = name.split(".")
    return parts[2] if parts[:2] == ["proxy", "protocols"] and len(parts) > 2 else ""
