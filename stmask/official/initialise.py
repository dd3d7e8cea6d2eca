"""Starts a training run from other weights: the authors', YOLACT's, YOLACT++'s, Mask R-CNN's or ours."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from stmask.checkpoints.format import ENTRY, card_of, is_ours, network_weights
from stmask.class_names import matches
from stmask.errors import CheckpointError
from stmask.models import VideoModel
from stmask.models.layers.resnet import is_deformable
from stmask.official.condinst import CONDINST, is_condinst
from stmask.official.datasets import class_names_for
from stmask.official.keys import RULES, Rule, to_ours
from stmask.official.masktrack import (
    MMDET,
    TORCHVISION,
    as_mmtracking,
    background_first,
    is_mmdet,
    is_torchvision,
    without_background,
)
from stmask.official.sipmask import SIPMASK, SIPMASK_INPUT, is_sipmask, red_first
from stmask.ops.frames import FramePreprocessor
from stmask.weights import as_in, is_counter, read_file, tensors_of

_BACKBONE = "backbone."
_OTHER_FRAMES = "the file's frames were normalised otherwise"
_FIRST, _FIRST_MEAN = "backbone.conv1.weight", "backbone.bn1.running_mean"
# Layers with rows for each class: so many of the background come first, so many are of each class.
_CLASS_LAYERS: tuple[tuple[re.Pattern[str], int, int], ...] = (
    (re.compile(r"head\.class_outputs\.\d+\.(output\.)?(weight|bias)"), 1, 1),
    (re.compile(r"head\.class_logits\.(weight|bias)"), 0, 1),
    (re.compile(r"heads\.box\.class_logits\.(weight|bias)"), 1, 1),
    (re.compile(r"heads\.box\.box_deltas\.(weight|bias)"), 0, 4),
    (re.compile(r"heads\.mask\.output\.mask_fcn_logits\.(weight|bias)"), 0, 1),
)
# Of the network's parameters: more than any single tensor has (14 % at most), less than all that goes without the
# backbone (35 % under R101). From YOLACT's files half to four fifths fit.
_LEAST_SHARE = 0.2
_MOST = 0.5
_SHOWN = 3


@dataclass(frozen=True, slots=True)
class InitReport:
    """Which tensors came from where.

    Attributes:
        taken: our names of the tensors that were taken.
        fresh: our names of those that keep their initial values (Xavier weights and zero biases, as the authors do),
            and why: the file lacks them, or has another shape.
        unused: the file's names of tensors that have no place in this network.
        share: of the network's parameters, those that were taken; 0 to 1.
        other: the name of the file's network, if it is another than this one.
        changed: tensors that were taken with other values, and why.
    """

    taken: Sequence[str]
    fresh: Mapping[str, str]
    unused: Sequence[str]
    share: float
    other: str | None = None
    changed: Mapping[str, str] = field(default_factory=dict)

    @property
    def mostly_fresh(self) -> bool:
        """Whether less than half of the parameters were taken."""
        return self.share < _MOST

    @property
    def has_backbone(self) -> bool:
        """Whether any tensor of the backbone was taken."""
        return any(name.startswith(_BACKBONE) for name in self.taken)

    def summary(self) -> str:
        """One line."""
        counts = f"{len(self.taken)} tensors taken, {len(self.fresh)} fresh, {len(self.unused)} of the file unused"
        of = "" if self.other is None else f"of another network, a {self.other}: "
        return f"{of}{counts} ({self.share:.0%} of the network's parameters taken)"

    def __str__(self) -> str:
        lines = [self.summary()]
        for title, reasons in (("fresh", self.fresh), ("changed", self.changed)):
            if reasons:
                lines += [title, *(f"  {name}: {why}" for name, why in reasons.items())]
        for title, names in (("of the file, without a place here", self.unused), ("taken", self.taken)):
            if names:
                lines += [title, *(f"  {name}" for name in names)]
        return "\n".join(lines)


def initialise(
    model: VideoModel,
    path: str | os.PathLike[str],
    *,
    class_names: Sequence[str] = (),
    preprocessor: FramePreprocessor | None = None,
) -> InitReport:
    """Takes into a freshly built network every tensor of a file that it has a place of the same shape for.

    Args:
        class_names: of the network's labels 1..K. Where the file's are known too, the rows of the class layers are
            taken by name, or not at all where it lacks a class. Empty: by position, where their number is the same.
        preprocessor: of the network's frames. Where the file's frames were normalised otherwise, its first convolution
            is changed so that it gives the same for these; None: they are as the file's.

    Raises:
        CheckpointError: the file is not a checkpoint; only a part of the backbone fits, so that what follows would be
            fed with noise; hardly anything of the network does; or its backbone has strides in other convolutions.
    """
    content, source = read_file(path), os.fspath(path)
    own, other = model.state_dict(), None
    if is_ours(content):
        card = card_of(content, source=source)
        other = None if card.network == type(model).__name__ else card.network
        known = _Known(
            network_weights(content, source=source), (), card.preprocessor, _strides_early(card.model.get("backbone"))
        )
    else:
        known = _as_known(tensors_of(content, source=source))
    tensors = known.tensors
    places = {name: to_ours(name, known.rules) or (name if name in own else None) for name in tensors}
    given = {ours: tensors[name] for name, ours in places.items() if ours}
    _refuse_other_strides(model, known, source=source)
    before = given
    if preprocessor is not None:
        given = _for_frames(given, known.frames, preprocessor, source=source)
    changed = dict.fromkeys((name for name in given if given[name] is not before[name]), _OTHER_FRAMES)
    given, other_classes = _by_class(given, _class_names(content, given, source), class_names)
    taken = {name: given[name] for name in own if name in given and given[name].shape == own[name].shape}
    fresh = {name: other_classes.get(name) or _why(given.get(name), own[name]) for name in own if name not in taken}
    share = _size(own, taken) / _size(own, own)
    _refuse_accidents(own, taken, fresh, share=share, held=list(tensors), source=source)
    model.load_state_dict({**own, **as_in(own, taken, source=source)})
    unused = [name for name, ours in places.items() if ours not in own]
    return InitReport(list(taken), fresh, unused, share, other, {k: v for k, v in changed.items() if k in taken})


@dataclass(frozen=True, slots=True)
class _Known:
    """A file's tensors with rows as ours have them, the rules for their names, the frames that it was trained on, and
    whether its ResNet strides in 1x1 convolutions.
    """

    tensors: Mapping[str, Tensor]
    rules: tuple[Rule, ...]
    frames: FramePreprocessor = FramePreprocessor()
    stride_in_1x1: bool = False


def _as_known(tensors: Mapping[str, Tensor]) -> _Known:
    shapes = {name: tuple(value.shape) for name, value in tensors.items()}
    if is_torchvision(shapes):
        return _Known(without_background(tensors), TORCHVISION)
    if is_sipmask(shapes):
        return _Known(red_first(tensors), SIPMASK, SIPMASK_INPUT, stride_in_1x1=True)
    if is_condinst(shapes):
        return _Known(tensors, CONDINST)
    if is_mmdet(shapes):
        return _Known(background_first(as_mmtracking(tensors)), MMDET)
    return _Known(tensors, RULES)


def _strides_early(backbone: Any) -> bool:
    """Whether the backbone of this configuration is a ResNet of bottlenecks with strides in 1x1 convolutions."""
    known = isinstance(backbone, Mapping) and backbone.get("depth") in (50, 101)
    return known and backbone.get("stride_in_1x1") is True


def _refuse_other_strides(model: VideoModel, known: _Known, *, source: str) -> None:
    own = getattr(getattr(model, "backbone", None), "stride_in_1x1", None)
    bottlenecks = "backbone.layer1.0.conv3.weight"
    if own is not None and bottlenecks in model.state_dict() and own != known.stride_in_1x1:
        raise CheckpointError(
            f"{source} is of model.backbone.stride_in_1x1={str(known.stride_in_1x1).lower()}, this network of "
            f"{str(own).lower()}: they would read other pixels"
        )


def _for_frames(
    given: Mapping[str, Tensor], theirs: FramePreprocessor, ours: FramePreprocessor, *, source: str
) -> dict[str, Tensor]:
    """The tensors, changed so that frames normalised as ours give what theirs gave, but for the border of the image."""
    weight, mean = given.get(_FIRST), given.get(_FIRST_MEAN)
    if weight is None or weight.ndim != 4 or (theirs.mean, theirs.std) == (ours.mean, ours.std):
        return dict(given)
    if mean is None or weight.shape[:2] != (len(mean), 3):
        raise CheckpointError(
            f"{source} was trained on frames normalised otherwise: give data.preprocessor.mean={list(theirs.mean)} "
            f"data.preprocessor.std={list(theirs.std)}"
        )
    own_mean, own_std, mean_, std = (weight.new_tensor(one) for one in (ours.mean, ours.std, theirs.mean, theirs.std))
    shift = (weight * ((own_mean - mean_) / std)[:, None, None]).flatten(1).sum(dim=1)
    return {**given, _FIRST: weight * (own_std / std)[:, None, None], _FIRST_MEAN: mean - shift}


def _refuse_accidents(
    own: Mapping[str, Tensor],
    taken: Mapping[str, Tensor],
    fresh: Mapping[str, str],
    *,
    share: float,
    held: Sequence[str],
    source: str,
) -> None:
    backbone = {name for name in own if name.startswith(_BACKBONE) and not (is_deformable(name) or is_counter(name))}
    gaps = sorted(backbone - taken.keys())
    if share >= _LEAST_SHARE and gaps in ([], sorted(backbone)):
        return
    if "layer1.0.conv1.weight" in held:
        raise CheckpointError(f"{source} holds a backbone alone: give it as model.backbone.weights={source}")
    start = f"it starts with {', '.join(held[:_SHOWN])}"
    if not share:
        raise CheckpointError(f"nothing in {source} fits this network: {start}")
    if share < _LEAST_SHARE:
        raise CheckpointError(
            f"hardly anything in {source} fits this network: {len(taken)} of its {len(own)} tensors, {share:.1%} of "
            f"its parameters; {start}"
        )
    first = "; ".join(f"{name}: {fresh[name]}" for name in gaps[:_SHOWN])
    raise CheckpointError(
        f"{source} fits only a part of this network's backbone, {len(gaps)} of its {len(backbone)} tensors would stay "
        f"random ({first}): choose the model/backbone that it was trained with"
    )


def _size(own: Mapping[str, Tensor], names: Iterable[str]) -> int:
    return sum(own[name].numel() for name in names if own[name].is_floating_point())


def _class_names(content: Mapping[str, Any], given: Mapping[str, Tensor], source: str) -> Sequence[str]:
    """Of the file's classes, where they are known: from its card, or assumed by their number as `load` does."""
    if is_ours(content):
        card = content[ENTRY].get("card")
        names = card.get("class_names") if isinstance(card, Mapping) else None
        return [str(name) for name in names] if isinstance(names, (list, tuple)) else ()
    layers = (_rows(name, value) for name, value in given.items())
    names = class_names_for(next((count for _, _, count in filter(None, layers)), 0), source)
    return () if "class 1" in names else names


