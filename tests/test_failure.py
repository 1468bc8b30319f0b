"""How a failure is told: its kind, what to do, and nobody's data."""

from __future__ import annotations

import pytest

from clientbook import failure


@pytest.mark.parametrize(
    ("name", "message", "kind"),
    [
        ("MemoryError", "", "memory"),
        ("OutOfMemoryException", "Out of Memory Error: failed to allocate data of size 16.0 MiB", "memory"),
        ("OSError", "[Errno 28] No space left on device: '/x/y'", "disk"),
        ("IOException", "IO Error: Could not write all bytes to file: No space left on device", "disk"),
        ("FaultError", "shop.orders, orders.csv: The file is empty. Deliver it again.", "data"),
        ("KeyError", "'customer_id'", "code"),
    ],
)
def test_kinds_are_told_apart(name, message, kind):
    told = failure.of_exception(name, message)
    assert told.kind == kind and told.what and told.remedy


@pytest.mark.parametrize(("status", "word"), [(-9, "killed"), (None, "killed"), (-11, "crashed"), (-6, "abort"), (3, "status 3")])
def test_a_dead_kernel_is_told_by_how_it_ended(status, word):
    assert word in failure.of_kernel(status).what


def test_a_time_out_names_the_limit():
    assert "3,600 seconds" in failure.of_time(3600).what


@pytest.mark.parametrize(
    "message",
    [
        "could not convert string to float: 'Ada Muster'",
        'Conversion Error: Could not convert string "Ada Muster" to INT32',
        "time data 'Ada Muster' does not match format",
        "invalid value: `Ada Muster`",
        "ada.muster@example.org is no number",
        "+41 44 668 18 00 is no number",
    ],
)
def test_what_a_foreign_message_quotes_is_left_out(message):
    told = failure.of_exception("ValueError", message).what
    for word in ("Ada", "Muster", "ada", "668"):
        assert word not in told


def test_a_word_of_the_code_may_be_quoted():
    assert "customer_id" in failure.of_exception("KeyError", "'customer_id'").what


def test_frames_name_file_line_and_function_alone():
    traceback = [
        "\x1b[0;31mValueError\x1b[0m   Traceback (most recent call last)",
        "Cell \x1b[0;32mIn[3], line 4\x1b[0m\n      4 step.write('Ada Muster')",
        "File \x1b[0;32m/home/ada/lib/site-packages/clientbook/value.py:12\x1b[0m, in \x1b[0;36mfit\x1b[0;34m(rows)\x1b[0m\n  12 raise",
    ]
    told = failure.of_exception("ValueError", "", traceback).frames
    assert told == ("the notebook's cell, line 4", "clientbook/value.py, line 12, in fit")
