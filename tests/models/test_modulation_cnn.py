"""The network for the modulation data has its stated size and takes its options."""

import pytest
import torch
import torch.nn.functional as F

from espalier.data.modulation import modulation
from espalier.errors import ConfigError
from espalier.models import modulation_cnn


def test_has_its_stated_number_of_parameters():
    """The count that the docstring and the demo speak of."""
    assert sum(p.numel() for p in modulation_cnn().parameters()) == 68_819


@pytest.mark.parametrize(
    ("options", "length"),
    [
        ({}, 128),
        ({"length": 100}, 100),
        ({"length": 9, "widths": [4, 5], "kernels": [3, 1], "classes": 3}, 9),
    ],
)
def test_maps_signals_to_classes(options, length):
    """(N, 2, length) -> (N, classes), odd lengths too."""
    network = modulation_cnn(**options)
    assert network(torch.zeros(4, 2, length)).shape == (4, options.get("classes", 11))


def test_layers_carry_readable_names():
    """Convolutions with their normalization first, then the fully connected layers."""
    names = [name for name, p in modulation_cnn().named_parameters() if p.dim() > 1]
    assert names == [
        f"{name}.weight" for name in ("conv1", "conv2", "conv3", "conv4", "fc1", "fc2")
    ]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"length": 15}, "length=15: expected an integer >= 16"),
        ({"kernels": (3,)}, r"kernels=\(3,\) has 1 values; expected 4, one a layer"),
        ({"kernels": (7, 5, 3, 2)}, r"kernels=\(7, 5, 3, 2\): expected odd ones"),
        ({"widths": ()}, r"widths=\(\): expected at least one convolution"),
        ({"hidden": 0}, "hidden=0: expected an integer >= 1"),
        ({"dropout": -0.1}, r"dropout=-0.1: expected a probability in \[0, 1\)"),
    ],
)
def test_options_out_of_bounds_are_named(options, message):
    """The message says which option and what is expected."""
    with pytest.raises(ConfigError, match=message):
        modulation_cnn(**options)


@pytest.fixture
def one_thread():
    """Run on one thread: kernels this small only wait for each other on more."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread")
def test_learns_the_modulation_data_in_a_few_epochs():
    """Plain SGD with momentum on a third of the data comes above 60 %, where chance is 9 %."""
    torch.manual_seed(0)
    data, network = modulation(per_class=400), modulation_cnn()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.02, momentum=0.9)
    for _ in range(4):
        for i in torch.randperm(len(data.train)).split(64):
            optimizer.zero_grad()
            answers = network(data.train.inputs[i] / data.std[0])
            F.cross_entropy(answers, data.train.labels[i]).backward()
            optimizer.step()
    with torch.no_grad():
        answers = network.eval()(data.validation.inputs / data.std[0]).argmax(dim=1)
    assert (answers == data.validation.labels).double().mean() > 0.6
