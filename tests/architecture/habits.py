"""Rules about what is written inside a module: banned calls, sizes, names, docstrings, globals.

A rule takes all sources and gives what breaks it, one line each, saying where and why.
"""

import ast
from collections.abc import Iterator, Mapping, Sequence

from tests.architecture.source import Source

FILE_LINES = 500
FUNCTION_LINES = 60
PUBLIC_METHODS = 16
PARAMETERS = 8
# Not things but lists of questions: each of these methods is one query or one change, and all share one snapshot.
LISTS_OF_QUESTIONS = frozenset({"Reader", "Writer", "SqlReader", "SqlWriter"})

BANNED: Mapping[str, str] = {
    "asyncio.create_task": "every task has an owner: a TaskGroup, or a start and a stop",
    "asyncio.ensure_future": "every task has an owner: a TaskGroup, or a start and a stop",
}
BANNED_CLOCKS: Mapping[str, str] = dict.fromkeys(
    ("time.time", "time.time_ns", "datetime.datetime.now", "datetime.datetime.utcnow"),
    "the clock is an argument (core.ports.Clock)",
)
MAY_READ_CLOCKS = ("adapters", "app", "cli")
ADMISSION = "proxy.core.access.Admission"
GATE = "proxy.access.gate"
EMPTY_NAMES = frozenset(
    {
        "util",
        "utils",
        "common",
        "helper",
        "helpers",
        "manager",
        "managers",
        "base",
        "service",
        "handler",
        "handlers",
    }
)
READ_ONLY = frozenset({"Mapping", "Sequence", "Collection", "Set", "AbstractSet", "Iterable", "tuple", "frozenset"})
MUTABLE_CALLS = frozenset(
    {"list", "dict", "set", "bytearray", "defaultdict", "deque", "OrderedDict", "Counter", "count"}
    | {"WeakKeyDictionary", "WeakValueDictionary", "WeakSet", "Lock", "Event", "Queue", "Semaphore", "Condition"}
)
MUTABLE_LITERALS = (ast.List, ast.Dict, ast.Set, ast.ListComp, ast.DictComp, ast.SetComp)
# A module's own dunders have the type Python and its tools want.
DUNDERS = frozenset({"__all__", "__path__"})

Function = ast.FunctionDef | ast.AsyncFunctionDef


def banned_calls(every: Sequence[Source]) -> Iterator[str]:
    """No task without an owner, and no clock but the one that was passed in."""
    for source in every:
        banned = {**BANNED, **({} if source.area in MAY_READ_CLOCKS else BANNED_CLOCKS)}
        for use in source.uses:
            if use.name in banned:
                yield f"{source.at(use.line)} uses {use.name}: {banned[use.name]}"


def admissions(every: Sequence[Source]) -> Iterator[str]:
    """Only the gate makes an admission: having one is the proof that everything was checked."""
    for source in every:
        for use in source.uses:
            if use.called and use.name == ADMISSION and source.name != GATE:
                yield f"{source.at(use.line)} makes an Admission: only {GATE.replace('.', '/')}.py may"


def file_sizes(every: Sequence[Source]) -> Iterator[str]:
    for source in every:
        lines = len(source.text.splitlines())
        if lines > FILE_LINES:
            yield f"{source.path} has {lines} lines: {FILE_LINES} at most"


DECLARATIONS = ("proxy/api/routes/", "proxy/cli/commands/")
"""Where a function's parameters are the interface itself, a query's words or a command's options, and never counted
by a caller."""


def functions(every: Sequence[Source]) -> Iterator[str]:
    """A function can be read without scrolling and called without counting."""
    for source in every:
        if source.at(0).startswith(DECLARATIONS):
            continue
        for node in ast.walk(source.tree):
            if isinstance(node, Function):
                yield from _function(source, node)


def _function(source: Source, node: Function) -> Iterator[str]:
    lines = (node.end_lineno or node.lineno) - node.lineno + 1
    if lines > FUNCTION_LINES:
        yield f"{source.at(node.lineno)} {node.name} has {lines} lines: {FUNCTION_LINES} at most"
    named = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
    count = len([each for each in named if each.arg not in ("self", "cls")])
    if count > PARAMETERS:
        yield f"{source.at(node.lineno)} {node.name} has {count} parameters: {PARAMETERS} at most"


