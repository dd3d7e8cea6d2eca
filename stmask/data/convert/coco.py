"""Converts between YouTube-VIS and COCO: videos as related images, images as videos of one frame."""

from __future__ import annotations

from typing import Any

from stmask.data.convert.grouping import CocoImage, Grouping, group, read_images
from stmask.data.convert.tracks import Document, Notes, whole, with_slashes
from stmask.data.segmentation import Encoding, measure, pack
from stmask.errors import DataError
from stmask.formats.entries import crowd
from stmask.formats.fields import EntryError, is_number

# Where tools write which object an annotation shows: mmtracking, BDD100K and `to_images` as 'instance_id'; TAO, kwcoco
# and CenterTrack as 'track_id'; CVAT and Datumaro among the attributes.
_IDENTITIES = ("instance_id", "track_id", "attributes.track_id")


def to_images(document: Document, notes: Notes | None = None) -> Document:
    """A COCO document with an image per frame and an annotation per mask, or box where there is no mask.

    Images carry 'video_id' and 'frame_index', annotations 'video_id' and 'instance_id' (the id of the track), so that
    `from_images` gives the same videos back. Boxes and areas that the tracks do not state are measured.

    Args:
        document: one that `read_index` accepts.

    Raises:
        DataError: a mask that does not fit its frame.
    """
    notes = Notes() if notes is None else notes
    images: list[Document] = []
    annotations: list[Document] = []
    image_ids: dict[int, list[int]] = {}
    sizes: dict[int, tuple[int, int]] = {}
    for video in document["videos"]:
        sizes[video["id"]] = (int(video["height"]), int(video["width"]))
        image_ids[video["id"]] = list(range(len(images) + 1, len(images) + 1 + len(video["file_names"])))
        size = {"width": video["width"], "height": video["height"]}
        images += [
            {"id": n, "video_id": video["id"], "frame_index": index, "file_name": with_slashes(name, notes), **size}
            for index, (n, name) in enumerate(zip(image_ids[video["id"]], video["file_names"], strict=True))
        ]
    tracks = document.get("annotations")
    for track in tracks or []:
        video = track["video_id"]
        annotations += _shapes_of(track, image_ids[video], sizes[video], len(annotations), notes)
    videos = [{key: value for key, value in video.items() if key != "file_names"} for video in document["videos"]]
    return document | {"videos": videos, "images": images, "annotations": None if tracks is None else annotations}


def _shapes_of(
    track: Document, image_ids: list[int], size: tuple[int, int], numbered: int, notes: Notes
) -> list[Document]:
    shared = {
        "video_id": track["video_id"],
        "instance_id": track["id"],
        "category_id": track["category_id"],
        "iscrowd": int(bool(track.get("iscrowd", 0))),
    }
    boxes, areas = (_per_frame(track, key, len(image_ids), notes) for key in ("bboxes", "areas"))
    found: list[Document] = []
    for index, segmentation in enumerate(track["segmentations"]):
        where = f"annotation {track['id']}: segmentations[{index}]"
        box, area = boxes[index], areas[index]
        measured = _measured(segmentation, size, where)
        if measured is None and not (box and box[2] * box[3] > 0):
            continue
        entry = {"id": numbered + len(found) + 1, "image_id": image_ids[index], **shared}
        if measured is None:
            notes.add("boxes without a mask, kept as they are", where)
            entry |= {"segmentation": [], "bbox": box, "area": area if area is not None else float(box[2] * box[3])}
        else:
            entry |= {"segmentation": segmentation, "bbox": box or measured[1], "area": area or measured[0]}
        found.append(entry)
    return found


def _per_frame(track: Document, key: str, count: int, notes: Notes) -> list[Any]:
    """The boxes or areas that a track states; None where it states none that can be used."""
    values = track.get(key) or [None] * count
    if not isinstance(values, list) or len(values) != count:
        notes.add(f"lists of {key} with the wrong length, recomputed", f"annotation {track['id']}")
        return [None] * count
    usable = _is_box if key == "bboxes" else is_number
    for index, value in enumerate(values):
        if value is not None and not usable(value):
            notes.add(f"invalid {key}, recomputed", f"annotation {track['id']}: {key}[{index}]")
    return [value if usable(value) else None for value in values]


