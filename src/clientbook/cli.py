"""The commands."""

from __future__ import annotations

import contextlib
import datetime as dt
import errno
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from clientbook.faults import ClientbookError

app = typer.Typer(
    name="clientbook",
    help="One customer view from a company's tables, and decisions from it.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)

BookArgument = Annotated[
    Path | None, typer.Argument(metavar="BOOK", help="The book's folder; with none, the default book, made if it is not there.")
]
ThereArgument = Annotated[
    Path | None, typer.Argument(metavar="BOOK", help="The book's folder; with none, the default book, where it is.")
]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing unless something is wrong.")]
DebugOption = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]


class _RunCommand(TyperCommand):
    """The parameters of the notebooks are looked up only when somebody asks for help."""

    @property
    def epilog(self) -> str:
        from clientbook import runner

        lines = [
            f"[cyan]{name}[/cyan] ({kind}; default {default}): {meaning}"
            for name, kind, default, meaning in runner.describe_parameters(runner.notebooks())
        ]
        example = "Example: [bold]clientbook run data/cdnow --only value -p value.horizon_days=180[/bold]"
        spark = f"[bold]--engine spark[/bold] (pip install 'clientbook\\[spark]', Java 17): {_where(runner.notebooks())}"
        return "\n\n".join([example, spark, "[bold]Parameters for -p[/bold]", *lines])

    @epilog.setter
    def epilog(self, value: Any) -> None:
        pass


def _where(chosen) -> str:
    """Which notebooks, and which tables of others, are worked on where, with Spark?"""
    from clientbook import runner

    made = runner.on_spark(chosen)
    whole = [name for name, tables in made.items() if "*" in tables]
    parts = [f"{', '.join(tables)} of {name}" for name, tables in made.items() if tables and "*" not in tables]
    told = "; ".join([", ".join(whole) or "none whole", *parts])
    rest = ", ".join(name for name in made if name not in whole) or "none"
    return f"On Spark: {told}. On this machine's DuckDB, from what Spark wrote: {'all else in ' if parts else ''}{rest}."


@app.command(cls=_RunCommand)
def run(
    book: BookArgument = None,
    as_of: Annotated[
        str | None, typer.Option(metavar="DATE", help="See only what happened before this day, such as 2024-06-01.")
    ] = None,
    only: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME", help="Execute this notebook and what it needs, and publish these pages alone; may be repeated."
        ),
    ] = None,
    engine: Annotated[
        str, typer.Option(help="duckdb, or spark: on the session that SPARK_REMOTE or SPARK_MASTER names; see below.")
    ] = "duckdb",
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where reports go.")] = Path("reports"),
    parameter: Annotated[
        list[str] | None, typer.Option("-p", metavar="NOTEBOOK.NAME=VALUE", help="Set a parameter; may be repeated.")
    ] = None,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Execute every notebook, also where nothing changed since an earlier run.")
    ] = False,
    jobs: Annotated[int, typer.Option(min=1, help="Execute so many notebooks side by side where they allow it.")] = 2,
    timeout: Annotated[
        int | None, typer.Option(min=1, metavar="SECONDS", help="Stop a cell that takes longer; default: it may take its time.")
    ] = None,
    show_personal_data: Annotated[
        bool, typer.Option("--show-personal-data", help="Show names on the report's pages; every page is then marked.")
    ] = False,
    quiet: QuietOption = False,
    as_json: Annotated[bool, typer.Option("--json", help="Tell how it ended as one JSON object, for schedulers.")] = False,
    debug: DebugOption = False,
) -> None:
    """Execute the notebooks of a book and publish the report."""
    from clientbook import runner
    from clientbook.faults import UsageError

    runner.check_engine(engine)
    day = _day(as_of)
    if day is not None and day > dt.date.today() + dt.timedelta(days=1):
        raise UsageError(f"{day} is still to come: nothing can be known of it. Name a day up to tomorrow.")
    _check_folder(out)
    known = runner.notebooks()
    parameters = runner.parse_parameters(parameter or (), known)
    runner.select(known, only or ())
    opened = _open(book)
    if engine == "spark" and not (quiet or as_json):
        typer.echo(_where(runner.select(known, only or ())))
    with _display(opened.settings.name) if not (quiet or as_json) else contextlib.nullcontext(lambda steps: None) as watch:
        try:
            outcome = runner.run(
                opened, as_of=day, only=only or (), parameters=parameters, out=out, watch=watch,
                fresh=fresh, jobs=jobs, timeout=timeout, personal=show_personal_data, engine=engine,
            )  # fmt: skip
        except Exception as error:
            if as_json:
                known = isinstance(error, ClientbookError)
                # the message of an error that nobody foresaw may quote a cell
                told = str(error) if known else f"Something unforeseen happened ({type(error).__name__})."
                typer.echo(json.dumps({"state": "failed", "exit_code": error.exit_code if known else 1, "message": told}))
            raise
    report = outcome.report / "index.html"
    if as_json:
        told = {name: outcome.run.info[name] for name in ("run", "state", "as_of", "started", "ended", "seconds", "notebooks")}
        typer.echo(json.dumps({**told, "exit_code": 0, "folder": str(outcome.run.folder), "report": str(report)}))
    elif not quiet:
        typer.echo(f"Run {outcome.run.name}: {outcome.run.folder}")
        typer.echo(f"Report: {report}")


