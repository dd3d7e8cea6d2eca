import errno
import os
import re
import signal
from collections import Counter
from itertools import chain

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from data.makers import contents, write_dataset
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import OmegaConf

from stmask.cli import main
from stmask.config import compose as composed
from stmask.data import Augmentation, ImageDataModule, VISDataModule, loading
from stmask.data.keywords import takes
from stmask.data.loading import EpochSampler, PairLoader, VideoSampler, start_worker
from stmask.data.parts import Splits
from stmask.errors import ConfigError, DataError
from stmask.ops.frames import FramePreprocessor
from stmask.signatures import check_arguments

SMALL = FramePreprocessor(height=24, width=32)


def make(root, **how):
    if not root.exists():
        write_dataset(root, contents(videos=3))
        write_dataset(root, contents(videos=5), split="valid")
    return VISDataModule(root=str(root), preprocessor=SMALL, **({"num_workers": 0, "batch_size": 4} | how))


def signature(batch):
    return [(int(v), *t) for v, t in zip(batch.video_ids, batch.frame_indices.tolist(), strict=True)]


class Recorder(pl.LightningModule):
    """Notes the batches it is given."""

    def __init__(self, stop_after=None):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.seen, self.videos, self.stop_after = [], [], stop_after

    def training_step(self, batch, _):
        self.seen.append((self.current_epoch, signature(batch)))
        return self.weight * batch.frames.mean()

    def validation_step(self, video, _):
        self.videos.append((video.video_id, sum(1 for _ in video)))

    def on_train_batch_end(self, *_):
        if len(self.seen) == self.stop_after:
            self.trainer.save_checkpoint(f"{self.trainer.default_root_dir}/mid.ckpt")
            raise InterruptedError

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


def fit(tmp_path, data, module, **how):
    trainer = pl.Trainer(
        accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False, max_epochs=3,
        enable_checkpointing=False, default_root_dir=tmp_path, num_sanity_val_steps=0,
    )  # fmt: skip
    trainer.fit(module, datamodule=data, **how)


def test_through_the_trainer(tmp_path):
    module = Recorder()
    fit(tmp_path, make(tmp_path / "d"), module)
    assert [epoch for epoch, _ in module.seen] == [0] * 5 + [1] * 5 + [2] * 5  # 18 frames: 5 whole batches
    stream = [pair[:2] for _, batch in module.seen for pair in batch]
    for lap in range(3):
        assert len(set(stream[18 * lap : 18 * (lap + 1)])) == 18
    assert module.videos == [(i, 6) for i in range(1, 6)] * 3


@pytest.mark.parametrize(("num_workers", "stop_after"), [(0, 7), (2, 7), (0, 5), (0, 6)])  # an epoch has 5 batches
def test_an_interrupted_epoch_goes_on_where_it_stopped(tmp_path, num_workers, stop_after):
    whole, first, rest = Recorder(), Recorder(stop_after=stop_after), Recorder()
    fit(tmp_path, make(tmp_path / "d", valid=None), whole)
    with pytest.raises(InterruptedError):
        fit(tmp_path, make(tmp_path / "d", valid=None, num_workers=num_workers), first)
    resumed = make(tmp_path / "d", valid=None, num_workers=num_workers)
    fit(tmp_path, resumed, rest, ckpt_path=tmp_path / "mid.ckpt")
    assert first.seen + rest.seen == whole.seen


def test_workers_do_not_change_a_batch(tmp_path):
    how = {"augmentation": Augmentation(colour=1.0)}
    alone = make(tmp_path / "d", **how).train_dataloader()
    helped = make(tmp_path / "d", **how, num_workers=2).train_dataloader()
    for _ in range(2):  # the second pass is the second epoch
        for a, b in zip(alone, helped, strict=True):
            assert torch.equal(a.frames, b.frames)
            assert signature(a) == signature(b)
    assert alone.state_dict() == helped.state_dict() == {"epoch": 1, "handed_out": 20}


@pytest.mark.parametrize("num_workers", [0, 1])
def test_an_unreadable_frame_is_named_in_one_line(tmp_path, num_workers):
    data = make(tmp_path / "d", num_workers=num_workers)
    missing = data.train_dataset.frame_path(1, 2)
    missing.unlink()
    with pytest.raises(DataError) as caught:
        list(data.train_dataloader())
    assert str(caught.value) == f"no such frame: {missing}; data.on_error=skip goes on without it"


