"""Which literals of an SQL text hold a secret: one pass over its tokens. Pure; called by ``redact`` alone.

A statement is a tree: groups (what stands in parentheses) of items (what stands between commas, and between AND,
OR, WHERE and the like). The rules:

1. An item in which a secret's name stands is secret: its literals and parameters, and those in its parentheses. So
   are an item that holds ``(… the name …)``, and the other arguments of a function that is given the name alone.
2. Where INSERT or MERGE stands in a statement with a secret's name, all its literals are: columns and values stand
   apart. So are they where a string ends with such a name (``'password=' || …``, ``set_config('a.password', …)``).
3. What a string holds is read as SQL where it is run (after DO, EXECUTE, AS, or because it begins as a statement
   does), as a shell's command after PROGRAM, else as text: ``name = value``, tokens, URIs.
4. Without quotes, a value is a word after ``PASSWORD`` in CREATE or ALTER ROLE, and after ``SET name =``.

So no verb, name or structure is ever replaced, but for a word that stands where rule 4 has it.
"""

import re
from collections.abc import Collection
from typing import NamedTuple

from proxy.protocols.postgres.inside import Edit, Inside
from proxy.protocols.postgres.names import NAME_MOST
from proxy.protocols.postgres.patterns import CIPHER, NAME, OPENS, RUNS, in_command, in_text
from proxy.protocols.postgres.tokens import Kind, Token, meaning, name_of, tokens

MASK = b"'***'"
EVERY = b"*"
"""Among hidden names: any prepared statement may be given secrets."""
_DEPTH = 6
"""How deep SQL in strings in SQL is looked into."""
_CLAUSES = frozenset(b"WHERE AND OR HAVING LIMIT OFFSET RETURNING ORDER UNION EXCEPT INTERSECT".split())
"""Words at which one item ends and the next begins. Not FROM: ``IS DISTINCT FROM``; not SET: ``SET DEFAULT``."""
_ROLE_WORDS = frozenset(
    b"SUPERUSER NOSUPERUSER CREATEDB NOCREATEDB CREATEROLE NOCREATEROLE INHERIT NOINHERIT LOGIN NOLOGIN REPLICATION"
    b" NOREPLICATION BYPASSRLS NOBYPASSRLS CONNECTION ENCRYPTED UNENCRYPTED PASSWORD VALID IN ROLE ADMIN USER GROUP"
    b" SYSID SET RESET RENAME WITH ADD DROP TO UESCAPE".split()
)
"""What may follow in CREATE and ALTER ROLE; the keyword ``PASSWORD`` may be a role's name there."""
_SIZED = frozenset(
    b"VARCHAR CHAR CHARACTER VARYING BPCHAR NUMERIC DECIMAL BIT TIME TIMESTAMP FLOAT INTERVAL".split()
)
_LANGUAGES = frozenset({b"SQL", b"PLPGSQL"})
_STARTS = frozenset({b"BEGIN", b"THEN", b"ELSE", b"LOOP"})
"""What a statement may stand behind, in a function's body."""
_RUN_BY = frozenset({b"DO", b"EXECUTE", b"AS"})
_MARK = re.compile(rb"/\*|\*/")