@app.command(epilog="Example: [bold]clientbook demo data/demo --people 20000 --seed 1[/bold]")
def demo(
    directory: Annotated[Path, typer.Argument(metavar="[DIR]", help="Where; an earlier made company there is replaced.")] = Path(
        "data/demo"
    ),
    people: Annotated[int, typer.Option(help="How many people.")] = 20_000,
    seed: Annotated[int, typer.Option(help="The same seed makes the same company.")] = 1,
    as_of: Annotated[
        str | None, typer.Option(metavar="DATE", help="The first day that its systems do not know; default 2026-07-01.")
    ] = None,
    debug: DebugOption = False,
) -> None:
    """Make a company with its customers, to try everything on. Its truth goes to DIR/truth, to score against."""
    from clientbook.book import make_company

    day = _day(as_of)
    with _making() as progress:
        make_company(directory, progress, people=people, seed=seed, **({"as_of": day} if day else {}))
    typer.echo(f"Made {people:,} people: {directory / 'clientbook.yaml'}")


@app.command(epilog="Example: [bold]clientbook init data/shop[/bold]")
def init(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="A folder of files; a folder in it is a source.")],
    debug: DebugOption = False,
) -> None:
    """Look at the files of a folder that nobody described, and draft its clientbook.yaml. One that is there stays."""
    from clientbook import drafting

    target, placed = drafting.init(directory)
    for line in drafting.say(placed):
        typer.echo(line)
    typer.echo(f"Draft: {target}. Read what it says to check, then: clientbook check {directory}")


@app.command(epilog="Example: [bold]clientbook check data/cdnow[/bold]")
def check(
    book: ThereArgument = None,
    every: Annotated[bool, typer.Option("--all", help="List every row, also where very many have the same fault.")] = False,
    debug: DebugOption = False,
) -> None:
    """Read and validate everything in a book, and execute nothing. Exit code 1 if anything is at fault."""
    from clientbook import checking

    report = checking.check(_there(book), every_row=every)
    for line in report.notes:
        typer.echo(line)
    for fault in (*report.warnings, *report.faults):
        typer.echo(str(fault), err=True)
    if report.faults:
        raise ClientbookError(report.verdict)
    typer.echo(report.verdict)


@app.command(epilog="Example: [bold]clientbook lab data/cdnow[/bold]")
def lab(
    book: BookArgument = None,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Do not open a browser.")] = False,
    port: Annotated[int, typer.Option(help="Port of JupyterLab.")] = 8888,
    debug: DebugOption = False,
) -> None:
    """Open JupyterLab on the notebooks, with this book. What they write goes to the book's store/lab."""
    from clientbook import runner
    from clientbook.book import BOOK_VARIABLE
    from clientbook.forkserver import ONE_THREAD

    opened = _open(book)
    command = [sys.executable, "-m", "jupyterlab", f"--ServerApp.root_dir={runner.notebooks_folder()}", f"--port={port}"]
    command += ["--no-browser"] if no_browser else []
    # in a container everybody is root, and Jupyter would refuse to start
    command += ["--allow-root"] if getattr(os, "geteuid", lambda: 1)() == 0 else []
    environment = ONE_THREAD | os.environ | {BOOK_VARIABLE: str(opened.folder)}
    server = subprocess.Popen(command, env=environment)
    # whoever ends this command by a signal means the server
    signal.signal(signal.SIGTERM, lambda *_: server.terminate())
    try:
        raise typer.Exit(server.wait())
    except KeyboardInterrupt:
        server.kill()
        raise


