"""Optimal one-to-one assignment without SciPy, which the metric does not need otherwise."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def assign_most(gains: npt.NDArray[np.float64]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Rows and columns of the min(R, C) pairs with the largest sum of gains (R, C); rows ascend.

    Shortest augmenting paths (Jonker and Volgenant; Crouse, "On implementing 2D rectangular assignment algorithms",
    2016). Among equally good assignments it finds the one that SciPy's `linear_sum_assignment` does: the order of the
    columns and the preference for free ones are the same.
    """
    if 0 in gains.shape:
        return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
    if gains.shape[0] > gains.shape[1]:
        columns, rows = assign_most(gains.T)
        order = np.argsort(rows)
        return rows[order], columns[order]
    if gains.shape[0] == 1:
        return np.zeros(1, dtype=np.int64), np.array([gains[0].argmax()], dtype=np.int64)
    costs = -gains
    count, width = costs.shape
    of_row = np.full(count, -1, dtype=np.int64)
    of_column = np.full(width, -1, dtype=np.int64)
    row_duals, column_duals = np.zeros(count), np.zeros(width)
    for start in range(count):
        _augment(costs, start, of_row=of_row, of_column=of_column, row_duals=row_duals, column_duals=column_duals)
    return np.arange(count), of_row


def _augment(
    costs: npt.NDArray[np.float64],
    start: int,
    *,
    of_row: npt.NDArray[np.int64],
    of_column: npt.NDArray[np.int64],
    row_duals: npt.NDArray[np.float64],
    column_duals: npt.NDArray[np.float64],
) -> None:
    """Assigns one more row along the shortest path to a free column, in place."""
    width = costs.shape[1]
    remaining = np.arange(width - 1, -1, -1)
    shortest = np.full(width, np.inf)
    path = np.full(width, -1, dtype=np.int64)
    rows_seen, columns_seen = [], []
    row, lowest = start, 0.0
    while True:
        rows_seen.append(row)
        reach = lowest + costs[row, remaining] - row_duals[row] - column_duals[remaining]
        better = reach < shortest[remaining]
        path[remaining[better]] = row
        shortest[remaining[better]] = reach[better]
        distances = shortest[remaining]
        lowest = float(distances.min())
        nearest = np.flatnonzero(distances == lowest)
        free = nearest[of_column[remaining[nearest]] < 0]
        place = int(free[-1]) if len(free) else int(nearest[0])
        column = int(remaining[place])
        remaining[place] = remaining[-1]
        remaining = remaining[:-1]
        columns_seen.append(column)
        if of_column[column] < 0:
            break
        row = int(of_column[column])
    row_duals[start] += lowest
    for seen in rows_seen[1:]:
        row_duals[seen] += lowest - shortest[of_row[seen]]
    for seen in columns_seen:
        column_duals[seen] -= lowest - shortest[seen]
    while True:
        row = int(path[column])
        of_column[column] = row
        of_row[row], column = column, int(of_row[row])
        if row == start:
            return
