from __future__ import annotations

import gc
import importlib
import json
import os
import signal
import weakref
from collections.abc import Iterator
from fractions import Fraction
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import cv2
import numpy as np
import pytest
import torch
from inference.films import noise
from inference.servers import rtsp, web
from pycocotools import mask as coco_mask

import stmask.loading
from stmask import cli, viz
from stmask.commands import predict as command
from stmask.errors import CheckpointError, ConfigError, DataError, OutputError
from stmask.inference.predict import DrawStyle, Selection, draw_tracked, predict_video
from stmask.inference.sinks import check_places
from stmask.inference.source import TimedFrame
from stmask.inference.streams import Patience
from stmask.inference.video import VideoReader, VideoWriter
from stmask.structures import CroppedMasks, DenseMasks, Instances, TrackedFrame

HEIGHT, WIDTH = 48, 64


class WhiteThings:
    """Stands in for a segmenter: reports the white pixels of each half of the frame; the right one is uncertain."""

    class_names = ("left thing", "right thing")
    model = SimpleNamespace(card=None)

    def __init__(self, scores: tuple[float, float] = (0.9, 0.2)) -> None:
        self.timings = {"network": 100.0}
        self.scores = torch.tensor(scores)
        self.resets = 0
        self._frames = 0

    def reset(self) -> None:
        self.resets += 1
        self._frames = 0

    def step(self, frame: np.ndarray) -> TrackedFrame:
        white = torch.from_numpy(frame).amin(dim=2) > 200
        left = torch.arange(frame.shape[1]) < frame.shape[1] // 2
        masks = torch.stack([white & left, white & ~left])
        present = masks.flatten(1).any(dim=1)
        n = int(present.sum())
        self.timings["network"] += 0.5
        self._frames += 1
        return TrackedFrame(
            frame_index=self._frames - 1,
            instances=Instances(
                boxes=torch.tensor([[0.0, 0.0, 0.5, 1.0], [0.5, 0.0, 1.0, 1.0]])[present],
                scores=self.scores[present],
                labels=torch.tensor([1, 2])[present],
                masks=DenseMasks(masks[present].float()),
            ),
            track_ids=torch.arange(2)[present],
            supplemented=torch.zeros(n, dtype=torch.bool),
        )


def scene(*, left: bool = False, right: bool = False) -> np.ndarray:
    frame = np.full((HEIGHT, WIDTH, 3), 60, dtype=np.uint8)
    if left:
        frame[10:30, 5:25] = 255
    if right:
        frame[20:40, 40:60] = 255
    return frame


