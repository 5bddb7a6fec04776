"""Engines side by side: each gets its row, whatever is missing; times and accuracy are right."""

import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from espalier.artifact import Metadata
from espalier.data import DATASETS, Dataset, Split
from espalier.errors import ConfigError, DataError
from espalier.export.reference import run as reference
from espalier.runtime import bench as benches
from espalier.runtime.bench import accuracy, bench, sizes_of, time_in_turns
from espalier.runtime.engines import ENGINES, Engine, Subject, check_engines, open_subject
from espalier.runtime.samples import Samples, from_data, from_files, from_nothing

from ..small_file import INPUT, SHAPE, save_small  # noqa: TID252

FEW = ("torch", "ort-fp32", "ort-int8", "espalier-float")


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A cache that tests of this file share."""
    if not any(map(shutil.which, ("cc", "gcc", "clang"))):
        pytest.skip("no C compiler found: install gcc")
    threads = torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ESPALIER_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_small(tmp_path_factory.mktemp("file") / "net.espalier")


@pytest.fixture(scope="module")
def traced(file: Path, tmp_path_factory: pytest.TempPathFactory) -> Subject:
    return open_subject(file, tmp_path_factory.mktemp("traced"), samples=from_nothing)


@pytest.fixture
def subject(traced: Subject, tmp_path: Path) -> Subject:
    """The network, with a folder of its own."""
    return replace(traced, folder=tmp_path)


@pytest.fixture
def images(monkeypatch: pytest.MonkeyPatch) -> Dataset:
    """A data set of noise, known as ``noise``."""
    rng = torch.Generator().manual_seed(0)

    def split(count: int) -> Split:
        pixels = torch.randint(0, 256, (count, *SHAPE), generator=rng, dtype=torch.uint8)
        labels = torch.randint(0, 3, (count,), generator=rng)
        return Split(pixels.contiguous(memory_format=torch.channels_last), labels)

    dataset = Dataset(
        name="noise",
        train=split(40),
        validation=split(4),
        test=split(30),
        classes=("ant", "bee", "cat"),
        mean=(0.4,) * 3,
        std=(0.3,) * 3,
        source="noise",
    )
    monkeypatch.setitem(DATASETS, "noise", lambda **_: dataset)
    return dataset


def noise(metadata: Metadata, shape: tuple[int, ...]) -> Samples:
    return from_data("noise", None, metadata, shape)


def test_every_engine_has_a_row(file: Path, images: Dataset, subject: Subject) -> None:
    """In the order asked; with bytes, times in order, and the accuracy of the float64 oracle."""
    subject = replace(subject, samples=noise(Metadata(input=INPUT), SHAPE))
    rows = bench(subject, engines=FEW, batch=2, seconds=0.01)
    assert [row.engine for row in rows] == list(FEW)
    inputs = (images.test.inputs.numpy().astype(np.float32) / 255 - 0.5) / 0.25
    right = reference(subject.graph, inputs).argmax(1) == images.test.labels.numpy()
    for row in rows:
        assert row.missing is None
        assert (row.network, row.batch, row.threads) == ("net", 2, 1)
        assert 0 < (row.low_ms or 0) <= (row.median_ms or 0) <= (row.high_ms or 0)
        assert row.calls >= benches.LEAST_TURNS
        if row.engine != "ort-int8":
            assert row.accuracy == pytest.approx(100 * right.mean())
        assert row.labelled == 30
    by_name = {row.engine: row for row in rows}
    assert by_name["espalier-float"].file_bytes == file.stat().st_size
    assert "off the trained grid; calibrated on 40 training" in by_name["ort-int8"].note


def test_integer_engines_show_their_accuracy(images: Dataset, subject: Subject) -> None:
    """Where integer arithmetic is there, it has time and accuracy; else its row says why not."""
    subject = replace(subject, samples=noise(Metadata(input=INPUT), SHAPE))
    (row,) = bench(subject, engines=["espalier-int"], seconds=0.01)
    if row.missing is None:
        assert row.accuracy is not None
        assert "calibrated on 40 training samples of noise" in row.note
    else:
        assert row.median_ms is None
        assert "int" in row.missing


def test_engines_take_turns() -> None:
    """Each gets as many turns; calls are timed by the clock, warm-up calls are not."""
    now, order = [0.0], []

    def engine(name: str, cost: float) -> Engine:
        def run(inputs: Any) -> Any:
            now[0] += cost
            order.append(name)
            return inputs

        return Engine(name=name, run=run, file_bytes=0)

    engines = {"a": engine("a", 0.125), "b": engine("b", 0.25)}
    took = time_in_turns(engines, np.zeros(1), seconds=1.0, clock=lambda: now[0])
    assert set(took["a"]) == {0.125}
    assert set(took["b"]) == {0.25}
    assert len(took["a"]) == len(took["b"]) >= benches.LEAST_TURNS
    turns = order[4:]  # after two calls each that say how long a turn is
    assert turns[:8] == list("aabbbbaa")
    assert time_in_turns({}, np.zeros(1), seconds=1.0) == {}


def test_quick_calls_are_timed_often_and_slow_ones_once() -> None:
    """A turn has at most ten timed calls."""
    now = [0.0]

    def run(inputs: Any) -> Any:
        now[0] += 0.001
        return inputs

    engine = Engine(name="a", run=run, file_bytes=0)
    took = time_in_turns({"a": engine}, np.zeros(1), seconds=0.001, clock=lambda: now[0])
    assert len(took["a"]) == benches.LEAST_TURNS * benches.CALLS


def test_accuracy_counts_samples_not_batches() -> None:
    """A short last batch weighs what it holds."""
    engine = Engine(name="a", run=lambda x: x, file_bytes=0)
    eye = np.eye(3, dtype=np.float32)
    batches = [(eye, np.array([0, 1, 2])), (eye[:1], np.array([2]))]
    assert accuracy(engine, batches) == (75.0, 4)
    with pytest.raises(ConfigError, match="no labelled sample"):
        accuracy(engine, [])


def test_without_onnxruntime(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its rows say which extra installs it; the rest goes on, with the sizes that are known."""
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    rows = {row.engine: row for row in bench(subject, engines=FEW, seconds=0.01)}
    for name in ("ort-fp32", "ort-int8"):
        assert rows[name].median_ms is None
        assert "onnxruntime is not installed" in (rows[name].missing or "")
        assert "pip install 'espalier[onnx]'" in (rows[name].missing or "")
    assert rows["torch"].missing is None
    assert rows["espalier-float"].missing is None
    sizes = sizes_of(subject)
    assert sizes.onnx_int8 is None
    assert sizes.onnx_float is not None


