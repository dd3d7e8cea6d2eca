"""How fast a network is, and under what conditions that was measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from stmask.number_checks import require_number
from stmask.signatures import check_arguments

PROCEDURE = 1  # counts up when what `stmask.experiments.timing` times changes: such figures are not compared
PRECISIONS = ("float32", "bfloat16", "float16")  # of the network; the first one: as the weights are
FRAMES = 100  # to time, unless told otherwise


@dataclass(frozen=True, slots=True)
class Conditions:
    """What must be equal for two speeds to be compared.

    Attributes:
        device: name of the processor or GPU.
        precision: of the network, one of `PRECISIONS`.
        threads: of PyTorch on the CPU.
        torch: its version.
    """

    device: str
    precision: str
    threads: int
    torch: str

    def __str__(self) -> str:
        threads = "1 thread" if self.threads == 1 else f"{self.threads} threads"
        return f"{self.device}, {self.precision}, {threads}, torch {self.torch}"


@dataclass(frozen=True, slots=True)
class Speed:
    """The time of one frame.

    Attributes:
        milliseconds: median over the timed frames.
        p10, p90: a tenth of the frames took less, a tenth more (milliseconds).
        frames: timed; the first frame of a video is not, it has no frame before it to follow objects from.
        objects: reported instances per frame, on average; the time of tracking depends on them.
        stages: milliseconds per frame by stage, on average.
        height, width: of the network's input before padding.
        conditions: of the measurement.
    """

    milliseconds: float
    p10: float
    p90: float
    frames: int
    objects: float
    stages: Mapping[str, float]
    height: int
    width: int
    conditions: Conditions

    @property
    def fps(self) -> float:
        """Frames per second at the median time."""
        return 1000 / self.milliseconds

    def to_dict(self) -> dict[str, Any]:
        """As in a run's fps.json."""
        return {"procedure": PROCEDURE, "fps": self.fps, **asdict(self)}

    @staticmethod
    def from_dict(values: Mapping[str, Any]) -> Speed | None:
        """The inverse of `to_dict`; None for a measurement by another procedure.

        Raises:
            KeyError, TypeError, ValueError, ConfigError: it is no measurement.
        """
        if values["procedure"] != PROCEDURE:
            return None
        own = {name: value for name, value in values.items() if name not in ("procedure", "fps")}
        conditions = dict(own.pop("conditions"))
        check_arguments(Speed, own, key="fps")
        check_arguments(Conditions, conditions, key="fps.conditions")
        require_number(milliseconds=own["milliseconds"], open_low=True)
        return Speed(**own, conditions=Conditions(**conditions))
