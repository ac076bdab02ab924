"""Every setting's line, for any layout TOML allows."""

import tomllib

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway_config.lines import line_of, lines

LAYOUT = '''# head
top = 1
"quoted key".sub = "x"   # a comment with [brackets] and "quotes"

[a]
long = """
one ] } " # no comment
two"""
literal = \'\'\'
[not.a.header]
\'\'\'
list = [ # first
  "x", # [y]

  { inner = 1, deep.er = 2 },
]
day = 1979-05-27 07:32:00Z

[[many]]
name = "first"
[[many.parts]]
n = 1
[[many.parts]]
n = 2
[many.labels]
env = 'p#q'
[[many]]
name = "second"
parts = []
'''


def test_a_hard_layout():
    found = lines(LAYOUT)
    assert tomllib.loads(LAYOUT)["many"][1]["name"] == "second"
    assert {place: found[place] for place in found if place in EXPECTED} == EXPECTED
    assert ("not",) not in found


EXPECTED = {
    ("top",): 2,
    ("quoted key", "sub"): 3,
    ("a",): 5,
    ("a", "long"): 6,
    ("a", "literal"): 9,
    ("a", "list"): 12,
    ("a", "list", 0): 13,
    ("a", "list", 1): 15,
    ("a", "list", 1, "inner"): 15,
    ("a", "list", 1, "deep", "er"): 15,
    ("a", "day"): 17,
    ("many",): 19,
    ("many", 0, "name"): 20,
    ("many", 0, "parts", 0, "n"): 22,
    ("many", 0, "parts", 1): 23,
    ("many", 0, "parts", 1, "n"): 24,
    ("many", 0, "labels", "env"): 26,
    ("many", 1): 27,
    ("many", 1, "name"): 28,
}


def test_a_missing_setting_has_the_line_of_what_it_is_missing_from():
    found = lines(LAYOUT)
    assert line_of(found, ("many", 0, "parts", 1, "missing")) == 23
    assert line_of(found, ("nowhere",)) is None
    assert line_of(found, ()) is None


gaps = st.sampled_from(["", "\n", "  ", "# ] } \" '''\n", "\n\n"])
words = st.sampled_from(["x", "]", "}", "#", "[a]", "k = 1", ",", "=", "'"])


@st.composite
def scalars(draw, mark):
    inside = draw(words)
    form = draw(st.sampled_from(['"{}"', '"\\" {}"', '"""{}\n"quoted" """', "'''{}\n\n'''"]))
    return form.format(f"{mark} {inside}" if "'''" not in form else f"{mark} x")


@st.composite
def values(draw, depth, marks):
    kind = draw(st.sampled_from(["scalar", "array", "inline"])) if depth else "scalar"
    if kind == "scalar":
        return draw(scalars(f"mark{next(marks)}"))
    inner = [draw(values(depth - 1, marks)) for _ in range(draw(st.integers(0, 3)))]
    if kind == "array":
        return "[" + ",".join(f"{draw(gaps)}{each}" for each in inner) + draw(gaps) + "]"
    return "{" + ", ".join(f"k{number} = {each}" for number, each in enumerate(inner)) + "}"


@st.composite
def documents(draw):
    marks = iter(range(10**6))
    text = ""
    for table in range(draw(st.integers(1, 4))):
        text += (
            draw(gaps).rstrip(" ")
            + draw(st.sampled_from([f"[t{table}]", "[[many]]", f"[ t{table} . 'in' ]"]))
            + "\n"
        )
        for key in range(draw(st.integers(0, 4))):
            text += f"k{key} = {draw(values(2, marks))}\n" + draw(st.sampled_from(["", "\n", "# c\n"]))
    return text


def leaves(value, place=()):
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else None
    if pairs is None:
        yield place, value
        return
    for key, each in pairs:
        yield from leaves(each, (*place, key))


@settings(max_examples=300)
@given(documents())
def test_each_value_stands_where_it_is_said_to_stand(text):
    found = lines(text)
    rows = text.split("\n")
    for place, value in leaves(tomllib.loads(text)):
        if isinstance(value, str):
            assert f"mark{_mark(value)} " in rows[found[place] - 1] + " "


def _mark(value):
    return value.split("mark", 1)[1].split()[0]
