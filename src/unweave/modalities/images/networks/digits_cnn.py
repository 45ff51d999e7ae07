"""A small convolutional network for 8x8 digits."""

from __future__ import annotations

from torch import Tensor, nn


class DigitsCNN(nn.Module):
    """Two convolutions with a pooling between them, one hidden layer; no normalisation layers.

    Large enough to memorise a tenth of scikit-learn's digits under wrong labels, small enough to do so in
    seconds.

    Args:
        classes: number of logits.
        channels: channels of the images [b, channels, 8, 8].
    """

    def __init__(self, classes: int, channels: int = 1) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(channels, 16, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(16, 64, 3, padding=1),
            nn.ReLU(),
            nn.Flatten(),
        )
        self.head = nn.Sequential(nn.Linear(64 * 4 * 4, 128), nn.ReLU(), nn.Linear(128, classes))

    def forward(self, images: Tensor) -> Tensor:
        """Logits [b, classes] of images [b, channels, 8, 8]."""
        return self.head(self.features(images))
