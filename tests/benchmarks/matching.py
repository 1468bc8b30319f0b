"""How right is the matching? Every data set whose truth is known, scored alike; and seconds and memory at size.

    python tests/benchmarks/matching.py DATA [BOOK ...] [--only NAME ...]
    python tests/benchmarks/matching.py DATA BOOK --only --parts    (with seconds of each part, and Splink alone beside)

DATA is a folder with the public data sets (see below for their files), a BOOK a made company that was cleaned once
(`clientbook run BOOK --only cleaning`) and has its `truth/`. Nothing here is seen by the matching but the records.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import sys
import time
from pathlib import Path

import ibis
import numpy as np
import pandas as pd

from clientbook import engine as engines
from clientbook import matching
from clientbook.matching.standard import FREE_MAIL
from clientbook.tables import CANONICAL

_TYPES = {"number": "float64", "money": "float64", "time": "timestamp", "date": "date", "flag": "boolean"}


def people(frame: pd.DataFrame) -> ibis.Table:
    """A clean table of people from the columns that a data set has."""
    schema = {"source": "string"} | {c.name: _TYPES.get(c.kind, "string") for c in CANONICAL["people"].columns}
    schema |= {"account_source": "string"}
    made = pd.DataFrame(index=frame.index)
    for name, kind in schema.items():
        column = frame[name] if name in frame.columns else pd.Series(None, index=frame.index, dtype="object")
        if kind in ("date", "timestamp") and not column.map(lambda day: isinstance(day, dt.date)).any():
            column = pd.to_datetime(column, errors="coerce", format="mixed")
            made[name] = column.dt.date if kind == "date" else column
        else:
            made[name] = column.astype("object")
        made[name] = made[name].astype("object").where(made[name].notna(), None)
    return ibis.memtable(made.assign(arrival=range(len(made))), schema=schema | {"arrival": "int64"})


def _blank(frame: pd.DataFrame) -> pd.DataFrame:
    frame = frame.rename(columns=str.strip).apply(lambda column: column.str.strip())
    return frame.where(frame != "", None)


def historical(data: Path) -> tuple[pd.DataFrame, pd.Series]:
    rows = pd.read_parquet(data / "historical_figures_with_errors_50k.parquet")
    made = pd.DataFrame(
        {
            "source": "archive", "person_id": rows["unique_id"], "full_name": rows["full_name"],
            "given_name": rows["first_name"], "family_name": rows["surname"], "birth_date": _days(rows["dob"]),
            "city": rows["birth_place"], "postcode": rows["postcode_fake"], "job_title": rows["occupation"],
        }
    )  # fmt: skip
    return made, rows["cluster"]


def fake_1000(data: Path) -> tuple[pd.DataFrame, pd.Series]:
    rows = _blank(pd.read_csv(data / "fake_1000.csv", dtype=str))
    made = pd.DataFrame(
        {
            "source": "file", "person_id": rows["unique_id"], "given_name": rows["first_name"],
            "family_name": rows["surname"], "birth_date": _days(rows["dob"]), "city": rows["city"], "email": rows["email"],
        }
    )  # fmt: skip
    return made, rows["cluster"]


def _febrl(rows: pd.DataFrame, source: str) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "source": source, "person_id": rows["rec_id"], "given_name": rows["given_name"],
            "family_name": rows["surname"],
            "street": (rows["street_number"].fillna("") + " " + rows["address_1"].fillna("")).str.strip().replace("", None),
            "city": rows["suburb"], "postcode": rows["postcode"], "region": rows["state"],
            "birth_date": pd.to_datetime(rows["date_of_birth"], format="%Y%m%d", errors="coerce"),
            "external_id": rows["soc_sec_id"],
        }
    )  # fmt: skip


def febrl3(data: Path) -> tuple[pd.DataFrame, pd.Series]:
    made = _febrl(_blank(pd.read_csv(data / "febrl3.csv", dtype=str)), "file")
    return made, made["person_id"].str.extract(r"rec-(\d+)-")[0]


def febrl4(data: Path) -> tuple[pd.DataFrame, pd.Series]:
    parts = [_febrl(_blank(pd.read_csv(data / f"febrl4{x}.csv", dtype=str)), x) for x in "ab"]
    made = pd.concat(parts, ignore_index=True)
    return made, made["person_id"].str.extract(r"rec-(\d+)-")[0]


SETS = {"historical": historical, "febrl3": febrl3, "febrl4": febrl4, "fake_1000": fake_1000}


def _days(text: pd.Series) -> pd.Series:
    # pandas' own times begin in 1677
    def day(value):
        try:
            return np.datetime64(value).astype("datetime64[D]").astype(object) if isinstance(value, str) else None
        except ValueError:
            return None

    return text.map({value: day(value) for value in text.dropna().unique()})


def pair_scores(truth, guess) -> dict[str, float]:
    """Precision and recall of the pairs that clusters imply; counted by group."""
    frame = pd.DataFrame({"t": np.asarray(truth), "g": np.asarray(guess)})

    def pairs(keys):
        n = frame.groupby(keys).size().to_numpy("int64")
        return int((n * (n - 1) // 2).sum())

    both, true, guessed = pairs(["t", "g"]), pairs(["t"]), pairs(["g"])
    precision, recall = both / max(guessed, 1), both / max(true, 1)
    return {"precision": precision, "recall": recall, "f1": 2 * both / max(true + guessed, 1), "true_pairs": true}


def book_tables(book: Path, engine) -> dict[str, ibis.Table]:
    run = sorted((book / "store" / "runs").iterdir())[-1]
    names = [name for name in matching.STAGE.uses if (run / "tables" / f"{name}.parquet").exists()]
    return {name: engine.read_parquet(run / "tables" / f"{name}.parquet") for name in names}


def run_set(name: str, data: Path, scratch: Path, parameters) -> tuple[list[dict], pd.DataFrame]:
    frame, truth = SETS[name](data)
    with engines.open(scratch=scratch) as engine:
        rows = people(frame)
        began = time.process_time()
        matched = matching.match({"people": rows}, engine, "GB", parameters)
        known = matched.tables["identities"].to_pandas()
        seconds = time.process_time() - began
        known = frame[["source", "person_id"]].assign(truth=truth.to_numpy()).merge(known, on=["source", "person_id"])
        told = told_of(matched)
    scores = pair_scores(known["truth"], known["customer_id"])
    return [{"data": name, "what": "persons", **scores, "seconds": seconds, **told}], known


def run_book(book: Path, scratch: Path, parameters) -> tuple[list[dict], pd.DataFrame]:
    settings = Path(book / "clientbook.yaml").read_text()
    country = "DE" if "country: DE" in settings else "GB"
    with engines.open(scratch=scratch) as engine:
        tables = book_tables(book, engine)
        began = time.process_time()
        matched = matching.match(tables, engine, country, parameters)
        known = matched.tables["identities"].to_pandas()
        customers = matched.tables["customers"].select("customer_id", "account_id").to_pandas()
        seconds = time.process_time() - began
        data = tables["people"].select("source", "person_id").to_pandas()
        told = told_of(matched)
    truth = pd.read_parquet(book / "truth" / "people.parquet").rename(columns={"account_id": "true_account"})
    known = data.merge(known, on=["source", "person_id"]).merge(customers, on="customer_id")
    known = known.merge(truth, on=["source", "person_id"])
    native = known[known["human_id"].isin(known.loc[known["script"] != "latin", "human_id"])]
    parts = [
        ("persons", known, "human_id", "customer_id"), ("native", native, "human_id", "customer_id"),
        ("accounts", known, "true_account", "account_id"),
    ]  # fmt: skip
    return [
        {"data": book.name, "what": what, **pair_scores(rows[t], rows[g]), "seconds": seconds, **told}
        for what, rows, t, g in parts
    ], known


_LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"


def as_others(people: ibis.Table, nth: int) -> ibis.Table:
    """The same records once more as other people: letters and digits of what names one are moved on, and days of birth.

    Who belongs to whom stays, so that the work doubles as it does when a book doubles; places and given names stay too.
    """
    moved = "".join(part[nth:] + part[:nth] for part in (_LETTERS[:26], _LETTERS[26:52], _LETTERS[52:]))
    named = ("full_name", "family_name", "family_name_key", "phone", "external_id", "street")
    changed = {
        name: people[name].translate(_LETTERS, moved)
        for name in named
        if name in people.columns and people[name].type().is_string()
    }
    for name in {"email", "email_key"} & set(people.columns):
        # a provider of mailboxes for anybody stays what it is; else all would seem to work for one company
        owner, domain = people[name].split("@")[0], people[name].split("@")[1]
        kept = domain.lower().isin(sorted(FREE_MAIL))
        changed[name] = owner.translate(_LETTERS, moved) + "@" + kept.ifelse(domain, domain.translate(_LETTERS, moved))
    changed["person_id"] = people["person_id"].concat(f"~{nth}")
    if "birth_date" in people.columns:
        changed["birth_date"] = (people["birth_date"] + ibis.interval(days=37 * nth)).cast("date")
    return people.mutate(**changed)


def by_lot(people: ibis.Table, book: Path, share: float, engine) -> ibis.Table:
    """The records of so many of the book's humans: a smaller company, whose people were made each for themselves."""
    known = engine.read_parquet(book / "truth" / "people.parquet")
    drawn = known.filter(known["human_id"].hash().cast("string").right(4).cast("int64") < round(share * 10_000))
    return engine.keep(people.semi_join(drawn, ["source", "person_id"]))


