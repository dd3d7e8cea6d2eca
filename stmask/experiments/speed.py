"""The speed of a network, and the conditions of its measurement."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from stmask.errors import ConfigError, DataError
from stmask.files import read_json, require_file, write_json
from stmask.number_checks import require_number
from stmask.signatures import check_arguments

PROCEDURE = 2  # raised when what `stmask.benchmarks.inference` times changes: such speeds are not compared
PRECISIONS = ("float32", "bfloat16", "float16")  # of the network; the first one: as the weights are
FRAMES = 100  # to time, unless told otherwise
_FILE = "fps.json"


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
        frames: timed; not the first frame of a video, which has no frame before it to follow objects from.
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


def write_speed(folder: str | os.PathLike[str], speed: Speed) -> None:
    """Keeps a measurement in a run's folder."""
    write_json(Path(folder) / _FILE, speed.to_dict(), indent=1)


def read_speed(folder: str | os.PathLike[str]) -> Speed | None:
    """The measured speed of a run; None if not measured, or by another procedure.

    Raises:
        DataError: the file is broken.
    """
    path = Path(folder) / _FILE
    require_file(path)
    if not path.exists():
        return None
    try:
        values = {key: value for key, value in read_json(path).items() if key != "fps"}
        if values.pop("procedure") != PROCEDURE:
            return None
        conditions = dict(values.pop("conditions"))
        check_arguments(Speed, values, key="fps")
        check_arguments(Conditions, conditions, key="fps.conditions")
        require_number(milliseconds=values["milliseconds"], open_low=True)
        return Speed(**values, conditions=Conditions(**conditions))
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError, ConfigError) as error:
        raise DataError(f"{path} holds no measurement: delete it, and measure again") from error
