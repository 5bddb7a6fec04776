"""step(closure), optimizers that call their parent's step, and those that are refused."""

import copy

import pytest
import torch
from torch.optim import SGD, Adam

from espalier.compressor import attach
from espalier.errors import UnsupportedOptimizerError
from espalier.ops import PruneThenQuantize, StdThreshold

OP = PruneThenQuantize(gamma=0.5, bits=4)
UPDATES = ("hybrid", "inplace", "latent")


def loop(small, make, update):
    twin = small.network()
    return small.Loop(
        twin,
        make(twin.parameters()),
        small.weights,
        lambda w, _: StdThreshold(gamma=0.5)(w),
        lambda w, _: OP(w),
        update,
    )


def same(model, twin):
    pairs = zip(model.state_dict().values(), twin.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


class Plain(torch.optim.Optimizer):
    """Subtracts the gradient; evaluates its closure as often as it is told."""

    def __init__(self, params, times=1):
        super().__init__(params, {"lr": 0.1})
        self.times = times

    def step(self, closure=None):
        losses = [closure() for _ in range(self.times if closure else 0)]
        with torch.no_grad():
            for p in self.param_groups[0]["params"]:
                p.sub_(p.grad, alpha=0.1)
        return losses[0] if losses else None


MAKES = {
    "sgd": lambda ps: SGD(ps, lr=0.05, momentum=0.9),
    "adam": lambda ps: Adam(ps, lr=0.01),
    "plain": Plain,
}


@pytest.mark.parametrize("keyword", [False, True])
@pytest.mark.parametrize("make", MAKES)
@pytest.mark.parametrize("update", UPDATES)
def test_a_closure_sees_compressed_weights(small, update, make, keyword):
    """It is evaluated once, its loss comes back, and training is that of the slow loop."""
    model, slow = small.network(), loop(small, MAKES[make], update)
    optimizer = MAKES[make](model.parameters())
    attach(model, optimizer, OP, update=update)
    for batch in small.batches(4):
        seen = []

        def closure(batch=batch, seen=seen):
            seen.append(copy.deepcopy(model.state_dict()))
            return small.gradient(model, batch)

        before = copy.deepcopy(model.state_dict())
        loss = optimizer.step(closure=closure) if keyword else optimizer.step(closure)
        assert len(seen) == 1
        assert all(torch.equal(seen[0][n], before[n]) for n in before)
        expected = small.gradient(slow.model, batch)
        slow.apply_update()
        assert loss.item() == expected.item()
        assert same(model, slow.model)


@pytest.mark.parametrize("update", UPDATES)
def test_a_closure_that_raises_leaves_everything_as_it_was(small, update):
    """The next step goes on as if nothing had happened."""
    model, slow = small.network(), loop(small, MAKES["sgd"], update)
    optimizer = MAKES["sgd"](model.parameters())
    compressor = attach(model, optimizer, OP, update=update)

    def broken():
        raise OSError("the data is gone")

    for batch in small.batches(3):
        with pytest.raises(OSError, match="the data is gone"):
            optimizer.step(broken)
        assert same(model, slow.model)
        optimizer.step(lambda batch=batch: small.gradient(model, batch))
        slow.step(batch)
        assert same(model, slow.model)
    assert compressor.steps == 3


def test_an_optimizer_that_evaluates_many_times_is_refused(small):
    """At the second evaluation, by its name."""
    model = small.network()
    optimizer = Plain(model.parameters(), times=2)
    attach(model, optimizer, OP)
    with pytest.raises(
        UnsupportedOptimizerError,
        match=r"Plain evaluates its closure many times a step.*one gradient a step",
    ):
        optimizer.step(lambda: small.gradient(model, small.batches(1)[0]))


def test_without_a_closure_the_same_optimizer_works(small):
    """It is the evaluations that can't be followed."""
    model = small.network()
    optimizer = Plain(model.parameters(), times=2)
    compressor = attach(model, optimizer, OP)
    small.gradient(model, small.batches(1)[0])
    assert optimizer.step() is None
    assert compressor.report().density_mask < 1


def test_an_optimizer_that_moves_first_is_refused(small):
    """As sharpness-aware ones do: the gradient is not that of the compressed weights."""

    class Sharpness(SGD):
        def step(self, closure):
            with torch.no_grad():
                for p in self.param_groups[0]["params"]:
                    p.add_(0.01)
            closure()
            return super().step()

    model = small.network()
    optimizer = Sharpness(model.parameters(), lr=0.1)
    attach(model, optimizer, OP)
    with pytest.raises(UnsupportedOptimizerError, match="Sharpness moves the weights before it"):
        optimizer.step(lambda: small.gradient(model, small.batches(1)[0]))


def test_an_optimizer_that_ignores_its_closure_is_refused(small):
    """The update would have started from the wrong weights, in silence."""
    model = small.network()
    optimizer = Plain(model.parameters(), times=0)
    attach(model, optimizer, OP, update="latent")
    small.gradient(model, small.batches(1)[0])
    with pytest.raises(UnsupportedOptimizerError, match="Plain never evaluates the closure"):
        optimizer.step(lambda: None)


@pytest.mark.parametrize("kind", [torch.optim.LBFGS, type("Own", (torch.optim.LBFGS,), {})])
def test_lbfgs_is_refused_at_once(small, kind):
    """Nothing is hooked to it."""
    model = small.network()
    optimizer = kind(model.parameters())
    with pytest.raises(UnsupportedOptimizerError, match="LBFGS evaluates its closure many times"):
        attach(model, optimizer, OP)
    assert not optimizer._optimizer_step_pre_hooks


class Decayed(SGD):
    """Decays the weights, lets its parent step, and averages with where it came from."""

    @torch.no_grad()
    def step(self, closure=None):
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        params = self.param_groups[0]["params"]
        before = [p.clone() for p in params]
        for p in params:
            p.mul_(0.9)
        super().step()
        for p, b in zip(params, before, strict=True):
            p.lerp_(b, 0.5)
        return loss


@pytest.mark.parametrize("with_closure", [False, True])
@pytest.mark.parametrize("update", UPDATES)
def test_a_step_that_calls_its_parents_is_one_step(small, update, with_closure):
    """Torch calls the hooks for both where the parent class was used before."""
    SGD([torch.zeros(1, requires_grad=True)], lr=0.1)  # now SGD.step calls hooks too

    def make(params):
        return Decayed(params, lr=0.05, momentum=0.9)

    model, slow = small.network(), loop(small, make, update)
    optimizer = make(model.parameters())
    compressor = attach(model, optimizer, OP, update=update)
    for batch in small.batches(4):
        if with_closure:
            optimizer.step(lambda batch=batch: small.gradient(model, batch))
        else:
            small.gradient(model, batch)
            optimizer.step()
        slow.step(batch)
        assert same(model, slow.model)
    assert compressor.steps == 4


def test_a_failed_step_of_such_an_optimizer_is_no_open_step(small):
    """The step after it compresses again."""
    SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
    model = small.network()
    optimizer = Decayed(model.parameters(), lr=0.05)
    compressor = attach(model, optimizer, OP, update="inplace")

    def broken():
        raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        optimizer.step(broken)
    small.gradient(model, small.batches(1)[0])
    optimizer.step()
    assert compressor.steps == 1
    assert model.fc1.weight.unique().numel() <= 19


def test_a_closure_of_none_is_no_closure(small):
    """Some loops pass it on whatever it is."""
    model, slow = small.network(), loop(small, MAKES["sgd"], "latent")
    optimizer = MAKES["sgd"](model.parameters())
    attach(model, optimizer, OP, update="latent")
    calls = [lambda: optimizer.step(None), lambda: optimizer.step(closure=None)]
    for batch, step in zip(small.batches(2), calls, strict=True):
        small.gradient(model, batch)
        step()
        slow.step(batch)
        assert same(model, slow.model)


@pytest.mark.parametrize("update", UPDATES)
def test_gradients_accumulate_at_the_compressed_weights(small, update):
    """Several backward passes, one step: only the step compresses."""
    model, slow = small.network(), loop(small, MAKES["adam"], update)
    optimizer = MAKES["adam"](model.parameters())
    compressor = attach(model, optimizer, OP, update=update)
    data = small.batches(9)
    for i in range(0, 9, 3):
        for one in (model, slow.model):
            one.zero_grad()
            for x, y in data[i : i + 3]:
                torch.nn.functional.cross_entropy(one(x), y).backward()
        optimizer.step()
        slow.apply_update()
        assert same(model, slow.model)
    assert compressor.steps == 3


def test_learning_rate_schedulers_go_on_working(small):
    """They wrap step() of the optimizer, which hooks survive."""
    model, slow = small.network(), loop(small, MAKES["sgd"], "hybrid")
    optimizer = MAKES["sgd"](model.parameters())
    attach(model, optimizer, OP)
    schedulers = [torch.optim.lr_scheduler.StepLR(o, 1) for o in (optimizer, slow.optimizer)]
    for batch in small.batches(3):
        small.gradient(model, batch)
        optimizer.step()
        slow.step(batch)
        for scheduler in schedulers:
            scheduler.step()
        assert same(model, slow.model)
