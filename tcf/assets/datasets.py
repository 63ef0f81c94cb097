"""The datasets that tcf knows by name: where they are published and under which terms.

- MovieLens: GroupLens publishes a zip for each size, and its md5 beside it. MovieLens 100K is also in RecBole's wheel.
- MIND: a zip for each part on the Hugging Face hub (`Recommenders/MIND`), and a copy elsewhere by the same publishers.
  The original address, a store on Azure, is no longer public. No checksums. The test part has no clicks and is left
  out.
- Amazon: McAuley Lab publishes a file of reviews and one of metadata for each category, gzipped JSON lines, at several
  addresses. For 2018, tcf uses the "5-core" files, in which users and items have at least five reviews. No checksums.
- H&M: on Kaggle only, which requires an account.
"""

from tcf.assets.store import Asset, Terms
from tcf.assets.web import WebFile, WebSource, ZipSource
from tcf.assets.wheel import WheelSource

__all__ = ["DATASETS", "DATASET_GROUPS"]

_MOVIELENS = "https://files.grouplens.org/datasets/movielens"
_MIND = (
    "https://huggingface.co/datasets/Recommenders/MIND/resolve/main",
    "https://recodatasets.z20.web.core.windows.net/newsrec",
)
_AMAZON_2018 = (
    "https://mcauleylab.ucsd.edu/public_datasets/data/amazon_v2",
    "https://jmcauley.ucsd.edu/data/amazon_v2",
)
_AMAZON_2023 = (
    "https://mcauleylab.ucsd.edu/public_datasets/data/amazon_2023/raw",
    "https://datarepo.eng.ucsd.edu/mcauley_group/data/amazon_2023/raw",
)
_KAGGLE = "h-and-m-personalized-fashion-recommendations"

_SHARED_CATEGORIES = (
    "All_Beauty Appliances Arts_Crafts_and_Sewing Automotive Books CDs_and_Vinyl Cell_Phones_and_Accessories "
    "Clothing_Shoes_and_Jewelry Digital_Music Electronics Gift_Cards Grocery_and_Gourmet_Food Home_and_Kitchen "
    "Industrial_and_Scientific Kindle_Store Magazine_Subscriptions Movies_and_TV Musical_Instruments Office_Products "
    "Patio_Lawn_and_Garden Pet_Supplies Software Sports_and_Outdoors Tools_and_Home_Improvement Toys_and_Games "
    "Video_Games"
)
_CATEGORIES_2018 = f"AMAZON_FASHION Luxury_Beauty Prime_Pantry {_SHARED_CATEGORIES}".split()
_CATEGORIES_2023 = (
    "Amazon_Fashion Baby_Products Beauty_and_Personal_Care Handmade_Products Health_and_Household "
    f"Health_and_Personal_Care Subscription_Boxes Unknown {_SHARED_CATEGORIES}"
).split()

_ML_100K = Asset(
    name="ml-100k",
    kind="dataset",
    summary="MovieLens 100K: 943 users, 1,682 film titles, 100,000 ratings",
    licence="GroupLens' own terms, research use",
    needs=("ml-100k.inter", "ml-100k.item"),
    sources=(
        WheelSource(
            requirement="recbole==1.2.1",
            prefix="recbole/dataset_example/ml-100k",
            sha256="9c9948202011f37eb0a7c6768129313f00d6403ad221ec940d5e2d5d5f33a407",
            size=2_130_151,
            suffixes=(".inter", ".item", ".user"),
        ),
        ZipSource(
            url=f"{_MOVIELENS}/ml-100k.zip",
            sha256="50d2a982c66986937beb9ffb3aa76efe955bf3d5c6b761f4e3a7cd717c6a3229",
        ),
    ),
    prepare_options="--min-rating 1",
)

_HM = Asset(
    name="hm",
    kind="dataset",
    summary="H&M: 1.4 million customers, 105,542 articles, 31.8 million purchases; from Kaggle only",
    licence="the competition's rules, non-commercial use",
    needs=("articles.csv", "transactions_train.csv"),
    sources=(),
    otherwise=(
        "H&M's files are on Kaggle only, which requires an account. Accept the competition's rules at "
        f"https://www.kaggle.com/c/{_KAGGLE}/rules; save an API token of your account as ~/.kaggle/kaggle.json; "
        f"`pip install kaggle`; run `kaggle competitions download -c {_KAGGLE} -f articles.csv` and the same with "
        "transactions_train.csv (without -f it also downloads 30 GB of images); unzip both"
    ),
    raw="hm",
)


