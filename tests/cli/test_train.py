"""``espalier train``: options, output, exit codes."""

import io
import json
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from espalier.cli import display
from espalier.cli.display import LiveProgress
from espalier.records import RunSpec, read_json
from espalier.train.run import Run

from .conftest import Command

SMALL = (
    *("train", "--data", "modulation", "--model", "modulation_cnn", "--threads", "1"),
    *("--device", "cpu", "--epochs", "1", "--batch-size", "32"),
)
ALL_OPTIONS = (
    "--gamma 0.2 --bits 5 --lr 0.03 --epochs 1 --patience 3 --optimizer adamw --momentum 0.5 "
    "--weight-decay 0.01 --batch-size 16 --update latent --rounding stochastic "
    "--cadence every_epoch --schedule cubic --no-augment --precision fp32 --seed 7 "
    "--limit-train 55 --dropout 0.4"
)
ASKED_KEYS = (
    "test_accuracy val_accuracy train_accuracy density_mask density_nonzero bits ratio parameters "
    "best_epoch epochs_run efficiency seed device wall_s"
)


def test_a_run_prints_what_it_found(espalier: Command, tmp_path: Path) -> None:
    """Accuracy, both densities, RC and PE on standard output; a line an epoch on the other."""
    found = espalier(*SMALL, "--out", tmp_path / "run", "--baseline", "50", "--epochs", "2")

    assert found.code == 0
    for word in ("test accuracy", "by the mask", "nonzero", "RC", "PE", "rho 3", "50.00 %"):
        assert word in found.out
    assert [line.split("  ")[0] for line in found.err.splitlines()[1:]] == [
        "epoch 1/2",
        "epoch 2/2",
    ]
    assert "PE" in found.err
    assert "\x1b" not in found.out + found.err


def test_without_a_baseline_the_summary_says_how_to_get_pe(
    espalier: Command, tmp_path: Path
) -> None:
    """PE needs something to compare with."""
    assert "give --baseline" in espalier(*SMALL, "--out", tmp_path / "run").out


def test_json_is_one_line_alone(espalier: Command, tmp_path: Path) -> None:
    """The same as in ``result.json``, with all keys that others rely on."""
    found = espalier(*SMALL, "--out", tmp_path / "run", "--json")

    assert found.code == 0
    assert found.out.count("\n") == 1
    result = json.loads(found.out)
    assert set(ASKED_KEYS.split()) <= result.keys()
    assert result["efficiency"] is None
    assert result == read_json(tmp_path / "run" / "result.json")


def test_every_option_reaches_the_spec(espalier: Command, tmp_path: Path) -> None:
    """From the command line to the record, none is lost."""
    assert espalier(*SMALL, *ALL_OPTIONS.split(), "--out", tmp_path / "run").code == 0
    spec = RunSpec.from_json(read_json(tmp_path / "run" / "spec.json"))

    assert spec == RunSpec(
        data="modulation",
        model="modulation_cnn",
        model_options={**spec.model_options, "dropout": 0.4},
        gamma=0.2,
        bits=5,
        lr=0.03,
        epochs=1,
        patience=3,
        optimizer="adamw",
        momentum=0.5,
        weight_decay=0.01,
        batch_size=16,
        update="latent",
        rounding="stochastic",
        cadence="every_epoch",
        schedule="cubic",
        augment=False,
        precision="fp32",
        seed=7,
        limit_train=55,
    )


