"""Character references of HTML in item texts."""

import logging
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest

from small.data.damage import check, prepared, unsynced
from small.data.formats import FORMS, LOG, Form, write_form
from small.data.raw import texts_of
from tcf.data.dataset import Dataset
from tcf.data.events import html_references
from tcf.data.events.html_references import warn_of_references

WRITTEN = "Tom &amp; Jerry&#39;s &quot;best&quot; &amp;lt; caf&eacute;&nbsp;"
READ = 'Tom & Jerry\'s "best" &lt; café'
EACH = ("tcf", "recbole", "mind", "hm", "ml-100k", "ml-csv", "amazon-2018", "table-csv", "table-json")


@pytest.mark.parametrize("form", [form for form in FORMS if form.name in EACH], ids=str)
def test_texts_of_every_format(
    form: Form, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One text becomes empty, so that its item cannot be used."""
    monkeypatch.setattr(html_references, "_AT_ONCE", 2)
    first, empty, *others = LOG.items
    log = replace(LOG, items=((first[0], WRITTEN), (empty[0], "&nbsp; "), *others))
    raw = write_form(form, tmp_path / "raw", form.write(log))
    expected = replace(LOG, items=((first[0], READ), *others))
    with unsynced(), caplog.at_level(logging.INFO):
        found = prepared(form, raw, unescape_html=True)
        lost = sum(item == empty[0] for _, item, _ in LOG.events)
        short = {"users_below_min_history": 1, "interactions_of_dropped_users": 2}
        counts = {"empty_text": 1, "event_of_skipped_item": lost, **short}
        check(found, expected, counts, without=frozenset([empty[0]]))
        assert "character references became characters in the texts of 2 rows" in caplog.text
        assert "--unescape-html" not in caplog.text
        assert isinstance(found, Dataset)
        found.path.rename(tmp_path / "with")
        kept = prepared(form, raw)
    assert isinstance(kept, Dataset)
    assert texts_of(kept)[first[0]] == WRITTEN
    assert f"2 of {kept.n_items} item texts hold character references of HTML, such as '{WRITTEN}'" in caplog.text
    assert "; --unescape-html makes them characters" in caplog.text


def test_templates_and_ids(tmp_path: Path) -> None:
    """Columns are unescaped before a template joins them; ids stay as they are, even where they are texts too."""
    form = next(form for form in FORMS if form.name == "table-csv")
    rows = "a&amp;b,Puzzles &gt; Wood,&nbsp;\nc,&#32;, Y&uuml; \nd,plain,x & y\n"
    events = "".join(f"u{user},{item},{time}\n" for user in "12" for time, item in enumerate(["a&amp;b", "c", "d"]))
    files = {"items.csv": f"what,title,brand\n{rows}", "events.csv": f"who,what,when\n{events}"}
    raw = write_form(form, tmp_path / "raw", {name: text.encode() for name, text in files.items()})
    found = prepared(form, raw, "error", template="{what}: {title} by {brand}", unescape_html=True)
    assert isinstance(found, Dataset)
    assert texts_of(found) == {"a&amp;b": "a&b: Puzzles > Wood", "c": "c: Yü", "d": "d: plain by x & y"}


def test_items_that_events_describe(tmp_path: Path) -> None:
    form = next(form for form in FORMS if form.name == "table-csv")
    rows = "who,what,when,title\nu1,a,1,X &amp; Y\n\nu1,b,2,Z\nu1,c,3,X &amp; Y\nu1,a,4,X & Y\n"
    raw = write_form(form, tmp_path / "raw", {"events.csv": rows.encode()})
    found = prepared(form, raw, items=(), unescape_html=True)
    assert isinstance(found, Dataset)
    assert texts_of(found) == {"a": "X & Y", "b": "Z", "c": "X & Y"}
    assert found.statistics["skipped"] == {"wrong_columns": 1}


def test_other_ampersands_are_not_pointed_out(caplog: pytest.LogCaptureFixture) -> None:
    warn_of_references(pa.array(["AT&T", "R & D", "Q&A", "a&", "&;", "&#;", "&#x;"], pa.large_string()))
    assert caplog.text == ""
    warn_of_references(pa.array(["AT&T", "x" * 100 + "&amp;", "&#X41;"], pa.large_string()))
    assert f"2 of 3 item texts hold character references of HTML, such as '{'x' * 80}...'" in caplog.text
