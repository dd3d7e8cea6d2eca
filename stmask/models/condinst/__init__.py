"""CondInst (Tian et al., ECCV 2020) for videos: each point predicts the filters that draw the mask of its object."""

from stmask.models.condinst.detector import FilterDetector
from stmask.models.condinst.losses import CondInstLoss
from stmask.models.condinst.network import CondInst
from stmask.models.condinst.records import CondInstMaps

__all__ = ["CondInst", "CondInstLoss", "CondInstMaps", "FilterDetector"]
PARTS = ("CondInst", "CondInstLoss", "FilterDetector")
