"""Programs that tests need beside Python: there, or a failure in CI and a skip elsewhere."""

import os
import shutil

import pytest


def required_program(name: str, package: str) -> str:
    """The path of the program that Debian's `package` brings."""
    if found := shutil.which(name, path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"):
        return found
    if os.environ.get("CI") == "true":
        pytest.fail(f"CI must have Debian's {package}")
    pytest.skip(f"Debian's {package} is not installed here")
