"""The price of a quantity of a product: pure arithmetic on the configured rules, in cents."""

from collections.abc import Mapping
from typing import Any


def total_cents(rules: Mapping[str, Any], product: str, quantity: int) -> int:
    """Price with the best discount, at least the minimum; ValueError says what cannot be quoted."""
    if product not in rules["unit_cents"]:
        raise ValueError(f"There is no product {product!r}.")
    if not 1 <= quantity <= 10_000:
        raise ValueError("The quantity must be from 1 to 10000.")
    percent = max((rule["percent"] for rule in rules["discounts"] if quantity >= rule["quantity"]), default=0)
    full = rules["unit_cents"][product] * quantity
    return max(full - (full * percent + 50) // 100, rules["minimum_cents"])
