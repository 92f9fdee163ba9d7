"""Makes Python packages of the folders under systems/: `auth-system` is imported as `auth_system`."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).parents[1]
# In this order a System finds those that it imports.
NAMES = ("notifications-system", "auth-system", "onboarding-system", "quote-engine")


def load(name: str) -> ModuleType:
    """Import one System; a second call gives the same module."""
    module_name = name.replace("-", "_")
    if module_name in sys.modules:
        return sys.modules[module_name]
    folder = ROOT / "systems" / name
    spec = importlib.util.spec_from_file_location(
        module_name, folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    if spec is None or spec.loader is None:
        raise ImportError(f"{folder} is not a System")
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module
    spec.loader.exec_module(module)
    return module


def load_all() -> dict[str, ModuleType]:
    """Import every System, by name."""
    return {name: load(name) for name in NAMES}
