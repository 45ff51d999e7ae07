"""Residual networks for 32x32 images: ResNet-20 and ResNet-18 with the CIFAR stem."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn


class BasicBlock(nn.Module):
    """Two 3x3 convolutions around a shortcut: the identity, or a 1x1 convolution where the shape changes."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, features: Tensor) -> Tensor:
        """Features [b, inputs, h, w] to [b, outputs, h / stride, w / stride]."""
        inner = F.relu(self.norm1(self.conv1(features)))
        return F.relu(self.norm2(self.conv2(inner)) + self.shortcut(features))


class ResNet(nn.Module):
    """A 3x3 stem without pooling, stages of basic blocks, global average pooling and a linear head.

    He et al., "Deep Residual Learning for Image Recognition" (arXiv 1512.03385), section 4.2, with 1x1
    convolutions as shortcuts where the paper's CIFAR networks pad with zeros.

    Args:
        classes: number of logits.
        channels: channels of the images [b, channels, h, w].
        depths: blocks in each stage.
        widths: channels of each stage; every stage after the first halves the resolution.
    """

    def __init__(self, classes: int, channels: int, depths: Sequence[int], widths: Sequence[int]) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(channels, widths[0], 3, padding=1, bias=False), nn.BatchNorm2d(widths[0]), nn.ReLU()
        )
        blocks, inputs = [], widths[0]
        for stage, (depth, width) in enumerate(zip(depths, widths, strict=True)):
            for number in range(depth):
                blocks.append(BasicBlock(inputs, width, stride=2 if stage and not number else 1))
                inputs = width
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Linear(inputs, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Logits [b, classes] of images [b, channels, h, w]."""
        return self.head(self.blocks(self.stem(images)).mean((2, 3)))


def resnet20(classes: int, channels: int = 3) -> ResNet:
    """ResNet-20: 272,474 parameters in 65 tensors for ten classes of colour images."""
    return ResNet(classes, channels, depths=(3, 3, 3), widths=(16, 32, 64))


def resnet18(classes: int, channels: int = 3) -> ResNet:
    """ResNet-18 with the CIFAR stem: 11,173,962 parameters for ten classes of colour images."""
    return ResNet(classes, channels, depths=(2, 2, 2, 2), widths=(64, 128, 256, 512))
