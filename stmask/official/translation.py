"""Translates the authors' files to our checkpoints, and back."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from stmask.checkpoints import ModelCard, skeleton
from stmask.checkpoints.format import filled, is_ours, write_file
from stmask.errors import CheckpointError, ConfigError
from stmask.models import VideoModel
from stmask.models.stmask import STMask
from stmask.official.architecture import Shapes, is_yolact, recognise
from stmask.official.condinst import CONDINST, is_condinst, recognise_condinst
from stmask.official.datasets import class_names_for, preprocessor_for
from stmask.official.keys import RULES, Rule, to_official, to_ours
from stmask.official.masktrack import MMDET, background_first, is_mmdet, recognise_masktrack
from stmask.official.sipmask import SIPMASK, SIPMASK_INPUT, is_sipmask, recognise_sipmask, red_first
from stmask.official.yolact import recognise_yolact, split_anchors
from stmask.ops.frames import FramePreprocessor
from stmask.signatures import PARTIAL, TARGET
from stmask.weights import is_counter, read_file, tensors_of

_SHOWN = 3
# Tensors that these networks have only for training or not for instance masks, by the beginning of their names.
_UNUSED = {
    "semantic_seg_conv.": "semantic segmentation loss of YOLACT's training",
    "class_existence_fc.": "class existence loss of the authors' training",
    "maskiou_net.": "mask rescoring of YOLACT++",
    "backbone.layer1.": "duplicate of backbone.layers in old files",
    "backbone.layer2.": "duplicate of backbone.layers in old files",
    "backbone.layer3.": "duplicate of backbone.layers in old files",
    "backbone.layer4.": "duplicate of backbone.layers in old files",
    "backbone.fc.": "ImageNet classifier",
}
_TOP_K = 200


@dataclass(frozen=True, slots=True)
class Imported:
    """An authors' file, translated.

    Attributes:
        card: model, class names and input size.
        weights: by our names, every tensor of the network.
        recognised: facts, one a line.
        used: our name of each of the file's tensors that was taken.
        dropped: why each of the others was not.
        filled: why each tensor that the file lacks has the value that it has.
    """

    card: ModelCard
    weights: Mapping[str, Tensor]
    recognised: Sequence[str]
    used: Mapping[str, str]
    dropped: Mapping[str, str]
    filled: Mapping[str, str]

    def report(self) -> str:
        """A readable report of what was recognised, used and dropped."""
        lines = ["recognised", *(f"  {fact}" for fact in self.recognised)]
        names, frames = self.card.class_names, self.card.preprocessor
        lines.append("assumed, since the file does not say it")
        lines.append(f"  class names: {', '.join(names[:_SHOWN])}{', ..' if len(names) > _SHOWN else ''}")
        lines.append(f"  input: {frames.height} x {frames.width}")
        parts = Counter(name.split(".")[0] for name in self.used.values())
        lines.append(f"used {len(self.used)} tensors: {', '.join(f'{part} {n}' for part, n in parts.items())}")
        for title, why in (("dropped", self.dropped), ("filled", self.filled)):
            if why:
                lines += [f"{title} {len(why)} tensors", *(f"  {name}: {reason}" for name, reason in why.items())]
        return "\n".join(lines)

    def model(self, changes: Mapping[str, Any] | None = None) -> VideoModel:
        """The model with these weights and this card, in evaluation mode; `changes` as in `stmask.load`."""
        return filled(self.card, self.weights, source=self.card.origin, changes=changes)


def load(
    path: str | os.PathLike[str],
    *,
    class_names: Sequence[str] | None = None,
    quirks: bool = True,
    changes: Mapping[str, Any] | None = None,
) -> VideoModel:
    """The network of one of the authors' files, ready to use, with its card in `.card`.

    Args:
        path: a .pth file of the STMask authors. Nothing but tensors is unpickled.
        class_names: of labels 1..K; None takes those of the dataset with as many classes.
        quirks: behave as the authors' code does, see QUIRKS.md; False takes the weights and the clean path.
        changes: of the model's configuration, as `model` of `stmask.load`.

    Raises:
        CheckpointError: the file is damaged, of another project, or does not fit; the first differences are named.
    """
    return read(path, class_names=class_names, quirks=quirks).model(changes)


def read(path: str | os.PathLike[str], *, class_names: Sequence[str] | None = None, quirks: bool = True) -> Imported:
    """As `load`, but gives the translation itself."""
    content, source = read_file(path), os.fspath(path)
    if is_ours(content):
        raise CheckpointError(f"{source} is a checkpoint of stmask already")
    return translate(tensors_of(content, source=source), source=source, class_names=class_names, quirks=quirks)


def translate(
    tensors: Mapping[str, Tensor], *, source: str, class_names: Sequence[str] | None = None, quirks: bool = True
) -> Imported:
    """Recognises the network of the authors' tensors and renames them.

    Raises:
        CheckpointError: they are not an STMask network, or do not fit the recognised one; the first differences are
            named.
    """
    shapes = {name: tuple(value.shape) for name, value in tensors.items()}
    format_ = next((known for known in FORMATS if known.recognises(shapes)), FORMATS[-1])  # the last says what it lacks
    dropped = {name: why for name in tensors if (why := format_.why_unused(name)) is not None}
    kept: Mapping[str, Tensor] = {name: value for name, value in tensors.items() if name not in dropped}
    kept, card, facts = format_.translate(kept, source=source, class_names=class_names, quirks=quirks)
    shapes, rules = {name: tuple(value.shape) for name, value in kept.items()}, format_.rules
    expected = {str(to_official(name, rules)): tuple(v.shape) for name, v in _empty(card.model).state_dict().items()}
    missing_counts = [name for name in expected if name not in shapes and is_counter(name)]
    _refuse_differences({**shapes, **dict.fromkeys(missing_counts, ())}, expected, source)
    used = {name: ours for name in kept if (ours := to_ours(name, rules)) is not None}
    filled = {str(to_ours(name, rules)): "a counter that old files lack: 0" for name in missing_counts}
    return Imported(
        card=card,
        weights={ours: kept[name] for name, ours in used.items()} | {name: torch.tensor(0) for name in filled},
        recognised=facts,
        used=used,
        dropped=dropped,
        filled=filled,
    )


def export(model: VideoModel, path: str | os.PathLike[str]) -> int:
    """Writes a network's tensors under the authors' names; returns how many.

    Raises:
        CheckpointError: a network that their format can't express (not STMask's, several anchor scales, anchors that
            are not the kernels, temporal fusion elsewhere): it would read back as another one.
    """
    tensors = to_official_state(model)
    shapes = {name: tuple(value.shape) for name, value in tensors.items()}
    twin = _empty(recognise(shapes, source="the exported network").model_config(quirks=False))
    assert isinstance(twin, STMask)
    theirs, ours = ({name: v.shape for name, v in one.state_dict().items()} for one in (twin, model))
    if theirs != ours or not isinstance(model, STMask):
        raise CheckpointError("the authors' format can't express this network: it would read back with other tensors")
    if twin.head.anchor_shapes != model.head.anchor_shapes:
        raise CheckpointError(
            "the authors' format has no anchors besides the kernels' own; this network's head has others"
        )
    if twin.temporal is not None and model.temporal is not None and twin.temporal.level != model.temporal.level:
        raise CheckpointError(
            f"the authors' format can't tell that this network fuses on {model.temporal.level}: "
            f"{twin.temporal.size} x {twin.temporal.size} is read as {twin.temporal.level}"
        )
    write_file(path, tensors)
    return len(tensors)


def to_official_state(model: VideoModel) -> dict[str, Tensor]:
    """The network's tensors by the authors' names, on the CPU."""
    tensors = {}
    for name, value in model.state_dict().items():
        official = to_official(name)
        if official is None:
            raise CheckpointError(f"the authors' format has no place for the tensor {name}")
        tensors[official] = value.detach().cpu()
    return tensors


class Format(Protocol):
    """A kind of file of somebody else's weights.

    Attributes:
        rules: its names and ours.
    """

    rules: tuple[Rule, ...]

    def recognises(self, shapes: Shapes) -> bool:
        """Whether the names and shapes of a file's tensors are of this kind."""
        ...

    def why_unused(self, name: str) -> str | None:
        """Why a tensor of the file is left out; None for those that the network needs."""
        ...

    def translate(
        self, tensors: Mapping[str, Tensor], *, source: str, class_names: Sequence[str] | None, quirks: bool
    ) -> tuple[Mapping[str, Tensor], ModelCard, Sequence[str]]:
        """The tensors by the names of `rules`, the card, and what was recognised, one fact a line.

        Raises:
            CheckpointError: a network that can't be recognised.
        """
        ...