def from_images(
    document: Document, *, videos: Grouping = Grouping.BY_ID, ignore_iscrowd: bool = False, notes: Notes | None = None
) -> Document:
    """A YouTube-VIS document. Images with a 'video_id' are put together to videos, others become videos of one frame.

    An object is identified by 'instance_id', 'track_id' or 'attributes.track_id'; an annotation without one is a track
    of its own. Frames are in the order of 'frame_index' or 'frame_id', and of their names where they have neither.

    Args:
        videos: what makes a video instead.
        ignore_iscrowd: treat crowd regions as objects: CVAT sets 'iscrowd' on brush strokes.
        notes: receives what had to be decided or left out.

    Raises:
        DataError: naming the image or annotation that is wrong, or whose owner is ambiguous.
    """
    notes = Notes() if notes is None else notes
    images = read_images(document, notes)
    annotations = document.get("annotations")
    if annotations is not None and not isinstance(annotations, list):
        raise DataError("'annotations' must be a list or null")
    identities = [_identity(entry, position) for position, entry in enumerate(annotations or [])]
    entries, places = group(document, images, videos, notes)
    if videos == Grouping.BY_ID and all(image.video_id is None for image in images):
        _require_no_object_in_two_images(annotations or [], identities)
    if ignore_iscrowd:
        annotations = annotations and [annotation | {"iscrowd": 0} for annotation in annotations]
    tracks = None if annotations is None else _tracks(document, annotations, identities, places, notes)
    rest = {key: value for key, value in document.items() if key not in ("images", "videos", "annotations")}
    return rest | {"videos": entries, "annotations": tracks}


def _identity(annotation: Any, position: int) -> int | None:
    """The object that an annotation shows; None if it does not say."""
    if not isinstance(annotation, dict):
        raise DataError(f"annotations[{position}] is not an object but {annotation!r}")
    where = f"annotation {whole(annotation, 'id', f'annotations[{position}]')}"
    attributes = annotation.get("attributes")
    inner = attributes if isinstance(attributes, dict) else {}
    flat = annotation | {f"attributes.{key}": value for key, value in inner.items()}
    hint = "; number the objects, and leave it out where an object has no number"
    stated = {key: whole(flat, key, where, hint=hint) for key in _IDENTITIES if flat.get(key) is not None}
    if len(set(stated.values())) > 1:
        raise DataError(f"{where}: {' and '.join(f'{k!r} ({v})' for k, v in stated.items())} name different objects")
    return next(iter(stated.values()), None)


def _require_no_object_in_two_images(annotations: list[Document], identities: list[int | None]) -> None:
    seen: dict[int, Any] = {}
    for annotation, identity in zip(annotations, identities, strict=True):
        image = annotation.get("image_id")
        if identity is not None and seen.setdefault(identity, image) != image:
            raise DataError(
                f"object {identity} is in images {seen[identity]} and {image}, but no image has a 'video_id': "
                "--videos-by-folder makes each folder of images a video, --single-frames each image"
            )


