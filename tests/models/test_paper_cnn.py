"""The paper's network has the paper's shape, and its options do what they say."""

import pytest
import torch
from torch import nn

from espalier.errors import ConfigError
from espalier.models import paper_cnn

SMALL = {"widths": (4, 4, 4, 4, 4), "hidden": (8,)}


def parameters(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def test_has_the_published_number_of_parameters():
    """2,083,018, biases and batch normalization included."""
    assert parameters(paper_cnn()) == 2_083_018


def test_feature_maps_follow_the_paper():
    """Each convolution and pooling leaves the image as large as the paper says; 3200 flattened."""
    network, x = paper_cnn().eval(), torch.zeros(1, 3, 32, 32)
    seen = {}
    for name, layer in network.named_children():
        x = layer(x)
        seen[name] = tuple(x.shape[1:])
    assert [seen[f"conv{i}"] for i in range(1, 6)] == [
        (32, 30, 30),
        (64, 28, 28),
        (64, 14, 14),
        (128, 12, 12),
        (128, 10, 10),
    ]
    assert seen["flatten"] == (3200,)
    assert [seen[f"fc{i}"][0] for i in range(1, 5)] == [512, 256, 128, 10]


def test_layers_come_in_order_under_readable_names():
    """Convolution, normalization, ReLU; dropout before each of the first three linear layers."""
    names = [name for name, _ in paper_cnn().named_children()]
    assert names[:3] == ["conv1", "norm1", "relu1"]
    for i in (1, 2, 3):
        assert names[names.index(f"dropout{i}") + 1] == f"fc{i}"
    assert names[-1] == "fc4"
    assert names.index("pool2") == names.index("relu2") + 1
    assert names.index("pool5") == names.index("relu5") + 1


def test_dropout_is_three_tenths_unless_asked_otherwise():
    """The three dropouts take the option's probability."""
    rates = [m.p for m in paper_cnn().modules() if isinstance(m, nn.Dropout)]
    assert rates == [0.3] * 3
    rates = [m.p for m in paper_cnn(dropout=0, **SMALL).modules() if isinstance(m, nn.Dropout)]
    assert rates == [0.0]


def test_classes_channels_and_widths_are_options():
    """Another number of classes and channels, other widths, JSON's lists; any hidden layers."""
    network = paper_cnn(classes=7, channels=1, widths=[2, 3, 4, 5, 6], hidden=[])
    assert network(torch.zeros(2, 1, 32, 32)).shape == (2, 7)
    assert network.fc1.in_features == 6 * 25


def test_hidden_layers_are_normalized_on_request():
    """Batch normalization stands between each hidden layer and its ReLU, and nowhere else."""
    names = [name for name, _ in paper_cnn(normalize_hidden=True).named_children()]
    for i in (1, 2, 3):
        assert names[names.index(f"fc{i}") + 1 :][:2] == [f"hidden_norm{i}", f"hidden_relu{i}"]
    assert "hidden_norm4" not in names
    assert parameters(paper_cnn(normalize_hidden=True)) == 2_083_018 + 2 * (512 + 256 + 128)


def test_xavier_draws_kernels_within_its_bound_and_sets_biases_to_a_tenth():
    """Uniform on +-sqrt(6 / (fan in + fan out)), biases .1; batch normalization untouched."""
    network = paper_cnn(initialization="xavier")
    bound = (6 / ((64 + 128) * 9)) ** 0.5
    assert network.conv4.weight.abs().max().item() == pytest.approx(bound, rel=1e-2)
    assert network.fc2.weight.std().item() == pytest.approx((2 / (512 + 256)) ** 0.5, rel=2e-2)
    assert (network.conv1.bias == 0.1).all()
    assert (network.fc4.bias == 0.1).all()
    assert (network.norm1.weight == 1).all()
    assert (network.norm1.bias == 0).all()


def test_he_draws_kernels_by_fan_out():
    """Normal with variance 2 / fan out, biases 0."""
    network = paper_cnn(initialization="he")
    assert network.conv5.weight.std().item() == pytest.approx((2 / (128 * 9)) ** 0.5, rel=2e-2)
    assert (network.conv5.bias == 0).all()


def test_initialization_is_a_function_of_the_seed():
    """The same torch seed gives the same weights."""
    draws = []
    for _ in range(2):
        torch.manual_seed(3)
        draws.append(paper_cnn(initialization="xavier", **SMALL).conv1.weight)
    assert torch.equal(*draws)


def test_channels_last_gives_the_same_answers():
    """The memory format changes the speed, not the result."""
    network, images = paper_cnn(**SMALL).eval(), torch.rand(2, 3, 32, 32)
    expected = network(images)
    network = network.to(memory_format=torch.channels_last)
    found = network(images.to(memory_format=torch.channels_last))
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"classes": 0}, r"classes=0: expected an integer >= 1"),
        ({"classes": True}, r"classes=True: expected an integer >= 1"),
        ({"channels": 1.5}, r"channels=1.5: expected an integer >= 1"),
        ({"widths": (32, 64)}, r"widths=\(32, 64\) has 2 values; expected 5, one a layer"),
        ({"widths": (32, 64, 0, 8, 8)}, r"widths\[2\]=0: expected an integer >= 1"),
        ({"widths": "abcde"}, r"widths='abcde': expected a sequence of integers"),
        ({"hidden": 512}, r"hidden=512: expected a sequence of integers"),
        ({"dropout": 1.0}, r"dropout=1.0: expected a probability in \[0, 1\)"),
        ({"dropout": float("nan")}, r"dropout=nan: expected a probability"),
        ({"dropout": "a lot"}, r"dropout='a lot': expected a probability"),
        ({"initialization": "xaver"}, r"known: default, xavier, he. Did you mean 'xavier'\?"),
    ],
)
def test_options_out_of_bounds_are_named(options, message):
    """The message says which option, what was given and what is expected."""
    with pytest.raises(ConfigError, match=message):
        paper_cnn(**options)