class Reading:
    """What one way of reading a text found: ``edits``; ``leaves``, the literals and comments (start, end), which
    nothing runs; ``parameters``, the numbers of the ``$n`` whose values are secret. ``escapes`` as in ``tokens``;
    ``hidden``: names of prepared statements whose arguments are."""

    def __init__(
        self, text: bytes, escapes: bool, hidden: Collection[bytes], *, depth: int = 0, everything: bool = False
    ) -> None:
        self.edits: list[Edit] = []
        self.leaves: list[tuple[int, int]] = []
        self.parameters: set[int] = set()
        self._text = text
        self._escapes = escapes
        self._hidden = hidden
        self._depth = depth
        self._everything = everything
        statement = _Statement(hidden)
        for token in tokens(text, escapes):
            kind = token.kind
            if kind is Kind.SPACE:
                continue
            piece = text[token.start : token.end]
            if kind is Kind.COMMENT:
                self._comment(token, piece)
            elif kind is Kind.WORD or kind is Kind.QUOTED_NAME:
                if statement.word(piece, kind is Kind.QUOTED_NAME):
                    self.edits.append(Edit(token.start, token.end, MASK))
            elif kind is not Kind.OTHER or 48 <= piece[0] <= 57:
                statement.value(token, piece)
            elif piece == b";":
                self._finish(statement)
                statement = _Statement(hidden)
            else:
                statement.operator(piece[0])
        self._finish(statement)

    def _finish(self, statement: "_Statement") -> None:
        """The statement has ended: now it is known which of its values are secret."""
        everything = self._everything or statement.everything()
        spared = len([each for each in statement.values if each.opens]) == 1 and not everything
        everything = everything or statement.opened
        for value in statement.values:
            token, secret = value.token, everything or value.item.secret()
            if token.kind is Kind.PARAMETER:
                if secret:
                    self.parameters.add(int(self._text[token.start + 1 : token.end][:6]))
            elif token.kind is Kind.OTHER:
                if secret:
                    self.edits.append(Edit(token.start, token.end, MASK))
            elif secret and spared and value.opens and not value.item.secret():
                self._literal(value, False, statement)
            else:
                self._literal(value, secret, statement)

    def _literal(self, value: "_Value", secret: bool, statement: "_Statement") -> None:
        token = value.token
        if self._text[token.start] in b"bBxX":  # bits hold no text
            self.leaves.append((token.start, token.end))
            self.edits.extend([Edit(token.start, token.end, MASK)] if secret else ())
            return
        inside = Inside(self._text, token, self._escapes)
        runs = not value.item.password and (
            value.after in _RUN_BY
            or (statement.first == b"DO" and statement.count == 1)
            or RUNS.match(inside.content) is not None
        )
        if runs and self._depth < _DEPTH:
            inner = Reading(inside.content, self._escapes, self._hidden, depth=self._depth + 1, everything=secret)
            self.edits.extend(inside.back(inner.edits))
            if statement.foreign:  # there, double quotes make a string
                self.edits.extend(inside.back(each for each in in_text(inside.content) if each.text[:1] == b'"'))
            self.leaves.extend((inside.at(start), inside.at(end)) for start, end in inner.leaves)
            return
        self.leaves.append((token.start, token.end))
        if value.after == b"PROGRAM":
            self.edits.extend(inside.back(in_command(inside.content)))
        elif secret:
            self.edits.append(Edit(token.start, token.end, MASK))
        else:
            self.edits.extend(inside.back(in_text(inside.content)))

    def _comment(self, token: Token, piece: bytes) -> None:
        """A block's marks stay, so that it ends where it ended."""
        self.leaves.append((token.start, token.end))
        block = piece[:2] == b"/*"
        last = len(piece) - 2 if block and token.ended else len(piece)
        for start, end, new in in_text(piece[:last]):
            mark = _MARK.search(piece, start, end) if block else None
            stop = mark.start() if mark else end
            if stop > start:
                self.edits.append(Edit(token.start + start, token.start + stop, new))


class _Group:
    """What stands in one pair of parentheses, or all of a statement. ``item``: of what it is a part."""

    __slots__ = ("holds", "item", "secret", "sized")

    def __init__(self, item: "_Item | None", sized: bool = False) -> None:
        self.item = item
        self.sized = sized
        self.holds = False
        self.secret = False


