"""A measured call, as requests and results spell it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Case:
    """A method on a network.

    Attributes:
        network: a name in `networks.NETWORKS`, or `channels-C`.
        method: a class name in this library.
        batch: number of images.
        size: their height and width in pixels.
        layer: the target layer; None is the last spatial one.
        channels: number of channels that ScoreCAM looks at; None is all.
        aug_smooth: average over augmented copies.
        classes: number of classes of each image that one call explains.
    """

    network: str
    method: str
    batch: int = 1
    size: int = 224
    layer: str | None = None
    channels: int | None = None
    aug_smooth: bool = False
    classes: int = 1

    @property
    def call(self) -> str:
        """The method and its options."""
        channels = f", {self.channels} channels" if self.channels else ""
        layer = f", `{self.layer}`" if self.layer else ""
        return self.method + channels + layer + ", `aug_smooth`" * self.aug_smooth

    def __str__(self) -> str:
        return f"{self.call}, {self.network}, {self.batch} x {self.size} px"
