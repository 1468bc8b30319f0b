"""DuckDB, or Spark, behind Ibis: what one of them alone can do stands in its own module, beside its twin's."""

from __future__ import annotations

from pathlib import Path

from clientbook.engine.nearest import asof_join
from clientbook.engine.shared import ENGINES, Engine, Part, TwiceError, UnreadableError, row_hash
from clientbook.faults import UsageError

__all__ = ["ENGINES", "Engine", "Part", "TwiceError", "UnreadableError", "asof_join", "open", "row_hash"]


def open(name: str = "duckdb", *, scratch: Path, memory: str | None = None, threads: int | None = None) -> Engine:
    """Which engine computes this run?

    Parameters
    ----------
    name
        ``duckdb`` or ``spark``.
    scratch
        A folder for what does not fit into memory; the engine makes a folder of its own in it and removes that
        on :meth:`Engine.close`. Spark's workers must see it under the same path.
    memory
        An upper bound such as ``"2GB"``. Default: the environment's ``CLIENTBOOK_MEMORY``, else a quarter of
        the machine's memory and at least 1 GB. With Spark it is of the driver's own part alone. A run shares that
        quarter among the notebooks that it runs side by side.
    threads
        Default: one for each processor.

    Raises
    ------
    UsageError
        The engine's name is not known.
    FaultError
        The memory bound is not a size, the scratch folder cannot be written, or Spark cannot be reached.

    Examples
    --------
    >>> engine = open(scratch=Path("store/scratch"))  # doctest: +SKIP
    """
    if name not in ENGINES:
        raise UsageError(f"There is no engine {name!r}. Choose {' or '.join(ENGINES)}.")
    if name == "spark":
        from clientbook.engine.spark import SparkEngine

        return SparkEngine(scratch=Path(scratch), memory=memory, threads=threads)
    from clientbook.engine.duckdb import DuckDBEngine

    return DuckDBEngine(scratch=Path(scratch), memory=memory, threads=threads)
