"""How does a kernel start at once? As a fork of a process that has imported what every notebook imports.

Importing takes seconds of a processor for each kernel, which is most of what a small notebook costs. Python's own fork
server would execute the user's main script once more in every child, so this one is ours; it serves one process, its
runner, over its standard input and output, and ends when that ends.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import selectors
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from typing import Any

# forking after imports is unsafe on macOS, whose own libraries hold threads, and unknown on Windows
AVAILABLE = sys.platform == "linux"
# what nearly every notebook needs, in the order in which it takes time
_IMPORTED = (
    "ipykernel.kernelapp", "ipykernel.ipkernel", "ipykernel.zmqshell", "clientbook.charts", "clientbook.stage",
    "clientbook.engine.duckdb",
    "ibis.backends.duckdb", "ibis.backends.sql.compilers", "pyarrow.parquet", "pyarrow.compute",
    "matplotlib.backends.backend_agg", "matplotlib.figure", "PIL.Image", "PIL.PngImagePlugin", "scipy.special",
)  # fmt: skip
# what a stage's notebook needs beside its module: imported while an earlier kernel runs, when nobody waits for it
_IMPORTED_LATER: Mapping[str, Sequence[str]] = {
    "matching": ("scipy.sparse.csgraph",),
    "value": ("scipy.stats", "sklearn.linear_model", "sklearn.ensemble"),
    "journeys": ("scipy.stats", "sklearn.linear_model", "sklearn.feature_extraction.text", "sklearn.metrics"),
    "segments": ("sklearn.cluster", "sklearn.metrics"),
    "content": ("sklearn.linear_model", "sklearn.feature_extraction.text"),
}
# Matrices here have few columns: several threads at one of them wait for each other longer than they work. And one thread
# adds numbers up in the same order on every machine.
ONE_THREAD = dict.fromkeys(("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS", "OMP_NUM_THREADS"), "1")


class Child:
    """A forked process, told of as `subprocess.Popen` tells of one.

    Parameters
    ----------
    pid
        Its number; it leads a process group of its own.
    """

    stdin = stdout = stderr = None

    def __init__(self, pid: int):
        self.pid = pid
        self.returncode: int | None = None
        self._ended = threading.Event()

    def poll(self) -> int | None:
        """How it ended; None while it runs."""
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait until it has ended; how it did.

        Raises
        ------
        subprocess.TimeoutExpired
            If it has not by then.
        """
        if not self._ended.wait(timeout):
            raise subprocess.TimeoutExpired(["kernel"], timeout or 0)
        assert self.returncode is not None
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send it a signal, unless it has ended."""
        if self.returncode is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """End it at once."""
        self.send_signal(signal.SIGKILL)

    def terminate(self) -> None:
        """Ask it to end."""
        self.send_signal(signal.SIGTERM)

    def _end(self, status: int) -> None:
        self.returncode = status
        self._ended.set()


class ForkServer:
    """The process that forks, seen from the one that it works for. Threads may share it."""

    def __init__(self):
        self._asking = threading.Lock()
        self._process: subprocess.Popen | None = None
        # of this very process: what a former one still says is for nobody
        self._answers: queue.SimpleQueue[Child | None] = queue.SimpleQueue()

    def start(self) -> None:
        """Begin to import, for a kernel that will be asked for soon; where nothing can be started, :meth:`fork` tells."""
        with self._asking, contextlib.suppress(OSError):
            self._start()

    def fork(
        self, argv: Sequence[str], environment: Mapping[str, str], folder: str | None, later: Sequence[str] = ()
    ) -> Child | None:
        """Start a kernel.

        Parameters
        ----------
        argv
            The command line of `ipykernel_launcher`, without its name.
        environment
            Of the kernel, whole.
        folder
            Which it works in.
        later
            The stages whose kernels may be asked for next: what they need is imported meanwhile.

        Returns
        -------
        Child or None
            None where no process can be forked: then the kernel has to be started from the beginning.
        """
        with self._asking:
            try:
                self._start()
                wanted = {"argv": list(argv), "environment": dict(environment), "folder": folder, "later": list(later)}
                self._process.stdin.write(json.dumps(wanted).encode() + b"\n")
                self._process.stdin.flush()
            except OSError:
                return None
            return self._answers.get()

    def close(self) -> None:
        """End the server, not what it forked."""
        with self._asking:
            process, self._process = self._process, None
            if process is not None:
                with contextlib.suppress(OSError):
                    process.stdin.close()
                process.wait()

    def _start(self) -> None:
        if self._process is not None and self._process.poll() is None:
            return
        self._answers = queue.SimpleQueue()
        self._process = subprocess.Popen(
            [sys.executable, "-c", "from clientbook.forkserver import serve; serve()"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            # read when numpy is imported, which the server does
            env=ONE_THREAD | os.environ,
            # Ctrl-C in a terminal is for the runner, who ends its kernels in order
            start_new_session=True,
        )  # fmt: skip
        threading.Thread(target=_listen, args=(self._process, self._answers), daemon=True).start()


def _listen(process: subprocess.Popen, answers: queue.SimpleQueue[Child | None]) -> None:
    children: dict[int, Child] = {}
    for line in process.stdout:
        told = json.loads(line)
        if "status" in told:
            children.pop(told["pid"])._end(told["status"])
        else:
            child = children[told["pid"]] = Child(told["pid"])
            answers.put(child)
    # nobody will tell how its children end; they see that it is gone, and end as well
    for child in children.values():
        child._end(-signal.SIGKILL)
    answers.put(None)


def serve() -> None:
    """Import, then fork whenever a line on standard input asks for it, until that ends."""
    import importlib

    # read when ipykernel is imported: a kernel ends when the process of this number is no longer its parent
    os.environ["JPY_PARENT_PID"] = str(os.getpid())
    # as ipykernel sets it before a notebook can import matplotlib
    os.environ["MPLBACKEND"] = "module://matplotlib_inline.backend_inline"
    asked, answer = os.dup(0), os.dup(1)
    with open(os.devnull, "r+b") as nothing:  # noqa: PTH123
        os.dup2(nothing.fileno(), 0)
        os.dup2(nothing.fileno(), 1)
    for name in _IMPORTED:
        importlib.import_module(name)
    _without_collecting()
    ended, wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(wake)
    signal.signal(signal.SIGCHLD, lambda number, frame: None)
    waiting = selectors.DefaultSelector()
    waiting.register(asked, selectors.EVENT_READ)
    waiting.register(ended, selectors.EVENT_READ)
    begun, later = b"", []
    while True:
        ready = waiting.select(0 if later else None)
        if not ready:
            importlib.import_module(later.pop(0))
            if not later:
                _without_collecting()
        for key, _ in ready:
            if key.fd == ended:
                with contextlib.suppress(BlockingIOError):
                    os.read(ended, 4096)
                for pid, status in _ended():
                    _tell(answer, {"pid": pid, "status": status})
                continue
            got = os.read(asked, 1 << 16)
            if not got:
                os._exit(0)
            *lines, begun = (begun + got).split(b"\n")
            for line in lines:
                wanted = json.loads(line)
                pid = os.fork()
                if pid == 0:
                    signal.set_wakeup_fd(-1)
                    for number in (asked, answer, ended, wake):
                        os.close(number)
                    waiting.close()
                    _become_kernel(wanted)
                _tell(answer, {"pid": pid})
                later += [name for name in _missing(wanted["later"]) if name not in later]


def _missing(stages: Sequence[str]) -> list[str]:
    needed = [name for stage in stages for name in (f"clientbook.{stage}", *_IMPORTED_LATER.get(stage, ()))]
    return [name for name in dict.fromkeys(needed) if name not in sys.modules]


def _without_collecting() -> None:
    """What is imported stays for good: looking through it again would only copy pages that parent and children share."""
    import gc

    gc.collect()
    gc.freeze()
    # an expression is very many small objects that stay as long as it does: they are looked through less often
    gc.set_threshold(10_000)


def _ended() -> list[tuple[int, int]]:
    found = []
    with contextlib.suppress(ChildProcessError):
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                break
            found.append((pid, os.waitstatus_to_exitcode(status)))
    return found


def _tell(answer: int, what: Mapping[str, Any]) -> None:
    with contextlib.suppress(BrokenPipeError):
        os.write(answer, json.dumps(what).encode() + b"\n")


def _become_kernel(wanted: Mapping[str, Any]) -> None:
    """Be what `python -m ipykernel_launcher` would have become."""
    status = 1
    try:
        os.setsid()
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        environment = wanted["environment"] | {name: os.environ[name] for name in ("JPY_PARENT_PID", "MPLBACKEND")}
        os.environ.clear()
        os.environ.update(environment)
        os.chdir(wanted["folder"] or ".")
        sys.argv = ["ipykernel_launcher", *wanted["argv"]]
        from ipykernel import kernelapp

        kernelapp.launch_new_instance()
        status = 0
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else int(error.code is not None)
    finally:
        # a fork must not run what its parent has to do at its end
        os._exit(status)
