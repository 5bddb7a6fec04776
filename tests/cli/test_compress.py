"""``espalier compress``, and sizes, losses and recipes in ``espalier train``."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from espalier.cli.sizes import parse_size
from espalier.errors import ConfigError
from espalier.models import build_model
from espalier.records import RunSpec, read_json

from .conftest import Command

NETS = """
import torch
from torch import nn
from espalier.data import Dataset, Split

def net(classes=3):
    return nn.Sequential(nn.Flatten(), nn.Linear(48, 40), nn.ReLU(), nn.Linear(40, classes))

def split(samples, seed):
    labels = torch.arange(samples) % 3
    noise = torch.randint(0, 99, (samples, 3, 4, 4), generator=torch.Generator().manual_seed(seed))
    return Split((noise + 50 * labels[:, None, None, None]).to(torch.uint8), labels)

def data():
    return Dataset(name="own", train=split(60, 0), validation=split(30, 1), test=split(30, 2),
                   classes=("a", "b", "c"), mean=(.5, .5, .5), std=(.2, .2, .2), source="own")

def nothing():
    return 3
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with a network, its data and its weights, as an engineer has them."""
    import sys

    (tmp_path / "espalier_test_own.py").write_text(NETS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "espalier_test_own", raising=False)
    torch.manual_seed(0)
    save_file(build_model("espalier_test_own:net").state_dict(), tmp_path / "net.safetensors")
    yield tmp_path
    sys.modules.pop("espalier_test_own", None)


OWN = (
    *("--model", "espalier_test_own:net", "--data", "espalier_test_own:data"),
    *("--device", "cpu", "--threads", "1", "--batch-size", "16"),
)


@pytest.mark.parametrize("epochs", [0, 2])
def test_compress_writes_a_file_of_the_size(espalier: Command, own: Path, epochs: int) -> None:
    """From a checkpoint of one's own network, on one's own data, with and without training."""
    found = espalier(
        *("compress", "net.safetensors", *OWN, "--epochs", epochs),
        *("--max-bytes", "1.2kB", "--out", "small", "--json"),
    )
    assert found.code == 0, found.err
    result = json.loads(found.out)
    size = (own / "small" / "network.espalier").stat().st_size

    assert 0.97 * 1200 <= size <= 1200
    assert result["size_bytes"] == size
    assert result["epochs_run"] == epochs
    spec = RunSpec.from_json(read_json(own / "small" / "spec.json"))
    assert (spec.bits, spec.budget, spec.augment, spec.choose) == (3, "lamp", False, "validation")


def test_compress_may_learn_from_its_checkpoint(espalier: Command, own: Path) -> None:
    """The record names it twice: where the run starts, and what it learns from."""
    found = espalier(
        *("compress", "net.safetensors", *OWN, "--epochs", 1, "--distill", "--out", "small"),
        *("--target-density", 0.3),
    )
    assert found.code == 0, found.err
    spec = RunSpec.from_json(read_json(own / "small" / "spec.json"))
    assert spec.teacher == spec.initial is not None

    run = ("train", *OWN, "--epochs", 1, "--gamma", 0.2, "--out", "again", "--teacher")
    assert espalier(*run, "small").code == 0
    assert espalier(*run, "nobody").code == 2


def test_compress_says_what_it_found(espalier: Command, own: Path) -> None:
    """For people: accuracy, density, and where the file is."""
    found = espalier(
        "compress", "net.safetensors", *OWN, "--epochs", 0, "--target-density", 0.2, "--out", "s"
    )
    assert found.code == 0, found.err
    for word in ("test accuracy", "20.0", "network.espalier"):
        assert word in found.out
    assert "\ncompressed once  loss" in found.err  # no epoch of none, and none left
    assert "left" not in found.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["none.safetensors"], "can't read the checkpoint none.safetensors"),
        (["net.safetensors", "--max-bytes", "48lb"], "--max-bytes 48lb: expected a size such as"),
        (["net.safetensors", "--max-bytes", "48 potatoes"], "expected a size such as 48kB"),
        (["net.safetensors", "--max-bytes", "-48kB"], "expected a size such as 48kB"),
        (["net.safetensors", "--max-bytes", "20"], "max_bytes=20: with one weight a tensor"),
        (["net.safetensors", "--gamma", ".1", "--target-density", ".1"], "give one of them"),
        (["net.safetensors", "--model", "paper_cnn"], "doesn't fit data set"),
        (["net.safetensors", "--data", "espalier_test_own:nothing"], "expected an espalier.data"),
        (["net.safetensors", "--data", "espalier_test_own:none"], "has no 'none'"),
        (["net.safetensors", "--recipe", "week"], "no recipe 'week'"),
    ],
)
def test_bad_input_leaves_nothing(
    espalier: Command, own: Path, arguments: list[str], message: str
) -> None:
    """Exit code 2 and one line; no directory is made."""
    found = espalier("compress", arguments[0], *OWN, *arguments[1:], "--out", "small")

    assert found.code == 2
    assert message in found.err
    assert "Traceback" not in found.err
    assert not (own / "small").exists()


def test_a_damaged_checkpoint_is_a_failure(espalier: Command, own: Path) -> None:
    """Exit code 1; a pickle is none, and is not opened."""
    torch.save({"weight": torch.ones(2)}, own / "net.pt")
    (own / "net.safetensors").write_bytes(b"\x08" + bytes(30))
    for name in ("net.safetensors", "net.pt"):
        found = espalier("compress", name, *OWN, "--out", "small")

        assert found.code == 1
        assert f"{name} is no safetensors file" in found.err
        assert "safetensors.torch.save_model(model, path)" in found.err


def test_a_checkpoint_of_another_network_is_refused(espalier: Command, own: Path) -> None:
    """By names that are missing or unknown, and by shapes."""
    names = {"1.weight": torch.ones(40, 48), "other": torch.ones(3)}
    state = build_model("espalier_test_own:net").state_dict()
    shapes = state | {"1.weight": torch.ones(41, 48)}
    for weights, message in (
        (names, "it lacks 1.bias, 3.weight, 3.bias"),
        (state | {"other": torch.ones(3)}, "the network has no other"),
        (shapes, "it has 1.weight (41, 48) instead of (40, 48)"),
    ):
        save_file(weights, own / "net.safetensors")
        found = espalier("compress", "net.safetensors", *OWN, "--out", "small")
        assert found.code == 2
        assert f"the checkpoint is not of this network: {message}" in found.err


def test_train_with_a_recipe_and_a_size(espalier: Command, own: Path) -> None:
    """What is given counts, the recipe says the rest, the record says all."""
    found = espalier(
        *("train", "--recipe", "strong", *OWN, "--epochs", 4, "--lr", 0.02),
        *("--max-bytes", "1200", "--out", "run", "--json"),
    )
    assert found.code == 0, found.err
    assert 0.97 * 1200 <= json.loads(found.out)["size_bytes"] <= 1200
    spec = RunSpec.from_json(read_json(own / "run" / "spec.json"))

    assert (spec.lr, spec.batch_size, spec.max_bytes) == (0.02, 16, 1200)
    assert (spec.update, spec.nesterov, spec.weight_decay) == ("latent", True, 5e-4)
    packed = espalier("pack", "run", "-o", "net.espalier")
    assert packed.code == 0
    assert (own / "net.espalier").stat().st_size == json.loads(found.out)["size_bytes"]


@pytest.mark.filterwarnings("ignore::espalier.errors.DeadLayerWarning")
def test_train_within_a_loss(espalier: Command, own: Path) -> None:
    """A dense run first, then the smallest within; again with --resume, and refused without."""
    arguments = ("train", "--recipe", "strong", *OWN, "--epochs", 2, "--max-loss", 30)
    found = espalier(*arguments, "--out", "run", "--json")
    assert found.code == 0, found.err
    ladder = read_json(own / "run" / "ladder.json")

    assert ladder["kept"] in [rung["run"] for rung in ladder["rungs"] if rung["within"]]
    assert espalier(*arguments, "--out", "run", "--json", "--resume").out == found.out
    said = espalier(*arguments, "--out", "run", "--resume").out
    assert len(re.findall("points (lost|gained)", said)) == len(ladder["rungs"])
    assert said.count("kept ") == 1
    assert espalier(*arguments, "--out", "run").code == 2
    assert espalier(*arguments).code == 2


@pytest.mark.parametrize(
    ("text", "size"), [("48kB", 48_000), ("48000", 48_000), ("1.5MB", 1_500_000), ("7 B", 7)]
)
def test_sizes(text: str, size: int) -> None:
    """1 kB is 1000 bytes."""
    assert parse_size(text, option="--max-bytes") == size


@pytest.mark.parametrize("text", ["", "kB", "48KiB", "-3", "0", "1e3", "four"])
def test_no_sizes(text: str) -> None:
    """Refused with an example."""
    with pytest.raises(ConfigError, match="expected a size such as 48kB"):
        parse_size(text, option="--max-bytes")


def test_compress_takes_the_parts_of_train(espalier: Command, own: Path) -> None:
    """Bits by layer, whole filters, codes by distance and bits: each stands in the record."""
    for out, given, found in (
        ("layers", ("--layer-bits", "1.*=8"), {"layer_bits": {"1.*": 8}}),
        ("filters", ("--filter-density", 0.5), {"filter_density": 0.5}),
        ("codes", ("--quantizer", "rdoq", "--bit-price", 0.3), {"quantizer": "rdoq"}),
        ("least", ("--layer-least", 2), {"layer_least": 2}),
        ("spare", ("--spare-operations", 0.75), {"spare_operations": 0.75}),
    ):
        size = ("--max-bytes", "1kB", "--epochs", 1)
        ended = espalier("compress", "net.safetensors", *OWN, *size, *given, "--out", out)
        assert ended.code == 0, ended.err
        assert found.items() <= read_json(own / out / "spec.json").items()
        assert 0.97 * 1000 <= (own / out / "network.espalier").stat().st_size <= 1000


def test_bits_are_found_by_what_they_cost(
    espalier: Command, own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So many in the mean; they stand in the record, and a run that goes on keeps them."""
    command = ("compress", "net.safetensors", *OWN, "--epochs", 1, "--gamma", 0, "--out", "small")
    assert espalier(*command, "--mean-bits", 3.1).code == 0
    spec = RunSpec.from_json(read_json(own / "small" / "spec.json"))
    sizes = {name: p.numel() for name, p in build_model(spec.model).named_parameters()}
    bits = spec.layer_bits or {}
    assert bits.keys() == sizes.keys()
    mean = sum(sizes[name] * bits[name] for name in sizes) / sum(sizes.values())
    assert 3 <= mean <= 3.1 == spec.mean_bits
    assert len(set(bits.values())) > 1

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("bits are looked for again")

    monkeypatch.setattr("espalier.train.allocation.allocate_bits", refuse)
    assert espalier(*command, "--mean-bits", 3.1, "--resume").code == 0
    monkeypatch.undo()
    monkeypatch.chdir(own)
    other = espalier(*command, "--mean-bits", 2.5, "--resume")
    assert (other.code, "mean_bits: " in other.err) == (2, True)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (("--mean-bits", 1), "mean_bits=1.0 is below 2"),
        (("--mean-bits", 3, "--bits", 3), "--bits and --mean-bits both say the bits"),
        (("--mean-bits", 3, "--layer-bits", "1.*=8"), "and layer_bits says them"),
        (("--mean-bits", 3, "--quantizer", "lsq"), "quantizer=lsq with layer_bits"),
    ],
    ids=str,
)
def test_bits_in_the_mean_refused(
    espalier: Command, own: Path, given: tuple[object, ...], message: str
) -> None:
    """Before anything is written."""
    ended = espalier("compress", "net.safetensors", *OWN, "--out", "small", *map(str, given))
    assert ended.code == 2
    assert message in ended.err
    assert not (own / "small").exists()