class _Item:
    """``named``: a secret's name stands in it; ``by``: the group in it that holds one. ``valued``: a literal does;
    ``paired``: two words in a row, as in a column's definition. ``password``: the clause of a role."""

    __slots__ = ("between", "by", "group", "named", "paired", "password", "valued")

    def __init__(self, group: _Group, named: bool = False) -> None:
        self.group = group
        self.named = named
        self.by: _Group | None = None
        self.between = self.paired = self.password = self.valued = False

    def secret(self) -> bool:
        """Once its statement has ended."""
        return self.named or self.by is not None or self.group.secret


class _Value(NamedTuple):
    """A literal or parameter; ``after``: the word right before it; ``opens``: what follows it is a secret."""

    item: _Item
    token: Token
    after: bytes
    opens: bool


class _Statement:
    """One statement, as its tokens come."""

    def __init__(self, hidden: Collection[bytes]) -> None:
        self.first = b""
        self.count = 0
        self.values: list[_Value] = []
        self.opened = False
        self.foreign = False
        self._hidden = hidden
        top = _Group(None)
        self._groups = [top]
        self._open = [top]
        self._item = _Item(top)
        self._before = b""
        self._called = b""
        self._escaped = b""
        self._placeholder = self._creates = False
        self._starts = True
        self._named = self._inserts = self._updates = self._role = False
        self._set = _Set()

    # -- tokens --------------------------------------------------------------------------------------------------

    def word(self, piece: bytes, quoted: bool) -> bool:
        """Take a name or keyword in; True where it is a value itself."""
        upper = piece if quoted else piece.upper()
        if upper == b"UESCAPE" and self._escaped:  # of a name: the string that follows says how to read it
            self._before = upper
            return False
        before, self._before = self._before, upper
        self._escaped = piece if quoted and piece[:1] != b'"' else b""
        self._called = called = meaning(piece) if quoted else piece
        if not self.first:
            self.first = upper
        if self._set.takes(upper):
            return True
        if self._role and self._item.password and (quoted or upper not in _ROLE_WORDS):
            return upper != b"NULL" and not self._placeholder
        self._keyword(upper, before)
        self._creates = self._starts and upper in (b"CREATE", b"ALTER")
        self._starts = upper in _STARTS
        if NAME.search(called) is not None or (before == b"EXECUTE" and self._is_hidden(piece, called)):
            self._name()
        self._item.paired = self._item.paired or before != b""
        return False

    def _is_hidden(self, piece: bytes, called: bytes) -> bool:
        """Whether this prepared statement is given secrets."""
        return EVERY in self._hidden or name_of(piece) in self._hidden or called[:NAME_MOST] in self._hidden

    def _name(self) -> None:
        """A secret's name stands in this item."""
        self._named = self._item.named = True
        self._set.named = True

    def _read_again(self, piece: bytes) -> None:
        """The name before UESCAPE is read with the escape character that stands in ``piece``."""
        self._called, self._escaped = meaning(self._escaped, piece[-2:-1]), b""
        if NAME.search(self._called):
            self._name()

    def _keyword(self, upper: bytes, before: bytes) -> None:
        if self._role and upper in _ROLE_WORDS:
            self._next()
            self._item.password = upper == b"PASSWORD" and before not in (
                b"ROLE",
                b"USER",
                b"GROUP",
                b"ADMIN",
                b"IN",
            )
        elif upper in _CLAUSES:
            if upper == b"AND" and self._item.between:
                self._item.between = False
            else:
                self._next()
        elif upper in (b"ROLE", b"USER", b"GROUP") and self._creates:
            self._role = True
        elif upper == b"MAPPING":
            self._role = False
        elif upper == b"BETWEEN":
            self._item.between = True
        if before == b"LANGUAGE":
            self.foreign = upper not in _LANGUAGES
        if upper in (b"INSERT", b"MERGE"):
            self._inserts = True
        elif upper == b"UPDATE":
            self._updates = True
        elif upper == b"SET" and not self._updates:
            self._set = _Set(begun=True, all_of_it=self.first == b"SET")
        elif upper == b"TO":
            self._set.equals()
        else:
            self._set.name(upper)

    def value(self, token: Token, piece: bytes) -> None:
        """Take a string, a number or a parameter in."""
        after, self._before = self._before, b""
        if after == b"UESCAPE" and self._escaped:
            self._read_again(piece)
            return
        self._called = self._escaped = b""
        item = self._item
        if token.kind is Kind.OTHER:
            if item.group.sized:
                return
        elif token.kind is not Kind.PARAMETER:
            self.count += 1
        item.valued = True
        opens = False
        if token.kind is not Kind.PARAMETER and token.kind is not Kind.OTHER and NAME.search(piece):
            opens = not item.named and OPENS.search(piece) is not None
            self.opened = self.opened or opens
        if self._set.takes(b"'"):
            item.named = True
        self.values.append(_Value(item, token, after, opens))

    def operator(self, each: int) -> None:
        """Take any other character in."""
        before, self._before = self._before, b""
        called, self._called, self._escaped = self._called, b"", b""
        self._placeholder = each == 37  # as in format('… PASSWORD %L')
        self._starts = self._creates = False
        if each in b"([":
            if CIPHER.match(called):
                self._item.named = self._named = True
            group = _Group(self._item, before in _SIZED)
            self._groups.append(group)
            self._open.append(group)
            self._item = _Item(group)
        elif each in b")]":
            if len(self._open) > 1:
                self._end_item()
                self._close(self._open.pop())
        elif each == 44:  # ,
            self._next()
            self._item.named = self._set.comma()
            self._set.operator(each)
        elif each == 61:  # =
            self._set.equals()
        else:
            self._set.operator(each)

    # -- the tree ------------------------------------------------------------------------------------------------

    def _next(self) -> None:
        self._end_item()
        self._item = _Item(self._item.group)

    def _end_item(self) -> None:
        item = self._item
        if item.named or item.by is not None:
            item.group.holds = True
            if not item.valued and not item.paired and len(self._open) > 1:
                item.group.secret = True

    def _close(self, group: _Group) -> None:
        item = group.item or _Item(group)
        if group.holds:
            if item.by is not None:
                item.named = True
            item.by = group
        self._item = item

    def everything(self) -> bool:
        """The statement has ended: settles which items are secret; True where all are."""
        while len(self._open) > 1:
            self._end_item()
            self._close(self._open.pop())
        for group in self._groups[1:]:  # in the order they were opened: what a group is in comes first
            item = group.item
            if item is not None and (item.named or item.group.secret or item.by not in (None, group)):
                group.secret = True
        return self._inserts and self._named


