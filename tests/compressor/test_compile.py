"""Compiled models and steps: the hook stays out of graphs and causes no compilation."""

import subprocess
import sys
from functools import partial
from types import SimpleNamespace

import pytest
import torch
from torch._dynamo.testing import CompileCounter

from espalier.compressor import attach
from espalier.ops import PruneThenQuantize, StdThreshold

OP = PruneThenQuantize(gamma=0.5, bits=4)
pytestmark = [
    # torch 2.13 itself calls what it deprecates when dynamo first traces an optimizer
    pytest.mark.filterwarnings("ignore:`torch.jit.script_method`:DeprecationWarning"),
    # dynamo looks at the loss where its own graph ends at backward()
    pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not:UserWarning"),
]
SLOW = partial(pytest.param, marks=pytest.mark.slow)
UPDATES = ("hybrid", "inplace", "latent")


@pytest.fixture(autouse=True)
def fresh_dynamo():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def plain_run(small, update, steps):
    model = small.network()
    optimizer = sgd(model.parameters())
    attach(model, optimizer, OP, update=update)
    for batch in small.batches(steps):
        small.gradient(model, batch)
        optimizer.step()
    return model


def assert_same(model, other):
    for (name, a), b in zip(model.named_parameters(), other.parameters(), strict=True):
        assert torch.equal(a, b), name


def sgd(params):
    return torch.optim.SGD(params, lr=0.05, momentum=0.9)


def adamw(params):
    return torch.optim.AdamW(params, lr=0.01)


@pytest.mark.parametrize("update", UPDATES)
def test_a_compiled_model_trains_the_same(small, update):
    """One graph, compiled once; the weights are those of the uncompiled model."""
    counter = CompileCounter()
    model = small.network()
    compiled = torch.compile(model, backend=counter)
    optimizer = sgd(compiled.parameters())
    compressor = attach(compiled, optimizer, OP, update=update)
    for batch in small.batches(5):
        small.gradient(compiled, batch)
        optimizer.step()
    assert counter.frame_count == 1
    assert_same(model, plain_run(small, update, 5))
    assert compressor.report().layers[0].name == "conv.weight"


@pytest.mark.parametrize("update", [SLOW("hybrid"), SLOW("inplace"), "latent"])
def test_a_compiled_step_trains_the_same(small, update):
    """Forward, backward and optimizer in one compiled function.

    From its third run on nothing is compiled again, no graph holds an operation of the
    compressor, and the weights are those of plain code.
    """
    graphs = []

    def backend(graph, inputs):
        graphs.append(graph.code)
        return graph.forward

    model = small.network()
    optimizer = sgd(model.parameters())
    attach(model, optimizer, OP, update=update)

    @torch.compile(backend=backend)
    def step(x, y):
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        return loss

    for i, (x, y) in enumerate(small.batches(5)):
        with torch._dynamo.config.patch(error_on_recompile=i >= 2):
            step(x, y)
    assert_same(model, plain_run(small, update, 5))
    assert graphs
    assert not [word for word in ("round", "std", "where", "sqrt") for g in graphs if word in g]


@pytest.mark.parametrize(
    ("make", "update"), [SLOW(sgd, "latent"), (adamw, "hybrid"), SLOW(adamw, "inplace")]
)
def test_a_compiled_optimizer_step_trains_the_same(small, update, make):
    """As torch's recipe has it; the slow loop's optimizer is compiled too, and sums as this one."""
    model, twin = small.network(), small.network()
    optimizer, slow = make(model.parameters()), make(twin.parameters())
    attach(model, optimizer, OP, update=update)
    step = torch.compile(optimizer.step, backend="eager")
    loop = small.Loop(
        twin,
        SimpleNamespace(step=torch.compile(slow.step, backend="eager")),
        small.weights,
        lambda w, _: StdThreshold(gamma=0.5)(w),
        lambda w, _: OP(w),
        update,
    )
    for i, batch in enumerate(small.batches(5)):
        small.gradient(model, batch)
        with torch._dynamo.config.patch(error_on_recompile=i >= 2):
            step()
        loop.step(batch)
        assert_same(model, twin)


def test_a_compiled_optimizer_step_takes_a_closure(small):
    """It is evaluated at the compressed weights there too, and never traced into the package."""
    model = small.network()
    optimizer = sgd(model.parameters())
    attach(model, optimizer, OP, update="latent")
    step = torch.compile(optimizer.step, backend="eager")
    for batch in small.batches(3):
        loss = step(lambda batch=batch: small.gradient(model, batch))
        assert loss.item() > 0
    assert_same(model, plain_run(small, "latent", 3))


def test_epochs_end_and_detach_between_compiled_steps(small):
    """Attributes of the compressor that change are no guards of the graphs."""
    model, twin = small.network(), small.network()
    pairs = [(model, sgd(model.parameters())), (twin, sgd(twin.parameters()))]
    compressors = [attach(m, o, OP) for m, o in pairs]
    steps = [torch.compile(pairs[0][1].step, backend="eager"), pairs[1][1].step]
    for i, batch in enumerate(small.batches(7)):
        for (m, _), step in zip(pairs, steps, strict=True):
            small.gradient(m, batch)
            with torch._dynamo.config.patch(error_on_recompile=i >= 2):
                step()
        if i % 2:
            for compressor in compressors:
                compressor.end_epoch()
    assert_same(model, twin)
    for compressor in compressors:
        compressor.detach()
    for (m, _), step in zip(pairs, steps, strict=True):
        small.gradient(m, small.batches(1)[0])
        step()
    assert_same(model, twin)
    assert model.fc1.weight.unique().numel() > 19


def test_the_tracer_is_not_imported_with_the_package():
    """It takes as long as all of torch, and who previews or reads a report needs none."""
    code = "import sys, espalier.compressor; assert 'torch._dynamo' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
