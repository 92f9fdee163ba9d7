"""What the executor's tests share with others."""

from tests.conftest import NewDatabase

__all__ = ["NewDatabase"]
