"""What `gpu_check.sh` runs. Each part says whether it worked, and a part that fails does not hide the others."""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from official.reference import R50_ADA, build, stored  # noqa: E402  (stand-in weights: they need no download)

from stmask.inference import SideBySide, VideoSegmenter  # noqa: E402
from stmask.ops.frames import FramePreprocessor  # noqa: E402
from stmask.structures import Clip, FrameTargets  # noqa: E402

_GIB = 2**30
_TABLES = ("table5", "fcb", "table4", "quirks")  # of experiments/synthetic
_EVALUATION = 240  # seconds, of many runs side by side
_SETTLE = 12  # frames until all tracks have their room and kernels are chosen


class Check:
    """The parts, on one device."""

    def __init__(self, device: str, *, quick: bool) -> None:
        self.device, self.quick = device, quick
        self.size = FramePreprocessor(height=90, width=160) if quick else FramePreprocessor()
        frames = [cv2.resize(frame, (self.size.width, self.size.height)) for frame in stored("clip")["frames"]]
        self.clip = frames + frames[-2:0:-1]  # to and fro
        self.network = build(R50_ADA, quirks=False).eval().to(device)

    def parts(self) -> Iterator[tuple[str, Callable[[], dict[str, Any]]]]:
        """By name; those that matter most first."""
        yield "streamed_bfloat16", lambda: self.streamed(torch.bfloat16, graphs=True)
        for videos in (2,) if self.quick else (8, 16):
            yield f"side_by_side_{videos}_bfloat16", lambda videos=videos: self.side_by_side(videos)
        yield "streamed_float32", lambda: self.streamed(None, graphs=True)
        yield "streamed_float32_without_graph", lambda: self.streamed(None, graphs=False)
        yield "agreement", self.agreement
        yield "training_bf16_mixed", self.training
        yield "tests", self.tests
        yield "sweep", self.sweep

    def synchronise(self) -> None:
        if self.device == "cuda":
            torch.cuda.synchronize()

    def timed(self, steps: Callable[[int], Any], *, number: int, settle: int) -> list[float]:
        """Seconds of steps 0, 1 .., those at first not counted."""
        seconds = []
        if self.device == "cuda":
            torch.cuda.reset_peak_memory_stats()
        for index in range(settle + number):
            self.synchronise()
            start = time.perf_counter()
            steps(index)
            self.synchronise()
            seconds.append(time.perf_counter() - start)
        return seconds[settle:]

    def summary(self, seconds: list[float], *, items: int) -> dict[str, Any]:
        low, median, high = (1000 * float(value) for value in np.percentile(seconds, (10, 50, 90)))
        memory = torch.cuda.max_memory_allocated() / _GIB if self.device == "cuda" else None
        return {
            "median_ms": median,
            "p10_ms": low,
            "p90_ms": high,
            "per_second": 1000 * items / median,
            "repeats": len(seconds),
            "gpu_memory_gib": memory,
        }

    def segmenter(self, autocast: torch.dtype | None, *, graphs: bool) -> VideoSegmenter:
        return VideoSegmenter(
            self.network, preprocessor=self.size, device=self.device, autocast=autocast, graphs=graphs
        )

    def streamed(self, autocast: torch.dtype | None, *, graphs: bool) -> dict[str, Any]:
        """One video: from an RGB frame in the host's memory to tracked instances with masks, frame by frame."""
        segmenter = self.segmenter(autocast, graphs=graphs)
        objects: list[int] = []
        number = 2 if self.quick else 200 if graphs else 30

        def step(index: int) -> None:
            objects.append(len(segmenter.step(self.clip[index % len(self.clip)])))

        seconds = self.timed(step, number=number, settle=1 if self.quick else _SETTLE)
        recorded = segmenter._recorded is not None
        if self.device == "cuda" and recorded != graphs:
            raise RuntimeError("no CUDA graph was recorded")
        return {**self.summary(seconds, items=1), "objects": float(np.mean(objects)), "graph": recorded}

    def side_by_side(self, videos: int) -> dict[str, Any]:
        """Several videos, their frames in one batch; frames per second in sum."""
        together = SideBySide(self.segmenter(torch.bfloat16, graphs=False), videos=videos)

        def step(index: int) -> None:
            together.step([self.clip[(index + video) % len(self.clip)] for video in range(videos)])

        number, settle = (1, 1) if self.quick else (40, _SETTLE)
        return self.summary(self.timed(step, number=number, settle=settle), items=videos)

    def agreement(self) -> dict[str, Any]:
        """Instances with the same class and identity, and a mask IoU of 0.5, as eager in float32 without TF32."""
        allowed, torch.backends.cudnn.allow_tf32 = torch.backends.cudnn.allow_tf32, False
        try:
            return {
                "graph_float32": self._alike(None, graphs=True),
                "graph_bfloat16": self._alike(torch.bfloat16, graphs=True),
                "eager_bfloat16": self._alike(torch.bfloat16, graphs=False),
            }
        finally:
            torch.backends.cudnn.allow_tf32 = allowed

    def _alike(self, autocast: torch.dtype | None, *, graphs: bool) -> dict[str, Any]:
        exact, other = self.segmenter(None, graphs=False), self.segmenter(autocast, graphs=graphs)
        frames = self.clip[: 3 if self.quick else 10]
        found = same_ids = bits = all_of = first = first_of = 0
        for index, frame in enumerate(frames):
            one, two = exact.step(frame), other.step(frame)
            same_ids += one.track_ids.tolist() == two.track_ids.tolist()
            a, b = one.instances.masks.binary().flatten(1).float(), two.instances.masks.binary().flatten(1).float()
            inside = a @ b.t()
            overlaps = inside / (a.sum(1)[:, None] + b.sum(1)[None] - inside).clamp(min=1)
            near = (overlaps > 0.5) & (one.instances.labels[:, None] == two.instances.labels[None])
            found += int(near.any(dim=1).sum())
            all_of += len(one)
            if index == 0:
                first, first_of = found, all_of
            if a.shape == b.shape:
                bits += int((a != b).sum())
        return {
            "frames": len(frames),
            "frames_with_the_same_ids": same_ids,
            "instances": all_of,
            "found_again": found,
            "instances_of_the_first_frame": first_of,
            "found_again_in_the_first_frame": first,
            "mask_bits_that_differ": bits,
        }

    def training(self) -> dict[str, Any]:
        """Steps of R50 with FCB(ada) and TF on pairs of frames, from clips on the device; frozen batch norms, SGD."""
        pairs = 1 if self.quick else 16
        torch.set_float32_matmul_precision("high")  # as `stmask train` has it
        network = build(R50_ADA, quirks=False).to(self.device, memory_format=torch.channels_last)
        network.backbone.frozen_norm = True
        network.train()
        clip = self._made_clip(pairs, network.num_classes)
        trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
        optimizer = torch.optim.SGD(trained, lr=1e-6, momentum=0.9, fused=self.device == "cuda")
        generator = torch.Generator().manual_seed(0)
        losses: list[torch.Tensor] = []

        def step(index: int) -> None:
            with torch.autocast(self.device, dtype=torch.bfloat16):
                loss = network.losses(clip, generator=generator).total
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            losses.append(loss.detach())

        number, settle = (1, 0) if self.quick else (12, 4)
        result = self.summary(self.timed(step, number=number, settle=settle), items=pairs)
        if not all(bool(loss.isfinite()) for loss in losses):
            raise RuntimeError("a loss is not finite")
        return {**result, "batch": pairs, "loss": float(losses[-1])}

    def _made_clip(self, pairs: int, classes: int) -> Clip:
        generator = torch.Generator().manual_seed(0)
        height, width = self.size.padded_size

        def targets() -> FrameTargets:
            low = torch.rand(4, 2, generator=generator) / 2
            boxes = torch.cat([low, low + 0.15 + 0.3 * torch.rand(4, 2, generator=generator)], dim=1)
            rows, columns = torch.arange(height) / height, torch.arange(width) / width
            down = (rows >= boxes[:, 1:2]) & (rows < boxes[:, 3:4])
            across = (columns >= boxes[:, 0:1]) & (columns < boxes[:, 2:3])
            labels = torch.randint(1, classes + 1, (4,), generator=generator)
            found = FrameTargets(boxes, labels, down[:, :, None] & across[:, None], torch.arange(1, 5))
            return found.to(self.device)

        frames = torch.randn(pairs, 2, 3, height, width, generator=generator).to(self.device)
        return Clip(
            frames=frames,
            image_sizes=torch.tensor([height, width]).expand(pairs, 2, 2),
            targets=tuple((targets(), targets()) for _ in range(pairs)),
            video_ids=torch.arange(pairs),
            frame_indices=torch.arange(2).expand(pairs, 2),
        )

    def tests(self) -> dict[str, Any]:
        """Those marked for a GPU; with `--quick` those of one file. Other files may need more than is installed."""
        every = [path for path in sorted((ROOT / "tests").rglob("test_*.py")) if "mark.gpu" in path.read_text()]
        places = ["tests/ops/test_deform.py"] if self.quick else [str(path) for path in every]
        marked = [] if self.device == "cpu" else ["-m", "gpu"]
        output = _run([sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *marked, *places], seconds=150)
        return {"counts": {name: int(count) for count, name in re.findall(r"(\d+) (passed|failed|skipped)", output)}}

    def sweep(self) -> dict[str, Any]:
        """Small runs of the demo's network that share the device, and what one takes by itself."""
        jobs, steps = (2, 2) if self.quick else (4, 60)
        with tempfile.TemporaryDirectory() as folder:
            data = f"{folder}/data"
            videos = ["--videos", "4" if self.quick else "12", "--valid-videos", "1", "--size", "96x160"]
            _run([sys.executable, "-m", "stmask", "data", "synthesize", data, *videos], seconds=60)
            start = time.perf_counter()
            words = [
                "experiment=demo",
                f"data.root={data}",
                f"trainer={'gpu' if self.device == 'cuda' else 'cpu'}",
                f"trainer.max_steps={steps}",
                "scheduler.warmup_steps=1",
                "trainer.check_val_every_n_epoch=1000",
                "deterministic=false",
                f"output_root={folder}/runs",
                "hydra/launcher=gpus",
                f"hydra.launcher.jobs_per_device={jobs}",
                "seed=" + ",".join(map(str, range(jobs))),
            ]
            output = _run([sys.executable, "-m", "stmask", "train", "-m", *words], seconds=150)
            seconds = time.perf_counter() - start
        return {"jobs": jobs, "steps_of_each": steps, "seconds": seconds, "output": output[-600:]}


