"""Templates: how they are read and refused, and what they make of rows that lack fields."""

import string
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tcf.common.errors import ConfigError
from tcf.data.text_template import Template, joined_columns, parse_template


def fill(template: Template, **columns: list[str]) -> list[str]:
    """The text of every row, by the expression of the template."""
    names = {name: f"c{at}" for at, name in enumerate(columns)}
    rows = pa.table([pa.array(values, pa.large_string()) for values in columns.values()], list(names.values()))
    with duckdb.connect() as connection:
        connection.register("rows", rows)
        return [text for (text,) in connection.sql(f"select {template.text(names)} from rows").fetchall()]


@pytest.mark.parametrize(
    ("written", "columns", "texts"),
    [
        ("{title}", ("title",), ("", "")),
        ("{title}. {category}", ("title", "category"), ("", ". ", "")),
        ("Item: {a}{b}, {a}!", ("a", "b", "a"), ("Item: ", "", ", ", "!")),
        ("{{{a}}}", ("a",), ("{", "}")),
        ("{{a}} {b}", ("b",), ("{a} ", "")),
        ("{a}}}{{{b c}", ("a", "b c"), ("", "}{", "")),
        ("é\n{prix €}\t", ("prix €",), ("é\n", "\t")),
    ],
)
def test_what_is_written_is_read(written: str, columns: tuple[str, ...], texts: tuple[str, ...]) -> None:
    assert parse_template(written) == Template(columns, texts)


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("{title", r"braces in pairs, found '\{' alone at character 1 of '\{title'; write \{\{ or \}\} for a literal"),
        ("{title}}", r"braces in pairs, found '\}' alone at character 8 of"),
        ("a } {title}", r"braces in pairs, found '\}' alone at character 3 of"),
        ("{a{b}", r"braces in pairs, found '\{' alone at character 1 of"),
        ("", r"a column name in braces, found none in ''; write for example \"\{title\}. \{category\}\""),
        ("title", r"a column name in braces, found none in 'title'"),
        ("{{title}}", r"a column name in braces, found none in '\{\{title\}\}'"),
        ("{}", r"only a column name in braces, .* found \{\}; write only the name"),
        ("{ }", r"only a column name in braces, .* found \{ \};"),
        ("{price:.2f}", r"without type, format, conversion, .* found \{price:.2f\};"),
        ("{title:token_seq}", r"found \{title:token_seq\}; write only the name"),
        ("{title!r}", r"found \{title!r\};"),
        ("{item.title}", r"found \{item.title\};"),
        ("{item[0]}", r"found \{item\[0\]\};"),
        ("{title} \udcff", r"UTF-8, found an invalid byte at character 9 of '\{title\} \\udcff'"),
    ],
)
def test_what_is_no_template_is_refused(written: str, message: str) -> None:
    with pytest.raises(ConfigError, match=f"--template: expected .*{message}"):
        parse_template(written)


@given(written=st.text("{}ab \n", max_size=12))
def test_braces_mean_what_they_mean_in_python(written: str) -> None:
    try:
        pieces = list(string.Formatter().parse(written))
    except ValueError:
        pieces = []
    names = [name for _, name, _, _ in pieces if name is not None]
    if not names or not all(name.strip() for name in names):
        with pytest.raises(ConfigError):
            parse_template(written)
        return
    template = parse_template(written)
    assert list(template.columns) == names
    # Python gives a piece for each doubled brace, so texts are put together again between the fields.
    texts = [""]
    for text, name, _, _ in pieces:
        texts[-1] += text
        texts += [""] if name is not None else []
    assert list(template.texts) == texts


@pytest.mark.parametrize(
    ("written", "title", "brand", "category", "text"),
    [
        ("{title}. {category}", "Title", "", "Category", "Title. Category"),
        ("{title}. {category}", "Title", "", "", "Title"),
        ("{title}. {category}", "", "", "Category", "Category"),
        ("{title}. {category}", "", "Brand", "", ""),
        ("{title}. {brand} {category}", "Title", "Brand", "Category", "Title. Brand Category"),
        ("{title}. {brand} {category}", "Title", "", "Category", "Title. Category"),
        ("{title}. {brand} {category}", "Title", "Brand", "", "Title. Brand"),
        ("{title}. {brand} {category}", "Title", "", "", "Title"),
        ("{title}. {brand} {category}", "", "Brand", "Category", "Brand Category"),
        ("{title}. {brand} {category}", "", "Brand", "", "Brand"),
        ("Buy {title} ({brand}), {category}!", "Title", "", "", "Buy Title!"),
        ("Buy {title} ({brand}), {category}!", "", "Brand", "Category", "Buy Brand), Category!"),
        ("Buy {title} ({brand}), {category}!", "", "", "", ""),
        ("{title}{title}", "Title", "", "", "TitleTitle"),
        (" {title} ", "Title", "", "", " Title "),
        ("{{{title}}}", "{brand}", "Brand", "", "{{brand}}"),
    ],
)
def test_texts_worked_by_hand(written: str, title: str, brand: str, category: str, text: str) -> None:
    filled = fill(parse_template(written), title=[title], brand=[brand], category=[category])
    assert filled == [text]


def row_by_row(template: Template, row: dict[str, str]) -> str:
    """The rule in plain Python, for one row."""
    there = [at for at, name in enumerate(template.columns) if row[name]]
    if not there:
        return ""
    text = template.texts[0]
    for at in there:
        text += row[template.columns[at]]
        if at != there[-1]:
            text += template.texts[at + 1]
    return text + template.texts[-1]


names = st.sampled_from(["title", "brand", "category"])
rows = st.lists(
    st.fixed_dictionaries(
        {name: st.sampled_from(["", "x", "Ä. ", "{", "\t"]) for name in ("title", "brand", "category")}
    )
)


@st.composite
def templates(draw: st.DrawFn) -> Template:
    columns = draw(st.lists(names, min_size=1, max_size=5))
    n_texts = len(columns) + 1
    texts = draw(st.lists(st.text("{}. é", max_size=3), min_size=n_texts, max_size=n_texts))
    return Template(tuple(columns), tuple(texts))


@settings(deadline=None, max_examples=60)
@given(template=templates(), rows=rows)
def test_all_rows_at_once_are_the_rows_one_by_one(template: Template, rows: list[dict[str, str]]) -> None:
    columns = {name: [row[name] for row in rows] for name in ("title", "brand", "category")}
    assert fill(template, **columns) == [row_by_row(template, row) for row in rows]


@settings(deadline=None, max_examples=30)
@given(values=st.lists(st.sampled_from(["", "x", "Ä b"]), min_size=1, max_size=4))
def test_joined_columns_are_what_there_is_with_a_space_between(values: list[str]) -> None:
    columns = {f"c{at}": [value] for at, value in enumerate(values)}
    assert fill(joined_columns(list(columns)), **columns) == [" ".join(value for value in values if value)]


def test_an_unknown_column_is_named_with_those_there_are() -> None:
    path = Path("x.item")
    parse_template("{a} {b}").check(("b", "a", "c"), path)
    with pytest.raises(ConfigError, match=r"^--template: x.item: expected one of its columns \(b, a, c\), found d$"):
        parse_template("{a} {d} {e}").check(("b", "a", "c"), path)
    with pytest.raises(
        ConfigError, match=r"^--text-columns: x.item: expected one of its columns \(b, a, c\), found A$"
    ):
        joined_columns(["a", "A"]).check(("b", "a", "c"), path)
