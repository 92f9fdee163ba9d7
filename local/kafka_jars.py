"""Apache Kafka's jars, from Maven Central, kept in a cache outside the repository."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from local.process import CannotStart, Child
from shared.cache import cache_folder

KAFKA_VERSION = "4.4.0"
_JAVA_AT_LEAST = 17
_DOWNLOAD_WITHIN_S = 600.0

# The jars that do the work; Maven itself checks the rest against the repository's checksums.
_SHA256 = {
    "kafka_2.13-4.4.0.jar": "76d3314f873571677ff98620ab9a431e508e3687f921a3df4f70d692a970475e",
    "kafka-clients-4.4.0.jar": "1ab07317eb6633241392449d329dbdc5d9251e6ffc4926860f42dd966e88bdf9",
    "kafka-server-4.4.0.jar": "5f5456c2976203525080220212639f7033274b94458ceabf44197f4800bd615c",
}

_POM = """\
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>upgradepath</groupId>
  <artifactId>kafka-jars</artifactId>
  <version>1</version>
  <packaging>pom</packaging>
  <dependencies>
{dependencies}
  </dependencies>
</project>
"""

# Without log4j Kafka starts silently, with no log at all.
_WANTED = {
    "org.apache.kafka:kafka_2.13": KAFKA_VERSION,
    "org.apache.logging.log4j:log4j-api": "2.25.1",
    "org.apache.logging.log4j:log4j-core": "2.25.1",
    "org.apache.logging.log4j:log4j-slf4j-impl": "2.25.1",
}


def availability() -> str | None:
    """Why Apache Kafka cannot run on this machine, with the cure; None when it can."""
    java = java_program()
    if java is None:
        return f"no java: install Java {_JAVA_AT_LEAST} or later, or set JAVA_HOME"
    version = _java_version(java)
    if version is None or version < _JAVA_AT_LEAST:
        found = f"Java {version}" if version else "of no known version"
        return f"{java} is {found}: install Java {_JAVA_AT_LEAST} or later, or set JAVA_HOME"
    if not _jars_folder().is_dir() and shutil.which("mvn") is None:
        return f"no mvn to fetch Kafka {KAFKA_VERSION} with: install Apache Maven"
    return None


def java_program() -> str | None:
    """JAVA_HOME's java, else the one on PATH."""
    home = os.environ.get("JAVA_HOME")
    return shutil.which("java", path=f"{home}/bin") if home else shutil.which("java")


def kafka_jars() -> Path:
    """The folder of jars, fetched on first use (about 43 MB, 10 s). Blocks.

    Raises CannotStart when they cannot be fetched or are not the bytes we know.
    """
    jars = _jars_folder()
    if not jars.is_dir():
        jars.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=jars.parent, prefix="fetch-") as folder:
            fetched = _fetch(Path(folder))
            _check(fetched)
            try:
                fetched.rename(jars)
            except OSError:
                # Another process was faster; anything else is an error.
                if not jars.is_dir():
                    raise
    _check(jars)
    return jars


def _jars_folder() -> Path:
    return cache_folder() / f"kafka-{KAFKA_VERSION}" / "lib"


def _fetch(folder: Path) -> Path:
    mvn = shutil.which("mvn")
    if mvn is None:
        raise CannotStart(f"no mvn to fetch Kafka {KAFKA_VERSION} with: install Apache Maven")
    (folder / "pom.xml").write_text(_POM.format(dependencies="\n".join(map(_dependency, _WANTED))))
    child = Child(
        [mvn, "-q", "-B", "dependency:copy-dependencies", "-DincludeScope=runtime", "-DoutputDirectory=lib"],
        log=folder / "mvn.log",
        cwd=folder,
        # Maven's own settings, a proxy or a mirror, may come by the environment.
        env=os.environ,
    )
    if child.wait(_DOWNLOAD_WITHIN_S) != 0:
        raise CannotStart(f"mvn could not fetch Kafka {KAFKA_VERSION}{child.log_tail()}")
    return folder / "lib"


def _dependency(name: str) -> str:
    group, artifact = name.split(":")
    return (
        f"    <dependency><groupId>{group}</groupId><artifactId>{artifact}</artifactId>"
        f"<version>{_WANTED[name]}</version></dependency>"
    )


def _check(jars: Path) -> None:
    for name, expected in _SHA256.items():
        jar = jars / name
        if not jar.is_file():
            raise CannotStart(f"{jar} is missing: remove {jars} and start again")
        with jar.open("rb") as content:
            found = hashlib.file_digest(content, "sha256").hexdigest()
        if found != expected:
            raise CannotStart(
                f"{jar} has the SHA-256 {found}, not {expected}: remove {jars}, and ask who changed it"
            )


def _java_version(java: str) -> int | None:
    try:
        answer = subprocess.run([java, "-version"], check=False, capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = re.search(r'version "(\d+)', answer.stderr)
    return int(found[1]) if found else None