def test_without_a_compiler(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    """The row says what is wrong with it."""
    monkeypatch.setenv("CC", "no-such-compiler")
    rows = bench(subject, engines=["espalier-float", "torch"], seconds=0.01)
    assert "CC='no-such-compiler' does not work" in (rows[0].missing or "")
    assert rows[1].median_ms is not None


def test_where_torch_can_not_compile(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever its compilers raise becomes a line of the table."""

    def compile(model: Any, **options: Any) -> Any:
        def run(inputs: Any) -> Any:
            raise RuntimeError("no g++\nand more")

        return run

    monkeypatch.setattr(torch, "compile", compile)
    (row,) = bench(subject, engines=["torch-compile"], seconds=0.01)
    assert row.missing == (
        "torch.compile does not work here; it needs a C++ compiler, such as `apt install g++`: "
        "no g++"
    )


@pytest.mark.slow
def test_torch_compile(subject: Subject) -> None:
    """It runs and has its row."""
    (row,) = bench(subject, engines=["torch-compile"], seconds=0.01)
    assert row.missing is None
    assert row.calls


def test_sizes(file: Path, tmp_path: Path, subject: Subject) -> None:
    """Those of the files as written, and of all values as float32."""
    sizes = sizes_of(subject)
    assert sizes.file == file.stat().st_size
    assert sizes.onnx_packed == (tmp_path / "packed.onnx").stat().st_size
    assert sizes.float32 % 4 == 0
    assert None not in sizes.to_json().values()


def test_what_calibrates_is_named(
    images: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Data that the file names, where they are at hand; else random numbers, and it says so."""
    named = Metadata(input=INPUT, metrics={"data": "noise"})
    monkeypatch.setenv("ESPALIER_DATA", str(tmp_path))
    found = from_nothing(named, SHAPE)
    assert found.calibration_source == "40 training samples of noise"
    assert found.labels is None
    assert found.source == "random numbers"
    monkeypatch.delenv("ESPALIER_DATA")
    assert from_nothing(named, SHAPE).calibration_source == "random numbers"
    assert from_nothing(Metadata(), SHAPE).calibration_source == "random numbers"
    monkeypatch.setenv("ESPALIER_DATA", str(tmp_path))
    other = from_nothing(named, (3, 9, 9)).calibration_source
    assert "random numbers, since samples of data set 'noise' are (3, 8, 8)" in other


def test_samples_are_normalized_as_in_training(images: Dataset) -> None:
    """By the file; by the data set where the file does not say it. In C order, again and again."""
    raw = images.test.inputs.numpy()[:2].astype(np.float32) / 255
    said = from_data("noise", None, Metadata(input=INPUT), SHAPE)
    np.testing.assert_allclose(said.first(2), (raw - 0.5) / 0.25, rtol=1e-6)
    unsaid = from_data("noise", None, Metadata(), SHAPE)
    np.testing.assert_allclose(unsaid.first(2), (raw - np.float32(0.4)) / 0.3, rtol=1e-5)
    many = said.first(31)
    assert many.flags.c_contiguous
    np.testing.assert_array_equal(many[30], many[0])
    labels = [labels for _, labels in said.labelled(7)]
    assert sum(map(len, labels)) == 7


def test_samples_that_do_not_fit(images: Dataset, tmp_path: Path) -> None:
    """Each is named before anything is measured."""
    with pytest.raises(ConfigError, match=r"are \(3, 8, 8\); the network takes \(3, 9, 9\)"):
        from_data("noise", None, Metadata(), (3, 9, 9))
    with pytest.raises(ConfigError, match="Did you mean 'noise'"):
        from_data("nois", None, Metadata(), SHAPE)
    Image.fromarray(np.zeros((9, 7, 3), np.uint8)).save(tmp_path / "a.png")
    with pytest.raises(DataError, match="7 x 9 pixels; the network takes 8 x 8"):
        from_files(tmp_path, Metadata(input=INPUT), SHAPE)


def test_labels_that_the_network_has_no_outputs_for(images: Dataset, subject: Subject) -> None:
    """Four classes are too many for a network of three; said before anything is timed."""
    samples = noise(Metadata(input=INPUT), SHAPE)
    samples = replace(samples, labels=np.full(30, 3))
    with pytest.raises(ConfigError, match=r"noise, test set has 4 classes; .* gives \(3,\)"):
        bench(replace(subject, samples=samples), engines=["torch"])


def test_a_file_that_onnxruntime_can_not_open(
    subject: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its own words are in the row."""
    (subject.folder / "broken.onnx").write_bytes(b"no model")
    monkeypatch.setitem(subject._written, "float", subject.folder / "broken.onnx")
    (row,) = bench(subject, engines=["ort-fp32"], seconds=0.01)
    assert "ONNX Runtime can't open the profile 'float': " in (row.missing or "")


def test_wrong_settings(subject: Subject) -> None:
    """Unknown engines and numbers out of bounds are refused."""
    with pytest.raises(ConfigError, match=r"no engine 'ort-int'; .* Did you mean 'ort-int8'"):
        check_engines(["torch", "ort-int"])
    with pytest.raises(ConfigError, match=f"there are {', '.join(ENGINES)}"):
        check_engines([])
    for wrong in ({"threads": 0}, {"batch": 0}, {"seconds": 0}, {"limit": 0}):
        with pytest.raises(ConfigError, match="each must be above 0"):
            bench(subject, engines=["torch"], **wrong)  # type: ignore[arg-type]
