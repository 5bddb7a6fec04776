"""Study files: what they become, and how mistakes in them are named."""

from pathlib import Path

import pytest
import torch

from espalier.errors import ConfigError
from espalier.records import StudyPlan, setting
from espalier.study.definition import Source, parse_definition, read_definition
from espalier.study.lines import line_of
from espalier.study.planning import builtin_names, find_definition, make_plan

CPU = torch.device("cpu")


def plan(text: str) -> StudyPlan:
    definition = parse_definition(Source("STUDY.toml", text), default_name="study")
    return make_plan(definition, device=CPU)


def test_paper_is_exactly_its_210_runs() -> None:
    """Gamma x bits x learning rate as the paper's grid, each once."""
    paper = make_plan(find_definition("paper"), device=CPU)

    grid = {(s.gamma, s.bits, s.lr) for s in paper.cells.values()}
    assert len(paper.cells) == len(grid) == 210
    assert grid == {
        (gamma / 1000, bits, lr)
        for gamma in (0, 125, 250, 375, 500, 625, 750)
        for bits in (3, 4, 8, 16, 32)
        for lr in (1e-4, 1e-3, 5e-3, 1e-2, 5e-2, 1e-1)
    }
    assert {(s.epochs, s.data, s.model) for s in paper.cells.values()} == {
        (200, "cifar10", "paper_cnn")
    }
    assert all(s.patience > 0 for s in paper.cells.values())


def test_paper_quick_has_one_learning_rate_per_bit_width() -> None:
    """Three gammas, all bits, 25,600 images, 8 epochs."""
    quick = make_plan(find_definition("paper-quick"), device=CPU)

    specs = list(quick.cells.values())
    assert len(specs) == 15
    assert len({(s.bits, s.lr) for s in specs}) == 5
    assert {(s.gamma) for s in specs} == {0, 0.25, 0.625}
    assert {(s.epochs, s.limit_train) for s in specs} == {(8, 25_600)}


def test_the_demo_has_a_dense_baseline() -> None:
    """The baseline is a single point beside the grid."""
    demo = make_plan(find_definition("demo"), device=CPU)

    assert [s.compresses for s in demo.cells.values()].count(False) == 1
    assert builtin_names() == ["demo", "paper", "paper-quick"]


def test_a_single_point_may_be_of_several_seeds() -> None:
    """A run each, in the order of the file; seeds are an axis of the plan."""
    found = plan("[[points]]\nbits=4\nseed=[2, 0]\n[[points]]\nbits=8\n[[points]]\nseed=1\n")
    assert [(s.bits, s.seed) for s in found.cells.values()] == [(4, 2), (4, 0), (8, 0), (8, 1)]
    assert found.axes["seed"] == (0, 1, 2)
    for wrong, message in (("[]", "line 3: seed=\\[\\]: expected"), ("[1, -1]", "line 3: seed=-1")):
        with pytest.raises(ConfigError, match=message):
            plan(f"[[points]]\nbits=4\nseed={wrong}\n")


def test_axes_multiply_and_what_goes_together_does_not() -> None:
    """Seeds, options of the network and excluded cells."""
    ours = plan(
        """
        exclude = ["gamma == 0 and bits == 4"]
        [fixed]
        data = "modulation"
        model = "modulation_cnn"
        model_options.hidden = 16
        [stop]
        epochs = 3
        [axes]
        gamma = [0.5, 0]
        dropout = [0.0, 0.2]
        seed = [0, 1]
        [[together]]
        bits = [4, 8]
        lr = [0.05, 0.01]
        [[points]]
        gamma = 0
        bits = 32
        """
    )

    specs = list(ours.cells.values())
    assert len(specs) == 2 * 2 * 2 * 2 - 4 + 1
    assert {(s.bits, s.lr) for s in specs} == {(4, 0.05), (8, 0.01), (32, 0.01)}
    assert {setting(s, "dropout") for s in specs} == {0.0, 0.2, 0.1}
    assert {(s.model_options["hidden"], s.epochs) for s in specs} == {(16, 3)}
    assert ours.axes["gamma"] == (0, 0.5)
    assert ours.axes["bits"] == (4, 8, 32)
    assert ours.name == "study"