def _movielens(size: str, summary: str, files: tuple[str, ...]) -> Asset:
    name = f"ml-{size}"
    url = f"{_MOVIELENS}/{name}.zip"
    return Asset(
        name=name,
        kind="dataset",
        summary=f"MovieLens {size.upper()}: {summary}",
        licence="GroupLens' own terms, research use",
        needs=files[:2],
        sources=(WebSource((WebFile(url, take=files, md5_url=f"{url}.md5"),)),),
        terms=Terms(
            "GroupLens provides MovieLens for research: acknowledge its use in publications, claim no endorsement by "
            "the University of Minnesota or GroupLens, get permission before any commercial or revenue-bearing use, "
            "and follow the conditions for redistribution.",
            f"https://files.grouplens.org/datasets/movielens/{name}-README.{'txt' if size == '1m' else 'html'}",
        ),
        raw="movielens",
    )


def _mind(size: str, summary: str) -> Asset:
    folders = tuple(f"MIND{size}_{part}" for part in ("train", "dev"))
    files = ("news.tsv", "behaviors.tsv")
    return Asset(
        name=f"mind-{size}",
        kind="dataset",
        summary=f"MIND {size}: {summary}",
        licence="Microsoft Research License Terms, research use",
        needs=tuple(f"{folder}/{file}" for folder in folders for file in files),
        sources=tuple(
            WebSource(tuple(WebFile(f"{site}/{folder}.zip", take=files, folder=folder) for folder in folders))
            for site in _MIND
        ),
        terms=Terms(
            "Microsoft provides MIND for research under the Microsoft Research License Terms, which exclude commercial "
            "use.",
            "https://github.com/msnews/MIND/blob/master/MSR%20License_Data.pdf",
        ),
        raw="mind",
    )


def _amazon(year: int, category: str, reviews: str, metadata: str, sites: tuple[str, ...], about: str) -> Asset:
    """Return the asset of one category's reviews and metadata; each site is a source."""
    return Asset(
        name=f"amazon-{year}-{category.lower().replace('_', '-')}",
        kind="dataset",
        summary=f"Amazon reviews of {year}, {category.replace('_', ' ')}",
        licence="no licence stated, research use",
        needs=tuple(path.rpartition("/")[2] for path in (reviews, metadata)),
        sources=tuple(WebSource((WebFile(f"{site}/{reviews}"), WebFile(f"{site}/{metadata}"))) for site in sites),
        terms=Terms(
            "McAuley Lab at UC San Diego publishes these reviews for research and asks to be cited; no licence is "
            "stated, and the texts remain those of their authors and of Amazon.",
            about,
        ),
        raw="amazon",
    )


def _amazon_2018(category: str) -> Asset:
    reviews, metadata = f"categoryFilesSmall/{category}_5.json.gz", f"metaFiles2/meta_{category}.json.gz"
    return _amazon(2018, category, reviews, metadata, _AMAZON_2018, "https://nijianmo.github.io/amazon/index.html")


def _amazon_2023(category: str) -> Asset:
    reviews, metadata = f"review_categories/{category}.jsonl.gz", f"meta_categories/meta_{category}.jsonl.gz"
    return _amazon(2023, category, reviews, metadata, _AMAZON_2023, "https://amazon-reviews-2023.github.io/")


_CSV = ("ratings.csv", "movies.csv", "README.txt")

DATASETS = (
    _ML_100K,
    _movielens("1m", "6,040 users, 3,883 films, 1,000,209 ratings", ("ratings.dat", "movies.dat", "README")),
    _movielens("20m", "138,493 users, 27,278 films, 20,000,263 ratings", _CSV),
    _movielens("25m", "162,541 users, 62,423 films, 25,000,095 ratings", _CSV),
    _movielens("32m", "200,948 users, 87,585 films, 32,000,204 ratings", _CSV),
    _mind("small", "a sample of the users of Microsoft News, train and dev parts"),
    _mind("large", "Microsoft News, train and dev parts, some 700,000 users and 100,000 news"),
    _HM,
    *map(_amazon_2018, sorted(_CATEGORIES_2018, key=str.lower)),
    *map(_amazon_2023, sorted(_CATEGORIES_2023, key=str.lower)),
)

# Datasets that messages list as a group, because there are too many names.
DATASET_GROUPS = ("amazon-2018-", "amazon-2023-")
