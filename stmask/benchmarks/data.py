"""Training samples from JPEG files to batches, and the cost of an index, on synthetic data without a download.

Times of samples are processor time, not wall time: what one core does, regardless of the machine's load.
"""

from __future__ import annotations

import json
import multiprocessing
import random
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from stmask.benchmarks.gauge import PlainGauge, peak_memory, reset_peak
from stmask.benchmarks.worker import Outcome, Sample, Turns, Work
from stmask.data.augment import Augmentation, ClipAugmenter
from stmask.data.collate import collate_pairs
from stmask.data.convert.tracks import Document, encode, video
from stmask.data.pairs import FramePairDataset
from stmask.data.ytvis import VideoDataset
from stmask.files import atomic_open, write_json
from stmask.ops.frames import FramePreprocessor

_REST = "targets and normalisation"
STAGES = {
    "decode": "reading and decoding frames",
    "masks": "decoding the objects' masks",
    "augmentation": "flips, windows, colours; resizing to the network's input",
    _REST: "the rest of a sample",
    "collate": "samples to a batch",
}
_BATCH = 8
_INDEX_SIZE = (720, 1280)
_LOOKUPS = 2000
_STATUS = Path("/proc/self/status")


@dataclass(frozen=True, slots=True)
class IndexCost:
    """The cost of opening an index, and the private memory of each worker process after using it.

    Attributes:
        seconds: to open it.
        memory_mb: growth of the process, at its peak; None where it cannot be read (not on Linux).
        worker_mb: private memory of each worker over that of a worker that did nothing; None likewise.
    """

    seconds: float
    memory_mb: float | None
    worker_mb: tuple[float, ...] | None


class Contender:
    """Pairs of frames, or an index to open.

    Args:
        root: with a split "train" to load pairs of frames of; None for an index.
        height, width: that they are brought to.
        index: annotation file to open; None for pairs.
        cache: folder of indexes.
        workers: processes that share the index.
    """

    unit: str

    def __init__(
        self,
        *,
        root: str | None = None,
        height: int = 360,
        width: int = 640,
        index: str | None = None,
        cache: str | None = None,
        workers: int = 4,
    ) -> None:
        self.unit = "pair" if index is None else "opening"
        self.stages: Mapping[str, str] = STAGES if index is None else {}
        self._root, self._size, self._workers = root, (height, width), workers
        self._index, self._cache = index, None if cache is None else Path(cache)

    def serve(self, turns: Turns) -> Outcome:
        """Times batches, or openings in a process of their own."""
        if self._index is not None:
            return self._serve_index(turns, Path(self._index))
        assert self._root is not None
        batches = _Batches(Path(self._root), *self._size)
        turns.ready(PlainGauge(), seconds=batches.next().milliseconds * _BATCH / 1000)
        for count in turns:
            turns.give([batches.next() for _ in range(count)])
        frames = list(Path(self._root).rglob("*.jpg"))
        read = 2 * sum(path.stat().st_size for path in frames) / len(frames)
        return Outcome(Work(None, read + 2 * 3 * 4.0 * self._size[0] * self._size[1]), {"pairs in a batch": _BATCH})

    def _serve_index(self, turns: Turns, index: Path) -> Outcome:
        cost = measure_index(index, cache=self._cache, workers=0)
        turns.ready(PlainGauge(), seconds=cost.seconds)
        for count in turns:
            costs = [measure_index(index, cache=self._cache, workers=self._workers) for _ in range(count)]
            turns.give([Sample(1000 * cost.seconds, {}) for cost in costs])
            cost = costs[-1]
        details: dict[str, float] = {} if cost.memory_mb is None else {"MiB of the index": round(cost.memory_mb)}
        if cost.worker_mb:
            details["MiB of a worker's own, most"] = round(max(cost.worker_mb), 1)
        return Outcome(Work(None, float(index.stat().st_size)), details)


class _Batches:
    """Batches of the split "train" in `root`, brought to height x width, with the times of a pair in each."""

    def __init__(self, root: Path, height: int, width: int) -> None:
        cv2.setNumThreads(0)
        clock = self._clock = dict.fromkeys(STAGES, 0.0)

        def timed(stage: str, work: Callable[..., Any]) -> Callable[..., Any]:
            def run(*arguments: Any) -> Any:
                started = time.process_time()
                try:
                    return work(*arguments)
                finally:
                    clock[stage] += time.process_time() - started

            return run

        class Dataset(VideoDataset):
            read_frame = timed("decode", VideoDataset.read_frame)
            instances = timed("masks", VideoDataset.instances)

        class Augmenter(ClipAugmenter):
            __call__ = timed("augmentation", ClipAugmenter.__call__)

        self._stream = FramePairDataset(Dataset.from_root(root, "train"), FramePreprocessor(height, width))
        self._stream.augmenter = Augmenter(Augmentation(), height=height, width=width)
        self._collate = timed("collate", collate_pairs)
        self._drawn = 0
        self._stream.draw(0)  # the first one builds the augmentation pipeline

    def next(self) -> Sample:
        """The next batch: milliseconds of processor time for each of its pairs."""
        self._clock.update(dict.fromkeys(STAGES, 0.0))
        started = time.process_time()
        self._collate([self._stream.draw(self._drawn + i) for i in range(_BATCH)])
        whole = time.process_time() - started
        self._drawn += _BATCH
        self._clock[_REST] = whole - sum(self._clock.values())
        each = 1000 / _BATCH
        return Sample(each * whole, {stage: each * seconds for stage, seconds in self._clock.items()})


