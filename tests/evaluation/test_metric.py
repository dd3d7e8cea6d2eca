from __future__ import annotations

import os
import pickle
import socket
from pathlib import Path

import pytest
import torch
from evaluation.builders import box, ground_truth, rle, truth_entry

from stmask.errors import DataError
from stmask.evaluation import MASK_METRICS, GroundTruth, VideoMeanAveragePrecision, evaluate, to_results
from stmask.structures import TrackResult, VideoResult

VIDEOS = range(1, 8)
LENGTH = 2


def mask(shift: int) -> object:
    return box(12, 16, 1 + shift, 2, 9 + shift, 10)


def truth() -> GroundTruth:
    tracks = [truth_entry(v, v, 1 + v % 2, [mask(0), mask(v % 3)]) for v in VIDEOS]
    return GroundTruth.from_dict(ground_truth([(12, 16, LENGTH)] * len(VIDEOS), tracks))


def video(identity: int) -> VideoResult:
    """Scores are equal in all videos: the order of the videos must not depend on the processes."""
    tracks = (
        TrackResult(0, 1 + identity % 2, 0.5, (rle(mask(identity % 4)), None if identity == 3 else rle(mask(1)))),
        TrackResult(1, 1 + identity % 2, 0.25, (rle(mask(5)), None)),
    )
    return VideoResult(identity, LENGTH, tracks if identity != 5 else ())


RESULTS = [video(v) for v in VIDEOS]


def test_it_equals_the_functional_core_in_any_order_of_videos() -> None:
    metric = VideoMeanAveragePrecision(truth())
    for result in reversed(RESULTS):
        metric.update(result)
    expected = evaluate(truth(), to_results(RESULTS, (1, 2))).stats
    assert 0.0 < expected["AP"] < 1.0
    assert {name: float(value) for name, value in metric.compute().items()} == expected
    assert metric.report().stats == expected
    assert metric.results() == to_results(RESULTS, (1, 2))
    assert pickle.loads(pickle.dumps(metric)).report().stats == expected


def test_a_repeated_video_counts_once_and_a_different_one_is_refused() -> None:
    metric = VideoMeanAveragePrecision(truth())
    for result in [*RESULTS, RESULTS[0]]:
        metric.update(result)
    assert metric.results() == to_results(RESULTS, (1, 2))
    metric.update(VideoResult(1, LENGTH, ()))
    with pytest.raises(DataError, match="video 1 was scored twice with different results"):
        metric.compute()
    metric.reset()
    assert metric.results() == []


def test_without_videos_and_with_some() -> None:
    metric = VideoMeanAveragePrecision(truth())
    assert metric.compute()["AP"] == 0
    part = VideoMeanAveragePrecision(truth(), seen_only=True)
    assert part.compute()["AP"] == -1
    perfect = VideoResult(1, LENGTH, (TrackResult(0, 2, 0.5, (rle(mask(0)), rle(mask(1)))),))
    metric.update(perfect)
    part.update(perfect)
    assert metric.compute()["AP"] < 0.9
    assert part.compute()["AP"] == pytest.approx(1)


def test_it_explains_when_asked() -> None:
    metric = VideoMeanAveragePrecision(truth(), explain=True)
    for result in RESULTS:
        metric.update(result)
    values = metric.compute()
    assert float(values["AP50"]) == pytest.approx(metric.explanation().ap50)
    assert float(values["explain/false_positives/background"]) == metric.explanation().total.false_positives[5]
    with pytest.raises(ValueError, match="explain=True"):
        VideoMeanAveragePrecision(truth()).explanation()


def test_what_cannot_be_scored_is_refused_at_once() -> None:
    metric = VideoMeanAveragePrecision(truth())
    with pytest.raises(DataError, match="video 9 is not in ground truth"):
        metric.update(VideoResult(9, LENGTH, ()))
    with pytest.raises(DataError, match="video 1 was given with 3 frames, it has 2"):
        metric.update(VideoResult(1, 3, ()))
    with pytest.raises(DataError, match="has no annotations"):
        VideoMeanAveragePrecision(GroundTruth.from_dict(ground_truth([(4, 4, 1)], None)))


def _score_a_share(rank: int, world: int, port: int, folder: str) -> None:
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    torch.distributed.init_process_group("gloo", rank=rank, world_size=world)
    metric = VideoMeanAveragePrecision(truth())
    # as a padding sampler deals: the last round begins again with the first videos; process 2 of 4 has none at all
    shares = [RESULTS[0::3], [*RESULTS[1::3], RESULTS[0]], [*RESULTS[2::3], RESULTS[1]], []][:world]
    for result in RESULTS if world == 1 else shares[rank]:
        metric.update(result)
    torch.save([dict(metric.compute()), metric.results()], Path(folder) / f"{world}-{rank}.pt")
    torch.distributed.destroy_process_group()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_any_number_of_processes_scores_each_video_once(tmp_path: Path) -> None:
    expected = evaluate(truth(), to_results(RESULTS, (1, 2))).stats
    for world in (1, 3, 4):
        arguments = (world, _free_port(), str(tmp_path))
        torch.multiprocessing.start_processes(_score_a_share, args=arguments, nprocs=world, start_method="fork")
        for rank in range(world):
            values, entries = torch.load(tmp_path / f"{world}-{rank}.pt")
            assert {name: float(values[name]) for name in MASK_METRICS} == expected
            assert entries == to_results(RESULTS, (1, 2))
