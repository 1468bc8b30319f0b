"""Which Spark, and how is it started?"""

from __future__ import annotations

import os
import shutil
import sys
from importlib.util import find_spec
from pathlib import Path

from clientbook.faults import Fault, FaultError

MASTER_VARIABLE = "SPARK_MASTER"
REMOTE_VARIABLE = "SPARK_REMOTE"
# What comes to the driver from one question; Spark ends a job that would bring more.
MOST_TO_DRIVER = "2g"

# What a Spark of ours is started with; one that is there already has its own.
_OWN = {
    "spark.app.name": "clientbook",
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
    # what the event log keeps of a query are its literals too
    "spark.eventLog.enabled": "false",
    "spark.driver.maxResultSize": MOST_TO_DRIVER,
    "spark.sql.catalogImplementation": "in-memory",
}
# on this machine alone: nothing listens to others, and a small book makes few small parts
_HERE = {"spark.driver.host": "127.0.0.1", "spark.driver.bindAddress": "127.0.0.1", "spark.sql.shuffle.partitions": "8"}


def check_installed() -> None:
    """Is everything there that Spark needs on this machine?

    Raises
    ------
    FaultError
        PySpark is missing; or Java is, where Spark is to be started here.
    """
    if find_spec("pyspark") is None:
        raise FaultError(Fault("PySpark is not installed.", "Install it: pip install 'clientbook[spark]'."))
    if os.environ.get(REMOTE_VARIABLE):
        return
    home = os.environ.get("JAVA_HOME")
    if shutil.which("java") is None and not (home and (Path(home) / "bin" / "java").is_file()):
        raise FaultError(
            Fault("Java is not installed.", f"Install Java 17 or later, or name a Spark Connect server: {REMOTE_VARIABLE}=sc://…")
        )


def start(scratch: Path):
    """The session that the environment names, and whether it is ours to end."""
    check_installed()
    from pyspark.sql import SparkSession

    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    there = SparkSession.getActiveSession()
    if there is not None:
        # Spark Connect has no second session on the same connection
        return False, there.newSession() if hasattr(there, "newSession") else there
    remote = os.environ.get(REMOTE_VARIABLE)
    builder = SparkSession.builder
    try:
        if remote:
            return True, builder.remote(remote).getOrCreate()
        master = os.environ.get(MASTER_VARIABLE)
        settings = {**_OWN, "spark.sql.warehouse.dir": str(scratch / "warehouse"), "spark.local.dir": str(scratch / "spark")}
        if not master or master.startswith("local"):
            settings |= _HERE
        if master:
            builder = builder.master(master)
        for name, value in settings.items():
            builder = builder.config(name, value)
        session = builder.getOrCreate()
        # what Spark logs of a task that failed quotes values; the error is raised here all the same
        session.sparkContext.setLogLevel("OFF")
        return True, session
    except Exception as error:
        where = f"{REMOTE_VARIABLE} names" if remote else f"{MASTER_VARIABLE}, or Spark's own defaults, name"
        raise FaultError(
            Fault(
                f"Spark cannot be reached or started ({type(error).__name__}).",
                f"Look at what {where}, and whether Java 17 or later is installed.",
            )
        ) from None
