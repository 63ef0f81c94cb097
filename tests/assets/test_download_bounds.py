"""Servers that send more than they should: what is written stays within bounds."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from small.data.sites import Site, serving
from tcf.assets.download import RetryPolicy, download, download_text
from tcf.assets.partial_download import Partial, Served
from tcf.assets.source import SourceError

CONTENT = bytes(range(256)) * 4000
ENDLESS = 1 << 30  # bytes; a program that takes them all takes long, and fails


@pytest.fixture
def site() -> Iterator[Site]:
    with serving(Site({"/a.zip": CONTENT})) as served:
        yield served


@pytest.fixture
def partial(tmp_path: Path) -> Partial:
    return Partial(tmp_path, "a.zip")


def get(site: Site, partial: Partial, tries: int = 5, unannounced: int = 1 << 34) -> bytes:
    retry = RetryPolicy(tries=tries, timeout=5, unannounced=unannounced, sleep=lambda seconds: None)
    download(f"{site.address}/a.zip", partial, "a", retry)
    return partial.body.read_bytes()


def test_a_size_that_is_not_said_has_a_bound(site: Site, partial: Partial) -> None:
    site.sends_length = False
    assert get(site, partial, unannounced=len(CONTENT)) == CONTENT
    partial.begin()
    site.surplus = ENDLESS
    with pytest.raises(SourceError, match="expected an announced size or at most 2000000 bytes, found more bytes"):
        get(site, partial, unannounced=2_000_000)
    assert (len(site.headers), partial.size) == (2, 0)  # and it is not asked again


def test_more_than_was_announced_is_not_written(site: Site, partial: Partial) -> None:
    site.cuts = [300_000]
    with pytest.raises(SourceError, match="broke off"):
        get(site, partial, tries=1)
    site.sends_length, site.surplus = False, ENDLESS
    with pytest.raises(SourceError, match="expected 1024000 bytes, as announced, found more, so the download"):
        get(site, partial, tries=1)
    assert site.ranges_asked() == ["", "bytes=300000-"]
    assert partial.size == 0
    site.surplus = 0
    assert get(site, partial) == CONTENT


@pytest.mark.parametrize("said", ["bytes 1000-1023999/500", "bytes 1000-999/1024000"])
def test_a_part_beyond_the_end_of_the_file_is_not_believed(site: Site, partial: Partial, said: str) -> None:
    total = int(said.partition("/")[2])
    partial.begin(Served(etag=f'"{hashlib.md5(CONTENT).hexdigest()}"', total=total))
    partial.body.write_bytes(CONTENT[:1000])
    site.content_range, site.sends_length = said, False
    assert get(site, partial) == CONTENT
    assert site.ranges_asked() == ["bytes=1000-", ""]


def test_a_text_that_does_not_end_is_refused(site: Site) -> None:
    site.files["/a.md5"], site.sends_length = b"a" * 10_000, False
    assert download_text(f"{site.address}/a.md5") == "a" * 10_000
    site.surplus = ENDLESS
    with pytest.raises(SourceError, match="expected at most 10000 bytes of text, found more"):
        download_text(f"{site.address}/a.md5")
