"""From a network in training to its file and back, bit for bit."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

import espalier
from espalier import artifact
from espalier.artifact import Metadata
from espalier.encoded import Encoded, decode
from espalier.errors import ArtifactError, ArtifactLimitError, ConfigError
from espalier.models import build_model


def trained(
    model: nn.Module, inputs: Tensor, operator: Any = None, **options: Any
) -> espalier.Compressor:
    """Train for three steps."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    operator = operator or espalier.PruneThenQuantize(gamma=0.8, bits=4)
    compressor = espalier.attach(model, optimizer, operator, **options)
    for _ in range(3):
        loss = model(inputs).square().mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    compressor.end_epoch()
    return compressor


def small(bias: bool = True) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, bias=bias),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(4 * 16, 5),
    )


IMAGES = torch.randn(8, 2, 6, 6, generator=torch.Generator().manual_seed(1))


def test_weights_come_back_bit_for_bit(tmp_path: Path) -> None:
    """A model filled from its file computes what the saved one does."""
    model = small()
    compressor = trained(model, IMAGES)
    size = espalier.save(compressor, tmp_path / "n.espalier")
    assert size == (tmp_path / "n.espalier").stat().st_size
    other = small().train()
    found = espalier.load(tmp_path / "n.espalier", other)
    assert found is other
    assert not found.training
    for name, tensor in model.state_dict().items():
        if not name.endswith("num_batches_tracked"):
            assert torch.equal(found.state_dict()[name], tensor), name
    assert torch.equal(found(IMAGES), model.eval()(IMAGES))


def test_espaliers_own_networks_are_built_by_name(tmp_path: Path) -> None:
    """The file knows the network's name and options."""
    options = {"classes": 3, "length": 32, "dropout": 0.0}
    model = build_model("modulation_cnn", **options)
    signals = torch.randn(4, 2, 32)
    compressor = trained(model, signals)
    espalier.save(compressor, tmp_path / "n", network=("modulation_cnn", options))
    assert torch.equal(espalier.load(tmp_path / "n")(signals), model.eval()(signals))


def test_what_the_file_says(tmp_path: Path) -> None:
    """Metadata and codes are there without torch."""
    compressor = trained(small(), IMAGES)
    espalier.save(
        compressor, tmp_path / "n", metrics={"test_accuracy": 81.5}, classes=list("abcde")
    )
    found = artifact.read(tmp_path / "n")
    assert found.metadata.metrics == {"test_accuracy": 81.5}
    assert found.metadata.classes == tuple("abcde")
    assert found.metadata.operator is not None
    assert found.metadata.writer.startswith("espalier ")
    for name, codes in compressor.encoded().items():
        stored = found.tensors[name]
        assert isinstance(stored, Encoded)
        assert (stored.grid, stored.bits, stored.kept) == (codes.grid, codes.bits, codes.kept)
        assert decode(stored).tobytes() == decode(codes).tobytes()
    assert "1.num_batches_tracked" not in found.tensors
    assert list(found.tensors)[:2] == ["0.weight", "0.bias"]


def test_normalization_is_folded_on_request(tmp_path: Path) -> None:
    """Statistics become part of scale and shift; outputs change by rounding only."""
    model = small()
    compressor = trained(model, IMAGES)
    plain = espalier.save(compressor, tmp_path / "plain")
    assert espalier.save(compressor, tmp_path / "folded", fold_normalization=True) < plain
    assert artifact.read(tmp_path / "folded").metadata.folded == ("1",)
    found = espalier.load(tmp_path / "folded", small())
    assert torch.allclose(found(IMAGES), model.eval()(IMAGES), atol=1e-5)
    with pytest.raises(ConfigError, match=r"lacks|has no"):
        espalier.load(tmp_path / "folded", nn.Sequential(nn.Linear(2, 2)))


def test_a_folded_normalization_must_be_there(tmp_path: Path) -> None:
    """A model whose layer of that name keeps no statistics can't be filled."""
    weight = np.ones(4, np.float32)
    metadata = Metadata(folded=("0",))
    artifact.write(tmp_path / "n", {"0.weight": weight, "0.bias": weight}, metadata)
    with pytest.raises(ArtifactError, match="'0' folded, and the model has none"):
        espalier.load(tmp_path / "n", nn.Sequential(nn.LayerNorm(4)))


def test_dense_tensors_in_16_bits(tmp_path: Path) -> None:
    """What is not compressed takes half; compressed weights stay exact."""
    model = small()
    compressor = trained(model, IMAGES)
    plain = espalier.save(compressor, tmp_path / "plain")
    assert espalier.save(compressor, tmp_path / "half", half=True) < plain
    found = espalier.load(tmp_path / "half", small())
    assert torch.equal(found[0].weight, model[0].weight)
    assert torch.equal(found[1].running_var, model[1].running_var.half().float())


def test_plain_safetensors(tmp_path: Path) -> None:
    """Decoded weights for everybody else."""
    model = small()
    compressor = trained(model, IMAGES)
    espalier.save(compressor, tmp_path / "n", safetensors=tmp_path / "n.safetensors")
    found = load_file(tmp_path / "n.safetensors")
    assert torch.equal(found["4.weight"], model[4].weight)


