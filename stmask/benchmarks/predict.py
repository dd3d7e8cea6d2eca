"""A video file from end to end, as `stmask predict` does it: decoding, network, masks, drawing, encoding, results."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path

from stmask.benchmarks.gauge import TorchGauge
from stmask.benchmarks.inference import load, work_of
from stmask.benchmarks.worker import Outcome, Sample, Turns, Work
from stmask.inference.predict import predict_video
from stmask.inference.video import VideoReader


class Contender:
    """A network and a video. Each sample is one run over the whole video, divided by its frames.

    Args:
        checkpoint, device, precision, yardstick, trust: as for `inference`.
        video: a file or a folder of frames.
        drawn: also write a video with the objects drawn on it, and not only the results.
    """

    unit = "frame"
    stages: Mapping[str, str] = {
        "decoding": "reading and decoding the source",
        "preprocessing": "resizing, normalising, the copy to the device",
        "network": "the network's forward pass",
        "detection": "candidates, suppression, masks at the prototypes' resolution",
        "tracking": "the tracker's step, temporal fusion included; at b4f9369 and before detection too",
        "masks": "masks at the video's own size",
        "writing": "their run lengths, and the results",
        "drawing": "masks, boxes and names on the frame",
        "encoding": "compressing and writing the video",
    }

    def __init__(
        self,
        *,
        checkpoint: str,
        device: str,
        precision: str,
        video: str,
        drawn: bool,
        yardstick: bool = False,
        trust: Sequence[str] = (),
    ) -> None:
        self._segmenter = load(checkpoint, device=device, precision=precision, trust=trust)
        self._precision, self._yardstick, self._drawn = precision, yardstick, drawn
        self._video = video
        VideoReader(video)  # whether it is there

    def serve(self, turns: Turns) -> Outcome:
        """Times whole runs."""
        segmenter = self._segmenter
        first = list(islice(VideoReader(self._video), 3))
        size = first[0].shape[:2]
        first = [segmenter.preprocessor.resize(frame) for frame in first]
        with tempfile.TemporaryDirectory() as folder:
            frames, sample = self._once(Path(folder))
            gauge = TorchGauge(segmenter.device, precision=self._precision, yardstick=self._yardstick)
            turns.ready(gauge, seconds=sample.milliseconds * frames / 1000)
            for count in turns:
                turns.give([self._once(Path(folder))[1] for _ in range(count)])
        flops, bytes_ = work_of(segmenter, first)
        details = {"frames": frames, "height": size[0], "width": size[1]}
        work = Work(flops, None if bytes_ is None else bytes_ + 3.0 * size[0] * size[1])
        return Outcome(work, details, getattr(segmenter.model.card, "origin", ""))

    def _once(self, folder: Path) -> tuple[int, Sample]:
        summary = predict_video(
            self._segmenter,
            VideoReader(self._video),
            outputs={"json": folder / "out.json"} | ({"video": folder / "out.mp4"} if self._drawn else {}),
        )
        per_frame = 1000 / summary.frames
        stages = {stage: per_frame * seconds for stage, seconds in summary.seconds.items()}
        return summary.frames, Sample(per_frame * summary.wall_seconds, stages)
