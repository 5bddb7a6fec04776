"""The report's numbers against direct counts; dead layers and diverged weights speak up."""

import warnings

import pytest
import torch

from espalier.compressor import Rule, attach
from espalier.errors import DeadLayerError, DeadLayerWarning, NonFiniteError
from espalier.ops import (
    Cubic,
    GlobalMagnitude,
    PruneThenQuantize,
    StdThreshold,
    UniformQuantizer,
)

OP = PruneThenQuantize(gamma=0.5, bits=4)
UPDATES = ("hybrid", "inplace", "latent")


def start(small, operator=OP, lr=0.1, **options):
    model = small.network()
    optimizer = torch.optim.SGD(model.parameters(), lr=lr)
    return model, optimizer, attach(model, optimizer, operator, **options)


def step(small, model, optimizer, seed=1):
    small.gradient(model, small.batches(1, seed)[0])
    optimizer.step()


@pytest.mark.parametrize("update", UPDATES)
def test_rows_are_direct_counts(small, way, update):
    """Against what SGD wrote, the formulas of the paper and the weights themselves."""
    model, optimizer, compressor = start(small, update=update)
    small.gradient(model, small.batches(1)[0])
    dense = {n: p.detach() - 0.1 * p.grad for n, p in model.named_parameters()}
    optimizer.step()
    report = compressor.report()
    weights = dict(model.named_parameters())
    assert [row.name for row in report.layers] == [*small.weights, "norm.weight", "norm.bias"]
    for row in report.compressed:
        before, after = dense[row.name], weights[row.name].detach()
        beta = 0.5 * before.double().std(correction=0).item()
        kept = before[before.abs() >= torch.tensor(beta, dtype=torch.float32)]
        assert row.threshold == pytest.approx(beta, rel=1e-6)
        assert row.step == pytest.approx((kept.abs().max().item() - beta) / 7, rel=1e-5)
        assert row.parameters == after.numel()
        assert row.kept == kept.numel()
        assert row.nonzero == int((after != 0).sum())
        assert row.density_mask == row.kept / row.parameters
        assert row.density_nonzero == row.nonzero / row.parameters
        assert row.levels == len(set(after.reshape(-1).tolist()))
        assert row.bits == 4
        assert row.asked_density is None
        assert row.status == "compressed by PruneThenQuantize"
    for row in report.layers[6:]:
        assert (row.step, row.threshold, row.levels, row.bits) == (None, None, None, 32)
        assert row.kept == row.parameters == 4
        assert row.density_mask == 1.0
        assert not row.compressed


def test_totals_are_sums_over_the_compressed_parameters(small):
    """And over all of them, where so named; mixed bits weigh in by parameter."""
    rules = [
        Rule(name="fc1.weight", operator=OP),
        Rule(name="fc2.*", operator=UniformQuantizer(bits=2)),
        Rule(name="conv.weight", operator=StdThreshold(gamma=0.5)),
        Rule(name="*.bias", operator=None),
    ]
    model, optimizer, compressor = start(small, rules)
    step(small, model, optimizer)
    report = compressor.report()
    rows = {row.name: row for row in report.layers}
    kept = {n: rows[n].kept for n in ("fc1.weight", "fc2.weight", "fc2.bias", "conv.weight")}
    size = 768 + 60 + 5 + 72
    assert rows["fc2.weight"].nonzero < rows["fc2.weight"].kept == 60  # rounded to zero: kept
    assert report.density_mask == sum(kept.values()) / size
    assert report.density_nonzero == sum(rows[n].nonzero for n in kept) / size
    bits = kept["fc1.weight"] * 4 + (60 + 5) * 2 + kept["conv.weight"] * 32
    assert report.ratio == pytest.approx(bits / 32 / size, rel=1e-12)
    dense = 12 + 4 + 4 + 4  # biases of fc1 and conv, the normalization
    assert report.ratio_all == pytest.approx((bits / 32 + dense) / (size + dense), rel=1e-12)
    assert report.steps == 1
    assert report.asked_density is None


def test_the_table_holds_every_row_and_the_total(small):
    """As printed: name, counts, what was done."""
    model, optimizer, compressor = start(small, steps_per_epoch=1)
    step(small, model, optimizer)
    report = compressor.report()
    lines = str(report).splitlines()
    assert len(lines) == 2 + 8 + 1
    assert lines[0].split() == (
        ["parameter", "weights", "kept", "nonzero", "bits", "levels", "step", "threshold", "status"]
    )
    for line, row in zip(lines[2:], report.layers, strict=False):
        assert line.startswith(row.name)
        assert line.endswith(row.status)
        assert f" {row.parameters} " in line
        assert f"{100 * row.density_nonzero:.2f} %" in line
        if row.compressed:
            assert f"{100 * row.density_mask:.2f} %" in line
            assert f" {row.levels} " in line
            assert f"{row.step:.3g}" in line
            assert f"{row.threshold:.3g}" in line
    assert lines[-1].startswith("6 of 8 parameters compressed")
    assert f"{100 * report.density_mask:.2f} %" in lines[-1]
    assert lines[-1].endswith(f"RC {report.ratio:.4f}")


def test_the_table_shows_what_was_asked_where_something_was(small):
    """A column of its own, empty for those without a budget."""
    rules = [
        Rule(name="fc1.weight", operator=GlobalMagnitude(density=0.25)),
        Rule(name="fc2.weight", operator=OP),
    ]
    model, optimizer, compressor = start(small, rules, update="inplace")
    step(small, model, optimizer)
    text = str(compressor.report()).splitlines()
    assert text[0].split()[2] == "asked"
    assert text[2].count("25.00 %") == 3  # asked, kept and nonzero
    ends = [i + len("asked") for i in range(len(text[0])) if text[0].startswith("asked", i)]
    assert all(line[ends[0] - 1 : ends[0]] in ("-", " ", "") for line in (text[1], text[3]))


