"""MaskTrack R-CNN: Mask R-CNN with a head for identities, the first network for video instance segmentation."""

from stmask.models.masktrack_rcnn.detector import RegionDetector
from stmask.models.masktrack_rcnn.heads import RegionHeads, RegionPooler
from stmask.models.masktrack_rcnn.losses import RegionLoss, RegionWeights
from stmask.models.masktrack_rcnn.matching import BoxMatcher
from stmask.models.masktrack_rcnn.network import MaskTrackRCNN
from stmask.models.masktrack_rcnn.proposals import Proposer
from stmask.models.masktrack_rcnn.records import RegionMaps

__all__ = [
    "BoxMatcher",
    "MaskTrackRCNN",
    "Proposer",
    "RegionDetector",
    "RegionHeads",
    "RegionLoss",
    "RegionMaps",
    "RegionPooler",
    "RegionWeights",
]
PARTS = ("BoxMatcher", "MaskTrackRCNN", "Proposer", "RegionDetector", "RegionLoss", "RegionPooler", "RegionWeights")
