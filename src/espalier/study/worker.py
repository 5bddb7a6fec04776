"""A process that runs one cell: ``python -m espalier.study.worker JOB [held]``.

It lives as long as its standard input is open: when the process that started it dies, however that
happens, the run is saved and stopped. How it ended is one line on standard output.
"""

import contextlib
import os
import signal
import sys
import threading
import traceback

import torch

from espalier.errors import BusyError, EspalierError
from espalier.files import make_directory
from espalier.records.claim import claim
from espalier.records.study import FAILURE
from espalier.study.job import HELD, Ending, Job, ending_of
from espalier.train import RunDirectory, Silent, TensorBoard, train
from espalier.train.memory import keep_freed_memory

__all__ = ["main", "run_job"]

GRACE_S = 60.0
"""How long an orphan may take to save, before it is ended without."""


def run_job(job: Job, *, held: bool = False) -> Ending:
    """Run a cell, or go on with it, unless another process does or has; no error gets out.

    It is the run of ``espalier train`` with the same spec: same directory, records and bits.

    Args:
        job: what to run.
        held: this process has inherited the claim on the cell.
    """
    try:
        make_directory(job.directory)
        with contextlib.nullcontext() if held else claim(job.directory):
            if RunDirectory(job.directory).result.exists():
                raise BusyError("another process has finished it meanwhile.")
            _train(job)
    except (MemoryError, torch.OutOfMemoryError) as error:
        return Ending(outcome="crashed", kind="OutOfMemory", reason=f"out of memory: {error}")
    except Exception as error:
        if not isinstance(error, EspalierError):
            traceback.print_exc()
        return ending_of(error)
    return Ending(outcome="done")


def _train(job: Job) -> None:
    with contextlib.suppress(FileNotFoundError):
        (job.directory / FAILURE).unlink()
    goes_on = RunDirectory(job.directory).checkpoint.exists()
    train(
        job.spec,
        job.directory,
        data_dir=job.data_dir,
        device=job.device,
        threads=None if goes_on else job.threads,
        resume=True,
        progress=TensorBoard(job.directory, Silent()) if job.tensorboard else None,
    )


def main() -> None:
    """Run the job on the command line and print how it ended."""
    threading.Thread(target=_stop_when_orphaned, daemon=True).start()
    keep_freed_memory()
    answer = os.dup(1)
    os.dup2(2, 1)  # what a network of the user's prints goes to the log
    ending = run_job(Job.from_json(sys.argv[1]), held=HELD in sys.argv[2:])
    os.write(answer, f"{ending.to_json()}\n".encode())


def _stop_when_orphaned() -> None:
    """Wait for the end of standard input, then ask the run to save and stop."""
    while os.read(0, 4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    threading.Event().wait(GRACE_S)
    os._exit(1)


if __name__ == "__main__":
    main()