def test_a_scheduled_budget_asks_for_the_density_of_its_step(small):
    """Of the last step that compressed."""
    ramp = Cubic(start=1.0, end=0.2, start_step=0, end_step=4)
    model, optimizer, compressor = start(
        small, [Rule(operator=GlobalMagnitude(density=ramp), biases=False)]
    )
    for i in range(5):
        step(small, model, optimizer)
        asked = 0.2 + 0.8 * (1 - i / 4) ** 3
        report = compressor.report()
        assert report.asked_density == pytest.approx(asked)
        assert report.density_mask == pytest.approx(asked, abs=1e-3)


def test_before_the_first_step_nothing_is_compressed_yet(small):
    """The plan shows: by what, and that it is still to come."""
    _, _, compressor = start(small)
    report = compressor.report()
    assert report.steps == 0
    assert {row.status for row in report.compressed} == {"to be compressed by PruneThenQuantize"}
    assert report.density_mask == 1.0
    assert "the weights are not compressed at this moment (step 0)" in str(report)


def test_weights_between_epochs_are_said_to_be_dense(small):
    """every_epoch: the rows are of the last epoch's end, the note says so."""
    model, optimizer, compressor = start(small, cadence="every_epoch", steps_per_epoch=2)
    for _ in range(3):
        step(small, model, optimizer)
    assert "not compressed at this moment (step 3)" in str(compressor.report())
    step(small, model, optimizer)
    assert compressor.report().notes == ()


DEADLY = [Rule(name="fc2.weight", operator=PruneThenQuantize(gamma=40.0, bits=4))]


def test_a_dead_layer_warns_once_with_its_name_and_the_remedy(small):
    """At the step on the CPU; never again."""
    model, optimizer, compressor = start(small, DEADLY)
    with pytest.warns(
        DeadLayerWarning,
        match=r"fc2.weight lost its last weight at step 0: .* Rule\(name='fc2.weight', "
        r"operator=\.\.\.\), or leave it dense with operator=None",
    ) as caught:
        step(small, model, optimizer)
    assert len(caught) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        step(small, model, optimizer, seed=2)
        report = compressor.report()
        compressor.end_epoch()
        compressor.detach()
    assert report.density_mask == 0.0
    assert report.layers[0].step is None


def test_a_dead_layer_may_be_an_error(small):
    """The whole step is compressed by then, and the state is sound."""
    rules = [*DEADLY, Rule(operator=OP)]
    model, optimizer, compressor = start(small, rules, on_dead_layer="error", update="inplace")
    with pytest.raises(DeadLayerError, match=r"fc2.weight lost its last weight at step 0"):
        step(small, model, optimizer)
    assert (model.fc2.weight == 0).all()
    assert model.fc1.weight.unique().numel() <= 19
    assert compressor.encoded()["fc2.weight"].nonzero == 0


def test_a_dead_layer_may_be_ignored(small):
    """Warnings are errors in this suite, so silence shows."""
    model, optimizer, compressor = start(small, DEADLY, on_dead_layer="ignore")
    step(small, model, optimizer)
    assert compressor.report().density_mask == 0.0


def test_every_dead_layer_is_named(small):
    """Each in its own words."""
    model, optimizer, _ = start(small, PruneThenQuantize(gamma=40.0, bits=4))
    with pytest.warns(DeadLayerWarning) as caught:
        step(small, model, optimizer)
    assert [str(w.message).split()[0] for w in caught] == list(small.weights)


def test_a_layer_of_zeros_did_not_die(small):
    """Biases often start at zero; nothing was pruned from them."""
    model, optimizer, compressor = start(small)
    with torch.no_grad():
        model.fc1.bias.zero_()
    small.gradient(model, small.batches(1)[0])
    model.fc1.bias.grad.zero_()
    optimizer.step()
    assert {row.name: row.nonzero for row in compressor.report().layers}["fc1.bias"] == 0


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("update", UPDATES)
def test_diverged_weights_stop_at_the_step(small, way, update, bad):
    """On the CPU at once; the weights stay as the optimizer wrote them."""
    model, optimizer, compressor = start(small, update=update)
    step(small, model, optimizer)
    small.gradient(model, small.batches(1)[0])
    model.fc1.weight.grad[3, 3] = bad
    kept = compressor.state_dict()["tensors"].get("0.shadow.fc1.weight", model.fc1.weight)
    expected = torch.add(kept.detach(), model.fc1.weight.grad, alpha=-0.1)
    with pytest.raises(
        NonFiniteError, match=r"fc1.weight are NaN or infinite.*nothing was compressed.*diverged"
    ):
        optimizer.step()
    assert torch.equal(model.fc1.weight.nan_to_num(), expected.nan_to_num())
    assert model.fc2.weight.unique().numel() > 30  # no other parameter of the set is touched


def test_empty_and_single_parameters_have_rows(small):
    """No division by zero: an empty tensor has density 1."""
    model = torch.nn.Module()
    model.none = torch.nn.Parameter(torch.empty(0, 3))
    model.one = torch.nn.Parameter(torch.tensor(0.5))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    compressor = attach(model, optimizer, OP)
    model.one.grad, model.none.grad = torch.tensor(1.0), torch.empty(0, 3)
    optimizer.step()
    none, one = compressor.report().layers
    assert (none.parameters, none.density_mask, none.density_nonzero) == (0, 1.0, 1.0)
    assert (one.parameters, one.kept, one.levels) == (1, 1, 1)
    assert model.one.item() == pytest.approx(0.4)
    assert str(compressor.report())
    assert set(compressor.encoded()) == {"none", "one"}
