"""The garbage collector, kept from what is there for good."""

import contextlib
import gc
from collections.abc import Iterator


@contextlib.contextmanager
def imports_left_alone(after_objects: int) -> Iterator[None]:
    """Until the block ends, look only at what is made in it, after so many new objects that live on.

    Else the collector walks through every imported module again and again: that was half of the CPU of a
    worker, and of a rebuild.
    """
    before = gc.get_threshold()
    gc.collect()
    gc.freeze()
    gc.set_threshold(after_objects, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()
