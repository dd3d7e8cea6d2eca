"""Parts that several models share. Each is its constructor's: no global configuration."""

from stmask.models.layers.deform import ModulatedDeformConv, SameConv2d
from stmask.models.layers.fpn import FPN, LEVELS, Pyramid
from stmask.models.layers.protonet import ProtoNet
from stmask.models.layers.resnet import Backbone, ResNet

__all__ = ["FPN", "LEVELS", "Backbone", "ModulatedDeformConv", "ProtoNet", "Pyramid", "ResNet", "SameConv2d"]
PARTS = ("ResNet",)
