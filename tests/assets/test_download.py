"""Downloads from sites that break off, change their files, and say what is not so."""

import hashlib
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from small.data.sites import DATE, Site, serving
from tcf.assets.download import RetryPolicy, download, download_text
from tcf.assets.partial_download import Partial, Served, held
from tcf.assets.source import SourceError

CONTENT = bytes(range(256)) * 4000
OTHER = CONTENT[::-1] + b"more"


@pytest.fixture
def site() -> Iterator[Site]:
    with serving(Site({"/a.zip": CONTENT})) as served:
        yield served


class Run:
    """One run of a program that downloads; what it leaves is found by the next."""

    def __init__(self, site: Site, folder: Path) -> None:
        self.site, self.downloads = site, folder / "downloads"
        self.waits: list[float] = []

    def __call__(self, tries: int = 5) -> bytes:
        url = f"{self.site.address}/a.zip"
        with held(self.downloads, url) as partial:
            download(url, partial, "a", RetryPolicy(tries=tries, timeout=5, sleep=self.waits.append))
            return partial.body.read_bytes()

    def kept(self) -> int:
        return sum(file.stat().st_size for file in self.downloads.glob("*/a.zip"))


@pytest.fixture
def run(site: Site, tmp_path: Path) -> Run:
    return Run(site, tmp_path)


