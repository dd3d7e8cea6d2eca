"""`stmask metric GT.json RESULTS.json`: video AP of a results file. Needs no model and no torch."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from stmask.commands.parsing import Parser
from stmask.extras import require

if TYPE_CHECKING:
    from stmask.evaluation.explain import Explanation
    from stmask.evaluation.ground_truth import GroundTruth
    from stmask.evaluation.groups import Overlaps
    from stmask.evaluation.tracking import TrackingReport
    from stmask.evaluation.video_ap import VideoAPReport

SUMMARY = "score a results.json: video AP, and the errors that cost it"


def main(argv: Sequence[str], *, prog: str = "stmask metric") -> int:
    """Runs the command; see `stmask metric --help`."""
    options = _parser(prog).parse_args(argv)

    if options.plots:
        require("matplotlib", what="--plots")
    from stmask.evaluation.explain import explain
    from stmask.evaluation.ground_truth import GroundTruth
    from stmask.evaluation.groups import measure
    from stmask.evaluation.hints import hints, truth_hints
    from stmask.evaluation.reading import collector_paused
    from stmask.evaluation.report import class_table, explanation_text, metrics_table, variants_table
    from stmask.evaluation.results import load_predictions
    from stmask.evaluation.video_ap import assign, summarise
    from stmask.files import require_distinct

    for path in filter(None, (options.json, options.csv, options.errors)):
        require_distinct(path, options.ground_truth, options.results)
    with collector_paused():
        truth = GroundTruth.load(options.ground_truth)
        truth.require_objects()  # before the larger file is read
        predictions = load_predictions(options.results, truth)
        overlaps = measure(truth, predictions)
        matches = assign(truth, overlaps)
        report = summarise(truth, overlaps, matches)
        for hint in truth_hints(truth):
            print(f"warning: {options.ground_truth}: {hint}", file=sys.stderr)
        for hint in hints(truth, predictions, report):
            print(f"warning: {options.results}: {hint}", file=sys.stderr)
    explanation = explain(truth, overlaps, matches) if options.explain or options.errors else None

    scores = predictions.scores
    if (options.identities or options.tracking) and len(scores) and scores.max() < options.min_score:
        best = f"the best of {options.results} is {scores.max():g}"
        print(f"warning: no score reaches --min-score {options.min_score:g}, {best}", file=sys.stderr)

    parts = [metrics_table(report)]
    if options.per_class:
        parts.append(class_table(report))
    if options.frames or options.boundary:
        from stmask.evaluation.variants import boundary_ap, frame_ap

        reports = {"tracks": report}
        if options.frames:
            reports["single frames"] = frame_ap(truth, predictions)
        if options.boundary:
            reports["boundaries"] = boundary_ap(truth, predictions)
        parts.append(variants_table(reports))
    if options.explain and explanation is not None:
        parts.append(explanation_text(explanation))
    if options.identities:
        parts.append(_identities(truth, overlaps, options.min_score))
    tracking = None
    if options.tracking:
        from stmask.evaluation.report import tracking_table
        from stmask.evaluation.tracking import tracking_report

        tracking = tracking_report(truth, overlaps, min_score=options.min_score)
        parts.append(tracking_table(tracking, per_class=options.per_class))
    try:
        written = _write(options, report, explanation, tracking)
    finally:  # after the files: `| head` ends a program that prints
        print("\n\n".join(parts))
    if written:
        print("\nwritten:", ", ".join(written))
    return 0


def _parser(prog: str) -> Parser:
    parser = Parser(
        prog=prog,
        description="Video AP as the official YouTube-VIS evaluator computes it. Metrics are printed in points; "
        "a metric without any annotated track is printed as '-' and is -1 in the JSON.",
    )
    parser.add_argument("ground_truth", metavar="GT.json", help="annotations in YouTube-VIS format")
    parser.add_argument("results", metavar="RESULTS.json", help="one entry per predicted track")
    parser.add_argument("--per-class", action="store_true", help="also print the metrics of every class")
    parser.add_argument("--explain", action="store_true", help="a main cause for every error, and what each costs")
    parser.add_argument("--frames", action="store_true", help="also mask AP of single frames (without tracking)")
    parser.add_argument("--boundary", action="store_true", help="also AP with boundary IoU (decodes masks: slower)")
    parser.add_argument("--identities", action="store_true", help="identity switches, fragmentations of every track")
    parser.add_argument("--tracking", action="store_true", help="also HOTA, IDF1 and MOTSA; see --min-score")
    score = "of predictions for --identities and --tracking (default 0: all, the doubtful ones too)"
    parser.add_argument("--min-score", type=_finite, default=0.0, metavar="SCORE", help=score)
    parser.add_argument("--json", metavar="F", help="write the 12 metrics at full precision, with --tracking its too")
    parser.add_argument("--csv", metavar="F", help="write the metrics of every class at full precision")
    parser.add_argument("--errors", metavar="F", help="write the explanation with every single error (JSON)")
    parser.add_argument("--plots", metavar="DIR", help="write precision-recall curves, with --explain the costs too")
    return parser


def _identities(truth: GroundTruth, overlaps: Overlaps, min_score: float) -> str:
    from stmask.evaluation.identity import follow_identities
    from stmask.evaluation.report import identity_table

    names = {category.id: category.name for category in truth.categories}
    return identity_table(follow_identities(truth, overlaps, min_score=min_score), names=names)


def _finite(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"must be a finite number, got {text!r}")
    return value


def _write(
    options: Any, report: VideoAPReport, explanation: Explanation | None, tracking: TrackingReport | None
) -> list[str]:
    from stmask.evaluation.report import class_csv
    from stmask.files import atomic_open, write_json

    written = []
    if options.json:
        values = report.stats if tracking is None else {**report.stats, "tracking": tracking.as_json()}
        write_json(options.json, values, indent=1)
        written.append(options.json)
    if options.csv:
        with atomic_open(options.csv) as handle:
            handle.write(class_csv(report))
        written.append(options.csv)
    if options.errors and explanation is not None:
        write_json(options.errors, explanation.as_json(), indent=1)
        written.append(options.errors)
    if options.plots:
        from stmask.evaluation.plots import write_plots

        written.extend(map(str, write_plots(options.plots, report, explanation)))
    return written
