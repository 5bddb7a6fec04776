"""A name becomes a network; a name that can't says why and what to do."""

import sys

import pytest
import torch
from torch import nn

from espalier.errors import ConfigError
from espalier.models import MODELS, build_model

SOURCE = '''
"""A user's own networks."""
from torch import nn

def small(*, width=3, classes):
    return nn.Linear(width, classes)

def anything(**options):
    return nn.Linear(1, len(options))

def positional(width, /):
    return nn.Linear(width, 1)

def wrong():
    return 3

def broken():
    raise TypeError("the user's own fault")

number = 3
'''


@pytest.fixture
def users_folder(tmp_path, monkeypatch):
    """Run from a folder that holds a user's module, as a console script does: not on the path."""
    (tmp_path / "espalier_test_nets.py").write_text(SOURCE)
    (tmp_path / "espalier_test_lacking.py").write_text("import espalier_test_no_such_thing\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    yield tmp_path
    sys.modules.pop("espalier_test_nets", None)


@pytest.mark.parametrize("name", sorted(MODELS))
def test_every_named_network_builds_and_learns(name):
    """Each of Espalier's networks builds by name, and every parameter gets a gradient."""
    network = build_model(name)
    shape = (2, 2, 128) if name == "modulation_cnn" else (2, 3, 32, 32)
    network(torch.randn(shape)).logsumexp(1).sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())


def test_options_reach_the_network():
    """Keywords are handed on as they are."""
    assert build_model("resnet20", classes=3, width=4).fc.out_features == 3


def test_unknown_name_suggests_the_nearest():
    """The message lists what is known and suggests one."""
    with pytest.raises(
        ConfigError, match=r"unknown model 'paper_cn'; known: .*resnet20.* mean 'paper_cnn'\?"
    ):
        build_model("paper_cn")


def test_unknown_option_is_named_with_the_valid_ones():
    """The message lists the function's options and suggests one."""
    with pytest.raises(
        ConfigError,
        match=r"'resnet20' has no option 'widht'; its options: classes, width, inner. Did",
    ):
        build_model("resnet20", widht=3)


def test_users_function_in_the_current_folder_is_called(users_folder):
    """module:function works from the folder that holds the module, and the path stays as it was."""
    before = list(sys.path)
    assert build_model("espalier_test_nets:small", classes=2).out_features == 2
    assert sys.path == before


def test_a_class_works_as_a_function():
    """module:Class builds an instance with the options."""
    network = build_model("torch.nn:Linear", in_features=2, out_features=5)
    assert isinstance(network, nn.Linear)
    assert network.out_features == 5


def test_function_with_open_options_takes_them_all(users_folder):
    """A function with **options of its own gets whatever is given."""
    assert build_model("espalier_test_nets:anything", a=1, b=2).out_features == 2


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("espalier_test_no_such:f", r"no module 'espalier_test_no_such' in .* PYTHONPATH"),
        ("torch.espalier_nothing:f", r"no module 'torch.espalier_nothing' in"),
        ("espalier_test_nets:smal", r"has no 'smal'. Did you mean 'small'\?"),
        ("espalier_test_nets:number", r"is int, which can't be called; expected a function"),
        ("espalier_test_nets:wrong", r"returned int; expected a torch.nn.Module"),
        ("espalier_test_nets:small", r"'espalier_test_nets:small' needs a value for classes"),
        ("espalier_test_nets:positional", r"needs a value for width"),
        (":small", r"expected 'module:function', for instance 'nets:small'"),
        ("espalier_test_nets:", r"expected 'module:function', for instance 'nets:small'"),
    ],
)
def test_what_is_wrong_with_a_users_function_is_said(users_folder, name, message):
    """No such module, no such function, not a function, not a network, an option missing."""
    with pytest.raises(ConfigError, match=message):
        build_model(name)


def test_faults_inside_the_users_code_stay_their_own(users_folder):
    """An exception of the user's function or module isn't dressed up as a wrong option."""
    with pytest.raises(TypeError, match="the user's own fault"):
        build_model("espalier_test_nets:broken")
    with pytest.raises(ModuleNotFoundError, match="espalier_test_no_such_thing"):
        build_model("espalier_test_lacking:f")