# left alone, both, nothing, right alone
SCENES = [scene(left=True), scene(left=True, right=True), scene(), scene(right=True)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "frames"
    path.mkdir()
    for i, frame in enumerate(SCENES):
        cv2.imwrite(str(path / f"{i}.png"), frame)
    return path


def run(source: Path, **options: Any) -> Any:
    segmenter: Any = options.pop("segmenter", None) or WhiteThings()
    places = {"video": options.pop("output", source.parent / "out.mp4")}
    places["json"] = options.pop("results", source.parent / "out.json")
    options = {"select": Selection(min_score=0.1), **options}
    outputs = {name: place for name, place in places.items() if place is not None}
    return predict_video(segmenter, VideoReader(source), outputs=outputs, **options)


def test_results_hold_every_track_with_one_mask_or_null_per_frame(folder: Path) -> None:
    run(folder)
    tracks = json.loads((folder.parent / "out.json").read_text())
    assert [set(track) for track in tracks] == [{"video_id", "category_id", "track_id", "score", "segmentations"}] * 2
    assert [track["track_id"] for track in tracks] == [0, 1]
    assert [track["category_id"] for track in tracks] == [1, 2]
    assert [track["score"] for track in tracks] == pytest.approx([0.9, 0.2])
    present = [[rle is not None for rle in track["segmentations"]] for track in tracks]
    assert present == [[True, True, False, False], [False, True, False, True]]
    mask = coco_mask.decode(tracks[1]["segmentations"][3]).astype(bool)
    assert mask.shape == (HEIGHT, WIDTH)
    assert mask[20:40, 40:60].all()
    assert mask.sum() == 400


def test_category_ids_are_those_of_the_dataset(folder: Path) -> None:
    run(folder, category_ids=[7, 3])
    assert [track["category_id"] for track in json.loads((folder.parent / "out.json").read_text())] == [7, 3]


def test_the_video_shows_what_is_certain_enough(folder: Path) -> None:
    run(folder, fps=5.0, select=Selection(), style=DrawStyle(boxes=False, labels=False))
    assert len(json.loads((folder.parent / "out.json").read_text())) == 1
    reader = VideoReader(folder.parent / "out.mp4")
    frames = [frame.astype(int) for frame in reader]
    assert (reader.fps, len(frames)) == (5.0, 4)
    tint = np.array(viz.track_colour(0)) // 2 + 127
    assert np.abs(frames[0][20, 15] - tint).max() < 30
    assert np.abs(frames[2] - 60).max() < 10  # nothing there
    assert np.abs(frames[3][30, 50] - 255).max() < 20  # below min_score


def test_zoom_enlarges_the_picture_and_not_the_results(folder: Path) -> None:
    run(folder, style=DrawStyle(zoom=3))
    assert next(iter(VideoReader(folder.parent / "out.mp4"))).shape == (3 * HEIGHT, 3 * WIDTH, 3)
    track = json.loads((folder.parent / "out.json").read_text())[0]
    assert track["segmentations"][0]["size"] == [HEIGHT, WIDTH]


def test_the_best_score_is_drawn_on_top() -> None:
    segmenter: Any = WhiteThings(scores=(0.4, 0.8))
    tracked = segmenter.step(SCENES[1])
    everywhere = CroppedMasks.of(torch.ones(2, HEIGHT, WIDTH, dtype=torch.bool))
    style = DrawStyle(opacity=1.0, boxes=False, labels=False)
    drawn = draw_tracked(SCENES[1], tracked, masks=everywhere, style=style)
    assert tuple(drawn[24, 10]) == viz.track_colour(1)


@pytest.mark.parametrize("zoom", [1, 2])
def test_the_drawn_box_is_that_of_the_mask(zoom: int) -> None:
    segmenter: Any = WhiteThings()
    tracked, masks = segmenter.step(SCENES[0]).shown_at((HEIGHT, WIDTH))
    ((x1, y1, x2, y2),) = (masks.boxes() * zoom).tolist()
    drawn = draw_tracked(SCENES[0], tracked, masks=masks, style=DrawStyle(opacity=0.0, labels=False, zoom=zoom))
    edge = (drawn == viz.track_colour(0)).all(axis=2)
    assert edge[y1, x1:x2].all()
    assert edge[y1:y2, x2 - 1].all()
    assert edge.sum() == 2 * (x2 - x1 + y2 - y1) - 4


def test_either_file_may_be_left_out(folder: Path) -> None:
    summary = run(folder, output=None)
    assert "drawing" not in summary.seconds
    assert [p.name for p in sorted(folder.parent.iterdir())] == ["frames", "out.json"]
    run(folder, output=folder.parent / "b.mkv", results=None)
    assert [p.name for p in sorted(folder.parent.iterdir())] == ["b.mkv", "frames", "out.json"]


def test_the_summary_says_where_the_time_went(folder: Path) -> None:
    segmenter = WhiteThings()
    summary = run(folder, segmenter=segmenter)
    assert segmenter.resets == 1
    assert (summary.frames, summary.tracks) == (4, 2)
    assert list(summary.seconds) == ["decoding", "network", "masks", "writing", "drawing", "encoding"]
    assert summary.seconds["network"] == pytest.approx(2.0)  # what this run added
    assert all(seconds > 0 for seconds in summary.seconds.values())
    assert summary.frames_per_second == pytest.approx(4 / summary.wall_seconds)


def test_progress_is_told_after_each_frame(folder: Path) -> None:
    seen: list[int] = []
    run(folder, on_frame=lambda: seen.append(1))
    assert len(seen) == 4


def test_frames_are_not_kept(tmp_path: Path) -> None:
    alive: list[weakref.ref[np.ndarray]] = []
    most = 0

    class Endless:
        path, stem, fps, pixel_aspect, even, sound = tmp_path / "source", "source", 10.0, Fraction(1), True, None

        def frames(self) -> Iterator[TimedFrame]:
            nonlocal most
            for i in range(30):
                frame = SCENES[i % 4].copy()
                alive.append(weakref.ref(frame))
                most = max(most, sum(ref() is not None for ref in alive))
                yield TimedFrame(frame, i, Fraction(i, 10))
                del frame

    segmenter: Any = WhiteThings()
    source: Any = Endless()
    predict_video(segmenter, source, outputs={"video": tmp_path / "out.mp4", "json": tmp_path / "out.json"})
    gc.collect()
    assert most <= 9  # decoded, in the network, with their masks, drawn


# ---------------------------------------------------------------- what goes wrong


def test_a_frame_that_breaks_leaves_neither_file(folder: Path) -> None:
    (folder / "2.png").write_bytes(b"broken")
    with pytest.raises(DataError, match=r"2\.png"):
        run(folder)
    assert [p.name for p in folder.parent.iterdir()] == ["frames"]


def test_an_interrupted_run_leaves_older_files_alone(folder: Path) -> None:
    run(folder)
    before = {p.name: p.read_bytes() for p in folder.parent.iterdir() if p.is_file()}

    def interrupt() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(folder, on_frame=interrupt)
    assert {p.name: p.read_bytes() for p in folder.parent.iterdir() if p.is_file()} == before


def test_places_that_cannot_work_are_refused_before_the_work(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    segmenter = WhiteThings()
    for options in (
        {"output": tmp_path / "out.gif"},
        {"output": tmp_path / "same.mp4", "results": tmp_path / "same.mp4"},
        {"output": folder},
        {"results": tmp_path / "file" / "out.json"},
    ):
        with pytest.raises(OutputError):
            run(folder, segmenter=segmenter, **options)
    assert segmenter.timings["network"] == 100.0
    video = tmp_path / "out.mp4"
    run(folder)
    with pytest.raises(OutputError, match=r"out\.mp4 is named twice"):
        run(video, output=video, results=None)


@pytest.mark.parametrize(
    "content",
    [
        b'{"videos": [], "annotations": []}',
        b'[{"image_id": 1, "category_id": 1, "bbox": [0, 0, 1, 1], "score": 1.0}]',
        b'[{"video_id": 1, "category_id": 1, "iscrowd": 0, "segmentations": []}]',
        b"[1, 2]",
        b"\0\1",
        b"\xff\xfe[\0]\0",
    ],
)
def test_only_lists_of_tracks_are_written_over(folder: Path, content: bytes) -> None:
    (folder.parent / "out.json").write_bytes(content)
    with pytest.raises(OutputError, match=r"out\.json exists already and is not a list of predicted tracks"):
        run(folder)
    assert (folder.parent / "out.json").read_bytes() == content
    assert sorted(p.name for p in folder.parent.iterdir()) == ["frames", "out.json"]


def test_only_videos_of_ours_are_written_over(folder: Path) -> None:
    out = folder.parent / "out.mp4"
    for suffix in (".mp4", ".mkv", ".mov", ".avi"):  # again and again: its own, and empty ones
        (folder.parent / f"own{suffix}").touch()
        for _ in range(2):
            run(folder, output=folder.parent / f"own{suffix}")
    with av.open(str(out), "w") as container:
        stream = container.add_stream("libx264", rate=5)
        stream.height, stream.width, stream.pix_fmt = HEIGHT, WIDTH, "yuv420p"
        container.mux(stream.encode(av.VideoFrame.from_ndarray(SCENES[0], format="rgb24")))
        container.mux(stream.encode(None))
    for content in (out.read_bytes(), b"a letter"):
        out.write_bytes(content)
        with pytest.raises(OutputError, match=r"out\.mp4 exists already and is not a video of stmask's"):
            run(folder)
        assert out.read_bytes() == content


def test_the_source_is_not_written_over_under_another_name(folder: Path) -> None:
    source = folder.parent / "film.mp4"
    run(folder, output=source, results=None)
    before = source.read_bytes()
    (folder.parent / "soft.mp4").symlink_to(source)
    (folder.parent / "hard.mp4").hardlink_to(source)
    for name in ("soft.mp4", "hard.mp4"):
        with pytest.raises(OutputError, match=rf"{name} is named twice"):
            run(source, output=folder.parent / name, results=None)
    assert source.read_bytes() == before


def test_a_model_need_not_know_the_names_of_its_classes(folder: Path) -> None:
    segmenter = WhiteThings()
    segmenter.class_names = ()  # type: ignore[assignment]
    run(folder, segmenter=segmenter)
    assert [track["category_id"] for track in json.loads((folder.parent / "out.json").read_text())] == [1, 2]
    with pytest.raises(ValueError, match="2 classes need as many category_ids, got 1"):
        run(folder, category_ids=[7])


def test_pixels_keep_their_shape(folder: Path) -> None:
    source = folder.parent / "wide.mp4"
    with VideoWriter(source, fps=5, size=(HEIGHT, WIDTH), pixel_aspect=Fraction(4, 3)) as writer:
        writer.write(SCENES[0])
    run(source)
    assert VideoReader(folder.parent / "out.mp4").pixel_aspect == Fraction(4, 3)


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("folder.mp4", "not a file but a folder"),
        ("pipe.mp4", "not a file but a folder or a device"),
        ("link.mp4", "is a link, which a file would take the place of"),
        ("loop.mp4", "Too many levels"),
        ("letter.txt/sub/out.mp4", "Not a directory"),
        ("x" * 260 + ".mp4", "File name too long"),
        ("nul\0.mp4", "null"),
    ],
)
def test_places_where_nothing_can_be_written(tmp_path: Path, place: str, message: str) -> None:
    (tmp_path / "folder.mp4").mkdir()
    os.mkfifo(tmp_path / "pipe.mp4")
    (tmp_path / "link.mp4").symlink_to("elsewhere/out.mp4")
    (tmp_path / "loop.mp4").symlink_to("loop.mp4")
    (tmp_path / "letter.txt").touch()
    for name in ("video", "json"):
        with pytest.raises(OutputError, match=message):
            check_places([tmp_path], [{name: tmp_path / place}])


