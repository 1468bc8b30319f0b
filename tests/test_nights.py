"""Night after night: one run at a time, and what each says of those before."""

from __future__ import annotations

import random
import re

import pytest
from started import contents, copy_of, finish, half_files, start

from clientbook import history
from clientbook.book import open_book


@pytest.mark.slow
def test_of_two_runs_started_together_one_runs_and_one_says_who_holds_the_book(small_book, tmp_path):
    book = copy_of(small_book, tmp_path / "book")
    for turn in range(5):
        pair = [start(book, tmp_path / "reports", "--only", "cleaning", "--fresh") for _ in range(2)]
        ended = sorted(finish(process) for process in pair)
        assert [code for code, _ in ended] == [0, 4], (turn, ended)
        assert re.search(r"held by process \d+ on \S+ \(run\), since \d{4}-", ended[1][1])
    store = book / "store"
    assert [each["state"] for each in history.read(store)] == ["done"] * 5
    assert half_files(store) == []
    runs = open_book(book).store.runs()
    assert len({tuple(contents(run.folder / "tables").items()) for run in runs}) == 1


@pytest.mark.slow
def test_two_weeks_of_nights_of_a_growing_book(call, tmp_path):
    book = tmp_path / "book"
    book.mkdir()
    (book / "clientbook.yaml").write_text("name: Nights\nsources:\n  shop:\n    orders: {path: orders.csv}\n", encoding="utf-8")
    draw, lines = random.Random(14), ["person_id,ordered_at,order_id,quantity,unit_price"]
    delivered = []
    for night in range(14):
        if night != 9:  # that day nothing came
            lines += [
                f"p{draw.randrange(300)},2026-03-{night + 1:02d} {draw.randrange(8, 20):02d}:00,o{night}-{i},1,{draw.randrange(5, 90)}.00"
                for i in range(40)
            ]
        (book / "orders.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
        delivered.append(len(lines) - 1)
        day = f"2026-03-{night + 2:02d}"
        ended = call("run", book, "--out", tmp_path / "reports", "--only", "cleaning", "--as-of", day, "--quiet")
        assert ended == (0, "", "")
    past = history.read(book / "store")
    assert [each["as_of"] for each in past] == [f"2026-03-{night + 2:02d}" for night in range(14)]
    assert {each["state"] for each in past} == {"done"}
    for night in range(1, 14):
        told = " ".join(history.reasons(past[night], past[night - 1]))
        if night == 9:
            assert "what it had delivered before: nothing new, or late" in told
        else:
            assert f"shop delivered {delivered[night]:,} rows of orders after {delivered[night - 1]:,}." in told
        found = {c.name: c for c in history.changes(past[: night + 1], past[night], past[night - 1])}
        if night != 9:
            assert found["Rows delivered"].difference == 40
            assert found["Rows delivered"].is_beyond_noise is (None if night < 6 else False)
    code, listed, _ = call("runs", book, "--last", 14)
    assert code == 0 and len(re.findall(r"^2026-03-\d\d\.001", listed, re.MULTILINE)) == 14
    index = (tmp_path / "reports" / "book" / "latest" / "index.html").read_text(encoding="utf-8")
    assert "What changed since the last run" in index and "14 days with a run" in index
    assert len(open_book(book).store.runs()) == 12
