"""Our tensors' names and the authors' (STMask, YOLACT, YOLACT++), one table for both directions."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cache

_STAGES = tuple((str(i), f"layer{i + 1}") for i in range(4))
_BRANCHES = (("bbox", "box"), ("conf", "class"), ("mask", "mask"), ("track", "track"))


@dataclass(frozen=True, slots=True)
class Rule:
    """A pair of names: `*` is a piece that both share, `#` one that `pieces` translates, as (theirs, ours)."""

    theirs: str
    ours: str
    pieces: tuple[tuple[str, str], ...] = field(default=())


def _branch_rules(theirs: str, ours: str) -> tuple[Rule, ...]:
    layer, outputs = f"prediction_layers.0.{theirs}_layer", f"head.{ours}_outputs"
    return (
        Rule(f"prediction_layers.0.{theirs}_extra.*", f"head.{ours}_tower.*"),
        Rule(f"{layer}.*.conv_offset.*", f"{outputs}.*.offsets.conv.*"),
        Rule(f"{layer}.*.conv_adaption.weight", f"{outputs}.*.adapt"),
        Rule(f"{layer}.*.conv.*", f"{outputs}.*.output.*"),
        Rule(f"{layer}.*", f"{outputs}.*"),
    )


# The first rule that fits decides.
RULES: tuple[Rule, ...] = (
    Rule("backbone.layers.#.*.conv2.conv_offset_mask.*", "backbone.#.*.conv2.offset_mask.*", _STAGES),
    Rule("backbone.layers.#.*", "backbone.#.*", _STAGES),
    Rule("backbone.#.*", "backbone.#.*", (("conv1", "conv1"), ("bn1", "bn1"))),
    Rule("fpn.lat_layers.#.*", "fpn.lateral.#.*", (("0", "C5"), ("1", "C4"), ("2", "C3"))),
    Rule("fpn.pred_layers.#.*", "fpn.output.#.*", (("0", "P5"), ("1", "P4"), ("2", "P3"))),
    Rule("fpn.downsample_layers.#.*", "fpn.down.#.*", (("0", "P6"), ("1", "P7"))),
    Rule(
        "proto_net.#.*",
        "protonet.#.*",
        (("0", "before.0"), ("2", "before.1"), ("4", "before.2"), ("8", "after"), ("10", "output")),
    ),
    Rule("prediction_layers.0.upfeature.*", "head.tower.*"),
    *(rule for theirs, ours in _BRANCHES for rule in _branch_rules(theirs, ours)),
    Rule("prediction_layers.0.centerness_layer.*", "head.centerness_outputs.*"),
    Rule(
        "TemporalNet.#.*",
        "temporal.#.*",
        (("conv1", "convs.0"), ("conv2", "convs.1"), ("conv3", "convs.2"), ("fc", "box"), ("fc_coeff", "coeff")),
    ),
)


def to_ours(name: str, rules: tuple[Rule, ...] = RULES) -> str | None:
    """Our name of an authors' tensor, or None for one that our network never has a place for."""
    return _translate(name, rules, official=True)


def to_official(name: str, rules: tuple[Rule, ...] = RULES) -> str | None:
    """The authors' name of one of our tensors, or None for one that their network never has a place for."""
    return _translate(name, rules, official=False)


@cache
def _translate(name: str, rules: tuple[Rule, ...], *, official: bool) -> str | None:
    for rule in rules:
        source, target = (rule.theirs, rule.ours) if official else (rule.ours, rule.theirs)
        pieces = {a if official else b: b if official else a for a, b in rule.pieces}
        if match := re.fullmatch(_pattern(source, tuple(pieces)), name):
            groups = zip(re.findall(r"[*#]", source), match.groups(), strict=True)
            found = [pieces[text] if mark == "#" else text for mark, text in groups]
            return re.sub(r"[*#]", "{}", target).format(*found)
    return None


@cache
def _pattern(source: str, pieces: tuple[str, ...]) -> re.Pattern[str]:
    either = "|".join(map(re.escape, pieces))
    return re.compile(re.escape(source).replace(r"\*", "(.+?)").replace(r"\#", f"({either})"))