def test_a_file_that_comes_at_once(site: Site, run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run() == CONTENT
    assert (site.ranges_asked(), run.waits) == ([""], [])
    assert site.headers[0]["Accept-Encoding"] == "identity"
    assert re.fullmatch(r"a: 0/1 MB\na: 1/1 MB in under 1 s, [0-9,.]+ MB/s\n", capsys.readouterr().err)
    assert run() == CONTENT
    assert len(site.headers) == 1  # what is whole is not asked for again


def test_what_is_missing_is_asked_for_after_each_break(site: Site, run: Run) -> None:
    site.cuts = [300_000, 1, 500_000]
    assert run() == CONTENT
    assert site.ranges_asked() == ["", "bytes=300000-", "bytes=300001-", "bytes=800001-"]
    assert len({headers.get("If-Range") for headers in site.headers[1:]}) == 1
    assert run.waits == [1.0, 1.0, 1.0]  # each try brought something


def test_the_next_run_goes_on_where_this_one_gave_up(site: Site, run: Run) -> None:
    site.cuts = [300_000, 0, 0]
    with pytest.raises(SourceError, match=r"broke off after 300000 of 1024000 bytes; tried 3 times; 300000 bytes are "):
        run(tries=3)
    assert run.waits == [1.0, 2.0]
    assert run.kept() == 300_000
    assert run() == CONTENT
    assert site.ranges_asked()[-1] == "bytes=300000-"


def test_a_date_serves_where_there_is_no_entity_tag(site: Site, run: Run) -> None:
    site.etags, site.date, site.cuts = False, DATE, [1000]
    assert run() == CONTENT
    assert (site.headers[1]["If-Range"], site.headers[1]["Range"]) == (DATE, "bytes=1000-")


def test_a_weak_tag_is_no_condition(site: Site, run: Run) -> None:
    site.weak, site.date, site.cuts = True, DATE, [1000]
    assert run() == CONTENT
    assert site.headers[1]["If-Range"] == DATE


def test_without_tag_and_date_it_is_started_over(site: Site, run: Run) -> None:
    site.etags, site.cuts = False, [1000]
    assert run() == CONTENT
    assert site.ranges_asked() == ["", ""]


def test_a_server_without_ranges_starts_over(site: Site, run: Run) -> None:
    site.ranges, site.cuts = False, [1000]
    assert run() == CONTENT
    assert site.ranges_asked() == ["", "bytes=1000-"]


def test_a_server_without_ranges_that_always_breaks_off_is_given_up(site: Site, run: Run) -> None:
    site.ranges, site.cuts = False, [1000] * 9
    with pytest.raises(SourceError, match="broke off after 1000 of 1024000 bytes; tried 3 times"):
        run(tries=3)
    assert len(site.headers) == 3


@pytest.mark.parametrize("heeds", [True, False], ids=["whole file sent", "part of the new file sent"])
@pytest.mark.parametrize("etags", [True, False])
@pytest.mark.parametrize("size", [900, 5000, len(OTHER)], ids=["shorter than what is kept", "longer", "longest"])
def test_a_file_that_changed_is_not_glued_to_the_old_one(
    site: Site, run: Run, heeds: bool, etags: bool, size: int
) -> None:
    site.etags, site.date, site.heeds_if_range, site.cuts = etags, DATE, heeds, [1000, 0]
    with pytest.raises(SourceError):
        run(tries=1)
    site.files["/a.zip"], site.date, site.cuts = OTHER[:size], DATE.replace("2015", "2016"), []
    assert run() == OTHER[:size]


def test_a_changed_file_of_the_same_size_and_date_is_told_by_its_tag(site: Site, run: Run) -> None:
    site.date, site.heeds_if_range, site.cuts = DATE, False, [1000]
    with pytest.raises(SourceError):
        run(tries=1)
    site.files["/a.zip"] = CONTENT[::-1]
    assert run() == CONTENT[::-1]


def test_a_changed_file_of_the_same_size_is_told_by_its_date(site: Site, run: Run) -> None:
    site.etags, site.date, site.heeds_if_range, site.cuts = False, DATE, False, [1000]
    with pytest.raises(SourceError):
        run(tries=1)
    site.files["/a.zip"], site.date = CONTENT[::-1], DATE.replace("2015", "2016")
    assert run() == CONTENT[::-1]


@pytest.mark.parametrize(
    "said",
    [
        "bytes 0-1023999/1024000",
        "bytes 0-1022999/1024000",
        "bytes 1000-1023998/1024000",
        "bytes 1000-1023999/1024001",
        "bytes",
        "items 1",
    ],
)
def test_a_server_that_lies_about_ranges_is_not_believed(site: Site, run: Run, said: str) -> None:
    site.cuts, site.content_range = [1000], said
    assert run() == CONTENT
    assert site.ranges_asked() == ["", "bytes=1000-", ""]


def test_a_part_that_ends_early_is_gone_on_with(site: Site, run: Run) -> None:
    site.cuts = [1000, 500]
    assert run() == CONTENT
    assert site.ranges_asked()[2] == "bytes=1500-"


def test_a_size_that_is_not_said_ends_with_the_connection(site: Site, run: Run) -> None:
    site.sends_length = False
    assert run() == CONTENT
    assert run() == CONTENT
    assert len(site.headers) == 1


@pytest.mark.parametrize("status", [403, 404, 410, 451])
def test_a_refusal_is_not_asked_again(site: Site, run: Run, status: int) -> None:
    site.statuses = [status]
    with pytest.raises(SourceError, match=rf"^cannot be downloaded \(HTTP Error {status}: "):
        run()
    assert len(site.headers) == 1


@pytest.mark.parametrize("status", [429, 500, 503])
def test_an_error_that_may_pass_is(site: Site, run: Run, status: int) -> None:
    site.statuses = [status] * 3
    assert run() == CONTENT
    assert run.waits == [1.0, 2.0, 4.0]


def test_a_server_that_stays_broken_is_given_up(site: Site, run: Run) -> None:
    site.statuses = [500] * 9
    with pytest.raises(SourceError, match=r"^cannot be downloaded \(HTTP Error 500: .*; tried 5 times\)$"):
        run()
    assert run.waits == [1.0, 2.0, 4.0, 8.0]


def test_a_server_may_say_how_long_to_wait(site: Site, run: Run) -> None:
    site.statuses, site.retry_after = [503, 503], "7"
    assert run() == CONTENT
    assert run.waits == [7.0, 7.0]
    site.retry_after = "86400"
    site.files["/b"], site.statuses, waits = b"text", [503], list[float]()
    assert download_text(f"{site.address}/b", RetryPolicy(sleep=waits.append)) == "text"
    assert waits == [60.0]


def test_a_server_that_is_not_there(tmp_path: Path) -> None:
    gone = Site({}, address="http://127.0.0.1:9")
    with pytest.raises(SourceError, match=r"connection refused.*tried 2 times\)$"):
        Run(gone, tmp_path)(tries=2)


def test_a_host_that_nobody_knows_is_not_asked_again(tmp_path: Path) -> None:
    run = Run(Site({}, address="http://tcf.invalid"), tmp_path)
    with pytest.raises(SourceError, match="no such host, or no network|Temporary failure in name resolution"):
        run(tries=2)
    assert len(run.waits) <= 1


def test_a_text_that_is_not_there_is_none(site: Site) -> None:
    site.files["/a.md5"] = b"abc"
    assert download_text(f"{site.address}/a.md5") == "abc"
    assert download_text(f"{site.address}/b.md5") is None


def test_two_at_once_do_not_write_into_one_file(site: Site, run: Run) -> None:
    url = f"{site.address}/a.zip"
    with held(run.downloads, url) as first:
        (first.folder / "a.zip").write_bytes(b"half")
        assert run() == CONTENT
    assert run.kept() == len(CONTENT)  # whoever ends first is kept
    assert run() == CONTENT
    assert len(site.headers) == 1


def test_what_another_process_holds_is_left_to_it(site: Site, run: Run) -> None:
    url = f"{site.address}/a.zip"
    script = (
        "import pathlib\nfrom tcf.assets.partial_download import held\n"
        f"with held(pathlib.Path({str(run.downloads)!r}), {url!r}) as partial:\n"
        "    partial.body.write_bytes(b'half')\n    print(flush=True)\n    input()\n"
        "    assert partial.body.read_bytes() == b'half'\n"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        other.stdout.readline()
        assert run() == CONTENT
        other.communicate(b"\n")
    assert other.returncode == 0
    assert run.kept() == len(CONTENT)


def test_what_is_known_of_a_file_may_be_damaged(site: Site, run: Run) -> None:
    site.cuts = [1000]
    with pytest.raises(SourceError):
        run(tries=1)
    (state,) = run.downloads.glob("*/.served.json")
    for content in ("{", "[]", '{"size": 3}'):
        state.write_text(content)
        assert Partial(state.parent, "a.zip").served.validator == ""
    assert run() == CONTENT
    assert site.ranges_asked()[-1] == ""


def test_what_a_killed_process_had_is_taken_up(site: Site, run: Run) -> None:
    site.cuts = [300_000]
    script = (
        "import os, pathlib\nfrom tcf.assets.download import RetryPolicy, download\n"
        "from tcf.assets.partial_download import held\n"
        f"url, downloads = '{site.address}/a.zip', pathlib.Path({str(run.downloads)!r})\n"
        "with held(downloads, url) as partial:\n"
        "    download(url, partial, 'a', RetryPolicy(sleep=lambda seconds: os.kill(os.getpid(), 9)))\n"
    )
    killed = subprocess.run([sys.executable, "-c", script], check=False, capture_output=True)
    assert killed.returncode == -9
    assert run() == CONTENT
    assert site.ranges_asked() == ["", "bytes=300000-"]
    assert len(list(run.downloads.iterdir())) == 1


def test_a_size_that_is_said_with_a_part_alone_holds_too(site: Site, run: Run) -> None:
    with held(run.downloads, f"{site.address}/a.zip") as partial:
        partial.begin(Served(etag=f'"{hashlib.md5(CONTENT).hexdigest()}"'))
        partial.body.write_bytes(CONTENT[:1000])
    site.cuts = [500]
    assert run() == CONTENT
    assert site.ranges_asked() == ["bytes=1000-", "bytes=1500-"]
