from __future__ import annotations

import pytest
import torch

from stmask.structures import LossReport

ONE = torch.ones(())


def test_the_total_is_the_sum_of_the_terms_and_of_nothing() -> None:
    assert LossReport({"box": ONE, "mask": 2 * ONE}, {"positives": 7.0}).total == 3
    assert LossReport({"box": ONE}, idle=torch.zeros(())).total == 1


@pytest.mark.parametrize(
    ("terms", "counts"), [({"loss": ONE}, {}), ({"box": ONE}, {"box": 1.0}), ({"box": ONE}, {"grad_norm": 1.0})]
)
def test_names_that_are_taken_are_refused(terms: dict[str, torch.Tensor], counts: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="must differ"):
        LossReport(terms, counts)


def test_nothing_to_learn_from_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one term"):
        LossReport({})