class YolactFormat:
    """Files of YOLACT and YOLACT++: one output convolution for all anchors of a branch."""

    rules = RULES

    def recognises(self, shapes: Shapes) -> bool:
        return is_yolact(shapes)

    def why_unused(self, name: str) -> str | None:
        return _why_unused(name)

    def translate(
        self, tensors: Mapping[str, Tensor], *, source: str, class_names: Sequence[str] | None, quirks: bool
    ) -> tuple[Mapping[str, Tensor], ModelCard, Sequence[str]]:
        found = recognise_yolact({name: tuple(value.shape) for name, value in tensors.items()}, source=source)
        card = ModelCard(
            model=found.model_config(),
            class_names=_class_names(found.num_classes, source=source, given=class_names),
            preprocessor=FramePreprocessor(height=found.side, width=found.side, divisor=1),
            origin=f"{source}, weights of YOLACT",
        )
        return split_anchors(tensors, found.num_anchors), card, found.describe()


class StmaskFormat:
    """Files of the STMask authors, the image networks among them."""

    rules = RULES

    def recognises(self, shapes: Shapes) -> bool:
        return not is_yolact(shapes)

    def why_unused(self, name: str) -> str | None:
        return _why_unused(name)

    def translate(
        self, tensors: Mapping[str, Tensor], *, source: str, class_names: Sequence[str] | None, quirks: bool
    ) -> tuple[Mapping[str, Tensor], ModelCard, Sequence[str]]:
        found = recognise({name: tuple(value.shape) for name, value in tensors.items()}, source=source)
        model = found.model_config(quirks=quirks)
        if quirks:
            fused = found.window is not None
            model["detector"] = {
                TARGET: "stmask.models.stmask.Detector" if fused else "stmask.official.quirks.UnfusedDetector",
                "nms": {TARGET: "stmask.ops.nms.CrossClassNMS", "top_k": _TOP_K, "max_detections": _TOP_K},  # quirk 5
            }
            model["tracker"] = {
                TARGET: "stmask.models.stmask.TemporalTracker" if fused else "stmask.tracking.PlainTracker",
                PARTIAL: True,
                "forget_after": None,  # quirk 9
            }
        card = ModelCard(
            model=model,
            class_names=_class_names(found.num_classes, source=source, given=class_names),
            preprocessor=preprocessor_for(found.num_classes),
            origin=f"{source}, the STMask authors' weights",
        )
        return tensors, card, found.describe()


