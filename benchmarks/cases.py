"""What is measured, as it is written in requests and results."""

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Case:
    """One call: a method on a network.

    Attributes:
        network: its name in `networks.NETWORKS`.
        method: its name in this library.
        batch: how many images.
        size: their height and width.
        layer: the target layer; None is the last one that keeps positions.
        channels: how many of them a method looks at; None is all.
        aug_smooth: average over augmented copies.
    """

    network: str
    method: str
    batch: int = 1
    size: int = 224
    layer: str | None = None
    channels: int | None = None
    aug_smooth: bool = False

    def __str__(self) -> str:
        layer = f" {self.layer}" if self.layer else ""
        some = f", {self.channels} channels" if self.channels else ""
        smooth = ", aug_smooth" if self.aug_smooth else ""
        return f"{self.method}{some}{smooth}, {self.network}{layer}, {self.batch} x {self.size} px"

    def to_json(self) -> dict[str, Any]:
        """The fields by name."""
        return asdict(self)
