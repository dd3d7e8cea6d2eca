"""Where the convolutions behind FCB read: python tools/taps.py RUN... KEY=VALUE...

Prints a line of CSV for each run and branch. Of the anchors that are positive on pairs of validation frames: IoU of
anchors and of regressed boxes with their objects, the share of taps that lie in the object's box, the share that lies
outside of the image, and how far offsets lead. KEY=VALUE is a configuration of `stmask train`, of which data and
matcher are taken: experiment=table5/t5_ali recipe=small data.root=data/bench.
"""

from __future__ import annotations

import csv
import sys
from collections import defaultdict
from itertools import islice

import torch
from hydra.utils import instantiate
from torch import Tensor

from stmask import load
from stmask.config import compose
from stmask.models.stmask import STMask
from stmask.models.stmask.branches import LazyBranches
from stmask.models.stmask.calibration import BRANCHES, AnchorShape, CalibratedConv, NoOffsets
from stmask.ops.boxes import decode, iou, to_corners
from stmask.ops.deform import sampling_points
from stmask.ops.matching import AnchorMatcher, AnchorMatches
from stmask.structures import Clip, FrameTargets

BATCHES, SEED = 25, 7
COLUMNS = ("run", "branch", "anchor_iou", "box_iou", "taps_in_object", "taps_outside", "reach")


def offsets_of(model: STMask, branch: str, number: int, deltas: Tensor) -> Tensor:
    """Offsets (1, 2 * taps, h, w) of an anchor shape from its box regression (h, w, 4)."""
    conv = getattr(model.head, f"{branch}_outputs")[number]
    module = conv.offsets if isinstance(conv, CalibratedConv) else NoOffsets(model.head.anchor_shapes[number])
    offsets: Tensor = module(deltas.permute(2, 0, 1)[None])
    return offsets


def taps_in(offsets: Tensor, shape: AnchorShape, boxes: Tensor) -> tuple[Tensor, Tensor]:
    """Shares (h, w) of the taps that lie in each cell's box (h, w, 4) xyxy, and outside of the image."""
    h, w = offsets.shape[2:]
    y, x = ((sampling_points(offsets, shape.kernel)[0] + 0.5) / offsets.new_tensor([h, w])).unbind(-1)
    x1, y1, x2, y2 = boxes.unbind(-1)
    inside = (x > x1) & (x < x2) & (y > y1) & (y < y2)
    outside = (x < 0) | (x > 1) | (y < 0) | (y > 1)
    return inside.float().mean(dim=0), outside.float().mean(dim=0)


def look(model: STMask, clip: Clip, found: dict[str, dict[str, list[Tensor]]], matcher: AnchorMatcher) -> None:
    """Adds what is seen in a batch, one value for each positive anchor."""
    predictions = model(clip.frames.flatten(0, 1))
    assert isinstance(predictions.branches, LazyBranches)
    sizes = [(x.shape[2], x.shape[3]) for x in predictions.branches.maps]
    for frame, target in enumerate(clip.flat_targets):
        if len(target):
            matches = matcher(predictions.anchors, target.boxes.float(), labels=target.labels,
                              track_ids=target.track_ids, class_logits=predictions.class_logits[frame])  # fmt: skip
            of_frame(model, predictions.anchors, predictions.box_deltas[frame], target, matches, sizes, found)


def of_frame(
    model: STMask,
    anchors: Tensor,
    deltas: Tensor,
    target: FrameTargets,
    matches: AnchorMatches,
    sizes: list[tuple[int, int]],
    found: dict[str, dict[str, list[Tensor]]],
) -> None:
    """Adds what is seen in one frame of a batch."""
    mine, positive = target.boxes.float()[matches.objects], matches.positive
    box_iou, anchor_iou = (
        iou(boxes[positive], mine[positive]).diagonal() for boxes in (decode(deltas, anchors), to_corners(anchors))
    )
    for branch in BRANCHES:
        found[branch]["anchor_iou"].append(anchor_iou)
        found[branch]["box_iou"].append(box_iou)
    count, start = len(model.head.anchor_shapes), 0
    for h, w in sizes:
        level = slice(start, start + h * w * count)
        start = level.stop
        for number, shape in enumerate(model.head.anchor_shapes):
            regression, boxes, chosen = (
                values[level].view(h, w, count, *values.shape[1:])[:, :, number] for values in (deltas, mine, positive)
            )
            for branch in BRANCHES:
                offsets = offsets_of(model, branch, number, regression)
                inside, outside = taps_in(offsets, shape, boxes)
                reach = offsets.view(-1, 2, h, w).norm(dim=1).mean(dim=0)
                for name, values in (("taps_in_object", inside), ("taps_outside", outside), ("reach", reach)):
                    found[branch][name].append(values[chosen])


@torch.no_grad()
def main() -> None:
    """Prints the table."""
    overrides = [text for text in sys.argv[1:] if "=" in text]
    plain = ["data.train=valid", "data.augmentation.colour=0", "data.augmentation.flip=0", f"seed={SEED}"]
    cfg = compose("train", [*overrides, *plain])
    data, matcher = instantiate(cfg.data, _convert_="all"), instantiate(cfg.model.loss.matcher)
    data.setup("fit")
    clips = list(islice(data.train_dataloader(), BATCHES))
    writer = csv.DictWriter(sys.stdout, COLUMNS)
    writer.writeheader()
    for run in (text for text in sys.argv[1:] if "=" not in text):
        model = load(run)
        assert isinstance(model, STMask)
        found: dict[str, dict[str, list[Tensor]]] = {branch: defaultdict(list) for branch in BRANCHES}
        for clip in clips:
            look(model.eval(), clip, found, matcher)
        for branch, columns in found.items():
            means = {name: f"{float(torch.cat(values).mean()):.3f}" for name, values in columns.items()}
            writer.writerow({"run": run, "branch": branch, **means})


if __name__ == "__main__":
    main()