def make_videos(root: Path, *, videos: int, frames: int, objects: int, height: int, width: int, seed: int = 0) -> None:
    """Writes a split "train" of textured JPEG frames with elliptic objects."""
    rng = np.random.default_rng(seed)
    entries: list[Document] = []
    annotations: list[Document] = []
    for number in range(1, videos + 1):
        names = [f"{number:05d}/{t:05d}.jpg" for t in range(frames)]
        entries.append(video(number, names, height=height, width=width))
        for name in names:
            path = root / "train/JPEGImages" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            texture = rng.integers(0, 255, (height // 4, width // 4, 3)).astype(np.uint8)
            cv2.imwrite(str(path), cv2.resize(texture, (width, height), interpolation=cv2.INTER_CUBIC))
        for _ in range(objects):
            centre, axes = rng.uniform(0.2, 0.8, 2) * (width, height), rng.uniform(0.04, 0.2, 2) * width
            segmentations = [encode(_ellipse(centre + 5 * t, axes, height, width)) for t in range(frames)]
            track = {"id": len(annotations) + 1, "video_id": number, "category_id": 1, "iscrowd": 0}
            annotations.append(track | {"segmentations": segmentations})
    document = {"categories": [{"id": 1, "name": "object"}], "videos": entries, "annotations": annotations}
    write_json(root / "train.json", document)


def _ellipse(centre: Any, axes: Any, height: int, width: int) -> Any:
    mask = np.zeros((height, width), np.uint8)
    cv2.ellipse(mask, centre.astype(int).tolist(), axes.astype(int).tolist(), 20, 0, 360, 1, -1)
    return mask


def make_index(path: Path, *, videos: int, frames: int, tracks: int, mask_bytes: int = 0) -> None:
    """Writes an annotation file of `videos` videos and `tracks` tracks with a mask in every frame, and no frames.

    Args:
        mask_bytes: makes masks with run lengths of about this size; real ones take a few hundred bytes.
    """
    rng = random.Random(0)
    pool = [json.dumps(encode(_ragged(rng, mask_bytes))) for _ in range(50)]
    with atomic_open(path) as file:
        file.write('{"categories": [{"id": 1, "name": "object"}], "videos": [')
        for number in range(videos):
            names = [f"{number:08x}/{5 * t:05d}.jpg" for t in range(frames)]
            entry = video(number + 1, names, height=_INDEX_SIZE[0], width=_INDEX_SIZE[1])
            file.write(("," if number else "") + json.dumps(entry))
        file.write('], "annotations": [')
        for number in range(tracks):
            track = {"id": number + 1, "video_id": number % videos + 1, "category_id": 1, "iscrowd": 0}
            masks = ",".join(rng.choices(pool, k=frames))
            file.write(("," if number else "") + json.dumps(track)[:-1] + f', "segmentations": [{masks}]}}')
        file.write("]}")


def _ragged(rng: random.Random, length: int) -> Any:
    """A mask whose run lengths take about `length` bytes: columns with ragged ends."""
    mask = np.zeros(_INDEX_SIZE, np.uint8)
    for column in range(100, 101 + length // 3):
        top = rng.randrange(100, 300)
        mask[top : top + rng.randrange(50, 300), column] = 1
    return mask


def measure_index(path: Path, *, cache: Path | None = None, workers: int = 4) -> IndexCost:
    """Opens an annotation file in a process of its own, then lets `workers` forked from it use it.

    Raises:
        DataError: the file is not valid.
    """
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_open_and_share, path, cache, workers).result()


def _open_and_share(path: Path, cache: Path | None, workers: int) -> IndexCost:
    before = reset_peak()
    started = time.perf_counter()
    dataset = VideoDataset(path, path.parent, cache=cache)
    seconds = time.perf_counter() - started
    memory = peak_memory() - before if _STATUS.exists() else None
    private = [_in_worker(dataset, lookups) for lookups in [0] + [_LOOKUPS] * workers]
    idle, *used = private
    known = None if idle is None else tuple(one - idle for one in used if one is not None)
    return IndexCost(seconds, memory, known)


def _memory_mb(table: Path, *names: str) -> float | None:
    """The sum of some lines of a table of the Linux kernel about this process; None on other systems."""
    try:
        lines = table.read_text().splitlines()
    except OSError:
        return None
    return sum(int(line.split()[1]) for line in lines if line.startswith(names)) / 1024


def _in_worker(dataset: VideoDataset, lookups: int) -> float | None:
    """Private memory in MB of a forked process after it looked up random frames, None where it cannot be read."""
    receiver, sender = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.get_context("fork").Process(target=_look_up, args=(dataset, lookups, sender))
    process.start()
    sender.close()
    answer: float | None = receiver.recv()
    process.join()
    return answer


def _look_up(dataset: VideoDataset, lookups: int, answer: Any) -> None:
    rng = np.random.default_rng(0)
    for frame in rng.integers(0, len(dataset.annotated_frames), lookups):
        video, position = dataset.locate(int(dataset.annotated_frames[frame]))
        dataset.annotated_in(video)
        dataset.instances(video, position)
    # Not Private_Clean: pages of a mapped file that only this process has touched can be dropped at any time.
    answer.send(_memory_mb(Path("/proc/self/smaps_rollup"), "Private_Dirty:"))