def test_samples_per_epoch_in_whole_batches(tmp_path):
    loader = make(tmp_path / "d", samples_per_epoch=9).train_dataloader()
    assert len(loader) == 3
    assert [len(batch) for batch in loader] == [4, 4, 4]


@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_ranks_share_an_epoch_without_repeating(tmp_path, world_size):
    pairs = make(tmp_path / "d", batch_size=6).train_samples()
    samplers = [EpochSampler(pairs, rank=r, world_size=world_size) for r in range(world_size)]
    given = [list(sampler) for sampler in samplers]
    assert all(len(keys) == len(sampler) for keys, sampler in zip(given, samplers, strict=True))
    assert sorted(chain(*given)) == [(0, i) for i in range(18)]


def test_ranks_that_would_get_out_of_step_are_refused(tmp_path):
    with pytest.raises(ValueError, match="18 samples cannot be shared equally by 4"):
        EpochSampler(make(tmp_path / "d", batch_size=6).train_samples(), world_size=4)


@pytest.mark.parametrize("world_size", [1, 2, 4, 7])
def test_each_video_is_on_one_rank(world_size):
    videos = list(range(5))
    samplers = [VideoSampler(videos, rank=r, world_size=world_size) for r in range(world_size)]
    shards = [list(sampler) for sampler in samplers]
    assert Counter(video for video in chain(*shards) if video is not None) == dict.fromkeys(videos, 1)
    assert all(shard == [None] or None not in shard for shard in shards)  # none is empty: all ranks validate together
    assert [len(sampler) for sampler in samplers] == [len(shard) for shard in shards]


def test_videos_are_whole_and_lazy(tmp_path):
    data = make(tmp_path / "d")
    data.setup("validate")
    videos = list(data.val_dataloader())
    assert [video.video_id for video in videos] == [1, 2, 3, 4, 5]
    video = videos[2]
    assert (len(video), video.size) == (6, (48, 64))
    frames = list(video)
    assert all(np.array_equal(f, data.valid_dataset.read_frame(2, t)) for t, f in enumerate(frames))
    assert len(list(video)) == 6  # a second time
    next(iter(video))  # and only in part


def test_an_unreadable_frame_of_a_video_is_named(tmp_path):
    data = make(tmp_path / "d")
    data.valid_dataset.frame_path(0, 4).unlink()
    with pytest.raises(DataError, match=r"v1/00004\.jpg"):
        list(next(iter(data.val_dataloader())))


def test_names_and_ids(tmp_path):
    data = make(tmp_path / "d")
    assert data.class_names == ("square", "bar")
    assert data.splits.valid_category_ids == (7, 3)
    assert make(tmp_path / "d", train=None).class_names == ("square", "bar")


def test_splits_must_agree_in_their_classes(tmp_path):
    data = make(tmp_path / "d")
    other = contents()
    other["categories"].append({"id": 9, "name": "disc"})
    write_dataset(tmp_path / "d", other, split="valid")
    with pytest.raises(DataError, match="do not have the same categories"):
        data.setup("fit")


def test_classes_are_told_apart_by_name(tmp_path):
    document = contents()
    for category in document["categories"]:
        category["name"] = "bar"
    write_dataset(tmp_path / "d", document)
    for valid in (None, "train"):
        with pytest.raises(DataError, match="the categories 7 and 3 are both called 'bar'"):
            VISDataModule(root=str(tmp_path / "d"), valid=valid, preprocessor=SMALL).setup("fit")


def test_splits_that_were_left_out(tmp_path):
    data = make(tmp_path / "d", valid=None)
    data.setup("fit")
    assert data.val_dataloader() == []
    with pytest.raises(ConfigError, match=r"data\.valid is null"):
        data.setup("validate")
    with pytest.raises(ConfigError, match=r"data\.train is null"):
        make(tmp_path / "d", train=None).setup("fit")


NAMES = ["synthetic", "ytvis2019", "ytvis2021", "ovis", "coco", "custom", "ytvis2019_coco"]


@pytest.mark.parametrize("name", NAMES)
def test_configurations_make_a_module(pytestconfig, name):
    with initialize_config_dir(str(pytestconfig.rootpath / "conf"), version_base="1.3"):
        config = compose("train", [f"data={name}", "data.root=/nowhere"]).data
        keys = set(compose("train", ["data=custom"]).data)
    assert set(config) == keys
    data = instantiate(config, _convert_="object")
    assert isinstance(data, VISDataModule)
    assert len(data.clips.mix or ()) == (name == "ytvis2019_coco")
    with pytest.raises(DataError, match="/nowhere"):
        data.setup("fit")


