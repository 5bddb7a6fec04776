"""The loss of a student, by hand."""

import math

import pytest
import torch
from torch.nn import functional as F

import espalier
from espalier.errors import ConfigError

STUDENT = torch.tensor([[1.0, 0.0, -1.0], [0.5, 0.2, 0.1]])
TEACHER = torch.tensor([[3.0, 1.0, -2.0], [0.0, 2.0, 1.0]])
LABELS = torch.tensor([0, 1])


def probabilities(logits, temperature):
    """Return softmax row by row, in plain Python."""
    found = []
    for row in logits.tolist():
        powers = [math.exp(v / temperature) for v in row]
        found.append([p / sum(powers) for p in powers])
    return found


@pytest.mark.parametrize(("weight", "temperature"), [(0.7, 4.0), (0.3, 1.0), (1.0, 2.0)])
def test_by_hand(weight, temperature):
    """Cross-entropy and the divergence of softened outputs, weighed."""
    pairs = zip(
        probabilities(TEACHER, temperature), probabilities(STUDENT, temperature), strict=True
    )
    distance = sum(t * math.log(t / s) for row in pairs for t, s in zip(*row, strict=True)) / 2
    plain = probabilities(STUDENT, 1)
    answers = -(math.log(plain[0][0]) + math.log(plain[1][1])) / 2
    found = espalier.distillation_loss(
        STUDENT, TEACHER, LABELS, weight=weight, temperature=temperature
    )
    wanted = (1 - weight) * answers + weight * temperature**2 * distance
    assert found.item() == pytest.approx(wanted, rel=1e-5)


def test_without_a_teacher_it_is_cross_entropy():
    """Weight 0 is the plain loss."""
    loss = espalier.distillation_loss(STUDENT, TEACHER, LABELS, weight=0)
    assert torch.equal(loss, F.cross_entropy(STUDENT, LABELS))


def test_only_the_student_learns():
    """Gradients flow to the student alone, half precision is computed in float32."""
    student = STUDENT.bfloat16().requires_grad_()
    teacher = TEACHER.clone().requires_grad_()
    loss = espalier.distillation_loss(student, teacher, LABELS)
    loss.backward()
    assert loss.dtype is torch.float32
    assert teacher.grad is None
    assert student.grad.abs().sum() > 0


def test_what_is_refused():
    """Shares, temperatures and shapes out of their bounds."""
    with pytest.raises(ConfigError, match=r"weight is 1.1; it is the teacher's share"):
        espalier.distillation_loss(STUDENT, TEACHER, LABELS, weight=1.1)
    for temperature in (0, -1, math.inf):
        with pytest.raises(ConfigError, match=rf"temperature is {temperature}; give a finite"):
            espalier.distillation_loss(STUDENT, TEACHER, LABELS, temperature=temperature)
    with pytest.raises(ConfigError, match=r"shape \(2, 3\) and the teacher's \(2, 2\)"):
        espalier.distillation_loss(STUDENT, TEACHER[:, :2], LABELS)
