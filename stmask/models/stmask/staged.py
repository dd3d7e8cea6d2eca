"""STMask and YOLACT in stages: what other runtimes compute, and the model that runs on them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stmask.models.base import RunStage, Stage, Tracker, VideoModel
from stmask.models.stmask.branches import Branch, Branches, ComputedBranches, LazyBranches
from stmask.models.stmask.detector import Detector, detected
from stmask.models.stmask.records import DensePredictions
from stmask.models.stmask.temporal import TemporalFusion
from stmask.ops.cells import Sizes, frame_cells, rows_of, taps_of
from stmask.ops.deform import same_padding
from stmask.structures import Frame

if TYPE_CHECKING:
    from stmask.models.stmask.network import STMask
    from stmask.models.yolact import Yolact

_NETWORK = ("box_deltas", "class_logits", "anchors", "prototypes")
_SOMETIMES = ("centerness", "temporal_features")
_EVERYWHERE = ("mask_coeffs", "embeddings")  # of a network that computes its branches everywhere
_TOWERS = "towers"
_BRANCHES = {"frames": "count", "anchors": "count", _TOWERS: "batch", "box_deltas": "batch"}
_TEMPORAL = (("reference", "target", "boxes"), ("box_deltas", "coeff_deltas"))
_EXAMPLES = 5  # anchors, boxes


def stages_of(model: STMask | Yolact, frames: Tensor) -> dict[str, Stage]:
    """The network; its lazy branches, if it has them; its temporal fusion, if it has that."""
    with torch.no_grad():
        predictions: DensePredictions = model(frames)
    network = _Network(model)
    stages = {"network": Stage(function=network, inputs={"frames": frames}, outputs=network.names(predictions),
                               free={"frames": "batch"})}  # fmt: skip
    draws = torch.Generator().manual_seed(0)
    if isinstance(predictions.branches, LazyBranches):
        branches = _Branches(predictions.branches)
        anchors = torch.randint(len(predictions.anchors), (_EXAMPLES,), generator=draws)
        inputs = {"frames": torch.arange(_EXAMPLES) % len(frames), "anchors": anchors}
        inputs[_TOWERS] = _rows(predictions.branches.maps)
        if branches.is_calibrated:
            inputs["box_deltas"] = predictions.box_deltas
        free = {name: _BRANCHES[name] for name in inputs}
        stages["branches"] = Stage(function=branches, inputs=inputs, outputs=_EVERYWHERE, free=free)
    if predictions.temporal_features is not None:
        low, side = torch.rand(2, _EXAMPLES, 2, generator=draws)
        features = predictions.temporal_features
        inputs = {"reference": features[:1], "target": features[1:2], "boxes": torch.cat([low, low + side], dim=1)}
        stages["temporal"] = Stage(
            function=_Temporal(cast(TemporalFusion, model.temporal)),
            inputs=inputs,
            outputs=_TEMPORAL[1],
            free={"boxes": "count"},
        )
    return stages


class StagedModel(VideoModel):
    """A model of which another runtime computes the stages. It cannot be trained, and runs on the CPU.

    Args:
        num_classes: K.
        detector, tracker: of the model that was exported.
        stages: by the names of `stages_of`.

    Raises:
        ValueError: stages of another model.
    """

    def __init__(
        self, *, num_classes: int, detector: Detector, tracker: Callable[[], Tracker], stages: Mapping[str, RunStage]
    ) -> None:
        super().__init__()
        self.num_classes, self.detector, self._tracker = num_classes, detector, tracker
        network, branches, temporal = (stages.get(name) for name in ("network", "branches", "temporal"))
        if network is None:
            raise ValueError("it has no stage `network`")
        _require(network, "network", inputs=("frames",), outputs=_NETWORK)
        if branches is None:
            _require(network, "network", outputs=_EVERYWHERE)
        else:
            _require(network, "network", outputs=(_TOWERS,))
            _require(branches, "branches", inputs=tuple(_BRANCHES)[: len(branches.inputs)], outputs=_EVERYWHERE)
        if temporal is not None:
            _require(network, "network", outputs=("temporal_features",))
            _require(temporal, "temporal", inputs=_TEMPORAL[0], outputs=_TEMPORAL[1])
        self._network, self._branches = network, branches
        self._temporal = None if temporal is None else _RunTemporal(temporal)

    def forward(self, frames: Tensor) -> DensePredictions:
        """Normalised frames (B, 3, H, W) of the size that the stages are for."""
        found = self._network(frames)
        if self._branches is None:
            branches: Branches = ComputedBranches(*(found[name] for name in _EVERYWHERE))
        else:
            branches = _RunBranches(self._branches, found[_TOWERS], found["box_deltas"])
        return DensePredictions(
            **{name: found[name] for name in _NETWORK},
            centerness=found.get("centerness"),
            temporal_features=found.get("temporal_features"),
            branches=branches,
        )

    def detect(self, frames: Tensor) -> list[Frame]:
        """Frames of `Detections` and `FrameMemory`."""
        return detected(self.detector, self(frames), temporal=self._temporal)

    def tracker(self) -> Tracker:
        """A fresh tracker."""
        return self._tracker()


def _require(stage: RunStage, name: str, *, inputs: Sequence[str] = (), outputs: Sequence[str]) -> None:
    if inputs and tuple(stage.inputs) != tuple(inputs):
        raise ValueError(f"its stage `{name}` takes {', '.join(stage.inputs)}, not {', '.join(inputs)}")
    if missing := [output for output in outputs if output not in stage.outputs]:
        raise ValueError(f"its stage `{name}` does not give {', '.join(missing)}")


@dataclass(frozen=True, slots=True)
class _RunBranches:
    """Branches that another runtime computes."""

    stage: RunStage
    towers: Tensor
    box_deltas: Tensor

    def at(self, frames: Tensor, anchors: Tensor) -> tuple[Tensor, Tensor]:
        inputs = (frames, anchors, self.towers, self.box_deltas)
        found = self.stage(*inputs[: len(self.stage.inputs)])
        return found["mask_coeffs"], found["embeddings"]

    def everywhere(self) -> tuple[Tensor, Tensor]:
        b, a, _ = self.box_deltas.shape
        values = self.at(torch.arange(b).repeat_interleave(a), torch.arange(a).repeat(b))
        return values[0].view(b, a, -1), values[1].view(b, a, -1)


class _RunTemporal:
    """Temporal fusion that another runtime computes: it fuses where it regresses."""

    def __init__(self, stage: RunStage) -> None:
        self._stage = stage

    def fuse(self, reference: Tensor, target: Tensor) -> Tensor:
        return torch.cat([reference, target], dim=1)

    def __call__(self, fused: Tensor, boxes: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        pairs = zip(fused.chunk(len(fused)), boxes, strict=True)
        found = [self._stage(*pair.chunk(2, dim=1), group) for pair, group in pairs]
        box_deltas, coeff_deltas = (torch.cat([one[name] for one in found]) for name in _TEMPORAL[1])
        return box_deltas, coeff_deltas


# --- what is computed, as modules


class _Network(nn.Module):
    """`forward` of the model, as a tuple."""

    def __init__(self, model: STMask | Yolact) -> None:
        super().__init__()
        self.model = model

    @staticmethod
    def names(predictions: DensePredictions) -> list[str]:
        branches = (_TOWERS,) if isinstance(predictions.branches, LazyBranches) else _EVERYWHERE
        return [*_NETWORK, *(name for name in _SOMETIMES if getattr(predictions, name) is not None), *branches]

    def forward(self, frames: Tensor) -> tuple[Tensor, ...]:
        predictions: DensePredictions = self.model(frames)
        lazy = predictions.branches
        rest = (_rows(lazy.maps),) if isinstance(lazy, LazyBranches) else lazy.everywhere()
        return (*(getattr(predictions, name) for name in self.names(predictions)[: -len(rest)]), *rest)


class _Branches(nn.Module):
    """`LazyBranches.at` by shapes alone: each anchor's window of cells is gathered and convolved by itself."""

    table: Tensor

    def __init__(self, lazy: LazyBranches) -> None:
        super().__init__()
        self.parts = nn.ModuleList(
            nn.ModuleList([branch.tower, branch.outputs]) for branch in (lazy.mask, lazy.track) if branch is not None
        )
        self._sizes: Sizes = tuple((x.shape[2], x.shape[3]) for x in lazy.maps)
        kernels = [conv.kernel for branch in self._all() if not branch.is_calibrated for conv in branch.plain_outputs]
        self._reach = max((side for kernel in kernels for side in same_padding(kernel)), default=0)
        # one table for both branches; the first tower's depth is that of all
        self._side = 2 * (self._reach + len(lazy.mask.convs)) + 1
        cells = torch.arange(frame_cells(self._sizes))
        self.register_buffer("table", taps_of(cells, self._sizes, (self._side, self._side)))

    @property
    def is_calibrated(self) -> bool:
        """Whether a branch has FCB, which reads the box regression of all anchors."""
        return any(branch.is_calibrated for branch in self._all())

    def forward(
        self, frames: Tensor, anchors: Tensor, towers: Tensor, box_deltas: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """N anchors, each of its frame; towers (B, P + 1, C), a row for each cell and a zero one; box_deltas (B, A, 4).

        Returns:
            (N, D) and (N, E).
        """
        values = [
            self._calibrated(branch, frames, anchors, towers, box_deltas)
            if branch.is_calibrated and box_deltas is not None
            else self._plain(branch, frames, anchors, towers)
            for branch in self._all()
        ]
        return values[0], F.normalize(values[-1], dim=-1)

    def _all(self) -> list[Branch]:
        return [Branch(*part) for part in self.parts]  # type: ignore[misc]

    def _plain(self, branch: Branch, frames: Tensor, anchors: Tensor, towers: Tensor) -> Tensor:
        side, count = self._side, len(branch.outputs)
        taps = self.table[anchors // count]  # (N, side * side)
        inside = (taps < len(self.table) - 1).to(towers).view(-1, 1, side, side)
        rows = (taps + (frames * len(self.table))[:, None]).flatten()
        windows = towers.flatten(0, 1).index_select(0, rows).view(-1, side, side, towers.shape[2])
        x = windows.permute(0, 3, 1, 2)  # (N, C, side, side)
        for layer, conv in enumerate(branch.convs, start=1):
            x = F.relu(F.conv2d(x, conv.weight, conv.bias)) * inside[:, :, layer:-layer, layer:-layer]
        every = torch.stack([self._output(x, conv) for conv in branch.plain_outputs], dim=1)  # (N, k, O)
        shapes = (anchors % count)[:, None, None].expand(-1, 1, every.shape[2])
        return every.gather(1, shapes)[:, 0]

    def _output(self, x: Tensor, conv: nn.Conv2d) -> Tensor:
        """The value (N, O) in the middle of windows (N, C, s, s)."""
        (kh, kw), r = conv.weight.shape[2:], self._reach
        left, _, top, _ = same_padding((kh, kw))
        return F.conv2d(x[:, :, r - top : r - top + kh, r - left : r - left + kw], conv.weight, conv.bias)[:, :, 0, 0]

    def _calibrated(
        self, branch: Branch, frames: Tensor, anchors: Tensor, towers: Tensor, box_deltas: Tensor
    ) -> Tensor:
        counts = [h * w for h, w in self._sizes]
        k = len(branch.outputs)
        cells = torch.split(towers[:, :-1], counts, dim=1)
        maps = [torch.unflatten(x.transpose(1, 2), 2, size) for x, size in zip(cells, self._sizes, strict=True)]
        levels = torch.split(box_deltas, [k * count for count in counts], dim=1)
        deltas = [
            [torch.unflatten(x, 1, (*size, k))[:, :, :, shape].permute(0, 3, 1, 2) for shape in range(k)]
            for x, size in zip(levels, self._sizes, strict=True)
        ]
        return branch.everywhere(maps, deltas)[frames, anchors]


class _Temporal(nn.Module):
    """Fuses two frames' features (1, 2C, h, w) and regresses the shifts of boxes (N, 4)."""

    def __init__(self, fusion: TemporalFusion) -> None:
        super().__init__()
        self.fusion = fusion

    def forward(self, reference: Tensor, target: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor]:
        shifts: tuple[Tensor, Tensor] = self.fusion(self.fusion.fuse(reference, target), [boxes])
        return shifts


def _rows(maps: Sequence[Tensor]) -> Tensor:
    return rows_of(maps).view(maps[0].shape[0], -1, maps[0].shape[1])
