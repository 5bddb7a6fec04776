"""Runs that start from weights; compression once, without training."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from espalier.errors import CheckpointError, ConfigError
from espalier.records import RunSpec
from espalier.train import RunDirectory, digest_of, load_weights, packed_run

from .test_train import same_run
from .tiny import run_tiny, tiny_images_cnn, tiny_spec


def trained(path: Path, **changes: Any) -> Path:
    torch.manual_seed(5)
    state = tiny_images_cnn(classes=3, channels=3).state_dict()
    for name, value in changes.items():
        if value is None:
            del state[name]
        else:
            state[name] = value
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, path)
    return path


def spec_from(path: Path, **settings: Any) -> RunSpec:
    base: dict[str, Any] = {"update": "latent", "epochs": 1, "gamma": 0.4, "bits": 3}
    return tiny_spec("images", **(base | settings), initial=digest_of(path))


def test_compression_alone_changes_nothing_but_by_its_operator(tmp_path: Path) -> None:
    """Epochs 0: the kept weights are those of the file, on a grid; statistics stay."""
    file = trained(tmp_path / "net.safetensors")
    result = run_tiny(spec_from(file, epochs=0, bits=32), tmp_path / "run", initial=file)
    weights, _ = load_weights(RunDirectory(tmp_path / "run").best)
    before, _ = load_file(file), None

    assert result.epochs_run == 0
    assert 0 < result.last.density_mask < 1
    for name, tensor in before.items():
        kept = weights[name] != 0
        assert torch.equal(weights[name][kept], tensor[kept]), name
    assert torch.equal(weights["1.running_var"], before["1.running_var"])


def load_file(path: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file as load

    return load(path)


@pytest.mark.parametrize("epochs", [0, 2])
def test_a_finished_run_is_the_same_again(tmp_path: Path, epochs: int) -> None:
    """The same file and spec, the same bits; the size is met in both."""
    file = trained(tmp_path / "net.safetensors")
    spec = spec_from(
        file, epochs=epochs, gamma=0, max_bytes=1180, budget="lamp", recalibrate=20, bits=4
    )
    for name in ("one", "other"):
        result = run_tiny(spec, tmp_path / name, initial=file)
        size = len(packed_run(RunDirectory(tmp_path / name).best))
        assert 0.97 * 1180 <= size <= 1180
        assert result.size_bytes == size
    same_run(tmp_path / "one", tmp_path / "other")


def test_training_starts_from_the_file(tmp_path: Path) -> None:
    """Another file, other weights; the record says which."""
    one, other = trained(tmp_path / "a.safetensors"), tmp_path / "b.safetensors"
    trained(other, **{"4.bias": torch.ones(5)})
    specs = [spec_from(path) for path in (one, other)]
    for spec, path in zip(specs, (one, other), strict=True):
        run_tiny(spec, tmp_path / path.stem, initial=path)

    assert specs[0].initial != specs[1].initial
    with pytest.raises(AssertionError):
        same_run(tmp_path / "a", tmp_path / "b")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"4.weight": None, "4.bias": None}, "it lacks 4.weight, 4.bias"),
        ({"9.weight": torch.ones(2)}, "the network has no 9.weight"),
        ({"7.bias": torch.ones(4)}, r"it has 7.bias \(4,\) instead of \(3,\)"),
    ],
)
def test_weights_of_another_network_are_refused(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    """With the first names of each kind; nothing is written."""
    file = trained(tmp_path / "net.safetensors", **changes)
    with pytest.raises(ConfigError, match=f"not of this network: {message}"):
        run_tiny(spec_from(file), tmp_path / "run", initial=file)
    assert not (tmp_path / "run").exists()


def test_counters_of_normalizations_may_be_missing(tmp_path: Path) -> None:
    """They are of no use to anybody."""
    file = trained(tmp_path / "net.safetensors", **{"1.num_batches_tracked": None})
    assert run_tiny(spec_from(file, epochs=0), tmp_path / "run", initial=file)


def test_files_that_are_not_the_ones_are_refused(tmp_path: Path) -> None:
    """None, another one, one that is no safetensors file."""
    file, text = trained(tmp_path / "net.safetensors"), tmp_path / "text"
    text.write_text("weights")
    with pytest.raises(ConfigError, match="give their file"):
        run_tiny(spec_from(file), tmp_path / "run")
    with pytest.raises(ConfigError, match="give the file that it began with"):
        run_tiny(spec_from(file), tmp_path / "run", initial=text)
    with pytest.raises(CheckpointError, match="is no safetensors file"):
        run_tiny(spec_from(text), tmp_path / "run", initial=text)
    with pytest.raises(ConfigError, match="starts at random"):
        run_tiny(tiny_spec(), tmp_path / "run", initial=file)
    with pytest.raises(ConfigError, match="can't read the checkpoint"):
        digest_of(tmp_path / "none")