def test_every_default_is_written_out() -> None:
    """Also those of the network, and the precision is resolved."""
    (spec,) = plan('[fixed]\nmodel = "resnet20"\n[axes]\nbits = [4]').cells.values()

    assert spec.model_options != {}
    assert spec.precision in ("fp32", "bf16")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[axes]\ngama = [1]", r"STUDY.toml, line 2: there is no setting 'gama'. Did you mean 'ga"),
        ("[fixed]\n\nepoch = 3\n[axes]\nbits=[4]", r"line 3: there is no setting 'epoch'. Did you"),
        ("[axes]\nhidden = [3]", r"Options of a network: model_options.hidden"),
        ("[axes]\nbits = [4]\ngamma = []", r"line 3: axis 'gamma' has no values"),
        ("[axes]\nbits = 4", r"line 2: axis 'bits' is 4; expected a list"),
        ("[axis]\nbits = [4]", r"line 1: there is no part 'axis' of a study file. Did you mean"),
        ("epochs = 4\n[axes]\nbits = [4]", r"line 1: there is no part 'epochs'"),
        ("[axes]\nbits = [4, 4]", r"two cells are the same run, bits 4"),
        ("[axes]\nbits = [4]\n[[points]]\nbits=4", r"two cells are the same run, bits 4"),
        ("[axes]\nbits = [4, 64]", r"line 2: bits=64: expected an integer from 1 to 32"),
        ("[fixed]\nlr = 0\n[axes]\nbits = [4]", r"line 2: lr=0.0: expected a learning rate > 0"),
        ("[axes]\ndata = ['cifar11']", r"line 2: no data set 'cifar11'.* Did you mean 'cifar10'"),
        ("[axes]\nmodel = ['paper_cn']", r"line 2: .*Did you mean 'paper_cnn'"),
        ("[axes]\ndropout = [2.0]", r"dropout=2.0"),
        ("[[points]]\nbits=4\n[[points]]\nbits=0", r"line 4: bits=0: expected an integer from 1"),
        (
            "[fixed]\nbits=3\n[axes]\nbits=[4]",
            r"line 4: 'bits' stands in \[fixed\] or \[stop\] too",
        ),
        ("[stop]\nepochs=3\n[fixed]\nepochs=3\n[axes]\nbits=[4]", r"line 2: epochs stands in"),
        ("[stop]\npatient=3\n[axes]\nbits=[4]", r"line 2: .*'patient'.* Did you mean 'patience'"),
        (
            "[axes]\nbits=[4]\n[[together]]\nbits=[3]\nlr=[1.0]",
            r"line 4: 'bits' stands in \[axes\]",
        ),
        ("[[together]]\nbits=[3]\nlr=[1.0, 2.0]", r"line 1: .*as many.*bits 1, lr 2"),
        (
            "[together]\nbits=[3]",
            r"line 1: there can be several 'together'; write \[\[together\]\]",
        ),
        ("[[axes]]\nbits=[3]", r"line 1: 'axes' is a table; write \[axes\]"),
        ("exclude=['bits==5']\n[axes]\nbits=[4]", r"line 1: exclude 'bits==5' matches none"),
        ("exclude=['bits==4']\n[axes]\nbits=[4]", r"line 1: exclude leaves no runs"),
        (
            "exclude=['bit==4']\n[axes]\nbits=[4]",
            r"line 1: .*no setting 'bit'. Did you mean 'bits'",
        ),
        ("exclude='bits==4'\n[axes]\nbits=[4]", r"line 1: .*expected a list of conditions"),
        ("name = 3\n[axes]\nbits=[4]", r"line 1: name=3: expected the study's name"),
        ("[fixed]\nbits = 4", r"has no runs; give \[axes\]"),
        ("[axes\nbits", r"STUDY.toml is no TOML: .*line 1"),
    ],
)
def test_mistakes_are_named_with_their_line(text: str, words: str) -> None:
    """What is wrong, where, and the nearest name."""
    with pytest.raises(ConfigError, match=words):
        plan(text)


def test_unknown_studies_are_refused(tmp_path: Path) -> None:
    """A name of none, a file that isn't there, a file that is no text."""
    with pytest.raises(ConfigError, match=r"no study 'papper'; .* Did you mean 'paper'"):
        find_definition("papper")
    with pytest.raises(ConfigError, match=r"can't read the study file .*none.toml: No such file"):
        find_definition(str(tmp_path / "none.toml"))
    (tmp_path / "bad.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match=r"can't read the study file .*bad.toml: it is no text"):
        read_definition(tmp_path / "bad.toml")


def test_lines_of_keys() -> None:
    """Quoted and dotted keys, tables of the same name, what isn't there."""
    text = 'a = 1\n[fixed] # here\n"b" = 2\n[[points]]\nc = 1\n[[points]]\nd.e = 2\nc = 2\n'

    assert line_of(text, "", "a") == 1
    assert line_of(text, "fixed", "b") == 3
    assert line_of(text, "points", "c", nth=2) == 8
    assert line_of(text, "points", "d.e", nth=2) == 7
    assert line_of(text, "points", nth=2) == 6
    assert line_of(text, "axes", "x") is None


def test_a_study_may_name_a_recipe() -> None:
    """In [fixed]: its settings count where the file says nothing; a record doesn't know it."""
    text = """
[fixed]
recipe = "strong"
lr = 0.2
[axes]
max_bytes = [40000, 60000]
"""
    plan = make_plan(parse_definition(Source("s.toml", text), default_name="s"), device=CPU)
    for spec in plan.cells.values():
        assert (spec.lr, spec.budget, spec.target_density) == (0.2, "lamp", None)
    assert [spec.max_bytes for spec in plan.cells.values()] == [40000, 60000]

    for table in ("axes", "points"):
        wrong = f'[{"[points]" if table == "points" else "axes"}]\nrecipe = ["strong"]\n'
        with pytest.raises(ConfigError, match="there is no setting 'recipe'"):
            parse_definition(Source("s.toml", wrong), default_name="s")
