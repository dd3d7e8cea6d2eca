"""SipMask for videos: a one-stage network whose masks have coefficients for each quarter of a box."""

from stmask.models.sipmask.detector import PointDetector
from stmask.models.sipmask.head import SipMaskHead
from stmask.models.sipmask.losses import SipMaskLoss
from stmask.models.sipmask.network import SipMask
from stmask.models.sipmask.records import SipMaskMaps
from stmask.models.sipmask.rescoring import MaskRescorer

__all__ = ["MaskRescorer", "PointDetector", "SipMask", "SipMaskHead", "SipMaskLoss", "SipMaskMaps"]
PARTS = ("PointDetector", "SipMask", "SipMaskLoss")