class MaskTrackFormat:
    """Files of mmtracking's MaskTrack R-CNN, and of mmdet 3's, which is the same."""

    rules = MMDET

    def recognises(self, shapes: Shapes) -> bool:
        return is_mmdet(shapes)

    def why_unused(self, name: str) -> str | None:
        return None

    def translate(
        self, tensors: Mapping[str, Tensor], *, source: str, class_names: Sequence[str] | None, quirks: bool
    ) -> tuple[Mapping[str, Tensor], ModelCard, Sequence[str]]:
        found = recognise_masktrack({name: tuple(value.shape) for name, value in tensors.items()}, source=source)
        card = ModelCard(
            model=found.model_config(),
            class_names=_class_names(found.num_classes, source=source, given=class_names),
            preprocessor=preprocessor_for(found.num_classes),
            origin=f"{source}, weights of mmtracking",
        )
        return background_first(tensors), card, found.describe()


class SipMaskFormat:
    """Files of SipMask's authors, of its version for videos."""

    rules = SIPMASK

    def recognises(self, shapes: Shapes) -> bool:
        return is_sipmask(shapes)

    def why_unused(self, name: str) -> str | None:
        return None

    def translate(
        self, tensors: Mapping[str, Tensor], *, source: str, class_names: Sequence[str] | None, quirks: bool
    ) -> tuple[Mapping[str, Tensor], ModelCard, Sequence[str]]:
        found = recognise_sipmask({name: tuple(value.shape) for name, value in tensors.items()}, source=source)
        card = ModelCard(
            model=found.model_config(),
            class_names=_class_names(found.num_classes, source=source, given=class_names),
            preprocessor=SIPMASK_INPUT,
            origin=f"{source}, weights of SipMask's authors",
        )
        return red_first(tensors), card, found.describe()


class CondInstFormat:
    """Files of mmdet 3's CondInst, and of its BoxInst, which has the same network."""

    rules = CONDINST

    def recognises(self, shapes: Shapes) -> bool:
        return is_condinst(shapes)

    def why_unused(self, name: str) -> str | None:
        return None

    def translate(
        self, tensors: Mapping[str, Tensor], *, source: str, class_names: Sequence[str] | None, quirks: bool
    ) -> tuple[Mapping[str, Tensor], ModelCard, Sequence[str]]:
        found = recognise_condinst({name: tuple(value.shape) for name, value in tensors.items()}, source=source)
        card = ModelCard(
            model=found.model_config(),
            class_names=_class_names(found.num_classes, source=source, given=class_names),
            preprocessor=FramePreprocessor(height=360, width=640),  # COCO's images have no one size
            origin=f"{source}, weights of mmdet",
        )
        return tensors, card, found.describe()


FORMATS: tuple[Format, ...] = (SipMaskFormat(), CondInstFormat(), MaskTrackFormat(), YolactFormat(), StmaskFormat())


def _class_names(num_classes: int, *, source: str, given: Sequence[str] | None) -> tuple[str, ...]:
    names = class_names_for(num_classes, source) if given is None else tuple(given)
    if len(names) != num_classes:
        raise ConfigError(f"{source} has {num_classes} classes, {len(names)} names were given")
    return names


def _empty(config: Mapping[str, Any]) -> VideoModel:
    return skeleton(config, num_classes=config["num_classes"])


def _why_unused(name: str) -> str | None:
    extra = name.startswith("fpn.downsample_layers.") and name.split(".")[2] not in ("0", "1")
    if extra:
        return "levels above P7 in old files"
    return next((why for start, why in _UNUSED.items() if name.startswith(start)), None)


def _refuse_differences(
    shapes: Mapping[str, tuple[int, ...]], expected: Mapping[str, tuple[int, ...]], source: str
) -> None:
    problems = [f"missing {name}" for name in expected if name not in shapes]
    problems += [f"unexpected {name}" for name in shapes if name not in expected]
    problems += [
        f"{name} is {shapes[name]}, expected {shape}"
        for name, shape in expected.items()
        if name in shapes and shapes[name] != shape
    ]
    if problems:
        more = f" and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
        raise CheckpointError(f"{source} does not fit the network it looks like: {'; '.join(problems[:_SHOWN])}{more}")
