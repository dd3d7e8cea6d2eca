"""What a prediction writes: one file for each family of formats, several at once."""

from stmask.inference.sinks.base import SegmentedFrame, Sink, placed
from stmask.inference.sinks.formats import FORMATS, Format, Setting, check_places, outputs_at, require_formats

__all__ = [
    "FORMATS",
    "Format",
    "SegmentedFrame",
    "Setting",
    "Sink",
    "check_places",
    "outputs_at",
    "placed",
    "require_formats",
]
