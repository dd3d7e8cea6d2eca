from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import hydra
import pytest
from hydra.core.global_hydra import GlobalHydra
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from stmask.config import check_config, compose, conf_dir, explain, plain, run_hydra_app, without_config_dir
from stmask.config_check import check_targets
from stmask.errors import ConfigError, DataError

CONF = conf_dir()
NOT_GROUPS = {"hydra"}
EXPERIMENTS = sorted(
    path.relative_to(CONF / "experiment").with_suffix("").as_posix() for path in (CONF / "experiment").rglob("*.yaml")
)


def options() -> list[str]:
    """GROUP=OPTION for every file of every group that conf/train.yaml may choose from."""
    files = (path.relative_to(CONF) for path in sorted(CONF.rglob("*.yaml")) if path.parent != CONF)
    return [
        f"{file.parent.as_posix()}={file.stem}"
        for file in files
        if file.parts[0] not in {*NOT_GROUPS, "experiment"} and file.parent.name != "of_model"  # recipes choose these
    ]


# --- what this repository ships


@pytest.mark.parametrize("override", options())
def test_every_option_composes_and_fits_its_constructor(override: str) -> None:
    cfg = compose("train", [override])
    assert set(cfg) >= {"model", "data", "optimizer", "scheduler", "trainer", "logger"}


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment_builds_its_optimizer_and_scheduler(name: str) -> None:
    import torch

    cfg = compose("train", [f"experiment={name}"])
    OmegaConf.to_container(cfg, resolve=True)
    optimizer = instantiate(cfg.optimizer, _convert_="object")([torch.nn.Parameter(torch.zeros(1))])
    scheduler = instantiate(cfg.scheduler, _convert_="object")(optimizer)
    optimizer.step()
    scheduler.step()
    assert optimizer.param_groups[0]["lr"] >= 0


def test_evaluation_composes_and_asks_for_its_checkpoint() -> None:
    assert compose("evaluate", ["checkpoint=best.ckpt", "seed=4"]).seed == 4
    with pytest.raises(ConfigError, match="checkpoint has no value; give it as checkpoint=VALUE"):
        compose("evaluate")