@app.command(epilog="Example: [bold]clientbook runs data/cdnow --last 10[/bold]")
def runs(
    book: ThereArgument = None,
    last: Annotated[int, typer.Option(min=1, help="How many, the newest.")] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON lines, all that is remembered of each.")] = False,
    debug: DebugOption = False,
) -> None:
    """List past runs: when, data as of, how long, how they ended, and what changed."""
    from clientbook import history

    opened = _there(book)
    past = history.read(opened.store.folder)
    if not past:
        typer.echo(f"{opened.folder} has no run yet; `clientbook run {opened.folder}` makes one.")
        return
    if as_json:
        for entry in past[-last:]:
            typer.echo(json.dumps(entry, ensure_ascii=False))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for name, justify in (
        ("run", "left"),
        ("started", "left"),
        ("seconds", "right"),
        ("state", "left"),
        ("what changed", "left"),
    ):
        table.add_column(name, justify=justify, no_wrap=name != "what changed")
    for line in history.lines(past, opened.settings.timezone)[-last:]:
        table.add_row(*line)
    # a pipe gets whole lines
    console = Console(markup=False, highlight=False)
    Console(width=None if console.is_terminal else 200, markup=False, highlight=False).print(table)


@app.command(epilog="Example: [bold]clientbook schedule data/cdnow --at 02:30[/bold]")
def schedule(
    book: ThereArgument = None,
    at: Annotated[str, typer.Option(metavar="HH:MM", help="When, every day.")] = "02:30",
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where reports go.")] = Path("reports"),
    debug: DebugOption = False,
) -> None:
    """Print a systemd timer, a crontab line and an Airflow task, any of which runs the book every night."""
    from clientbook import schedule as schedules

    typer.echo(schedules.told(_there(book), at, out.resolve()))


WhoArgument = Annotated[
    str,
    typer.Argument(metavar="WHO", help="A customer_id, account_id, e-mail address, phone number or source:person_id."),
]


@app.command(epilog="Example: [bold]clientbook card data/demo shop:734070013 --out card.html[/bold]")
def card(
    book: Annotated[Path, typer.Argument(metavar="BOOK", help="The book's folder.")],
    who: WhoArgument,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Write it here: HTML, or JSON with --json.")] = None,
    show_personal_data: Annotated[
        bool, typer.Option("--show-personal-data", help="Show names, addresses, numbers and words as they are.")
    ] = False,
    debug: DebugOption = False,
) -> None:
    """Show one customer's page, or one account's with all its contacts, from the newest run."""
    from clientbook import card as cards
    from clientbook.book import open_book
    from clientbook.store import whole

    opened = open_book(book)
    reader = cards.RunReader(opened.run())
    told = cards.card(reader, cards.find_one(reader, who, opened.settings.country), reveal=show_personal_data)
    if out is None:
        typer.echo(cards.as_json(told) if as_json else cards.as_text(told))
        return
    with whole(out) as draft:
        text = cards.as_json(told) + "\n" if as_json else cards.as_html(told, revealed=show_personal_data)
        draft.write_text(text, encoding="utf-8")
    typer.echo(f"Card: {out}")


