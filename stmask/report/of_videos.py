"""The parts of a report about single videos: clips, and which were the worst and the slowest."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from stmask.evaluation.report import percent
from stmask.report.charts import bar
from stmask.report.footage import FPS, MOST_FRAMES, Footage, Room
from stmask.report.markup import Child, Markup, definitions, join, name, note, section, table, tag
from stmask.report.scoring import Scored, VideoScore

_MOST_VIDEOS = 10


def clips(
    scored: Scored, footage: Footage | None, room: Room, *, chosen: Mapping[int, str], progress: Callable[[], None]
) -> Markup:
    """Videos with their annotations and beside it the predictions."""
    if footage is None or footage.missing is not None:
        reason = "The videos' frames are not known." if footage is None else footage.missing
        return section("clips", "Clips", note(f"No clips: {reason}"))
    scores = {score.video_id: score for score in scored.videos}
    figures = []
    for video_id, why in chosen.items():
        figures.append(_clip(scored, footage, scores[video_id], why, room))
        progress()
    legend = (
        f"Left: what is annotated. Right: what was predicted with a score of at least {scored.min_score:g}. A "
        "prediction has the number and the colour of the object that it is matched with or was meant for; those of "
        f"background have numbers from 32 on. {FPS:g} frames per second, at most {MOST_FRAMES} frames."
    )
    return section("clips", "Clips", tag("p", legend), *figures)


def _clip(scored: Scored, footage: Footage, score: VideoScore, why: str, room: Room) -> Markup | None:
    picture = room.take(lambda: footage.film(scored, score.video_id))
    if picture is None:
        return None
    video = footage.name(score.video_id)
    facts = {
        "AP": _ap(score),
        "objects found": f"{score.found} of {score.objects}",
        "false positives": f"{score.false}",
    }
    said = ", ".join(f"{key} {value}" for key, value in facts.items())
    attributes = {
        "width": picture.width, "height": picture.height, "style": f"--w: {picture.width}; --h: {picture.height}",
        "controls": True, "loop": True, "muted": True, "playsinline": True, "preload": "auto",
        "aria-label": f"{video}: annotated on the left, predicted on the right. {said}",
    }  # fmt: skip
    film = tag("video", src=Markup(picture.address), attributes=attributes)
    caption = tag("figcaption", tag("b", name(video)), tag("br"), why, definitions(facts, class_="inline"))
    return tag("figure", film, caption, class_="clip")


def clips_to_show(scored: Scored, seconds: Mapping[int, float], count: int) -> dict[int, str]:
    """The ids of so many videos, and why each is shown: in turns the worst, the fullest, the best, the slowest."""
    judged = [score for score in scored.videos if score.ap is not None]
    orders = {
        "worst AP": worst_first(scored),
        "most objects": sorted(scored.videos, key=lambda score: -score.objects),
        "best AP": sorted(judged, key=lambda score: (-(score.ap or 0.0), -score.objects)),
        "slowest": _slowest_first(scored, seconds),
    }
    chosen: dict[int, str] = {}
    queues = {why: iter(order) for why, order in orders.items()}
    while queues and len(chosen) < min(count, len(scored.videos)):
        for why, queue in list(queues.items()):
            score = next((one for one in queue if one.video_id not in chosen), None)
            if score is None:
                del queues[why]
            elif len(chosen) < count:
                chosen[score.video_id] = why
    return chosen


def worst_first(scored: Scored) -> list[VideoScore]:
    """Videos by their own AP; of equals, those with more errors first. Those without objects come by their errors."""
    return sorted(
        scored.videos,
        key=lambda one: (1.0 if one.ap is None else one.ap, -(one.objects - one.found + one.false)),
    )


def _slowest_first(scored: Scored, seconds: Mapping[int, float]) -> list[VideoScore]:
    """Videos by the time that a frame took; those whose time is not known are left out."""
    timed = [score for score in scored.videos if score.video_id in seconds]
    return sorted(timed, key=lambda score: -seconds[score.video_id] / score.frames)


def videos(scored: Scored, footage: Footage | None, seconds: Mapping[int, float]) -> Markup:
    """The worst and, where it was measured, the slowest videos."""

    def cells(score: VideoScore) -> list[Child]:
        spent = seconds.get(score.video_id)
        times = [f"{spent:.2f}", f"{1000 * spent / score.frames:.1f}"] if spent is not None else ["-", "-"]
        shown = footage.name(score.video_id) if footage else f"video {score.video_id}"
        value = bar(score.ap, percent(score.ap), colour=1) if score.ap is not None else "-"
        return [name(shown), value, score.objects, score.found, score.false, score.frames, *(times if seconds else ())]

    head = ["video", "AP", "objects", "found", "false positives", "frames"]
    head += ["seconds", "ms a frame"] if seconds else []
    worst, slowest = ([cells(score) for score in order[:_MOST_VIDEOS]] for order in (
        worst_first(scored), _slowest_first(scored, seconds)
    ))  # fmt: skip
    about = "AP is that of the video by itself, its classes together."
    return section(
        "videos",
        "Worst and slowest videos",
        tag("h3", "Worst"),
        table(head, worst, caption=f"The videos with the least AP. {about}", class_="bars"),
        tag("h3", "Slowest"),
        table(head, slowest, caption="The videos that took the longest for a frame", class_="bars")
        if slowest
        else note("How long each video took is not known: evaluation writes it to videos.csv beside results.json."),
    )


def _ap(score: VideoScore) -> str:
    return "undefined" if score.ap is None else percent(score.ap)


def remarks(room: Room) -> Markup | None:
    """What of the pictures is not there, and why."""
    lines = []
    if room.refused:
        lines.append(f"{room.refused} pictures and clips were left out to keep the page small; megabytes= allows more.")
    if room.unreadable:
        lines.append(f"{len(room.unreadable)} pictures and clips could not be drawn, the first: {room.unreadable[0]}")
    return join(*(note(line) for line in lines)) if lines else None