def classes(every: Sequence[Source]) -> Iterator[str]:
    """A class is one thing, and one can say which."""
    for source in every:
        for node in ast.walk(source.tree):
            if isinstance(node, ast.ClassDef) and node.name not in LISTS_OF_QUESTIONS and not _called_back(node):
                public = [each for each in node.body if isinstance(each, Function) and each.name[0] != "_"]
                if len(public) > PUBLIC_METHODS:
                    yield (
                        f"{source.at(node.lineno)} class {node.name} has {len(public)} public methods: "
                        f"{PUBLIC_METHODS} at most"
                    )


def _called_back(node: ast.ClassDef) -> bool:
    """Whether its methods are the callbacks of a library: how many there are is not ours to choose."""
    bases = (each.value if isinstance(each, ast.Subscript) else each for each in node.bases)
    return any(ast.unparse(each).startswith("asyncssh.") for each in bases)


def names(every: Sequence[Source]) -> Iterator[str]:
    """A module's name says what is in it."""
    for source in every:
        for part in source.parts:
            if part.strip("_") in EMPTY_NAMES:
                yield f"{source.path}: `{part}` says nothing of what is in it: name the thing"


def docstrings(every: Sequence[Source]) -> Iterator[str]:
    """A module says what it is, what it must not know, and who calls it."""
    for source in every:
        empty_package = source.package and not source.tree.body
        if not empty_package and not ast.get_docstring(source.tree):
            yield f"{source.path} has no docstring: say what it is, what it must not know, who calls it"


def module_globals(every: Sequence[Source]) -> Iterator[str]:
    """Nothing remembers but the store, the recordings and the registry of sessions: least of all a module."""
    for source in every:
        for node in ast.walk(source.tree):
            if isinstance(node, ast.Global):
                yield f"{source.at(node.lineno)} global {', '.join(node.names)}: state belongs to an object"
        for statement in _module_level(source.tree.body):
            if (name := _mutable_global(statement)) and name not in DUNDERS:
                yield (
                    f"{source.at(statement.lineno)} {name} is a mutable module global: make it a tuple or "
                    "frozenset, or annotate it as Mapping, Sequence or Set"
                )


def _module_level(body: Sequence[ast.stmt]) -> Iterator[ast.stmt]:
    for statement in body:
        if isinstance(statement, ast.If | ast.Try | ast.With):
            inner = [getattr(statement, part, []) for part in ("body", "orelse", "finalbody")]
            handlers = [handler.body for handler in getattr(statement, "handlers", [])]
            for block in (*inner, *handlers):
                yield from _module_level(block)
        else:
            yield statement


def _mutable_global(statement: ast.stmt) -> str:
    """The name that ``statement`` binds to something mutable without saying that nobody may change it."""
    if isinstance(statement, ast.Assign) and _is_mutable(statement.value):
        return ast.unparse(statement.targets[0])
    if isinstance(statement, ast.AnnAssign) and statement.value is not None and _is_mutable(statement.value):
        return "" if _head(statement.annotation) in READ_ONLY else ast.unparse(statement.target)
    return ""


def _is_mutable(value: ast.expr) -> bool:
    if isinstance(value, ast.Call):
        called = value.func.attr if isinstance(value.func, ast.Attribute) else getattr(value.func, "id", "")
        return called in MUTABLE_CALLS
    return isinstance(value, MUTABLE_LITERALS)


def _head(annotation: ast.expr) -> str:
    """``Mapping`` of ``Mapping[str, int]``, ``Final[Mapping[str, int]]`` and ``abc.Mapping[str, int]``."""
    if isinstance(annotation, ast.Subscript):
        head = _head(annotation.value)
        return _head(annotation.slice) if head in ("Final", "ClassVar") else head
    return annotation.attr if isinstance(annotation, ast.Attribute) else getattr(annotation, "id", "")
