"""Makes the pictures of docs/gallery.md: python tools/gallery.py RESULTS.json GT.json [FOLDER]

Of the held-out videos with several objects, those at equal distances in the order of their AP, best first: what
is shown is not picked. Each becomes an animated WebP, annotated beside predicted, and a line is printed for each.
"""

from __future__ import annotations

import sys
from pathlib import Path

from PIL import Image

from stmask.evaluation.ground_truth import GroundTruth
from stmask.evaluation.results import load_predictions
from stmask.files import atomic_path
from stmask.report.footage import FPS, open_footage
from stmask.report.scoring import score

COUNT, OBJECTS = 5, 2
QUALITY = 60


def main(results: str, annotations: str, folder: str = "docs/gallery") -> None:
    """Writes them into the folder."""
    truth = GroundTruth.load(annotations)
    scored = score(truth, load_predictions(results, truth), min_score=0.3)
    footage = open_footage(Path(annotations), None, how="they are needed")
    if footage is None or footage.missing:
        sys.exit(f"no frames: {footage and footage.missing}")
    ranked = sorted((one for one in scored.videos if one.objects >= OBJECTS), key=lambda one: -(one.ap or 0.0))
    print(f"AP {100 * scored.report.stats['AP']:.1f}, AP50 {100 * scored.report.stats['AP50']:.1f}")
    for number in range(COUNT):
        video = ranked[round(number * (len(ranked) - 1) / (COUNT - 1))]
        frames = [Image.fromarray(frame) for frame in footage.side_by_side(scored, video.video_id)]
        path = Path(folder) / f"{number + 1}.webp"
        with atomic_path(path) as temporary:
            frames[0].save(temporary, save_all=True, append_images=frames[1:], duration=round(1000 / FPS), loop=0,
                           quality=QUALITY, method=6)  # fmt: skip
        print(f"{path} ({path.stat().st_size // 1000} kB): {footage.name(video.video_id)}", end=", ")
        print(f"AP {100 * (video.ap or 0):.1f}, {video.found} of {video.objects} found, {video.false} false positives")


if __name__ == "__main__":
    main(*sys.argv[1:])
