"""Learning from a dense network's outputs besides the labels."""

import math

import torch.nn.functional as F
from torch import Tensor

from espalier.errors import ConfigError

__all__ = ["distillation_loss"]


def distillation_loss(
    student_logits: Tensor,
    teacher_logits: Tensor,
    labels: Tensor,
    *,
    weight: float = 0.7,
    temperature: float = 4.0,
) -> Tensor:
    """Return the loss of a student that learns from labels and from a teacher (Hinton, 2015).

    ``(1 - weight) * CE(student, labels) + weight * T**2 * KL(teacher / T, student / T)``, with T
    the temperature; the mean over the samples, computed in float32. No gradient flows to the
    teacher.

    Args:
        student_logits: of the network in training, (N, classes), before softmax.
        teacher_logits: of the dense network on the same inputs, same shape.
        labels: classes, int64 (N,).
        weight: of the teacher, 0 to 1; 0 is the plain cross-entropy.
        temperature: above 0; the higher, the more the classes that are not the answer tell.

    Raises:
        ConfigError: weight or temperature is out of its bounds, or the shapes differ.

    Example:
        >>> import torch
        >>> logits = torch.tensor([[2.0, 0.0]])
        >>> distillation_loss(logits, logits, torch.tensor([0]), weight=1.0)
        tensor(0.)
    """
    if not 0 <= weight <= 1:
        raise ConfigError(f"weight is {weight}; it is the teacher's share, so give 0 to 1.")
    if not (math.isfinite(temperature) and temperature > 0):
        raise ConfigError(f"temperature is {temperature}; give a finite number above 0.")
    if student_logits.shape != teacher_logits.shape:
        raise ConfigError(
            f"the student's logits have shape {tuple(student_logits.shape)} and the teacher's "
            f"{tuple(teacher_logits.shape)}; both networks must tell the same classes apart, on "
            "the same inputs."
        )
    student, teacher = student_logits.float(), teacher_logits.detach().float()
    distance = F.kl_div(
        F.log_softmax(student / temperature, dim=-1),
        F.log_softmax(teacher / temperature, dim=-1),
        reduction="batchmean",
        log_target=True,
    )
    answers = F.cross_entropy(student, labels)
    return (1 - weight) * answers + weight * temperature**2 * distance
