"""The 20-layer residual network for CIFAR (He et al., 2015, section 4.2)."""

from collections import OrderedDict
from collections.abc import Iterator, Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from espalier.models.checks import check_count, check_counts

__all__ = ["ResidualBlock", "resnet20"]

BLOCKS_PER_STAGE = 3
"""6n + 2 layers with n = 3."""
STRIDES = (1, 2, 2)
"""Stride of each stage's first block; the width doubles where the image halves."""


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut that has no parameters (option A).

    ``y = relu(norm2(conv2(relu(norm1(conv1(x))))) + shortcut(x))``, where the shortcut keeps every
    ``stride``-th pixel and adds channels of zeros.
    """

    def __init__(self, inputs: int, outputs: int, stride: int, inner: int | None = None) -> None:
        super().__init__()
        self.stride = stride
        self.added = outputs - inputs
        inner = outputs if inner is None else inner
        self.conv1 = nn.Conv2d(inputs, inner, 3, stride=stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(inner)
        self.conv2 = nn.Conv2d(inner, outputs, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, inputs, H, W) to (N, outputs, ceil(H / stride), ceil(W / stride))."""
        y = F.relu(self.norm1(self.conv1(x)))
        return F.relu(self.norm2(self.conv2(y)) + self._shortcut(x))

    def _shortcut(self, x: Tensor) -> Tensor:
        if self.stride != 1:
            x = x[:, :, :: self.stride, :: self.stride]
        if self.added:
            x = F.pad(x, (0, 0, 0, 0, self.added // 2, self.added - self.added // 2))
        return x


def resnet20(
    *, classes: int = 10, width: int = 16, inner: Sequence[int] | None = None
) -> nn.Sequential:
    """Build CIFAR's ResNet-20: (N, 3, H, W) -> (N, classes); 269,722 parameters.

    A 3x3 convolution, three stages of three blocks with ``width``, ``2 * width`` and ``4 * width``
    channels, the mean over the image, one fully connected layer. Kernels start from He's normal
    distribution (fan out). Layers are named ``conv1``, ``stage1.block1.conv1`` .., ``fc``.

    Args:
        classes: outputs, >= 1.
        width: channels of the first stage, >= 1.
        inner: channels between the two convolutions of each of the nine blocks, which no shortcut
            ties to others; those of the block's stage where None.

    Raises:
        ConfigError: an option is out of its bounds.

    Example:
        >>> sum(p.numel() for p in resnet20().parameters())
        269722
    """
    classes, width = check_count("classes", classes), check_count("width", width)
    blocks = len(STRIDES) * BLOCKS_PER_STAGE
    between: Iterator[int | None] = iter(
        [None] * blocks if inner is None else check_counts("inner", inner, length=blocks)
    )
    layers: OrderedDict[str, nn.Module] = OrderedDict(
        conv1=nn.Conv2d(3, width, 3, padding=1, bias=False),
        norm1=nn.BatchNorm2d(width),
        relu1=nn.ReLU(),
    )
    channels = width
    for i, stride in enumerate(STRIDES, start=1):
        layers[f"stage{i}"] = _stage(channels, channels * stride, stride, between)
        channels *= stride
    layers["pool"] = nn.AdaptiveAvgPool2d(1)
    layers["flatten"] = nn.Flatten()
    layers["fc"] = nn.Linear(channels, classes)
    network = nn.Sequential(layers)
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return network


def _stage(inputs: int, outputs: int, stride: int, inner: Iterator[int | None]) -> nn.Sequential:
    blocks: OrderedDict[str, nn.Module] = OrderedDict()
    for i in range(1, BLOCKS_PER_STAGE + 1):
        first = i == 1
        blocks[f"block{i}"] = ResidualBlock(
            inputs if first else outputs, outputs, stride if first else 1, next(inner)
        )
    return nn.Sequential(blocks)
