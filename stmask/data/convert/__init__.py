"""Conversions from and to other formats, as documents in YouTube-VIS JSON form."""

from stmask.data.convert.coco import from_images, to_images
from stmask.data.convert.grouping import Grouping
from stmask.data.convert.masklets import from_masklets
from stmask.data.convert.masks import from_masks
from stmask.data.convert.painting import to_masks
from stmask.data.convert.tracks import Notes

__all__ = ["Grouping", "Notes", "from_images", "from_masklets", "from_masks", "to_images", "to_masks"]