@pytest.mark.parametrize(
    "wrong",
    [{"gap": 0}, {"samples_per_epoch": 0}, {"prefetch": 0}, {"batch_size": 0}, {"repeat": 0}, {"num_workers": -1}],
)
def test_wrong_numbers_are_refused_before_anything_is_opened(wrong):
    with pytest.raises(ValueError, match=f"data.{next(iter(wrong))} must be an integer of at least"):
        VISDataModule(root="/nowhere", **wrong)


def test_keywords_are_those_of_the_parts():
    with pytest.raises(TypeError, match="unexpected keyword argument 'gop'"):
        VISDataModule(root="/nowhere", gop=3)
    with pytest.raises(TypeError, match="unexpected keyword argument 'gap'"):
        ImageDataModule(root="/nowhere", gap=3)
    with pytest.raises(ConfigError, match="data.batch_size must be int, got '4'"):
        check_arguments(VISDataModule, {"batch_size": "4"}, key="data")
    with pytest.raises(ValueError, match="duplicate parameter name"):
        takes(Splits, Splits)(VISDataModule.__init__)


def test_a_dataset_is_a_file_of_a_few_lines(pytestconfig):
    """Its folder, where the names of its splits are others, those; coco alone has more to say."""
    files = sorted((pytestconfig.rootpath / "conf/data").glob("*.yaml"))
    lines = {file.stem: sum(not line.startswith("#") for line in file.read_text().splitlines()) for file in files}
    assert all(lines[name] <= 4 for name in ("custom", "ovis", "synthetic", "ytvis2019", "ytvis2021"))


def test_a_dataset_of_ones_own_is_a_file_of_two_lines(tmp_path, capsys):
    (tmp_path / "data").mkdir()
    (tmp_path / "data/mine.yaml").write_text("defaults: [base]\nroot: /data/mine\n")
    assert main(["train", "--config-dir", str(tmp_path), "data=mine", "data.gap=3", "--cfg", "job"]) == 0
    mine = OmegaConf.create(capsys.readouterr().out)
    same = composed("train", ["data=custom", "data.root=/data/mine", "data.gap=3"])
    assert mine.data == same.data


# --- workers that cannot pass on what they have, or hang


class Unsendable:
    """A sample whose passing on fails as the error says."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def __reduce__(self):
        raise self.error


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (RuntimeError("unable to allocate shared memory(shm) for file </torch_1>: No space"), "no room in /dev/shm"),
        (OSError(errno.ENOSPC, "No space left on device"), "no room in /dev/shm.*data.num_workers=0.*--shm-size"),
        (OSError(errno.EMFILE, "Too many open files"), "too many open files .*ulimit -n"),
        (TypeError("cannot pickle\n this"), r"cannot be passed on to the training \(cannot pickle this\): .*workers=0"),
    ],
)
def test_what_a_worker_cannot_pass_on_is_told(error, said):
    explained = loading._unsent(error)
    assert re.search(said, str(explained))
    assert "\n" not in str(explained)


def test_what_a_worker_cannot_pass_on_is_not_waited_for():
    samples = [Unsendable(RuntimeError("unable to allocate shared memory(shm) for file </torch_1>: No space"))]
    loader = PairLoader(samples, collate_fn=list, num_workers=1, worker_init_fn=start_worker, timeout=20)
    with pytest.raises(ConfigError, match="^no room in /dev/shm.*[^\n]$"):
        next(iter(loader))


def test_workers_that_hang_are_told_of_and_given_up(caplog):
    def wait():
        raise RuntimeError("DataLoader timed out after 20 seconds")  # torch's words

    loader, batches = PairLoader([0], num_workers=1, timeout=20), iter(wait, None)
    with pytest.raises(DataError, match=r"no batch for 10 minutes: .*num_workers=1\) hang; .*resume=auto"):
        loader._next(batches)
    assert [record.getMessage() for record in caplog.records] == [
        "no batch for 60 s: data.num_workers=1 wait for the disk, or hang"
    ]


def test_a_worker_that_hangs_does_not_outlive_its_loader(monkeypatch):
    loader = PairLoader([0, 1], num_workers=1, persistent_workers=True, timeout=20)
    assert len(list(loader)) == 2
    (worker,) = loader._iterator._workers
    os.kill(worker.pid, signal.SIGSTOP)
    monkeypatch.setattr(torch.utils.data._utils, "MP_STATUS_CHECK_INTERVAL", 0.05)  # seconds that torch gives it
    loader.close()
    worker.join(timeout=20)
    assert worker.exitcode == -9