def run_parts(book: Path, scratch: Path, parameters, times: int = 1, is_alone: bool = True, share: float = 1.0) -> None:
    """Seconds of each part on a book's people, and of Splink alone on the same records: trained, matched, clustered."""
    from clientbook.matching import clusters, pairs, standard

    with engines.open(scratch=scratch) as engine:
        tables = book_tables(book, engine)
        people = tables["people"] if share == 1 else by_lot(tables["people"], book, share, engine)
        if times > 1:
            people = engine.keep(ibis.union(people, *[as_others(people, nth) for nth in range(1, times)]))
        began = _clock()
        numbered = engine.number(standard.persons([("people", people)]), ["source", "person_id"], "unique_id")
        records = standard.records(people, engine, "DE", parameters.most_sharing, numbered)
        n = int(numbered.count().to_pyarrow().as_py())
        began = _tell(f"{n:,} records written alike", began)
        scored = pairs.compare(records, engine, pairs_per_record=parameters.pairs_per_record, seed=parameters.seed)
        began = _tell(f"trained, {len(scored.edges):,} pairs matched", began)
        clusters.cluster(scored.edges, n, apart=clusters.ruled_out(records, scored.edges, (), n))
        began = _tell("clustered and refined", began)
        if is_alone:
            _splink_alone(records, engine)
            _tell("Splink alone, capped training", began)