def test_tied_weights_are_stored_once(tmp_path: Path) -> None:
    """A second name of a tensor adds nothing, and both are filled."""

    def tied() -> nn.Module:
        model = nn.Sequential(nn.Linear(6, 6), nn.Linear(6, 6))
        model[1].weight = model[0].weight
        return model

    model = tied()
    compressor = trained(model, torch.randn(4, 6))
    espalier.save(compressor, tmp_path / "n")
    assert "1.weight" not in artifact.read(tmp_path / "n").tensors
    found = espalier.load(tmp_path / "n", tied())
    assert torch.equal(found[1].weight, model[1].weight)


def test_wrapped_models(tmp_path: Path) -> None:
    """Data parallelism adds nothing to names; a plain model is filled of it."""
    model = small()
    compressor = trained(nn.DataParallel(model), IMAGES)
    espalier.save(compressor, tmp_path / "n", fold_normalization=True)
    assert "0.weight" in artifact.read(tmp_path / "n").tensors
    espalier.load(tmp_path / "n", nn.DataParallel(small()))
    espalier.load(tmp_path / "n", small())


def test_rules_and_own_operators(tmp_path: Path) -> None:
    """Several operators are written as rules."""
    rules = [
        espalier.Rule(name="0.*", operator=espalier.PruneThenQuantize(gamma=0.2, bits=8)),
        espalier.Rule(name="4.*", operator=espalier.PruneThenQuantize(gamma=0.2, bits=3)),
    ]
    espalier.save(trained(small(), IMAGES, rules), tmp_path / "n")
    operator = artifact.read(tmp_path / "n").metadata.operator
    assert operator is not None
    assert len(operator["rules"]) == 2


class Named:
    """A file's metadata, as a stranger may write them."""

    def __init__(self, network: Any) -> None:
        self.metadata = Metadata(network=network)

    def write(self, path: Path) -> Path:
        artifact.write(path, {"weight": np.zeros((2, 2), np.float32)}, self.metadata)
        return path


def test_files_never_import(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A module:function in a file is shown, not imported, even where it could be."""
    (tmp_path / "evil.py").write_text("raise SystemExit('imported')\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    path = Named({"name": "evil:net", "options": {"a": 1}}).write(tmp_path / "n")
    with pytest.raises(ConfigError, match=r"'evil:net', built with \{'a': 1\}.*pass model="):
        espalier.load(path)
    with pytest.raises(ConfigError, match="does not say what builds its network; pass model="):
        espalier.load(Named(None).write(tmp_path / "m"))
    with pytest.raises(ConfigError, match="has no option 'no'"):
        espalier.load(Named({"name": "paper_cnn", "options": {"no": 1}}).write(tmp_path / "o"))


@pytest.mark.parametrize("classes", [2**36, 2**62, 10**30])
def test_options_allocate_nothing(tmp_path: Path, classes: int) -> None:
    """A network that its file could not fill is never built, however large it is asked for."""
    path = Named({"name": "resnet20", "options": {"classes": classes}}).write(tmp_path / "n")
    with pytest.raises(ConfigError, match=r"is not this model|pass what a tensor can have"):
        espalier.load(path)


def test_other_models_are_refused(tmp_path: Path) -> None:
    """Nothing is filled unless all of it fits."""
    path = Named(None).write(tmp_path / "n")
    with pytest.raises(ConfigError, match=r"the file lacks bias"):
        espalier.load(path, nn.Linear(2, 2))
    with pytest.raises(ConfigError, match=r"the model has no weight"):
        espalier.load(path, nn.ReLU())
    with pytest.raises(ConfigError, match=r"weight \(2, 2\) instead of \(3, 2\)"):
        espalier.load(path, nn.Linear(2, 3, bias=False))
    with pytest.raises(ArtifactLimitError, match="max_bytes is 8"):
        espalier.load(path, nn.Linear(2, 2, bias=False), max_bytes=8)


def test_damage_leaves_the_model_as_it_was(tmp_path: Path) -> None:
    """A file that turns out to be damaged in its last tensor has filled none."""
    path = tmp_path / "n.espalier"
    espalier.save(trained(small(), IMAGES), path)
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.write_bytes(data)
    other = small()
    before = {name: tensor.clone() for name, tensor in other.state_dict().items()}
    with pytest.raises(ArtifactError):
        espalier.load(path, other)
    assert all(torch.equal(before[name], tensor) for name, tensor in other.state_dict().items())


def test_uncompressed_moments_are_refused(tmp_path: Path) -> None:
    """A compressor that has compressed nothing yet has no codes to save."""
    model = small()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    operator = espalier.PruneThenQuantize(gamma=0.2, bits=4)
    compressor = espalier.attach(model, optimizer, operator)
    with pytest.raises(ConfigError, match="not compressed at this moment"):
        espalier.save(compressor, tmp_path / "n")
    assert not (tmp_path / "n").exists()
