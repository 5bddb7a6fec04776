"""A process that runs one cell: ``python -m espalier.study.worker JOB``.

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

from espalier.errors import (
    BusyError,
    DataError,
    EspalierError,
    StoppedError,
    StorageError,
)
from espalier.records.claim import claim
from espalier.records.study import FAILURE
from espalier.study.job import Ending, Job
from espalier.train import RunDirectory, train
from espalier.train.files import make_directory
from espalier.train.memory import keep_freed_memory

__all__ = ["main", "run_job"]

GRACE_S = 60.0
"""How long an orphan may take to save, before it is ended without."""


def run_job(job: Job) -> Ending:
    """Run a cell, or go on with it, unless another process does; no error gets out.

    It is the run of ``espalier train`` with the same spec: same directory, records and bits.
    """
    try:
        make_directory(job.directory)
        with claim(job.directory):
            _train(job)
    except BusyError as error:
        return _ending("busy", error)
    except StoppedError as error:
        return _ending("stopped", error)
    except StorageError as error:
        return _ending("storage", error)
    except DataError as error:
        return _ending("data", error)
    except (MemoryError, torch.OutOfMemoryError) as error:
        return Ending(outcome="crashed", kind="OutOfMemory", reason=f"out of memory: {error}")
    except EspalierError as error:
        return _ending("failed", error)
    except OSError as error:
        return _ending("storage", error)
    except Exception as error:
        traceback.print_exc()
        return _ending("crashed", error)
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
    )


def _ending(outcome: str, error: Exception) -> Ending:
    kind = type(error).__name__
    return Ending(outcome=outcome, kind=kind, reason=str(error) or kind)  # type: ignore[arg-type]


def main() -> None:
    """Run the job on the command line and print how it ended."""
    threading.Thread(target=_stop_when_orphaned, daemon=True).start()
    keep_freed_memory()
    answer = os.dup(1)
    os.dup2(2, 1)  # what a network of the user's prints goes to the log
    ending = run_job(Job.from_json(sys.argv[1]))
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
