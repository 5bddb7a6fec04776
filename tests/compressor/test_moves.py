"""A model moved to another type, memory layout or device after attach goes on training."""

import pytest
import torch

from espalier.compressor import attach
from espalier.encoded import decode
from espalier.ops import PruneThenQuantize, StdThreshold

OP = PruneThenQuantize(gamma=0.5, bits=4)
UPDATES = ("hybrid", "inplace", "latent")
MOVES = {
    "double": lambda m: m.double(),
    "channels_last": lambda m: m.to(memory_format=torch.channels_last),
    "bfloat16": lambda m: m.bfloat16(),
}


def moved_start(loop, move):
    """Move what the slow loop keeps, as the model's own parameters move."""
    for name, tensor in loop.start.items():
        holder = torch.nn.Module()
        holder.w = torch.nn.Parameter(tensor)
        loop.start[name] = move(holder).w.detach()


def as_inputs(batch, model):
    return batch[0].to(model.fc1.weight.dtype), batch[1]


@pytest.mark.parametrize("move", MOVES)
@pytest.mark.parametrize("update", UPDATES)
def test_training_goes_on_after_a_move(small, way, update, move):
    """Bit for bit as in the slow loop that keeps its copies at the new type."""
    model, twin = small.network(), small.network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    compressor = attach(model, optimizer, OP, update=update)
    slow = small.Loop(
        twin,
        torch.optim.SGD(twin.parameters(), lr=0.1),
        small.weights,
        lambda w, _: StdThreshold(gamma=0.5)(w),
        lambda w, _: OP(w),
        update,
    )
    for i, batch in enumerate(small.batches(6)):
        if i == 2:
            MOVES[move](model)
            MOVES[move](twin)
            moved_start(slow, MOVES[move])
            assert compressor.encoded()
        small.gradient(model, as_inputs(batch, model))
        optimizer.step()
        slow.step(as_inputs(batch, twin))
        for (name, a), b in zip(model.named_parameters(), twin.parameters(), strict=True):
            assert torch.equal(a, b), f"{name} after step {i}"
    assert model.conv.weight.dtype is twin.conv.weight.dtype
    assert model.conv.weight.stride() == twin.conv.weight.stride()
    compressor.detach()
    assert compressor.report().density_mask < 1


def test_a_dense_copy_in_double_precision_loses_nothing(small):
    """Latent's updates add up in the model's own type: smaller ones than float32 could hold."""
    model = small.network().double()
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    compressor = attach(model, optimizer, OP, update="latent")
    start = model.fc1.weight.detach().clone()
    for _ in range(100):
        for p in model.parameters():
            p.grad = torch.full_like(p, 1e-12)
        optimizer.step()
    shadow = compressor.state_dict()["tensors"]["0.shadow.fc1.weight"]
    assert shadow.dtype is torch.float64
    assert torch.allclose(shadow, start - 1e-10, rtol=0, atol=1e-15)


class Subtract(torch.optim.Optimizer):
    def __init__(self, params):
        super().__init__(params, {})

    @torch.no_grad()
    def step(self, closure=None):
        for p in self.param_groups[0]["params"]:
            p.sub_(torch.ones_like(p), alpha=0.01)


@pytest.fixture
def parameters_move():
    """Let a move change the parameters themselves, as it does between a CPU and a GPU."""
    torch.__future__.set_swap_module_params_on_conversion(True)
    yield
    torch.__future__.set_swap_module_params_on_conversion(False)


@pytest.mark.parametrize("update", UPDATES)
def test_everything_follows_to_another_device(small, parameters_move, update):
    """Shadows, rows and flags go along; meta stands for the device, which has no values."""
    model = small.network()
    optimizer = Subtract(model.parameters())
    compressor = attach(model, optimizer, OP, update=update)
    for _ in range(2):
        optimizer.step()
    model.to("meta")
    optimizer.found_inf = torch.zeros((), device="meta")
    for _ in range(2):
        optimizer.step()
    compressor._check_all = lambda: None
    tensors = compressor.state_dict()["tensors"]
    assert {t.device.type for t in tensors.values()} == {"meta"}
    assert compressor.steps == 4
    assert all(p.device.type == "meta" for p in model.parameters())


@pytest.mark.parametrize("update", UPDATES)
def test_a_move_right_after_attach_is_followed(small, parameters_move, update):
    """The model is often moved before its first step."""
    model = small.network()
    optimizer = Subtract(model.parameters())
    compressor = attach(model, optimizer, OP, update=update)
    model.to("meta")
    optimizer.step()
    assert compressor.steps == 1


@pytest.mark.parametrize("update", UPDATES)
def test_parameters_with_odd_strides_work(way, update):
    """A transposed weight: the same values as one laid out plainly, and codes in C order."""
    plain, odd = torch.nn.Module(), torch.nn.Module()
    values = torch.randn(6, 9, generator=torch.Generator().manual_seed(0))
    plain.w = torch.nn.Parameter(values.clone())
    odd.w = torch.nn.Parameter(values.t().contiguous().t())
    assert not odd.w.is_contiguous()
    compressors = []
    for model in (plain, odd):
        optimizer = Subtract(model.parameters())
        compressors.append(attach(model, optimizer, OP, update=update))
        for _ in range(3):
            optimizer.step()
    assert torch.allclose(plain.w, odd.w, rtol=1e-6)  # sums in another order
    decoded = decode(compressors[1].encoded()["w"])
    assert torch.equal(torch.from_numpy(decoded), odd.w.detach())


def test_the_default_type_of_torch_does_not_matter(small):
    """Rows are float32 also where a user works in double precision."""
    rows = []
    for dtype in (torch.float32, torch.float64):
        model = small.network()
        optimizer = Subtract(model.parameters())
        torch.set_default_dtype(dtype)
        try:
            compressor = attach(model, optimizer, OP)
            optimizer.found_inf = torch.zeros(())
            for _ in range(2):
                optimizer.step()
            rows.append(compressor.report().layers)
            types = {t.dtype for t in compressor.state_dict()["tensors"].values()}
        finally:
            torch.set_default_dtype(torch.float32)
        assert types == {torch.int64, torch.float32, torch.bool}
    assert rows[0] == rows[1]
