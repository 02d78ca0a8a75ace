"""A measured call, as requests and results spell it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Case:
    """A method on a network."""

    network: str  # a name in `networks.NETWORKS`, or `channels-C`
    method: str  # a class name in this library
    batch: int = 1
    size: int = 224  # pixels
    layer: str | None = None  # None is the last spatial one
    channels: int | None = None  # for ScoreCAM; None is all
    aug_smooth: bool = False

    @property
    def call(self) -> str:
        """The method and its options."""
        channels = f", {self.channels} channels" if self.channels else ""
        layer = f", `{self.layer}`" if self.layer else ""
        return self.method + channels + layer + ", `aug_smooth`" * self.aug_smooth

    def __str__(self) -> str:
        return f"{self.call}, {self.network}, {self.batch} x {self.size} px"