def _tracks(
    document: Document,
    annotations: list[Document],
    identities: list[int | None],
    places: dict[int, tuple[Document, int, CocoImage]],
    notes: Notes,
) -> list[Document]:
    """One entry per instance, in the order in which they first appear; numbered anew if videos share instance ids."""
    categories = document.get("categories")
    if not isinstance(categories, list) or not all(isinstance(category, dict) for category in categories):
        raise DataError("'categories' must be a list of objects with 'id' and 'name'")
    known = {whole(category, "id", f"categories[{i}]") for i, category in enumerate(categories)}
    tracks: dict[tuple[int, bool, int], Document] = {}
    begins: dict[tuple[int, bool, int], str] = {}  # in which annotation
    seen: set[int] = set()
    taken: set[tuple[tuple[int, bool, int], int]] = set()  # tracks and positions
    for annotation, identity in zip(annotations, identities, strict=True):
        number = whole(annotation, "id", "an annotation")
        where = f"annotation {number}"
        if number in seen:
            raise DataError(f"annotation id {number} occurs twice")
        seen.add(number)
        image, category = whole(annotation, "image_id", where), whole(annotation, "category_id", where)
        if image not in places:
            raise DataError(f"{where}: 'image_id' is {image}, not in 'images'")
        video, position, frame = places[image]
        if annotation.get("video_id") is not None and frame.video_id is not None:
            stated = whole(annotation, "video_id", where)
            if stated != frame.video_id:
                raise DataError(f"{where}: 'video_id' is {stated}, its image {image} is of video {frame.video_id}")
        if identity is None and video["length"] > 1:
            kind = "annotations without 'instance_id' or 'track_id', each a track of one frame"
            notes.add(kind, where)
        instance = number if identity is None else identity
        is_crowd = _crowd(annotation, where)
        if is_crowd:
            notes.add("crowd regions, which are not trained on (--ignore-iscrowd turns them into objects)", where)
        key = (video["id"], identity is not None, instance)
        track = tracks.setdefault(key, _empty_track(instance, category, is_crowd, video))
        begun = begins.setdefault(key, where)
        if (key, position) in taken:
            raise DataError(f"{where}: instance {instance} is in image {image} twice")
        if track["category_id"] != category:
            classes = f"{category}, earlier it was {track['category_id']}"
            raise DataError(f"{where}: the 'category_id' of instance {instance} is {classes}")
        if category not in known:
            raise DataError(f"{where}: 'category_id' is {category}, which is not in 'categories'")
        if track["iscrowd"] != is_crowd:
            raise DataError(
                f"{where}: 'iscrowd' is {is_crowd}, in {begun} of the same instance {instance} it is "
                f"{track['iscrowd']}; an instance is a crowd region in all its frames or in none "
                "(--ignore-iscrowd: in none)"
            )
        taken.add((key, position))
        _put(track, position, annotation, (video["height"], video["width"]), where, notes)
    found = list(tracks.values())
    if len({track["id"] for track in found}) == len(found):
        return found
    return [track | {"id": number} for number, track in enumerate(found, start=1)]


def _crowd(annotation: Document, where: str) -> int:
    try:
        return int(crowd(annotation))
    except EntryError as error:
        raise DataError(f"{where}{error}") from None


def _empty_track(number: int, category: int, is_crowd: int, video: Document) -> Document:
    return {
        "id": number,
        "video_id": video["id"],
        "category_id": category,
        "iscrowd": is_crowd,
        "width": video["width"],
        "height": video["height"],
        "length": video["length"],
        **{key: [None] * video["length"] for key in ("segmentations", "bboxes", "areas")},
    }


def _put(track: Document, position: int, annotation: Document, size: tuple[int, int], where: str, notes: Notes) -> None:
    """Puts the segmentation, box and area of one annotation into the frame they belong to."""
    segmentation, box, area = (annotation.get(key) for key in ("segmentation", "bbox", "area"))
    if box is not None and not _is_box(box):
        raise DataError(f"{where}: 'bbox' must be four finite numbers (x, y, width, height), got {str(box)[:60]!r}")
    if area is not None and not is_number(area):
        raise DataError(f"{where}: 'area' must be a finite number, got {str(area)[:60]!r}")
    if not segmentation:
        notes.add("annotations with a box and no mask" if box else "annotations with neither mask nor box", where)
    elif box is None or area is None:
        measured = _measured(segmentation, size, where)
        area, box = (box, area) if measured is None else (area or measured[0], box or measured[1])
    track["segmentations"][position], track["bboxes"][position], track["areas"][position] = segmentation, box, area


def _is_box(box: Any) -> bool:
    return isinstance(box, list) and len(box) == 4 and all(map(is_number, box))


def _measured(segmentation: Any, size: tuple[int, int], where: str) -> tuple[float, list[float]] | None:
    """Area and box (x, y, w, h) in pixels of a segmentation in a frame of a size (h, w); None if there is nothing."""
    try:
        encoding, data, _ = pack(segmentation)
        area, box = measure(encoding, data, *size)
    except (TypeError, ValueError) as error:
        raise DataError(f"{where}: {error}") from error
    return None if encoding == Encoding.ABSENT else (float(area), [float(n) for n in box])