class _Set:
    """``SET name = word, word``: whether the next word is a value. ``all_of_it``: so is all that follows."""

    __slots__ = ("_all", "_begun", "_complete", "_state", "named")

    def __init__(self, begun: bool = False, all_of_it: bool = False) -> None:
        self.named = False
        self._begun = begun
        self._complete = False  # a name is there, which a dot may continue
        self._all = all_of_it
        self._state = 0  # 1: a value comes; 2: one came

    def name(self, upper: bytes) -> None:
        """Any other word: a part of the name, or SET was no SET."""
        self._begun = self._begun and not self._complete
        self._complete = upper not in (b"SESSION", b"LOCAL")

    def operator(self, each: int) -> None:
        """Any other character: only a dot within the name leaves it one."""
        self._begun = self._begun and self._complete and each == 46
        self._complete = False

    def equals(self) -> None:
        """``=`` or TO."""
        if self._begun and self._complete:
            self._state = 1 if self.named else 0
        self._begun = False

    def comma(self) -> bool:
        """Whether another value follows."""
        self._state = 1 if self._state == 2 else 0
        return self._state == 1

    def takes(self, upper: bytes) -> bool:
        """Whether this is a value."""
        if not self._state or upper == b"DEFAULT":
            return False
        taken = self._state == 1 or self._all
        self._state = 2 if taken else 0
        return taken