def _splink_alone(records, engine) -> None:
    from splink import DuckDBAPI, Linker, SettingsCreator, block_on
    from splink import comparison_library as cl

    api = DuckDBAPI(connection=engine.connection.con)
    frame = engine.keep(records.select("unique_id", "first", "last", "born", "mail", "dialled", "zip", "place"))
    settings = SettingsCreator(
        link_type="dedupe_only",
        comparisons=[
            cl.JaroWinklerAtThresholds("first"), cl.JaroWinklerAtThresholds("last"), cl.ExactMatch("born"),
            cl.ExactMatch("mail"), cl.ExactMatch("dialled"), cl.ExactMatch("zip"), cl.ExactMatch("place"),
        ],
        blocking_rules_to_generate_predictions=[
            block_on("mail"), block_on("dialled"), block_on("last", "zip"), block_on("first", "born"),
        ],
    )  # fmt: skip
    linker = Linker(api.register(frame.get_name()), settings, log_level=None, validate_settings=False)
    linker.training.estimate_u_using_random_sampling(max_pairs=1e6, seed=1)
    for rule in (block_on("mail"), block_on("last", "zip")):
        linker.training.estimate_parameters_using_expectation_maximisation(rule, max_pairs=2e6)
    predicted = linker.inference.predict(threshold_match_probability=0.5)
    linker.clustering.cluster_pairwise_predictions_at_threshold(predicted, 0.5)


def _clock() -> tuple[float, float]:
    return time.time(), time.process_time()


def _tell(what: str, began: tuple[float, float]) -> tuple[float, float]:
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    seconds, cpu = time.time() - began[0], time.process_time() - began[1]
    print(f"{what:44} {seconds:7.1f} s {cpu:7.1f} CPU-s, peak {peak:.2f} GB", flush=True)
    return _clock()


def told_of(matched) -> dict:
    """What the matching says of itself, without the truth."""
    return {f"expected {key}": value for key, value in matched.clustered.expected.items()} | {
        "threshold": matched.clustered.threshold
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("books", type=Path, nargs="*")
    parser.add_argument("--only", nargs="*", default=list(SETS))
    parser.add_argument("--scratch", type=Path, default=Path("/tmp"))
    parser.add_argument("-p", default="{}", help="parameters of the stage as JSON")
    parser.add_argument("--keep", type=Path, help="folder for the clusters")
    parser.add_argument("--parts", action="store_true", help="seconds of each part on the books, with Splink alone beside")
    parser.add_argument("--times", type=int, default=1, help="with --parts: the book's people so many times, as others each time")
    parser.add_argument("--share", type=float, default=1.0, help="with --parts: of the book's humans so many, by lot")
    parser.add_argument("--without-splink", action="store_true", help="with --parts: not Splink alone")
    options = parser.parse_args()
    parameters = matching.MatchingParameters(**json.loads(options.p))
    rows = []
    for name in options.only:
        if name in SETS:
            told, known = run_set(name, options.data, options.scratch, parameters)
            rows += _show(told)
            if options.keep:
                known.to_parquet(options.keep / f"{name}.parquet")
    for book in options.books if options.parts else ():
        run_parts(book, options.scratch, parameters, options.times, not options.without_splink, options.share)
    for book in () if options.parts else options.books:
        told, known = run_book(book, options.scratch, parameters)
        rows += _show(told)
        if options.keep:
            known.to_parquet(options.keep / f"{book.name}.parquet")


def _show(rows: list[dict]) -> list[dict]:
    for row in rows:
        more = "  ".join(f"{key} {value:.4g}" for key, value in row.items() if key not in _SHOWN)
        print(
            f"{row['data']:14} {row['what']:9} P {row['precision']:.4f}  R {row['recall']:.4f}  F1 {row['f1']:.4f}  "
            f"{row['seconds']:6.1f} CPU-s  {more}",
            flush=True,
        )
    return rows


_SHOWN = ("data", "what", "precision", "recall", "f1", "true_pairs", "seconds")

if __name__ == "__main__":
    sys.exit(main())