def test_composing_leaves_a_running_application_alone() -> None:
    with hydra.initialize(version_base="1.3"):
        outer = GlobalHydra.instance().hydra
        compose("train", ["seed=3"])
        assert GlobalHydra.instance().hydra is outer is not None


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["model.hed.kernels=[[3,3]]"], "unknown key 'model.hed'; did you mean 'model.head'?"),
        (["model.head.kernals=[[3,3]]"], "unknown key 'model.head.kernals'; did you mean 'model.head.kernels'?"),
        (["+model.head.kernals=[[3,3]]"], "unknown key 'model.head.kernals'; did you mean 'model.head.kernels'?"),
        (["modle.channels=3"], "unknown key 'modle'; did you mean 'model'?"),
        (["model.temporal.qqqq=3"], "unknown key 'model.temporal.qqqq'; model.temporal takes: backend, "),
        (
            ["model/temporal=none", "model.temporal.size=3"],
            "model.temporal must be TemporalFactory or null, got {'size': 3}; it has no key 'size' here",
        ),
        (["seed.x=3"], "seed must be int, got {'x': 3}; it has no key 'x' here"),
        (["sed=3"], "unknown key 'sed'; did you mean 'seed'?"),
        (["+sed=3"], "unknown key 'sed'; did you mean 'seed'?"),
        (["trainer={a: 1}"], "trainer has keys of its own: give trainer=OPTION, or trainer.KEY=VALUE for one of them"),
        (["trainer.max_steps=0"], "trainer.max_steps must be at least 1, or -1, got 0"),
        (["scheduler=warmup_cosine", "trainer.max_steps=null"], "trainer.max_steps must be int, got None"),
        (["data.root="], "data.root is an empty path: leave it out, or give data.root=PATH"),
        (["init_from=''"], "init_from is an empty path"),
        (["data.num_workers=9999"], "data.num_workers must be at least 0 and at most 512, got 9999"),
        (["model/head/aling=ada"], "unknown key 'model/head/aling'; did you mean 'model/head/align'?"),
        (["model/head/align=adda"], "no option 'adda' in group 'model/head/align'; did you mean 'ada'?"),
        (
            ["model/head/align=x"],
            "no option 'x' in group 'model/head/align'; there are: ada, ada_class, ada_class_mask, ada_zero, ali, ",
        ),
        (["experiment=table4"], "experiment=table4 is a folder; for all in it: -m 'experiment=glob(table4/*)'"),
        (["experiment=nothing"], "no option 'nothing' in group 'experiment'; there are: "),
        (["experiment=coco/r50dcn_fac"], "no option 'coco/r50dcn_fac' in group 'experiment'; did you mean 'coco/"),
        (["experiment=tabel4/t4_fca"], "no option 'tabel4/t4_fca' in group 'experiment'; did you mean 'table4/"),
        (["experiment=r50dcn_plain"], "no option 'r50dcn_plain' in group 'experiment'; did you mean 'coco/"),
        (["seed=abc"], "seed must be int, got 'abc'"),
        (["tags=paper"], "tags must be list[str], got 'paper'; as a list: tags=[paper]"),
        (["model.channels=many"], "model.channels must be int, got 'many'"),
        (["optimizer.lr=fast"], "optimizer.lr must be float or Tensor, got 'fast'"),
        (["trainer.precision=15"], "trainer.precision must be 64 or 32 or 16 or "),
        (["naïve=3"], "cannot read the override 'naïve=3': 'naïve' is not a key"),
        (["=3"], "cannot read the override '=3': '' is not a key"),
        (["seed"], "cannot read 'seed'; overrides have the form KEY=VALUE, GROUP=OPTION or ~KEY"),
        (["optimizer=null"], "no option 'null' in group 'optimizer'; there are: adamw, sgd"),
        (["name=${nope}"], "name: Interpolation key 'nope' not found"),
        (["+seed=3"], "Could not append to config. An item is already at 'seed'."),
        (["optimizer._target_=torch.optim.SGDD"], "optimizer._target_: cannot import 'torch.optim.SGDD'"),
        (["seed=???"], "seed has no value; give it as seed=VALUE"),
    ],
)
def test_errors_name_the_key_and_the_way_out(overrides: list[str], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        compose("train", overrides)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_what_a_constructor_takes_can_be_given() -> None:
    """Whether our configuration has it or not; with a plus, as of old, too."""
    for plus in ("", "+", "++"):
        cfg = compose("train", [f"{plus}trainer.min_steps=3", f"{plus}data.preprocessor.mean=[1,2,3]"])
        assert (cfg.trainer.min_steps, cfg.data.preprocessor.mean) == (3, [1, 2, 3])


def test_a_folder_without_configurations_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("STMASK_CONF", str(tmp_path))
    with pytest.raises(ConfigError, match=rf"no configurations \(train.yaml\) in {tmp_path}"):
        conf_dir()


# --- targets against signatures


class Point:
    def __init__(
        self,
        x: int,
        y: float = 0.0,
        *,
        name: str | None = None,
        kind: Literal["a", "b"] = "a",
        sizes: Sequence[tuple[int, int]] = (),
        inner: Point | None = None,
        extra: dict[str, Any] | None = None,
    ) -> None:
        if x < 0:
            raise ValueError(f"x must not be negative, got {x}")


def open_ended(width: int, **rest: Any) -> None:
    pass


POINT = f"{__name__}.Point"


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"x": 1, "y": 2, "name": None, "kind": "b", "sizes": [[3, 3], [3, 5]], "extra": {"any": [1]}},
        {"_partial_": True, "_convert_": "object"},
        {"inner": {"_target_": POINT, "x": 1}},
        {"x": "${other}"},
    ],
)
def test_right_arguments_pass(arguments: dict[str, Any]) -> None:
    check_targets(plain(OmegaConf.create({"other": 3, "point": {"_target_": POINT, **arguments}})))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"width": 1}, "unknown key 'point.width'; point takes: extra, inner, kind, name, sizes, x, y"),
        ({"nmae": "a"}, "unknown key 'point.nmae'; did you mean 'point.name'?"),
        ({"x": 1.5}, "point.x must be int, got 1.5"),
        ({"x": True}, "point.x must be int, got True"),
        ({"x": None}, "point.x must be int, got None"),
        ({"x": "${other}"}, "point.x must be int, got 'three'"),
        ({"kind": "c"}, "point.kind must be 'a' or 'b', got 'c'"),
        ({"sizes": [[3, 3, 3]]}, "point.sizes must be Sequence[tuple[int, int]], got [[3, 3, 3]]"),
        ({"inner": 3}, "point.inner must be Point or null, got 3"),
        ({"inner": {"_target_": POINT, "y": "a"}}, "point.inner.y must be float, got 'a'"),
        ({"extra": {"deep": [{"_target_": POINT, "z": 1}]}}, "unknown key 'point.extra.deep.0.z'"),
    ],
)
def test_wrong_arguments_are_named_in_full(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check_targets(plain(OmegaConf.create({"other": "three", "point": {"_target_": POINT, **arguments}})))
    assert str(caught.value).startswith(message)


def test_open_ended_targets_take_anything_but_check_what_they_name() -> None:
    target = f"{__name__}.open_ended"
    check_targets(plain(OmegaConf.create({"f": {"_target_": target, "anything": 1}})))
    with pytest.raises(ConfigError, match="f.width must be int, got 'a'"):
        check_targets(plain(OmegaConf.create({"f": {"_target_": target, "width": "a"}})))


def test_a_constructor_that_refuses_is_one_line_with_its_key() -> None:
    cfg = OmegaConf.create({"model": {"point": {"_target_": POINT, "x": -1}}})
    with pytest.raises(Exception, match="full_key") as caught:
        instantiate(cfg.model)
    assert str(explain(caught.value)) == "model.point: x must not be negative, got -1"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"seed": 1.5}, "seed must be int, got 1.5"),
        ({"seed": "0"}, "seed must be int, got '0'"),
        ({"seed": True}, "seed must be int, got True"),
        ({"deterministic": 1}, "deterministic must be bool, got 1"),
        ({"deterministic": "true"}, "deterministic must be bool, got 'true'"),
        ({"name": 1.5}, "name must be str, got 1.5; as a text: 'name=\"1.5\"'"),
        ({"name": None}, "name must be str, got None"),
        ({"resume": True}, "resume must be str or null, got True; as a text: 'resume=\"True\"'"),
        ({"total_batch": 8.0}, "total_batch must be int or null, got 8.0"),
        ({"tags": ["a", 1]}, "tags must be list[str], got ['a', 1]"),
    ],
)
def test_plain_keys_are_not_converted(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check_config(OmegaConf.create(values), "train")
    assert str(caught.value) == message


def test_a_nested_schema_is_checked_with_its_full_key() -> None:
    with pytest.raises(ConfigError, match=r"draw.zoom must be int, got '2'"):
        check_config(OmegaConf.create({"draw": {"zoom": "2"}}), "predict")


# --- what is laid over a checkpoint's configuration


@pytest.mark.parametrize("command", ["evaluate", "predict"])
def test_plain_a_checkpoint_s_model(command: str) -> None:
    given = ["checkpoint=a", "model.tracker.forget_after=null", "model.detector.nms.top_k=3"]
    cfg = compose(command, [*given, *(["output=o.mp4"] if command == "predict" else [])])
    assert plain(cfg.model) == {"tracker": {"forget_after": None}, "detector": {"nms": {"top_k": 3}}}


def test_a_part_of_a_checkpoint_s_model_may_be_chosen() -> None:
    cfg = compose("evaluate", ["checkpoint=a", "model/tracker=iou", "model.tracker.forget_after=null"])
    tracker = plain(cfg.model)["tracker"]
    assert (tracker["_target_"], tracker["forget_after"]) == ("stmask.tracking.PlainTracker", None)
    assert compose("evaluate", ["checkpoint=a"]).model == {}


def test_other_data_for_a_checkpoint() -> None:
    assert plain(compose("evaluate", ["checkpoint=a", "data.mix=null", "data.prefetch=1"]).data) == {
        "mix": None,
        "prefetch": 1,
    }
    assert compose("evaluate", ["checkpoint=a", "data=ovis", "data.root=/there"]).data.root == "/there"


def test_without_temporal_fusion_tracks_are_plain() -> None:
    def tracker(*overrides: str) -> str:
        return compose("train", overrides).model.tracker._target_.rpartition(".")[2]

    assert tracker() == "TemporalTracker"
    assert tracker("model/temporal=none") == "PlainTracker"
    assert tracker("model/temporal=none", "model/tracker=stmask") == "TemporalTracker"  # refused when it is built
    assert compose("train", ["model/temporal=none", "model/tracker=iou"]).model.tracker.weights.embedding == 0


# --- paths


def test_a_path_begins_at_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.setenv("STMASK_DATA", "~/sets")
    cfg = check_config(
        OmegaConf.create(
            {
                "data": {"root": "${oc.env:STMASK_DATA,data}/coco", "mix": [{"root": "~/x"}], "cache": "a~/b"},
                "name": "~/no/path",
                "output_root": "~",
            }
        ),
        "train",
    )
    assert cfg.data == {"root": "/home/me/sets/coco", "mix": [{"root": "/home/me/x"}], "cache": "a~/b"}
    assert (cfg.name, cfg.output_root) == ("~/no/path", "/home/me")


# --- the application


@pytest.fixture
def conf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "conf"
    folder.mkdir()
    (folder / "train.yaml").write_text(
        "defaults: [_self_]\nname: a\nseed: 0\noutput_root: runs\noutput_dir: ${output_root}/${name}\n"
        "hydra: {run: {dir: '${output_dir}'}, sweep: {dir: sweep, subdir: '${hydra.job.num}'}}\n"
    )
    monkeypatch.setenv("STMASK_CONF", str(folder))
    monkeypatch.chdir(tmp_path)
    return folder


def record(seen: list[DictConfig], cfg: DictConfig) -> None:
    if cfg.seed == 1:
        raise DataError("no such file: train.json")
    seen.append(cfg)
    Path(cfg.output_dir, "metrics.csv").write_text("step\n")


def test_the_task_gets_a_checked_configuration_and_its_folder(conf: Path) -> None:
    seen: list[DictConfig] = []
    assert run_hydra_app("train", partial(record, seen), ["name=b", "seed=7"]) == 0
    assert seen[0].output_dir == str(conf.parent / "runs" / "b")
    assert seen[0].seed == 7
    assert (conf.parent / "runs" / "b" / ".hydra" / "config.yaml").is_file()
    assert not GlobalHydra.instance().is_initialized()


def test_flags_stand_anywhere_between_overrides(conf: Path) -> None:
    seen: list[DictConfig] = []
    run_hydra_app(
        "train", partial(record, seen), ["name=b", "-m", "seed=0,2", "--config-dir", str(conf), "output_root=x"]
    )
    assert [(cfg.name, cfg.seed, cfg.output_root) for cfg in seen] == [("b", 0, "x"), ("b", 2, "x")]


def test_an_unknown_flag_is_one_line(conf: Path) -> None:
    with pytest.raises(ConfigError, match="unrecognized arguments: --sed; `stmask train --hydra-help` lists the flags"):
        run_hydra_app("train", None, ["--sed", "3=4"])


@pytest.mark.parametrize("arguments", [["--optimizer.lr=0.1", "name=b"], ["name=b", "--optimizer.lr=0.1"]])
def test_an_override_with_hyphens_is_named_with_the_right_form(conf: Path, arguments: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        run_hydra_app("train", None, arguments)
    assert str(caught.value) == (
        "unknown flag --optimizer.lr=0.1: write optimizer.lr=0.1 (in the command of a W&B sweep: ${args_no_hyphens})"
    )


@pytest.mark.parametrize("rank", ["", "x", "-1"])
def test_a_rank_that_is_none(conf: Path, rank: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_RANK", rank)
    with pytest.raises(
        ConfigError, match=f"LOCAL_RANK must be the number of a process, got '{rank}': unset LOCAL_RANK"
    ):
        run_hydra_app("train", None, ["seed=0"])


def test_a_configuration_is_of_one_run(conf: Path) -> None:
    with pytest.raises(ConfigError, match="-m and --cfg don't go together"):
        run_hydra_app("train", None, ["-m", "--cfg", "job"])


def test_several_values_without_several_runs(conf: Path) -> None:
    with pytest.raises(ConfigError, match=r"seed=0,1 has several values: -m seed=0,1 is a run for each, seed=\[0,1\]"):
        run_hydra_app("train", None, ["seed=0,1"])
    with pytest.raises(ConfigError, match=r"^optimizer.lr=1,2 has several values: -m optimizer.lr=1,2 is a run for ea"):
        run_hydra_app("train", None, ["optimizer.lr=1,2"])


def test_multirun_goes_on_after_a_failure_and_reports_it(conf: Path) -> None:
    seen: list[DictConfig] = []
    with pytest.raises(DataError, match="no such file: train.json"):
        run_hydra_app("train", partial(record, seen), ["-m", "seed=0,1,2"])
    assert [cfg.seed for cfg in seen] == [0, 2]
    assert sorted(path.name for path in (conf.parent / "sweep").iterdir() if path.is_dir()) == ["0", "2"]


@pytest.mark.parametrize("override", ["seed=1", "seed=abc", "+sed=1"])
def test_a_run_that_never_began_leaves_no_folder(conf: Path, override: str) -> None:
    with pytest.raises((DataError, ConfigError)):
        run_hydra_app("train", partial(record, []), ["name=b", override])
    assert list((conf.parent / "runs").iterdir()) == []


def in_shipped_conf(task: Any, *argv: str) -> None:
    with pytest.raises((DataError, ConfigError)):
        run_hydra_app("train", task, argv)


def test_a_refused_command_leaves_no_folder_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for argv in (["seed=1"], ["seed=1", "output_dir=a/b/c"], ["output_dir="], ["output_dir=null"], ["-m", "seed=x"]):
        in_shipped_conf(partial(record, []), *argv)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "runs" / "train").mkdir(parents=True)  # somebody's own, though nothing is in it
    in_shipped_conf(partial(record, []), "seed=1")
    assert list((tmp_path / "runs").iterdir()) == [tmp_path / "runs" / "train"]


def test_no_folder_is_called_tilde(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    seen: list[DictConfig] = []
    run_hydra_app("train", partial(record, seen), ["output_dir=~/x"])
    assert seen[0].output_dir == str(tmp_path / "home" / "x")
    assert [path.name for path in tmp_path.iterdir()] == ["home"]


def test_a_run_that_fails_keeps_what_was_there(conf: Path) -> None:
    kept = conf.parent / "runs" / "b" / "last.ckpt"
    kept.parent.mkdir(parents=True)
    kept.write_text("weights")
    with pytest.raises(DataError):
        run_hydra_app("train", partial(record, []), ["name=b", "seed=1"])
    assert kept.read_text() == "weights"


def test_an_output_that_cannot_be_written(conf: Path) -> None:
    (conf.parent / "runs").write_text("")
    with pytest.raises(OSError, match="runs"):
        run_hydra_app("train", partial(record, []), [])


def test_users_own_groups(conf: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine" / "experiment"
    mine.mkdir(parents=True)
    (mine / "x.yaml").write_text("# @package _global_\nseed: 42\n")
    seen: list[DictConfig] = []
    run_hydra_app("train", partial(record, seen), ["--config-dir", str(mine.parent), "+experiment=x"])
    assert seen[0].seed == 42


def test_users_own_groups_without_an_application(tmp_path: Path) -> None:
    group = tmp_path / "my conf, too" / "model" / "tracker"
    group.mkdir(parents=True)
    (group / "mine.yaml").write_text("_target_: builtins.dict\n")
    folder = str(group.parents[1])
    for flags in (["--config-dir", folder], [f"--config-dir={folder}"]):
        rest, places = without_config_dir(["clip.mp4", *flags, "model/tracker=mine", "-c", "job"])
        assert rest == ["clip.mp4", "model/tracker=mine", "-c", "job"]
        cfg = compose("predict", [*places, "model/tracker=mine", "checkpoint=a.ckpt", "output=b.mp4"])
        assert cfg.model == {"tracker": {"_target_": "builtins.dict"}}
    assert without_config_dir(["a=b"]) == (["a=b"], [])
    with pytest.raises(ConfigError, match="--config-dir needs a folder"):
        without_config_dir(["a=b", "--config-dir"])
    with pytest.raises(ConfigError, match="there is no such folder"):
        without_config_dir(["--config-dir", str(tmp_path / "gone")])


def test_the_schema_types_what_it_knows() -> None:
    cfg = check_config(OmegaConf.create({"checkpoint": "a.ckpt", "seed": 1}), "evaluate")
    with pytest.raises(Exception, match="could not be converted to Integer"):
        cfg.seed = "a"
