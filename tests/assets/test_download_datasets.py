"""Named datasets from web sites: checked, unpacked, sealed, and under their terms only."""

import gzip
import hashlib
import io
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from small.data.sites import Site, serving
from tcf.assets.datasets import DATASETS
from tcf.assets.resolve import DATASET_NAMES, fetch_dataset, raw_format
from tcf.assets.store import Asset, Terms, obtain
from tcf.assets.web import WebFile, WebSource
from tcf.common.errors import DataError
from tcf.common.integrity.verified_files import verify_files
from tcf.common.manifest import read_manifest

ML = {"ml-1m/ratings.dat": b"1::1193::5::978300760\n", "ml-1m/movies.dat": b"1193::Cuckoo (1975)::Drama\n"}
TERMS = Terms("Be kind.", "https://example.org/terms")


def zipped(members: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return stream.getvalue()


def md5_of(content: bytes) -> str:
    return hashlib.md5(content).hexdigest()


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """An empty site, and an empty TCF_HOME."""
    monkeypatch.setenv("TCF_HOME", str(tmp_path / "home"))
    with serving(Site({})) as served:
        yield served


def asset_of(*sources: WebSource, needs: tuple[str, ...] = ("ratings.dat", "movies.dat")) -> Asset:
    return Asset("tiny", "dataset", "", "CC0", needs, sources, raw="movielens")


def films_of(site: Site, name: str = "ml-1m.zip") -> WebSource:
    url = f"{site.address}/{name}"
    return WebSource((WebFile(url, take=("ratings.dat", "movies.dat", "README"), md5_url=f"{url}.md5"),))


@pytest.mark.parametrize("form", ["MD5 (ml-1m.zip) = {}\n", "{}  ml-1m.zip\n", "{}"])
def test_a_zip_is_checked_against_the_published_md5(site: Site, tmp_path: Path, form: str) -> None:
    content = zipped(ML)
    site.files = {"/ml-1m.zip": content, "/ml-1m.zip.md5": form.format(md5_of(content).upper()).encode()}
    asset = asset_of(films_of(site))
    folder = obtain(asset)
    assert folder == tmp_path / "home" / "datasets" / "tiny"
    assert {p.name for p in folder.iterdir()} == {"ratings.dat", "movies.dat", "manifest.json"}
    assert (folder / "ratings.dat").read_bytes() == ML["ml-1m/ratings.dat"]
    manifest = read_manifest(folder, asset.format)
    verify_files(folder, manifest, asset.format)
    assert manifest.inputs == {"ml-1m.zip": hashlib.sha256(content).hexdigest()}
    assert manifest.config["checked"] == {"ml-1m.zip": f"md5 at {site.address}/ml-1m.zip.md5"}
    assert not (tmp_path / "home" / "downloads").exists()
    assert obtain(replace(asset, sources=())) == folder


def test_another_md5_is_refused_and_the_file_is_fetched_anew_next_time(site: Site, tmp_path: Path) -> None:
    content = zipped(ML)
    site.files = {"/ml-1m.zip": content[:-1] + b"x", "/ml-1m.zip.md5": md5_of(content).encode()}
    asset = asset_of(films_of(site))
    with pytest.raises(
        DataError, match=rf"expected md5 {md5_of(content)}, found [0-9a-f]+; .* starts it again\..*tcf data"
    ):
        obtain(asset)
    assert not asset.folder.exists()
    site.files["/ml-1m.zip"] = content
    assert (obtain(asset) / "movies.dat").read_bytes() == ML["ml-1m/movies.dat"]
    assert site.ranges_asked() == [""] * 4


def test_what_is_no_md5_stops_before_the_file_is_fetched(site: Site) -> None:
    site.files = {"/ml-1m.zip": zipped(ML), "/ml-1m.zip.md5": b"<html>moved</html>"}
    with pytest.raises(DataError, match=r"ml-1m\.zip\.md5: expected an md5 checksum, found '<html>moved</html>'"):
        obtain(asset_of(films_of(site)))
    assert len(site.headers) == 1


def test_an_md5_that_is_not_published_any_more_is_done_without(site: Site) -> None:
    site.files = {"/ml-1m.zip": zipped(ML)}
    asset = asset_of(films_of(site))
    obtain(asset)
    assert read_manifest(asset.folder, asset.format).config["checked"] == {"ml-1m.zip": "nothing published"}


def test_a_zip_that_lacks_what_is_needed_is_not_kept(site: Site, tmp_path: Path) -> None:
    site.files = {"/ml-1m.zip": zipped({"ml-1m/ratings.dat": b"1"})}
    with pytest.raises(DataError, match=r"expected movies\.dat in it, found no file of that name"):
        obtain(asset_of(films_of(site)))
    assert list((tmp_path / "home").rglob("*.zip")) == []


def test_the_second_of_two_files_fails_and_the_first_is_not_fetched_again(site: Site, tmp_path: Path) -> None:
    train, dev = (zipped({f"{name}/news.tsv": name.encode()}) for name in ("train", "dev"))
    site.files = {"/MINDsmall_train.zip": train}
    names = ("MINDsmall_train", "MINDsmall_dev")
    files = tuple(WebFile(f"{site.address}/{name}.zip", ("news.tsv",), folder=name) for name in names)
    asset = asset_of(WebSource(files), needs=tuple(f"{name}/news.tsv" for name in names))
    with pytest.raises(DataError, match=r"MINDsmall_dev\.zip: cannot be downloaded \(HTTP Error 404"):
        obtain(asset)
    assert not asset.folder.exists()
    site.files["/MINDsmall_dev.zip"] = dev
    folder = obtain(asset)
    assert [(folder / name / "news.tsv").read_text() for name in names] == ["train", "dev"]
    assert len(site.headers) == 3


def test_a_file_that_is_wanted_as_it_is_and_the_second_site(site: Site) -> None:
    reviews, metadata = gzip.compress(b'{"asin": "a"}\n' * 99), gzip.compress(b'{"asin": "a", "title": "A"}\n')
    site.files = {"/one/a.json.gz": reviews[:-5], "/one/meta_a.json.gz": metadata}
    site.files |= {"/two/a.json.gz": reviews, "/two/meta_a.json.gz": metadata}
    sites = [
        WebSource(tuple(WebFile(f"{site.address}/{at}/{name}.json.gz") for name in ("a", "meta_a")))
        for at in ("one", "two")
    ]
    asset = asset_of(*sites, needs=("a.json.gz", "meta_a.json.gz"))
    with pytest.raises(DataError, match=r"one/a\.json\.gz .*a\.json\.gz: expected a complete gzip file"):
        obtain(replace(asset, sources=(sites[0],)))
    folder = obtain(asset)
    assert [(folder / name).read_bytes() for name in asset.needs] == [reviews, metadata]
    manifest = read_manifest(folder, asset.format)
    assert manifest.config["checked"] == dict.fromkeys(asset.needs, "CRC of gzip")
    assert manifest.inputs["a.json.gz"] == hashlib.sha256(reviews).hexdigest()
    assert manifest.config["source"] == f"{site.address}/two/a.json.gz and {site.address}/two/meta_a.json.gz"


def test_the_next_run_goes_on_in_the_middle(site: Site) -> None:
    content = zipped({"ml-1m/ratings.dat": bytes(5000), "ml-1m/movies.dat": hashlib.sha256(b"").digest() * 400})
    site.files = {"/ml-1m.zip": content}
    site.cuts, site.statuses = [100], []
    asset = asset_of(WebSource((WebFile(f"{site.address}/ml-1m.zip", take=("ratings.dat", "movies.dat")),)))
    # The address is there for the first answer only: what came of it is kept although the run fails.
    script = (
        "import os, tcf.assets.download\nfrom tcf.assets.store import Asset, obtain\n"
        "from tcf.assets.web import WebFile, WebSource\n"
        "tcf.assets.download.time.sleep = None\n"
        "tcf.assets.download._wait_or_give_up = lambda *about: os._exit(9)\n"
        f"obtain({asset!r})\n"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False, capture_output=True).returncode == 9
    obtain(asset)
    assert site.ranges_asked() == ["", "bytes=100-"]


@pytest.mark.usefixtures("shown_log")
def test_terms_are_shown_and_asked_for_once(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    site.files = {"/ml-1m.zip": zipped(ML)}
    asset = replace(asset_of(films_of(site)), terms=TERMS)
    with pytest.raises(DataError) as caught:
        obtain(asset)
    assert "Be kind. Full text: https://example.org/terms" in str(caught.value)
    assert "`tcf data download tiny --accept-licence`" in str(caught.value)
    assert site.headers == [] and not asset.folder.exists()
    folder = obtain(asset, accept_terms=True)
    assert capsys.readouterr().err.startswith(
        "tiny: accepted with --accept-licence: Be kind. Full text: https://example"
    )
    assert obtain(asset) == folder


def test_a_home_that_cannot_be_written_is_said(site: Site, tmp_path: Path) -> None:
    site.files = {"/ml-1m.zip": zipped(ML)}
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "downloads").write_text("a file")
    with pytest.raises(DataError, match=r"home/downloads: cannot be written .*TCF_HOME sets the folder"):
        obtain(asset_of(films_of(site)))


@pytest.mark.parametrize("name", ["ml-1m", "mind-large", "amazon-2018-video-games", "amazon-2023-all-beauty"])
def test_the_command_prints_the_terms_and_stops(site: Site, name: str) -> None:
    done = subprocess.run([sys.executable, "-m", "tcf.cli", "data", "download", name], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stdout == ""
    assert "terms have to be accepted first" in done.stderr and "https://" in done.stderr
    assert f"run `tcf data download {name} --accept-licence`" in done.stderr


def test_hm_says_how_it_is_had(site: Site) -> None:
    with pytest.raises(DataError) as caught:
        fetch_dataset("hm", accept_licence=True)
    message = str(caught.value)
    assert "`kaggle competitions download -c h-and-m-personalized-fashion-recommendations -f articles.csv`" in message
    assert message.index("account") < message.index("rules") < message.index("unzip")
    assert message.endswith("or anywhere and pass it to `tcf data prepare hm`")


def test_every_name_can_be_made_sense_of() -> None:
    assert len(set(DATASET_NAMES)) == len(DATASET_NAMES)
    by_name = {asset.name: asset for asset in DATASETS}
    fashion = by_name["amazon-2018-amazon-fashion"]
    assert fashion.needs == ("AMAZON_FASHION_5.json.gz", "meta_AMAZON_FASHION.json.gz")
    assert str(fashion.sources[1]).split(" and ") == [
        "https://jmcauley.ucsd.edu/data/amazon_v2/categoryFilesSmall/AMAZON_FASHION_5.json.gz",
        "https://jmcauley.ucsd.edu/data/amazon_v2/metaFiles2/meta_AMAZON_FASHION.json.gz",
    ]
    assert by_name["amazon-2023-all-beauty"].needs == ("All_Beauty.jsonl.gz", "meta_All_Beauty.jsonl.gz")
    assert by_name["mind-small"].needs[2] == "MINDsmall_dev/news.tsv"
    assert [name for name in DATASET_NAMES if by_name[name].terms is None] == ["ml-100k", "hm"]
    assert {raw_format(name) for name in DATASET_NAMES} == {"recbole", "movielens", "mind", "hm", "amazon"}


def test_an_unknown_category_lists_the_known_ones_of_its_year() -> None:
    with pytest.raises(
        DataError, match=r"did you mean amazon-2018-video-games\? \(known: amazon-2018-all-beauty, [^3]*\)$"
    ):
        fetch_dataset("amazon-2018-videogames")
