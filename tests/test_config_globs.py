from __future__ import annotations

import pytest

from stmask.config import conf_dir
from stmask.config_globs import expand_globs
from stmask.errors import ConfigError


@pytest.mark.parametrize(
    ("override", "expanded"),
    [
        ("experiment=glob(table3/*)", "experiment=table3/t3_p3,table3/t3_p4"),
        ("experiment=glob(table?/t?_p?,exclude=*/t3_p3)", "experiment=table3/t3_p4"),
        ("experiment=glob([table1/*2,table3/*3])", "experiment=table1/t1_3x2,table3/t3_p3"),
        ("model/head/align=glob(a*,exclude=*_*)", "model/head/align=ada,ali"),
        ("model/head=glob(fca*)", "model/head=fca,fca9,fca_3x2"),
        ("seed=3", "seed=3"),
        ("name='glob(x)'", "name='glob(x)'"),
        ("seed=glob(", "seed=glob("),  # Hydra says what is wrong
    ],
)
def test_globs_reach_into_folders(override: str, expanded: str) -> None:
    assert expand_globs([override], [conf_dir()]) == [expanded]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "experiment=glob(table4/t4_fcq)",
            "no option of group 'experiment' matches glob(table4/t4_fcq); did you mean 'table4/t4_fca'?",
        ),
        (
            "experiment=glob(tabel4/*)",
            "no option of group 'experiment' matches glob(tabel4/*); did you mean 'table4/*'?",
        ),
        ("debug=glob(zz*)", "no option of group 'debug' matches glob(zz*); there are: "),
    ],
)
def test_a_glob_that_matches_nothing_is_refused(override: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        expand_globs([override], [conf_dir()])
    assert str(caught.value).startswith(message)
