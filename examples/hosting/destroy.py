"""Stops the environment and removes everything of it; where there is nothing, nothing happens."""

import shutil

import place

if __name__ == "__main__":
    here = place.folder()
    if here.exists():
        with place.alone(here):
            for process in place.processes(here):
                place.stop(here, process)
            shutil.rmtree(here)
