"""`espalier study run --engine ray` on a real cluster of two nodes, one of which is killed."""

import contextlib
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from espalier.records import StudyRecords, read_study

from .test_chaos import LONGEST_S, SMALL_DATA, same_study
from .test_chaos import STUDY as LONG

pytestmark = pytest.mark.slow

STUDY = LONG.replace("gamma = [0.0, 0.4]", "gamma = [0.4]").replace("epochs = 60", "epochs = 300")
"""A run for each node, long enough to be met in its midst."""

ONLY_RUNS = "import sys\nif {'espalier', 'espalier.study.worker'} & set(sys.orig_argv):"
"""Ray's own processes begin at once, without the data."""

NODES = """
import sys
from ray.cluster_utils import Cluster

room = {"num_cpus": 1, "object_store_memory": 80 * 2**20, "include_dashboard": False}
cluster = Cluster(initialize_head=True, head_node_args=room)
other = cluster.add_node(**room)
print(cluster.address, flush=True)
for _ in sys.stdin:
    cluster.remove_node(other, allow_graceful=False)
cluster.shutdown()
"""
"""Starts two nodes; a line on its standard input kills the second, the end of it both."""


@dataclass
class Nodes:
    """A cluster that lives in processes of its own."""

    process: subprocess.Popen[str]
    address: str
    place: Path
    """Where commands are run, with the study file; not where nodes are."""
    environment: dict[str, str]
    """With the token."""
    folder: Path
    """Where nodes keep their temporary files."""

    def kill_one(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("kill\n")
        self.process.stdin.flush()

    def start(self, out: str, *options: str) -> subprocess.Popen[str]:
        """Start `espalier study run`."""
        command = [sys.executable, "-m", "espalier", "study", "run", "STUDY.toml", "--out", out]
        return subprocess.Popen(
            [*command, "--threads", "1", "--device", "cpu", *options],
            cwd=self.place,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def on_ray(self, out: str, *options: str) -> subprocess.Popen[str]:
        """Start it on the cluster."""
        return self.start(out, "--engine", "ray", "--address", self.address, *options)


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nodes]:
    """Start two nodes with one CPU each and a token; leave no process of theirs behind."""
    tmp_path = tmp_path_factory.mktemp("nodes")
    pytest.importorskip("ray", reason="Ray is not installed: pip install 'espalier[ray]'")
    small_data = ONLY_RUNS + textwrap.indent(SMALL_DATA, "    ")
    (tmp_path / "sitecustomize.py").write_text(small_data)
    (tmp_path / "STUDY.toml").write_text(STUDY)
    folder = Path(tempfile.mkdtemp(prefix="esp", dir="/tmp"))  # names of sockets must be short
    environment = {
        **os.environ,
        "PYTHONPATH": str(tmp_path),
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_TMPDIR": str(folder),
        "TMPDIR": str(folder),
    }
    process = subprocess.Popen(
        [sys.executable, "-c", NODES],
        cwd=folder,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        assert address, "the cluster did not start"
        yield Nodes(process, address, tmp_path, environment, folder)
    finally:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.communicate(timeout=30.0)
        for number in left_behind(str(folder)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(number, signal.SIGKILL)
        process.wait()
        shutil.rmtree(folder, ignore_errors=True)


def left_behind(folder: str) -> list[int]:
    """Return the processes whose environment names the folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):
            if f"RAY_TMPDIR={folder}".encode() in path.read_bytes():
                found.append(int(path.parent.name))
    return found


def end(command: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = command.communicate(timeout=LONGEST_S)
    return command.returncode, out, err


def wait_for(condition: Callable[[], bool], command: subprocess.Popen[str]) -> None:
    until = time.monotonic() + LONGEST_S
    while not condition():
        assert command.poll() is None, end(command)
        assert time.monotonic() < until, "it takes too long"
        time.sleep(0.05)


def epochs(study: Path) -> list[int]:
    """Return how many epochs each run that has begun has finished, in any order."""
    return [len(path.read_bytes().splitlines()) for path in study.glob("runs/*/metrics.jsonl")]


@pytest.fixture(scope="module")
def whole(nodes: Nodes) -> StudyRecords:
    """Return the study as this machine runs it."""
    code, _, err = end(nodes.start("whole", "--jobs", "2"))
    assert code == 0, err
    return read_study(nodes.place / "whole")


def test_another_token_is_refused(nodes: Nodes) -> None:
    """At once, and nothing is written."""
    nodes.environment["RAY_AUTH_TOKEN"], token = "0" * 64, nodes.environment["RAY_AUTH_TOKEN"]
    try:
        code, _, err = end(nodes.on_ray("refused"))
    finally:
        nodes.environment["RAY_AUTH_TOKEN"] = token

    assert (code, "the cluster refuses the token of this machine" in err) == (2, True), err
    assert not (nodes.place / "refused").exists()


def test_what_no_node_has_room_for_is_refused(nodes: Nodes) -> None:
    """Instead of waiting for ever."""
    code, _, err = end(nodes.on_ray("large", "--gpus", "0.5", "--device", "cuda"))

    assert code == 2
    assert "has 1 CPUs and 0.5 GPUs for a run; they have 1 CPUs and 0 GPUs, 1 CPUs and 0" in err
    assert not (nodes.place / "large").exists()


def test_nodes_that_see_no_directory_send_files(nodes: Nodes, whole: StudyRecords) -> None:
    """Also those of runs that are stopped in their midst, and get them back to go on."""
    out = "/proc/self/cwd/apart"  # another place for every process that asks
    study = nodes.on_ray(out)
    wait_for(lambda: sum(sum(epochs(f)) >= 3 for f in nodes.folder.glob("espalier-*")) >= 2, study)

    study.send_signal(signal.SIGINT)
    code, _, err = end(study)

    assert (code, "The same command goes on" in err) == (1, True), err
    stopped = nodes.place / "apart"
    assert len(list(stopped.glob("runs/*/checkpoint.safetensors"))) == 2
    assert not list(stopped.glob("runs/*/result.json"))
    assert not list(nodes.folder.glob("espalier-*"))
    code, _, err = end(nodes.on_ray(out))
    assert code == 0, err
    assert err.count("goes on after epoch") == 2
    same_study(whole, read_study(stopped))


def test_a_study_outlives_a_node(nodes: Nodes, whole: StudyRecords) -> None:
    """Nodes see the directory; one is killed in the midst of a run."""
    study = nodes.on_ray("killed", "--json")
    wait_for(lambda: sum(n >= 3 for n in epochs(nodes.place / "killed")) >= 2, study)

    nodes.kill_one()
    code, out, err = end(study)

    assert code == 0, err
    assert out.count("\n") == 1, out
    assert "again" in err
    same_study(whole, read_study(nodes.place / "killed"))
    assert read_study(nodes.place / "killed").problems == ()
    assert not list(nodes.place.glob("killed/runs/*/.place"))
