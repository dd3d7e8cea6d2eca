"""Parts that several models share. Constructors take all settings: no global configuration."""

from stmask.models.layers.conv import Conv2d, GroupNorm, SameConv2d, Tower
from stmask.models.layers.deform import ModulatedDeformConv
from stmask.models.layers.fcos import PointLoss, PointMatcher
from stmask.models.layers.fpn import FPN, LEVELS, Pyramid
from stmask.models.layers.initialise import initialise_beside_backbone
from stmask.models.layers.protonet import ProtoNet
from stmask.models.layers.resnet import Backbone, ResNet

__all__ = [
    "FPN",
    "LEVELS",
    "Backbone",
    "Conv2d",
    "GroupNorm",
    "ModulatedDeformConv",
    "PointLoss",
    "PointMatcher",
    "ProtoNet",
    "Pyramid",
    "ResNet",
    "SameConv2d",
    "Tower",
    "initialise_beside_backbone",
]
PARTS = ("PointLoss", "PointMatcher", "ResNet")
