"""Formats numbers for tables."""

import math


def percent(share: float | None, decimals: int = 1) -> str:
    """Formats a share in [0, 1] as percent, and None or NaN as a dash. Only exact values are printed as 0 or 100.

    >>> percent(1.0), percent(0.9999), percent(0.00001), percent(0.0)
    ('100.0', '99.9', '0.1', '0.0')
    >>> percent(0.996, decimals=0), percent(None)
    ('99', '-')
    """
    if share is None or math.isnan(share):
        return "-"
    least = 10**-decimals
    shown = 100 * share
    return f"{min(max(shown, least), 100 - least) if 0 < share < 1 else shown:.{decimals}f}"
