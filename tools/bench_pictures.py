"""Makes the pictures of docs/benchmark-synthetic.md: python tools/bench_pictures.py [FOLDER]

One animated WebP for each factor: a video of `valid`, and beside it the same with the factor at steps 1, 2, 3.
With the folder of the written benchmark it prints the page's table of measures instead: means over videos.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from PIL import Image

from stmask.data.synthetic.bench import FACTOR_SETS, bench_shot
from stmask.data.synthetic.factors import FACTORS, STEPS
from stmask.data.synthetic.render import render
from stmask.files import atomic_path, read_json

VIDEO = 0  # the first: it is not picked
FRAME_MILLISECONDS, QUALITY, GAP = 200, 50, 4


def draw(folder: Path) -> None:
    """Writes a picture for each factor into the folder."""
    for factor in FACTORS:
        films = []
        for step in (0, *STEPS):
            shot, rng = bench_shot(VIDEO, factor if step else None, step)
            films.append(np.pad(render(shot.scene, shot.config, rng).frames, ((0, 0), (0, 0), (0, GAP), (0, 0)),
                                constant_values=255))  # fmt: skip
        frames = [Image.fromarray(frame) for frame in np.concatenate(films, axis=2)[:, :, :-GAP]]
        path = folder / f"{factor}.webp"
        with atomic_path(path) as temporary:
            frames[0].save(temporary, save_all=True, append_images=frames[1:], duration=FRAME_MILLISECONDS, loop=0,
                           quality=QUALITY, method=6)  # fmt: skip
        print(f"{path} ({path.stat().st_size // 1000} kB)")


def tell(root: Path) -> None:
    """Prints a table in Markdown: each set's measures, those of `valid` over the videos that the other sets have."""
    videos = {name: read_json(root / f"{name}.json")["videos"] for name in ("valid", *FACTOR_SETS)}
    count = len(videos["valid_blur_1"])
    names = list(videos["valid"][0]["measures"])
    print("| set |", " | ".join(names), "|\n" + "|---" * (len(names) + 1) + "|")
    for name, of_set in videos.items():
        means = {key: np.mean([video["measures"][key] for video in of_set[:count]]) for key in names}
        own = FACTORS[FACTOR_SETS[name][0]].measure if name in FACTOR_SETS else None
        cells = (f"**{means[key]:.2f}**" if key == own else f"{means[key]:.2f}" for key in names)
        print(f"| `{name}` |", " | ".join(cells), "|")


if __name__ == "__main__":
    place = Path(sys.argv[1] if len(sys.argv) > 1 else "docs/bench")
    tell(place) if (place / "valid.json").is_file() else draw(place)
