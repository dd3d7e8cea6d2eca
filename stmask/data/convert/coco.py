"""YouTube-VIS and COCO: videos as images that belong together, images as videos of one frame."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from stmask.data.convert.tracks import Document
from stmask.data.segmentation import Encoding, measure, pack
from stmask.errors import DataError


def to_images(document: Document) -> Document:
    """A COCO document with an image per frame and an annotation per mask.

    Images carry 'video_id' and 'frame_index', annotations 'video_id' and 'instance_id' (the id of the track), so that
    `from_images` gives the same videos back. Boxes and areas are measured where the tracks do not state them.
    """
    images: list[Document] = []
    annotations: list[Document] = []
    image_ids: dict[int, list[int]] = {}
    sizes: dict[int, tuple[int, int]] = {}
    for video in document["videos"]:
        sizes[video["id"]] = (video["height"], video["width"])
        image_ids[video["id"]] = list(range(len(images) + 1, len(images) + 1 + len(video["file_names"])))
        size = {"width": video["width"], "height": video["height"]}
        images += [
            {"id": number, "video_id": video["id"], "frame_index": index, "file_name": name, **size}
            for index, (number, name) in enumerate(zip(image_ids[video["id"]], video["file_names"], strict=True))
        ]
    for track in document.get("annotations") or []:
        annotations += _masks_of(track, image_ids[track["video_id"]], sizes[track["video_id"]], len(annotations))
    videos = [{key: value for key, value in video.items() if key != "file_names"} for video in document["videos"]]
    return document | {"videos": videos, "images": images, "annotations": annotations}


def _masks_of(track: Document, image_ids: list[int], size: tuple[int, int], numbered: int) -> list[Document]:
    shared = {
        "video_id": track["video_id"],
        "instance_id": track["id"],
        "category_id": track["category_id"],
        "iscrowd": track.get("iscrowd", 0),
    }
    found: list[Document] = []
    for index, segmentation in enumerate(track["segmentations"]):
        encoding, data, _ = pack(segmentation)
        if encoding == Encoding.ABSENT:
            continue
        area, box = measure(encoding, data, *size)
        bbox, stated = (track.get(key) or [None] * len(image_ids) for key in ("bboxes", "areas"))
        found.append(
            {
                "id": numbered + len(found) + 1,
                "image_id": image_ids[index],
                **shared,
                "segmentation": segmentation,
                "bbox": bbox[index] or [float(n) for n in box],
                "area": stated[index] or float(area),
            }
        )
    return found


def from_images(document: Document) -> Document:
    """A YouTube-VIS document. Images with a 'video_id' are put together to videos, others become videos of one frame.

    Raises:
        DataError: an annotation of an image that is not there, an instance that is twice in an image or changes class.
    """
    frames: dict[int, list[Document]] = defaultdict(list)
    grouped = all("video_id" in image for image in document["images"])
    for image in document["images"]:
        frames[image["video_id"] if grouped else image["id"]].append(image)
    videos: list[Document] = []
    place: dict[int, tuple[Document, int]] = {}  # video and position of each image
    known = {video["id"]: video for video in document.get("videos", [])} if grouped else {}
    for number, images in frames.items():
        images.sort(key=_frame_index)
        entry = known.get(number, {}) | {
            "id": number,
            "width": images[0]["width"],
            "height": images[0]["height"],
            "length": len(images),
            "file_names": [image["file_name"] for image in images],
        }
        videos.append(entry)
        place |= {image["id"]: (entry, position) for position, image in enumerate(images)}
    annotations = document.get("annotations")
    tracks = None if annotations is None else _tracks(annotations, place)
    rest = {key: value for key, value in document.items() if key not in ("images", "videos", "annotations")}
    return rest | {"videos": videos, "annotations": tracks}


def _frame_index(image: Document) -> int:
    return int(image["frame_index"] if "frame_index" in image else image.get("frame_id", 0))


def _tracks(annotations: list[Document], place: dict[int, tuple[Document, int]]) -> list[Document]:
    """One entry per instance, in the order in which they first appear; numbered anew if videos share instance ids."""
    tracks: dict[tuple[int, bool, Any], Document] = {}
    for annotation in annotations:
        if annotation["image_id"] not in place:
            raise DataError(f"annotation {annotation['id']}: 'image_id' is {annotation['image_id']}, not in 'images'")
        video, position = place[annotation["image_id"]]
        number = annotation.get("instance_id", annotation["id"])
        key = (video["id"], "instance_id" in annotation, number)
        if key not in tracks:
            tracks[key] = _empty_track(number, annotation, video)
        track, name = tracks[key], f"annotation {annotation['id']}"
        if track["segmentations"][position] is not None:
            raise DataError(f"{name}: instance {number} is in image {annotation['image_id']} twice")
        if track["category_id"] != annotation["category_id"]:
            classes = f"{annotation['category_id']}, before it was {track['category_id']}"
            raise DataError(f"{name}: the 'category_id' of instance {number} is {classes}")
        track["segmentations"][position] = annotation.get("segmentation")
        track["bboxes"][position] = annotation.get("bbox")
        track["areas"][position] = annotation.get("area")
    found = list(tracks.values())
    if len({track["id"] for track in found}) == len(found):
        return found
    return [track | {"id": number} for number, track in enumerate(found, start=1)]


def _empty_track(number: Any, annotation: Document, video: Document) -> Document:
    return {
        "id": number,
        "video_id": video["id"],
        "category_id": annotation["category_id"],
        "iscrowd": annotation.get("iscrowd", 0),
        "width": video["width"],
        "height": video["height"],
        "length": video["length"],
        **{key: [None] * video["length"] for key in ("segmentations", "bboxes", "areas")},
    }
