"""YOLACT and YOLACT++, as image networks that video trainings start from, and as a baseline without learnt tracking."""

from stmask.models.yolact.network import BASE_SCALES, BASE_SIDE, Yolact, YolactHead, anchor_shapes

__all__ = ["BASE_SCALES", "BASE_SIDE", "Yolact", "YolactHead", "anchor_shapes"]
PARTS = ("Yolact",)
