"""Synthetic videos with exact masks, written to disk in YouTube-VIS format."""

from stmask.data.synthetic.bench import write_bench
from stmask.data.synthetic.config import PRESETS, SyntheticConfig
from stmask.data.synthetic.dataset import write_dataset
from stmask.data.synthetic.render import SyntheticVideo, render_video
from stmask.data.synthetic.shapes import SHAPES

__all__ = ["PRESETS", "SHAPES", "SyntheticConfig", "SyntheticVideo", "render_video", "write_bench", "write_dataset"]
