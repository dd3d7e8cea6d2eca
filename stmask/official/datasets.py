"""What the authors' files do not hold: class names and input size of the data they were trained on."""

from __future__ import annotations

from pathlib import PurePath

from stmask.data.classes import OVIS, YOUTUBE_VIS_2019, YOUTUBE_VIS_2021
from stmask.ops.frames import FramePreprocessor

_COCO = """
    person bicycle car motorcycle airplane bus train truck boat traffic_light fire_hydrant stop_sign
    parking_meter bench bird cat dog horse sheep cow elephant bear zebra giraffe backpack umbrella
    handbag tie suitcase frisbee skis snowboard sports_ball kite baseball_bat baseball_glove skateboard
    surfboard tennis_racket bottle wine_glass cup fork knife spoon bowl banana apple sandwich orange
    broccoli carrot hot_dog pizza donut cake chair couch potted_plant bed dining_table toilet tv
    laptop mouse remote keyboard cell_phone microwave oven toaster sink refrigerator book clock vase
    scissors teddy_bear hair_drier toothbrush
"""
COCO = tuple(name.replace("_", " ") for name in _COCO.split())
_VIDEO_INPUT = FramePreprocessor(height=360, width=640)
_COCO_INPUT = FramePreprocessor(height=550, width=550, divisor=1)


def class_names_for(num_classes: int, path: str) -> tuple[str, ...]:
    """Names by the number of classes; the two YouTube-VIS sets of 40 are told apart by the file's name."""
    if num_classes == len(COCO):
        return COCO
    if num_classes == len(OVIS):
        return OVIS
    if num_classes == len(YOUTUBE_VIS_2019):
        return YOUTUBE_VIS_2021 if "2021" in PurePath(path).name else YOUTUBE_VIS_2019
    return tuple(f"class {label}" for label in range(1, num_classes + 1))


def preprocessor_for(num_classes: int) -> FramePreprocessor:
    """The input size of the authors' evaluation."""
    return _COCO_INPUT if num_classes == len(COCO) else _VIDEO_INPUT
