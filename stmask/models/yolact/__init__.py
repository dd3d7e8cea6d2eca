"""YOLACT and YOLACT++: image networks that video training starts from, and a baseline without learned tracking."""

from stmask.models.yolact.network import BASE_SCALES, BASE_SIDE, Yolact, YolactHead, anchor_shapes

__all__ = ["BASE_SCALES", "BASE_SIDE", "Yolact", "YolactHead", "anchor_shapes"]
PARTS = ("Yolact",)