@pytest.mark.parametrize("values", [{"zoom": 0}, {"opacity": 1.5}])
def test_bad_styles_are_refused(values: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="zoom"):
        DrawStyle(**values)


# ---------------------------------------------------------------- the command


@pytest.fixture
def checkpoint(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Any checkpoint gives the segmenter above; what it was loaded with is recorded."""
    loaded: dict[str, Any] = {}

    def load(path: str, **options: Any) -> WhiteThings:
        if not path.endswith(".ckpt"):
            raise CheckpointError(f"{path} is not a checkpoint")
        loaded.update(options, path=path)
        return WhiteThings()

    importlib.import_module("stmask.engine.evaluate")  # imported below, it would keep the stand-in
    monkeypatch.setattr("stmask.loading.load_segmenter", load)
    return loaded


def test_command_draws_writes_results_and_reports(
    folder: Path, checkpoint: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    out = folder.parent / "sub" / "out.mp4"
    overrides = [
        "checkpoint=best.ckpt",
        f"output={out}",
        "device=cpu",
        "model.tracker.max_age=3",
        "draw.zoom=2",
        "fps=4",
    ]
    assert command.main([str(folder), *overrides]) == 0
    assert checkpoint["model"] == {"tracker": {"max_age": 3}}
    assert VideoReader(out).fps == 4
    assert len(json.loads(out.with_suffix(".json").read_text())) == 1
    printed = capsys.readouterr().out
    for word in ("decoding", "network", "masks", "drawing", "encoding", "frames/s", str(out)):
        assert word in printed.replace("\n", "")


def test_command_takes_a_source_with_an_equals_sign(folder: Path, checkpoint: dict[str, Any]) -> None:
    odd = folder.rename(folder.parent / "a=b, c")
    assert command.main([str(odd), "checkpoint=a.ckpt", "format=json", f"output={folder.parent}/r.json"]) == 0
    assert (folder.parent / "r.json").is_file()


def test_command_takes_any_name_of_a_source(
    folder: Path, checkpoint: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder.parent)
    for name in ("~", "fps=2", "a b", "tasse à café", "c:d", "-clip"):
        folder = folder.rename(folder.parent / name)
        for source in (name, f"source={name}", f"./{name}"):
            assert command._split(["fps=3", source]) == ([source.removeprefix("source=")], ["fps=3"])
    assert command.main(["-clip", "checkpoint=a.ckpt", "format=json", "output=r.json"]) == 0


def test_command_knows_the_home_folder(
    folder: Path, checkpoint: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(folder.parent))
    out = f"output={folder.parent}/r.json"
    assert command.main(["~/frames", "checkpoint=a.ckpt", "format=json", out]) == 0


@pytest.mark.parametrize("word", ["{}", "source={}", "sourc={}", "+x={}", "{} {}", "output={}", "fps={}"])
def test_command_shows_no_password(
    word: str, folder: Path, checkpoint: dict[str, Any], capfd: pytest.CaptureFixture[str]
) -> None:
    query = "?x=secret" if word in ("{}", "source={}", "{} {}") else ""
    address = f"rtsp://me:secret@127.0.0.1:9/live{query}"
    words = word.format(address, address).split(" ")
    assert cli.main(["predict", *words, "checkpoint=a.ckpt", f"output={folder.parent}/new/"]) == 2
    printed = "".join(capfd.readouterr())
    assert "stmask: error: " in printed
    assert "secret" not in printed


def test_several_videos_are_written_to_a_folder(
    folder: Path, checkpoint: dict[str, Any], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clips, out = folder.parent / "clips", folder.parent / "new" / "out"
    for name in ("b.mp4", "a.mkv"):
        run(folder, output=clips / name, results=None)
    loads: list[str] = []
    load = stmask.loading.load_segmenter
    monkeypatch.setattr("stmask.loading.load_segmenter", lambda path, **more: loads.append(path) or load(path, **more))
    words = [str(clips), str(folder), "checkpoint=best.ckpt", "format=[video,csv]", "start=1f", "stride=2"]
    assert command.main([*words, f"output={out}"]) == 0
    assert loads == ["best.ckpt"]
    names = {f"{stem}{suffix}" for stem in ("a", "b", "frames") for suffix in (".mp4", ".csv")}
    assert {path.name for path in out.iterdir()} == names
    assert all(len(list(VideoReader(out / f"{stem}.mp4"))) == 2 for stem in ("a", "b", "frames"))
    printed = capsys.readouterr().out
    assert "1 of 3: a.mkv: 2 frames, " in printed
    assert "written: 3 of 3 videos" in printed
    assert command.main([str(clips / "a.mkv"), "checkpoint=b.ckpt", "format=csv", f"output={folder.parent}/one/"]) == 0
    assert (folder.parent / "one" / "a.csv").is_file()


def test_a_broken_video_does_not_lose_the_others(
    folder: Path, checkpoint: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    clips, out = folder.parent / "clips", folder.parent / "out"
    for name in ("a.mp4", "c.mp4"):
        run(folder, output=clips / name, results=None)
    (clips / "b.mp4").write_text("#EXTM3U\n")
    (folder.parent / "list.txt").write_text("missing.mp4\nclips\n")
    assert cli.main(["predict", f"{folder.parent}/list.txt", "checkpoint=a.ckpt", "format=csv", f"output={out}"]) == 2
    assert {path.name for path in out.iterdir()} == {"a.csv", "c.csv"}
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert last.startswith("stmask: error: 2 of 4 videos could not be read to their end: no such video")
    assert "b.mp4 as a video: it is a playlist" in last


def test_videos_of_one_name_are_refused_before_the_work(folder: Path, checkpoint: dict[str, Any]) -> None:
    for name in ("x/a.mp4", "y/A.mov"):
        run(folder, output=folder.parent / name, results=None)
    out = folder.parent / "out"
    with pytest.raises(OutputError, match=r"a\.mp4 and .*A\.mov would both be written to .*out/A: rename one"):
        command.main([f"{folder.parent}/?/*", "checkpoint=a.ckpt", f"output={out}"])
    with pytest.raises(OutputError, match="is named twice"):
        command.main([f"{folder.parent}/x", str(folder), "checkpoint=a.ckpt", f"output={folder.parent}/x"])
    assert not out.exists()
    assert checkpoint == {}


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_what_is_written_until_an_interruption_is_whole(
    folder: Path,
    checkpoint: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    number: int,
    status: int,
) -> None:
    before = signal.getsignal(number)
    step = WhiteThings.step

    def interrupt(self: WhiteThings, frame: np.ndarray) -> TrackedFrame:
        if self._frames == 1:
            os.kill(os.getpid(), number)
        return step(self, frame)

    monkeypatch.setattr(WhiteThings, "step", interrupt)
    for k in range(4, 40):
        cv2.imwrite(str(folder / f"{k}.png"), SCENES[1])
    out = folder.parent / "out"
    other = folder.rename(folder.parent / "a")
    folder.mkdir()
    cv2.imwrite(str(folder / "0.png"), SCENES[0])
    words = ["predict", str(other), str(folder), "checkpoint=a.ckpt", f"output={out}"]
    assert cli.main(words) == status
    assert signal.getsignal(number) is before
    assert sorted(path.name for path in out.iterdir()) == ["a.json", "a.mp4"]
    frames = len(list(VideoReader(out / "a.mp4")))
    assert 2 <= frames < 10
    tracks = json.loads((out / "a.json").read_text())
    assert {len(track["segmentations"]) for track in tracks} == {frames}
    printed = capsys.readouterr()
    assert printed.err.endswith("stmask: interrupted\n")
    assert "written: 1 of 2 videos" in printed.out


def test_a_camera_is_recorded_until_ctrl_c(
    folder: Path, checkpoint: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    step = WhiteThings.step

    def interrupt(self: WhiteThings, frame: np.ndarray) -> TrackedFrame:
        if self._frames == 5:
            os.kill(os.getpid(), signal.SIGINT)
        return step(self, frame)

    monkeypatch.setattr(WhiteThings, "step", interrupt)
    film = noise(folder.parent / "film.mp4", 10)
    with rtsp(film, None) as (host, _):
        address = f"rtsp://me:secret@{host}/live?token=secret"
        words = ["predict", address, "checkpoint=a.ckpt", "format=[video,jsonl]", f"output={folder.parent}/out/"]
        assert cli.main(words) == 0
    written = list((folder.parent / "out").iterdir())
    assert {path.suffix for path in written} == {".mp4", ".jsonl"}
    assert all("secret" not in path.name and b"secret" not in path.read_bytes() for path in written)
    assert len(list(VideoReader(next(path for path in written if path.suffix == ".mp4")))) >= 6


def test_a_video_at_an_address_that_breaks_off(
    folder: Path, checkpoint: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("stmask.inference.streams.Patience", partial(Patience, 0.4, (0.01, 0.01)))
    film = noise(folder.parent / "film.mp4", 30)
    with web(film.read_bytes(), "cut") as (host, _):
        words = ["predict", f"http://me:secret@{host}/film.mp4", "checkpoint=a.ckpt", f"output={folder.parent}/out.mp4"]
        assert cli.main(words) == 2
    assert 10 < len(list(VideoReader(folder.parent / "out.mp4"))) < 30
    printed = capsys.readouterr()
    assert "opened again in vain 2 times; what came until then is written" in printed.err
    assert "secret" not in printed.err + printed.out


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ("{folder} checkpoint=a.ckpt output={out} fps=nan", ConfigError, "fps must be a finite number, got nan"),
        ("{folder} checkpoint=a.txt output={out} device=mps", ConfigError, "device must be auto, cpu.*'mps'"),
        ("{folder} checkpoint=a.txt output={out} device=null", ConfigError, "device must be str, got None"),
        ("my/clip=2.mp4 checkpoint=a.ckpt output={out}", DataError, "no such video or folder of frames: my/clip=2.mp4"),
        ("-clip.mp4 checkpoint=a.ckpt output={out}", ConfigError, "no option -clip.mp4.*./-clip.mp4"),
        ("{folder}/.. checkpoint=a.ckpt output={out}", DataError, "in the folder frames in it: give that one"),
        ("{folder} output={out}", ConfigError, "checkpoint"),
        ("{folder} checkpoint=a.ckpt", ConfigError, "output"),
        ("checkpoint=a.ckpt output={out}", ConfigError, "no video to segment"),
        ("{folder} {folder} checkpoint=a.ckpt output={out}", ConfigError, "2 videos are written to a folder"),
        ("{folder} {folder} checkpoint=a.ckpt output={folder}/..", OutputError, "frames .*both be written to .*frames"),
        ("{folder} checkpoint=a.ckpt output={out} start=5", ConfigError, "start=5s for seconds or start=5f for frames"),
        ("{folder} checkpoint=a.ckpt output={out} end=1:30", ConfigError, "images have no times"),
        ("{folder} checkpoint=a.ckpt output={out} stride=0", ConfigError, "stride"),
        ("{folder} checkpoint=a.ckpt output={out} max_frames=0", ConfigError, "max_frames"),
        (
            "{folder} checkpoint=a.ckpt output={out} start=9f",
            DataError,
            "has 4 frames: none of them is chosen by start=9f",
        ),
        ("{folder}/*.mp4 checkpoint=a.ckpt output={out}", DataError, "nothing matches .*mp4"),
        ("97 checkpoint=a.ckpt output={out}", DataError, "cannot read camera 97: /dev/video97: No such file"),
        ("udp://me@host checkpoint=a.ckpt output={out}", DataError, "udp: such addresses can't be read"),
        ("{folder} checkpoint=a.ckpt output={out} format=[]", ConfigError, "format: nothing to write"),
        ("{folder} checkpoint=a.ckpt output={out} draw.colour=red", ConfigError, r"draw\.colour"),
        ("{folder} checkpoint=a.ckpt output={out} +colour=red", ConfigError, "colour"),
        ("{folder} checkpoint=a.ckpt output={out} draw.zoom=0", ConfigError, "zoom"),
        ("{folder} checkpoint=a.ckpt output={out} draw.zoom=big", ConfigError, r"draw\.zoom"),
        ("{folder} checkpoint=a.ckpt output={out} fps=0", ConfigError, "fps"),
        ("{folder} checkpoint=a.ckpt output={out} --multirun", ConfigError, "--multirun"),
        ("{folder} checkpoint=a.ckpt output=out.gif", OutputError, r"out\.gif"),
        ("{folder}/no.mp4 checkpoint=a.ckpt output={out}", DataError, r"no\.mp4"),
        ("{folder} checkpoint=a.txt output={out}", CheckpointError, r"a\.txt"),
    ],
)
def test_command_names_what_is_wrong(
    arguments: str, error: type[Exception], message: str, folder: Path, checkpoint: dict[str, Any]
) -> None:
    out = folder.parent / "out.mp4"
    with pytest.raises(error, match=message):
        command.main(arguments.format(folder=folder, out=out).split(" "))
    assert [p.name for p in folder.parent.iterdir()] == ["frames"]


def test_command_shows_its_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["--help"]) == 0
    assert "stmask predict SOURCE" in capsys.readouterr().out
