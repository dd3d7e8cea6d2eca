"""Checkpoints: their format, the classes they may name, and building models from them. Needs only PyTorch."""

from stmask.checkpoints.build import build_model, overlaid, skeleton
from stmask.checkpoints.card import ModelCard
from stmask.checkpoints.format import save_model
from stmask.checkpoints.registry import register, trust

__all__ = ["ModelCard", "build_model", "overlaid", "register", "save_model", "skeleton", "trust"]