def _by_class(
    given: Mapping[str, Tensor], file_classes: Sequence[str], classes: Sequence[str]
) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors with the class layers' rows in the network's order, and why those that have other classes are not."""
    if not classes or not file_classes or list(classes) == list(file_classes):
        return dict(given), {}
    places = matches(classes, file_classes)
    lacking = [name for name, place in zip(classes, places, strict=True) if place is None]
    ordered, others = {}, {}
    for name, value in given.items():
        background, each, count = _rows(name, value) or (0, 0, -1)
        if count != len(file_classes):
            ordered[name] = value
        elif lacking:
            others[name] = f"for other classes in the file, {lacking[0]} is not among them"
        else:
            chosen = [background + each * place + row for place in places if place is not None for row in range(each)]
            ordered[name] = value[[*range(background), *chosen]]
    return ordered, others


def _rows(name: str, value: Tensor) -> tuple[int, int, int] | None:
    """Of a layer with rows for each class: those of the background, those of each class, and how many classes."""
    for pattern, background, each in _CLASS_LAYERS:
        if pattern.fullmatch(name) and value.ndim and (len(value) - background) % each == 0:
            return background, each, max(0, (len(value) - background) // each)
    return None


def _why(given: Tensor | None, own: Tensor) -> str:
    if given is None:
        return "not in the file"
    return f"{tuple(given.shape)} in the file, {tuple(own.shape)} here"