def train_rows(runs: Path, *, data: str, device: str, seconds: int, quick: bool) -> dict[str, Any]:
    """Goes on with the sweep of experiments/synthetic in a folder of runs, and evaluates what is done."""
    stmask = [sys.executable, "-m", "stmask"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    end = time.perf_counter() + seconds
    if not (ROOT / data).exists():
        size = ["--videos", "4", "--valid-videos", "1", "--size", "96x160"] if quick else ["--preset", "bench"]
        _run([*stmask, "data", "synthesize", data, *size], seconds=seconds)
    jobs = 2 if quick else (os.cpu_count() or 1)
    words = [
        *(["table5/t5_baseline", "trainer.max_steps=2", "scheduler.warmup_steps=1"] if quick else _TABLES),
        "recipe=small",
        f"data.root={data}",
        f"output_root={runs.resolve()}",
        f"trainer.accelerator={'gpu' if device == 'cuda' else 'cpu'}",
        "deterministic=false",  # some kernels have no other kind on a GPU
        "records=none",
        "keep_last=false",
        "hydra/launcher=gpus",
        f"hydra.launcher.jobs_per_device={jobs}",
        f"seeds={'0' if quick else '0,1,2,3,4'}",
    ]
    sweep = subprocess.Popen([*stmask, "sweep", *words], cwd=ROOT, env=environment)
    try:
        sweep.wait(max(1.0, end - time.perf_counter() - (0 if quick else _EVALUATION)))
    except subprocess.TimeoutExpired:
        sweep.terminate()
        sweep.wait()
    done = sorted(path.parent for path in runs.resolve().glob("sweeps/*/seed_*/summary.json"))
    here = [run for run in done if (run / "checkpoints" / "best.ckpt").is_file()]
    split = "valid" if quick else "bench"
    commands = [
        [*stmask, "evaluate", f"checkpoint={run}", f"split={split}", f"data.root={data}", f"output={run}/bench"]
        for run in here
    ]
    with ThreadPoolExecutor(jobs) as pool:
        evaluated = sum(pool.map(lambda command: _ends(command, environment, end), commands))
    return {"jobs": jobs, "done": len(done), "done_here": len(here), "evaluated": evaluated}


def _ends(command: list[str], environment: dict[str, str], end: float) -> bool:
    """Whether a command does what it should within what is left of the time."""
    left = end - time.perf_counter()
    try:
        return (
            left > 0 and subprocess.run(command, cwd=ROOT, env=environment, timeout=left, check=False).returncode == 0
        )
    except subprocess.TimeoutExpired:
        return False


def _run(command: list[str], *, seconds: int) -> str:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=seconds, check=False)
    output = done.stdout + done.stderr
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command[1:5])} ended with {done.returncode}: {output[-1500:]}")
    return output