def test_readings_of_the_paper_are_options(
    espalier: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of them reaches the spec, options of the network too."""
    specs: list[RunSpec] = []

    def train(spec: RunSpec, *_: object, **__: object) -> None:
        specs.append(spec)
        raise KeyboardInterrupt

    monkeypatch.setattr("espalier.train.train", train)
    espalier("train", "--precision", "fp32", *READINGS.split())

    changed = {
        "strict": True,
        "biases": False,
        "jointly": True,
        "std_zeros": False,
        "std_correction": 1,
        "order": "qp",
        "dense_epochs": 3,
    }
    options = specs[0].model_options
    assert specs == [RunSpec(model_options=options, **changed)]  # type: ignore[arg-type]
    assert (options["initialization"], options["hidden"]) == ("xavier", [64, 32])


def test_defaults_are_the_papers(espalier: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the group's code shows, where the paper is silent."""
    specs: list[RunSpec] = []

    def train(spec: RunSpec, *_: object, **__: object) -> None:
        specs.append(spec)
        raise KeyboardInterrupt

    monkeypatch.setattr("espalier.train.train", train)
    found = espalier("train", "--precision", "fp32")

    assert found.code == 1
    assert specs[0].model_options["dropout"] == 0.3
    assert specs == [RunSpec(model_options=specs[0].model_options)]
    assert "stopped before training began" in found.err


READINGS = (
    "--strict --no-biases --jointly --no-std-zeros --std-correction 1 --order qp --dense-epochs 3 "
    "--option initialization=xavier --option hidden=[64,32]"
)

BAD = [
    ("--order pp", 2, "order='pp': expected one of pq, qp"),
    ("--std-correction 2", 2, "std_correction=2: expected an integer from 0 to 1"),
    ("--dense-epochs 500", 2, "dense_epochs=500 of epochs="),
    ("--option xavier", 2, "--option xavier: expected NAME=VALUE"),
    ("--option droput=0.1", 2, "has no option 'droput'"),
    ("--gamma -0.5", 2, "gamma=-0.5: expected a number >= 0"),
    ("--gamma nan", 2, "gamma=nan: expected a finite number"),
    ("--gamma inf", 2, "gamma=inf: expected a finite number"),
    ("--gamma much", 2, "Invalid value for '--gamma'"),
    ("--bits 0", 2, "bits=0: expected an integer from 1 to 32"),
    ("--bits 33", 2, "bits=33: expected an integer from 1 to 32"),
    ("--bits 2.5", 2, "Invalid value for '--bits'"),
    ("--lr 0", 2, "lr=0.0: expected a learning rate > 0"),
    ("--epochs 0", 2, "epochs=0: expected an integer >= 1"),
    ("--patience -1", 2, "patience=-1: expected an integer >= 0"),
    ("--batch-size 0", 2, "batch_size=0: expected an integer >= 1"),
    ("--seed -1", 2, "seed=-1: expected an integer from 0"),
    ("--limit-train 1000000", 2, "asked for 1000000 training samples"),
    ("--threads 0", 2, "threads=0: expected an integer >= 1"),
    ("--dropout 1.5", 2, "dropout=1.5: expected a probability"),
    ("--optimizer sdg", 2, "Did you mean 'sgd'?"),
    ("--update hybird", 2, "Did you mean 'hybrid'?"),
    ("--rounding nearst", 2, "Did you mean 'nearest'?"),
    ("--cadence every_stp", 2, "Did you mean 'every_step'?"),
    ("--schedule cubick", 2, "Did you mean 'cubic'?"),
    ("--precision fp16", 2, "precision='fp16': expected one of auto, fp32, bf16"),
    ("--device gpu", 2, "device='gpu': expected auto, cpu, cuda or cuda:N"),
    ("--model paper_cn", 2, "unknown model 'paper_cn'"),
    ("--model nowhere:net", 2, "no module 'nowhere'"),
    ("--model json:dumps", 2, "model 'json:dumps'"),
    ("--model paper_cnn", 2, "model 'paper_cnn' doesn't fit data set 'modulation'"),
    ("--data modulaton", 2, "Did you mean 'modulation'?"),
    ("--data-dir /nowhere/at/all", 2, "--data-dir /nowhere/at/all does not exist"),
    ("--baseline 0", 2, "baseline=0: expected percent"),
    ("--baseline nowhere", 2, "there is no nowhere/result.json"),
    ("--augment", 2, "augmentation is for images only"),
    ("--epohcs 3", 2, "No such option: --epohcs"),
    ("--lr 1e30", 1, "epoch 1, step"),
]


@pytest.mark.parametrize(("options", "code", "message"), BAD, ids=[bad[0] for bad in BAD])
def test_bad_input_is_told_in_a_line(
    espalier: Command, tmp_path: Path, options: str, code: int, message: str
) -> None:
    """A clear message, the right exit code, no traceback, and no result."""
    found = espalier(*SMALL, "--out", tmp_path / "run", *options.split())

    assert found.code == code
    assert message in " ".join(found.err.split())
    assert "Traceback" not in found.err
    assert found.out == ""
    if code == 2:
        assert not (tmp_path / "run").exists()
        assert len(found.err.splitlines()) < 10
    assert not (tmp_path / "run" / "result.json").exists()


def test_a_missing_data_set_is_a_failure(espalier: Command, tmp_path: Path) -> None:
    """An empty folder has no images; the message names it."""
    (tmp_path / "empty").mkdir()
    found = espalier("train", "--data-dir", tmp_path / "empty", "--out", tmp_path / "run")

    assert found.code == 1
    assert "empty" in found.err
    assert "Traceback" not in found.err
    assert not (tmp_path / "run").exists()


def test_another_run_in_out_is_refused(espalier: Command, tmp_path: Path) -> None:
    """The settings that differ are named; the finished run is as before."""
    assert espalier(*SMALL, "--out", tmp_path / "run").code == 0
    before = {p: p.read_bytes() for p in (tmp_path / "run").iterdir()}

    found = espalier(*SMALL, "--out", tmp_path / "run", "--bits", "3", "--resume")
    again = espalier(*SMALL, "--out", tmp_path / "run")

    assert (found.code, again.code) == (2, 2)
    assert "holds another run, with bits: 8, not 3" in found.err
    assert "holds this run, finished" in again.err
    assert before == {p: p.read_bytes() for p in (tmp_path / "run").iterdir()}


def test_resume_prints_a_finished_run_again(espalier: Command, tmp_path: Path) -> None:
    """With a baseline that wasn't known before, if one is given."""
    first = espalier(*SMALL, "--out", tmp_path / "run", "--json")
    again = espalier(*SMALL, "--out", tmp_path / "run", "--json", "--resume")
    compared = espalier(
        *(*SMALL, "--out", tmp_path / "run", "--json", "--resume"), "--baseline", tmp_path / "run"
    )

    assert (again.code, again.out) == (0, first.out)
    result = json.loads(compared.out)
    assert result["baseline"] == result["test_accuracy"]
    assert result["efficiency"]["1"] == pytest.approx(1 / result["ratio"])


def test_resume_takes_the_precision_that_auto_once_was(espalier: Command, tmp_path: Path) -> None:
    """A run that began elsewhere goes on as it began."""
    for precision in ("fp32", "bf16"):
        out = tmp_path / precision
        assert espalier(*SMALL, "--out", out, "--precision", precision).code == 0
        assert espalier(*SMALL, "--out", out, "--resume").code == 0


def test_a_damaged_checkpoint_is_a_failure(
    espalier: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit code 1, with the file's name and what to do."""
    with monkeypatch.context() as patch:
        patch.setattr(Run, "finish_epoch", interrupted)
        assert espalier(*SMALL, "--out", tmp_path / "run").code == 1
    path = tmp_path / "run" / "checkpoint.safetensors"
    path.write_bytes(b"\0" * 100)

    found = espalier(*SMALL, "--out", tmp_path / "run", "--resume")

    assert found.code == 1
    assert "checkpoint.safetensors is damaged" in found.err


def interrupted(*_: object) -> None:
    raise OSError(5, "Input/output error", "somewhere")


def test_a_failing_disk_is_told_in_a_line(
    espalier: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Errors of the system that nobody foresaw have no traceback either."""
    monkeypatch.setattr(Run, "finish_epoch", interrupted)
    found = espalier(*SMALL, "--out", tmp_path / "run")

    assert found.code == 1
    assert "espalier: somewhere: Input/output error" in found.err


def test_out_has_a_name_where_none_is_given(
    espalier: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It tells the settings, and two runs never share it."""
    monkeypatch.chdir(tmp_path)
    for bits in ("8", "3"):
        assert espalier(*SMALL, "--bits", bits).code == 0
    names = sorted(path.name[:-9] for path in (tmp_path / "runs").iterdir())

    stem = "modulation-modulation_cnn-gamma0.375"
    assert names == [f"{stem}-bits3-lr0.01-seed0", f"{stem}-bits8-lr0.01-seed0"]


def test_on_a_terminal_progress_is_live(
    espalier: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is drawn over and over shows epochs, the bar, and PE where there is a baseline."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setattr("espalier.train.run.TELL_EVERY_S", 0.0)
    frames: list[str] = []
    draw = LiveProgress._draw

    def recorded(self: LiveProgress) -> None:
        draw(self)
        console = Console(width=140, file=io.StringIO())
        with console.capture() as frame:
            console.print(self.live.get_renderable())
        frames.append(frame.get())

    monkeypatch.setattr(LiveProgress, "_draw", recorded)
    found = espalier(*SMALL, "--out", tmp_path / "run", "--baseline", "50", "--json")
    begin, *steps, _, end = frames

    assert found.code == 0
    assert json.loads(found.out)
    assert "132 training samples" in begin
    assert len(steps) == 5
    assert "epoch 1/1" in steps[1]
    assert " 40 %" in steps[1]
    assert "left" in steps[1]
    assert "PE" in end
    assert len(end.strip().splitlines()) == 3  # the note, the table's head, the epoch


def test_warnings_are_lines(capsys: pytest.CaptureFixture[str]) -> None:
    """They neither tear the display nor show where in the code they were raised."""
    import warnings

    with display.warnings_to(Console(stderr=True)):
        warnings.simplefilter("default")
        warnings.warn("conv1.weight lost its last weight", stacklevel=1)

    assert capsys.readouterr().err == "warning: conv1.weight lost its last weight\n"


@pytest.mark.parametrize("arguments", [["--help"], ["train", "--help"], ["--version"]])
def test_help_needs_no_torch(arguments: list[str]) -> None:
    """Help comes at once."""
    code = (
        "import sys\nfrom espalier.cli import main\n"
        "try:\n    main(sys.argv[1:])\n"
        "except SystemExit as exit:\n"
        "    assert not exit.code\n    assert 'torch' not in sys.modules\n"
        "else:\n    raise AssertionError\n"
    )
    subprocess.run([sys.executable, "-c", code, *arguments], check=True, capture_output=True)


def test_the_module_is_the_command() -> None:
    """``python -m espalier`` does the same."""
    found = subprocess.run(
        [sys.executable, "-m", "espalier", "--version"], check=True, capture_output=True, text=True
    )

    assert found.stdout.startswith("espalier ")
