"""The parts of a report that results and their ground truth tell: metrics, classes, causes of errors."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from stmask.evaluation.causes import Cause
from stmask.evaluation.curves import RECALL_POINTS
from stmask.evaluation.report import MEANINGS, percent, points
from stmask.evaluation.video_ap import MASK_METRICS
from stmask.report.charts import Line, bar, line_chart
from stmask.report.footage import Footage, Room
from stmask.report.markup import Child, Markup, name, note, section, table, tag
from stmask.report.scoring import ErrorExample, Scored, error_examples

TILES = ("AP", "AP50", "AP75", "AR1", "AR10")
_CLASS_METRICS = ("AP50", "AP75", "AR10")
_THRESHOLDS = {0: "IoU 0.50", 3: "IoU 0.65", 5: "IoU 0.75", 7: "IoU 0.85"}
_MOST_CLASSES = 100
_EXAMPLES = 4  # of each cause
_MEANINGS = {
    "wrong class": "It covers an object as well as is needed, and gives it another class.",
    "poor mask": "It is on an object of its class, and its masks overlap it too little.",
    "poor time span": "Where both are there the masks are good; it begins or ends at the wrong time.",
    "identity switch": "It shows one object in some frames and another in others.",
    "duplicate": "The object that it shows is matched with a prediction of a higher score.",
    "background": "There is no annotated object where it is.",
    "missed": "An annotated object that no prediction was meant for.",
}


def tiles(metrics: Mapping[str, float]) -> Markup:
    """The main metrics in large letters."""
    shown = [(key, metrics[key]) for key in TILES if key in metrics]
    parts = [tag("div", tag("dt", key), tag("dd", percent(value)), title=MEANINGS[key]) for key, value in shown]
    return tag("dl", *parts, class_="tiles")


def metrics(scored: Scored) -> Markup:
    """The twelve metrics with their meanings, and precision against recall."""
    stats = scored.report.stats
    rows = [(key, percent(stats[key]), MEANINGS[key]) for key in MASK_METRICS]
    meanings = table(("metric", "percent", "meaning"), rows, caption="The metrics of YouTube-VIS", class_="meanings")
    return section("metrics", "AP and AR", tag("div", meanings, _precision_recall(scored), class_="beside"))


def _precision_recall(scored: Scored) -> Markup:
    counted = np.flatnonzero(scored.report.tracks)
    precision = scored.report.precision[:, :, counted, 0, -1]
    lines = [
        Line(label, 100 * RECALL_POINTS, 100 * precision[threshold].mean(axis=1), colour)
        for colour, (threshold, label) in enumerate(_THRESHOLDS.items(), start=1)
        if len(counted)
    ]
    title = "Precision against recall, mean of the classes"
    return line_chart(title, lines, x_label="recall, percent", unit="%", bottom=0, top=100, size="large")


def classes(scored: Scored) -> Markup:
    """AP by class, the best on top; of very many, those with the most objects."""
    rows = [row for row in scored.report.per_class if row.tracks]
    left_out = len(rows) - _MOST_CLASSES
    rows = sorted(rows, key=lambda row: -row.tracks)[:_MOST_CLASSES]
    rows.sort(key=lambda row: -row.stats["AP"])
    cells: list[list[Child]] = [
        [
            name(row.category.name),
            bar(row.stats["AP"], percent(row.stats["AP"]), colour=1),
            *(percent(row.stats[key]) for key in _CLASS_METRICS),
            row.tracks,
            row.predictions,
        ]
        for row in rows
    ]
    head = ("class", "AP", *_CLASS_METRICS, "objects", "predicted")
    empty = sum(not row.tracks for row in scored.report.per_class)
    return section(
        "classes",
        "AP by class",
        table(head, cells, caption="Each class in percent, with its numbers of tracks", class_="bars"),
        note(f"{left_out} more classes, with fewer objects, are left out.") if left_out > 0 else None,
        note(f"{empty} classes have no annotated object.") if empty else None,
    )


def errors(scored: Scored, footage: Footage | None, room: Room, progress: Callable[[], None]) -> Markup:
    """What each cause of error costs, and frames that show it."""
    explanation, total = scored.explanation, scored.explanation.total
    most = max([*(max(0.0, total.cost[cause]) for cause in Cause), 1e-9])
    rows: list[list[Child]] = [
        [
            cause.title,
            bar(total.cost[cause] / most, points(total.cost[cause]), colour=2),
            total.false_positives[cause],
            total.missed[cause],
            _MEANINGS[cause.title],
        ]
        for cause in Cause
    ]
    said = (
        f"AP50 is {percent(explanation.ap50)}; {total.found} of {total.tracks} objects are found. Every false positive "
        "and every missed object has one main cause, at IoU 0.5. The cost is what AP50 would gain, in points, if this "
        "cause alone were mended."
    )
    head = ("cause", "AP50 cost", "false positives", "missed objects", "meaning")
    return section(
        "errors",
        "Causes of errors",
        tag("p", said),
        table(head, rows, caption="Causes of errors, what they cost and how often they occur", class_="bars meanings"),
        _groups(scored),
        *_examples(scored, footage, room, progress),
    )


def _groups(scored: Scored) -> Markup:
    parts = []
    for dimension, groups in scored.explanation.groups.items():
        if dimension == "class" and len(groups) > _MOST_CLASSES:
            continue
        rows: list[list[Child]] = [
            [name(group), share.tracks, share.found, *(points(share.cost[cause]) for cause in Cause)]
            for group, share in groups.items()
        ]
        head = (dimension, "objects", "found", *(cause.title for cause in Cause))
        parts.append(table(head, rows, caption=f"AP50 cost of each cause by {dimension}, in points"))
    return tag("details", tag("summary", "The costs by class, size, length and occlusion"), *parts)


def _examples(
    scored: Scored, footage: Footage | None, room: Room, progress: Callable[[], None]
) -> Sequence[Markup | None]:
    if footage is None or footage.missing is not None:
        reason = "The videos' frames are not known" if footage is None else footage.missing
        return [note(f"No frames that show the errors: {reason}")]
    parts: list[Markup] = []
    for cause, examples in error_examples(scored, each=_EXAMPLES).items():
        figures = [_example(scored, footage, example, room) for example in examples]
        progress()
        if any(figures):
            parts += [
                tag("h4", cause),
                tag("p", _MEANINGS[cause]),
                tag("div", *filter(None, figures), class_="pictures"),
            ]
    if not parts:
        return []
    legend = "Left: what is annotated, the object concerned in strong colours. Right: the prediction."
    return [tag("h3", "Frames that show them"), tag("p", legend), *parts]


def _example(scored: Scored, footage: Footage, example: ErrorExample, room: Room) -> Markup | None:
    picture = room.take(lambda: footage.example(scored, example))
    if picture is None:
        return None
    names = {category.id: category.name for category in scored.truth.categories}
    said = []
    if example.truth is not None:
        said.append(f"annotated: {names[scored.truth.labelled_tracks[example.truth].category_id]}")
    if example.prediction is not None:
        category = int(scored.predictions.category_ids[example.prediction])
        said.append(f"predicted: {names[category]}, score {example.score:.2f}")
        said.append(f"IoU {example.iou:.2f}" if example.truth is not None else "")
    where = f"frame{'s' * (len(example.frames) > 1)} {' and '.join(map(str, example.frames))}"
    words = "; ".join(filter(None, said))
    video = footage.name(example.video_id)
    size = {"width": picture.width, "height": picture.height}
    said_of_it = f"{example.cause} in {video}, {where}. {words}"
    image = tag("img", src=Markup(picture.address), alt=said_of_it, loading="lazy", decoding="async", attributes=size)
    return tag("figure", image, tag("figcaption", tag("b", name(video)), f", {where}. ", name(words)))