def main() -> int:
    """Runs all parts; 1 if one failed."""
    parser = argparse.ArgumentParser(prog="gpu_check.sh")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--quick", action="store_true", help="small frames, few steps: to try the script itself")
    parser.add_argument("--out", default="gpu_check.json", metavar="FILE")
    parser.add_argument(
        "--rows", type=Path, metavar="RUNS", help="train what is missing of experiments/synthetic instead"
    )
    parser.add_argument("--data", default="data/bench", help="for --rows; made if it is not there")
    parser.add_argument("--seconds", type=int, default=480, help="for --rows, evaluation included")
    options = parser.parse_args()
    name = torch.cuda.get_device_name() if options.device == "cuda" else "CPU"  # without a GPU it ends here
    report: dict[str, Any] = {"device": name, "torch": torch.__version__, "quick": options.quick, "parts": {}}
    if options.rows is not None:
        rows = partial(train_rows, options.rows, data=options.data, device=options.device)
        parts = iter([("rows", partial(rows, seconds=options.seconds, quick=options.quick))])
    else:
        parts = Check(options.device, quick=options.quick).parts()
    for part, work in parts:
        start = time.perf_counter()
        try:
            outcome = {"ok": True, **work()}
        except Exception as error:
            outcome = {
                "ok": False,
                "error": f"{type(error).__name__}: {error}"[:3000],
                "where": traceback.format_exc()[-1500:],
            }
        outcome["took_seconds"] = round(time.perf_counter() - start, 1)
        report["parts"][part] = outcome
        report["ok"] = all(one["ok"] for one in report["parts"].values())
        Path(options.out).write_text(json.dumps(report, indent=1))
        shown = {key: value for key, value in outcome.items() if key not in ("where", "output")}
        print(f"{part}: {json.dumps(shown)}", flush=True)
    failed = [part for part, outcome in report["parts"].items() if not outcome["ok"]]
    print(f"{os.path.abspath(options.out)}: " + (f"FAILED: {', '.join(failed)}" if failed else "all parts worked"))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
