"""Where does a notebook run? In a process of its own that nobody else can reach, and that never outlives its runner."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from clientbook import forkserver, ipynb, store

ENGINE = "clientbook"
_PREFIX = "clientbook-"
_running: set[Any] = set()
_guard = threading.Lock()
_server = forkserver.ForkServer()


def register() -> str:
    """Teach papermill the engine that uses these kernels; its name."""
    with ipynb.importing():
        import nbclient  # noqa: F401
        import papermill  # noqa: F401
        import zmq.asyncio  # noqa: F401
        from jupyter_client.provisioning import KernelProvisionerFactory
        from papermill.engines import papermill_engines

        KernelProvisionerFactory.instance()
        if ENGINE not in papermill_engines._engines:
            # what ends a kernel is told by the runner, once and in words
            logging.getLogger("papermill").addHandler(logging.NullHandler())
            papermill_engines.register(ENGINE, _engine())
    return ENGINE


def prepare() -> None:
    """Import what kernels need beside what else is done, where one will be started for sure."""
    if forkserver.AVAILABLE:
        _server.start()


def kill_all() -> None:
    """End every kernel of this process at once, with whatever it started."""
    with _guard:
        held = list(_running)
    for kernel in held:
        _kill(kernel)


def exit_status(kernel: Any) -> int | None:
    """How a kernel's process ended, as `subprocess` tells it; None while it runs or where nobody knows."""
    process = getattr(getattr(kernel, "provisioner", None), "process", None)
    return None if process is None else process.poll()


def sweep() -> None:
    """Delete the sockets of kernels whose runner was killed."""
    store.sweep(Path(tempfile.gettempdir()), f"{_PREFIX}[0-9]*-*")


def _kill(kernel: Any) -> None:
    process = getattr(getattr(kernel, "provisioner", None), "process", None)
    if process is None or process.poll() is not None:
        return
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if sys.platform == "win32":
            process.kill()
        else:
            # a kernel leads a group of its own
            os.killpg(process.pid, signal.SIGKILL)


def _engine():
    from jupyter_client.kernelspec import KernelSpec
    from jupyter_client.manager import AsyncKernelManager
    from papermill.engines import NBClientEngine

    class OwnKernel(AsyncKernelManager):
        """The Python that runs Clientbook, whatever kernels a user has installed, over sockets that nobody else sees."""

        environment: Mapping[str, str] = {}
        folder: str | None = None
        later: Sequence[str] = ()
        started: Callable[[Any], None] = staticmethod(lambda kernel: None)

        def __init__(self, **options: Any):
            # a socket's path may have a hundred characters, so it cannot lie in the book
            self._folder = tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-")
            options["connection_file"] = f"{self._folder}/kernel.json"
            if sys.platform != "win32":
                options |= {"transport": "ipc", "ip": f"{self._folder}/kernel"}
            super().__init__(**options)

        async def _async_start_kernel(self, **options: Any) -> None:
            # what a kernel mutters belongs neither on the terminal nor in a log: it may quote data
            quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
            await super()._async_start_kernel(**options | quiet | {"env": self.environment, "cwd": self.folder})
            with _guard:
                _running.add(self)
            self.started(self)

        start_kernel = _async_start_kernel

        async def _async_launch_kernel(self, kernel_cmd: list[str], **options: Any) -> None:
            argv = kernel_cmd[kernel_cmd.index("-f") :]
            child = _server.fork(argv, options["env"], options["cwd"], self.later) if forkserver.AVAILABLE else None
            if child is None:
                await super()._async_launch_kernel(kernel_cmd, **options)
                return
            self.provisioner.process, self.provisioner.pid, self.provisioner.pgid = child, child.pid, child.pid
            self._reconcile_connection_info(self.provisioner.connection_info)

        async def _async_cleanup_resources(self, restart: bool = False) -> None:
            await super()._async_cleanup_resources(restart)
            if not restart:
                with _guard:
                    _running.discard(self)
                shutil.rmtree(self._folder, ignore_errors=True)

        cleanup_resources = _async_cleanup_resources

        @property
        def kernel_spec(self) -> KernelSpec:
            argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
            return KernelSpec(argv=argv, display_name="Clientbook", language="python")

    class WatchedEngine(NBClientEngine):
        """Papermill's own engine, telling which cell runs."""

        @classmethod
        def execute_managed_notebook(
            cls, nb_man, kernel_name, *, progress, changed, environment, folder, started, later, **options
        ):
            progress.cells = sum(cell.cell_type == "code" for cell in nb_man.nb.cells)
            begin = nb_man.cell_start

            def cell_start(cell, cell_index=None, **more):
                if cell.cell_type == "code":
                    progress.cell += 1
                    changed()
                return begin(cell, cell_index, **more)

            nb_man.cell_start = cell_start
            told = {"environment": environment, "folder": folder, "later": later, "started": staticmethod(started)}
            options["kernel_manager_class"] = type("Kernel", (OwnKernel,), told)
            # whole notebooks are written at every cell otherwise, twice, and nobody reads them before the end
            save, nb_man.save = nb_man.save, lambda **told: None
            try:
                return super().execute_managed_notebook(nb_man, kernel_name, **options)
            finally:
                nb_man.save = save

    return WatchedEngine
