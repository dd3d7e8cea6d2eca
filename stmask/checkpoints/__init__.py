"""Checkpoints: what is in them, which classes they may name, how models come out of them. Needs PyTorch alone."""

from stmask.checkpoints.build import build_model, overlaid, skeleton
from stmask.checkpoints.card import ModelCard
from stmask.checkpoints.format import save_model
from stmask.checkpoints.registry import register, trust

__all__ = ["ModelCard", "build_model", "overlaid", "register", "save_model", "skeleton", "trust"]
