import io
import json
import logging
import subprocess
import sys
import unicodedata
from pathlib import Path

import pytest

import tcf
from tcf.common.progress import Progress
from tcf.common.text_table import text_table
from tcf.common.untrusted.printable import printable, printable_json, printable_lines

HOSTILE = "\x1b[2J\x07\x9b31m\u202egnp\u2066\x7f\x00\x85\u2028\u200f\ufeff\udcff\r"
KEPT = "Amélie · 千と千尋 · \U0001f468\u200d\U0001f469\u200d\U0001f467 · می\u200cخواهم · a\\b"


def test_what_a_terminal_obeys_is_shown() -> None:
    assert printable(HOSTILE) == (r"\x1b[2J\x07\x9b31m\u202egnp\u2066\x7f\x00\x85\u2028\u200f\ufeff\udcff\r")
    assert printable("a\tb\nc") == r"a\tb\nc"
    assert printable_lines("a\tb\nc\x1b") == "a\tb\nc\\x1b"
    assert printable(KEPT) == printable_lines(KEPT) == printable_json(KEPT) == KEPT
    assert printable(printable(HOSTILE)) == printable(HOSTILE)


def test_no_control_and_no_direction_of_unicode_is_forgotten() -> None:
    every = "".join(map(chr, (*range(0x20000), *range(0xE0000, 0xE0200))))
    through = set(printable(every))  # escapes consist of letters, which are kept anyway
    assert [c for c in through if unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp")] == []
    directions = ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI")
    assert [c for c in through if unicodedata.bidirectional(c) in directions] == []
    # Letters, marks, numbers, punctuation, symbols and spaces are shown as they are.
    assert [c for c in every if c not in through and unicodedata.category(c)[0] in "LMNPS"] == []


def test_a_document_means_the_same() -> None:
    value = {HOSTILE: [KEPT, HOSTILE]}
    document = printable_json(json.dumps(value, ensure_ascii=False, indent=2))
    assert json.loads(document) == value
    assert printable_lines(document) == document


def test_a_line_break_in_a_cell_makes_no_row() -> None:
    assert text_table([["title", "n"], ["a\nproblem: none", "1"]]) == "title             n\na\\nproblem: none  1"


def test_a_defect_is_shown_with_a_harmless_message() -> None:
    lines = "import tcf.cli, tcf.commands.app\ndef run_commands():\n    raise RuntimeError('a \\x1b[2J defect')\n"
    lines += "tcf.commands.app.run_commands = run_commands\ntcf.cli.main()"
    environment = {"PYTHONPATH": str(Path(tcf.__file__).parents[1])}
    done = subprocess.run([sys.executable, "-c", lines], capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 1
    assert done.stderr.startswith("Traceback")
    assert done.stderr.endswith("RuntimeError: a \\x1b[2J defect\n")


def test_records_and_errors_are_shown_harmless(shown_log: None, capsys: pytest.CaptureFixture[str]) -> None:
    logging.getLogger("tcf.test").warning(f"{HOSTILE}{KEPT}")
    assert capsys.readouterr().err == f"tcf: warning: {printable(HOSTILE)}{KEPT}\n"


@pytest.mark.parametrize("is_terminal", [False, True])
def test_progress_is_shown_harmless(is_terminal: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    class Stream(io.StringIO):
        def isatty(self) -> bool:
            return is_terminal

    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "400")
    stream = Stream()
    with Progress(f"fetch {HOSTILE}", 1, "items", stream) as progress:
        progress.advance(1, HOSTILE)
    assert f"fetch {printable(HOSTILE)}" in stream.getvalue()
    assert f"({printable(HOSTILE)})" in stream.getvalue()
    assert not {*"\x07\x9b\u202e\u2066\udcff\x00"} & {*stream.getvalue()}