@app.command(epilog="Example: [bold]clientbook forget data/demo shop:734070013[/bold]")
def forget(
    book: Annotated[Path, typer.Argument(metavar="BOOK", help="The book's folder.")],
    who: WhoArgument,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    debug: DebugOption = False,
) -> None:
    """Erase a person from every kept run and list, suppress them in what is delivered next, and leave a receipt."""
    from clientbook import forget as forgetting
    from clientbook import lock
    from clientbook.book import open_book

    opened = open_book(book)
    person = forgetting.look_up(opened, who)
    typer.echo(f"{person.told}: {len(person.records)} {'record' if len(person.records) == 1 else 'records'}")
    if not yes:
        typer.confirm("Forget them in every run and list? It cannot be undone", abort=True)
    with lock.hold(opened.store.folder, "forget"):
        receipt = forgetting.forget(opened, person, dt.date.today())
    rows = sum(sum(tables.values()) for tables in receipt["removed"].values())
    answers = sum(receipt["removed"].get("labels", {}).values())
    told = f", {answers:,} of them answers in the book's labels.csv" if answers else ""
    typer.echo(f"{rows:,} rows removed{told}. Files that were delivered are not touched; what they deliver next is suppressed.")
    if receipt["runs_that_showed_names"]:
        typer.echo(
            f"Reports are not touched. Those of {', '.join(receipt['runs_that_showed_names'])} show names: delete them, or make "
            "them anew."
        )
    typer.echo(f"Receipt: {opened.store.folder / forgetting.RECEIPTS / receipt['receipt']}.json")


@app.command(epilog="Example: [bold]clientbook export data/demo shop:734070013 --out them.json[/bold]")
def export(
    book: Annotated[Path, typer.Argument(metavar="BOOK", help="The book's folder.")],
    who: WhoArgument,
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Write it here; default: to the terminal.")] = None,
    debug: DebugOption = False,
) -> None:
    """Everything that the newest run holds on one person, as JSON with nothing masked, for the person who asks."""
    from clientbook import export as exporting
    from clientbook.book import open_book
    from clientbook.forget import look_up
    from clientbook.store import whole

    opened = open_book(book)
    text = json.dumps(exporting.export(opened, look_up(opened, who)), indent=2, ensure_ascii=False)
    if out is None:
        typer.echo(text)
        return
    with whole(out) as draft:
        draft.write_text(text + "\n", encoding="utf-8")
    typer.echo(f"Export: {out}. It holds personal data.")


def main() -> None:
    """Run a command, and say in one message what is wrong if anything is."""
    debug = "--debug" in sys.argv
    try:
        code = app(standalone_mode=False) or 0
        if code == 130:
            # typer takes an interrupt for an exit of its own
            _complain("Stopped.")
        sys.exit(code)
    except typer.Abort:
        _complain("Stopped.")
        sys.exit(130)
    except KeyboardInterrupt:
        _complain("Stopped.")
        sys.exit(130)
    except ClientbookError as error:
        _trace(debug)
        _complain(str(error))
        sys.exit(error.exit_code)
    except BrokenPipeError:
        # whoever read along has read enough; Python would complain once more when it closes the pipe
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except Exception as error:
        usage = _usage_error(error)
        if usage is not None:
            _complain(usage)
            sys.exit(2)
        _trace(debug)
        if isinstance(error, OSError) and error.errno in _REMEDIES:
            _complain(f"{error.filename or 'A file'}: {error.strerror}. {_REMEDIES[error.errno]}")
            sys.exit(1)
        # the message of an error that nobody foresaw may quote a cell
        told = f": {error.strerror}" if isinstance(error, OSError) and error.strerror else ""
        _complain(f"Something unforeseen happened ({type(error).__name__}{told}).")
        if not debug:
            _complain("The same command with --debug shows where.")
        sys.exit(1)


_RIGHT, _ROOM = "Give this user the right to it, or name another place.", "Make room on that disk, or name another place."
_REMEDIES = {
    errno.EACCES: _RIGHT, errno.EPERM: _RIGHT, errno.EROFS: "It can only be read: name another place.",
    errno.ENOSPC: _ROOM, errno.EDQUOT: _ROOM,
    **dict.fromkeys((errno.ENOTDIR, errno.EEXIST), "A file stands where a folder should be: move it, or name another place."),
    errno.EISDIR: "A folder stands where a file should be: name another place.",
    errno.ENOENT: "Make its folder, or name another place.",
}  # fmt: skip


def _trace(debug: bool) -> None:
    """The exit code stays the same with the traceback as without."""
    if debug:
        import traceback

        traceback.print_exc()


def _usage_error(error: Exception) -> str | None:
    shown = getattr(error, "format_message", None)
    if shown is None:
        return None
    context = getattr(error, "ctx", None)
    usage = f"{context.get_usage()}\n" if context is not None else ""
    return f"{usage}{shown()}"


def _complain(message: str) -> None:
    typer.echo(message, err=True)


def _day(text: str | None) -> dt.date | None:
    from clientbook.faults import UsageError

    if text is None:
        return None
    try:
        return dt.date.fromisoformat(text)
    except ValueError:
        raise UsageError(f"{text!r} is not a day; write it as 2024-06-01.") from None


def _check_folder(out: Path) -> None:
    """Could this be a folder? Asked before the work, not after it."""
    from clientbook.faults import UsageError

    there = next((place for place in (out, *out.parents) if place.exists()), None)
    if there is not None and not there.is_dir():
        raise UsageError(f"{there} is a file; name a folder for the reports.")


def _open(book: Path | None):
    """The book, made before the eyes of the user if it is the default one and not there yet."""
    from clientbook.book import BOOK_VARIABLE, DEFAULT, SETTINGS, default_book, open_book

    if book is None and not os.environ.get(BOOK_VARIABLE) and not (Path(DEFAULT) / SETTINGS).is_file():
        typer.echo(f"There is no {DEFAULT} yet: making a company to try everything on.", err=True)
        with _making() as progress:
            default_book(progress)
    return open_book(book)


def _there(book: Path | None):
    """The book that is there: who only looks at one makes none."""
    from clientbook.book import BOOK_VARIABLE, DEFAULT, SETTINGS, open_book
    from clientbook.faults import UsageError

    if book is None and not os.environ.get(BOOK_VARIABLE) and not (Path(DEFAULT) / SETTINGS).is_file():
        raise UsageError(f"Which book? There is no {DEFAULT} here: name its folder, or make that one with `clientbook demo`.")
    return open_book(book)


@contextlib.contextmanager
def _making():
    """How far a company is made, on a terminal as a bar."""
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=1.0)
        yield lambda label, fraction: bar.update(task, description=label, completed=fraction)


class _display:
    """What runs, on a terminal as a table that moves, elsewhere as a line for each notebook that ends."""

    def __init__(self, title: str):
        from rich.console import Console

        self._title, self._console, self._live, self._told = title, Console(stderr=True), None, set()

    def __enter__(self):
        if self._console.is_terminal:
            from rich.live import Live

            self._live = Live(console=self._console, refresh_per_second=4, get_renderable=self._table)
            self._steps: list = []
            self._live.__enter__()
        return self._watch

    def __exit__(self, *error: Any) -> None:
        if self._live:
            self._live.__exit__(*error)

    def _watch(self, steps: list) -> None:
        if self._live:
            self._steps = steps
            self._live.refresh()
            return
        for step in steps:
            if step.state in ("done", "skipped", "failed") and step.name not in self._told:
                self._told.add(step.name)
                message = f"  as in run {step.reused}" if step.reused else ""
                message += f"  {step.message}" if step.message else ""
                self._console.print(
                    f"{step.name:<16} {step.state:<8} {step.seconds:6.1f} s{message}",
                    highlight=False,
                    markup=False,
                    soft_wrap=True,
                )

    def _table(self):
        from rich.table import Table
        from rich.text import Text

        table = Table(title=f"Clientbook: {self._title}", box=None, title_justify="left", padding=(0, 2, 0, 0))
        for name, justify in (("notebook", "left"), ("state", "left"), ("cell", "right"), ("seconds", "right"), ("", "left")):
            table.add_column(name, justify=justify)
        colours = {"running": "cyan", "done": "green", "skipped": "yellow", "failed": "red", "waiting": "dim"}
        for step in self._steps:
            cell = f"{step.cell}/{step.cells}" if step.cells else ""
            seconds = f"{step.seconds:.1f}" if step.state != "waiting" else ""
            message = f"as in run {step.reused}" if step.reused and not step.message else step.message
            table.add_row(step.name, Text(step.state, colours[step.state]), cell, seconds, Text(message))
        return table


if __name__ == "__main__":
    main()
