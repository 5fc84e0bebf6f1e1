"""The command line where the system has neither fcntl, nor affinities, nor fork: as on Windows and partly on macOS."""

import subprocess
import sys

BARE = """
import os, sys
import numpy, random, torch  # they look for the system themselves
sys.modules["fcntl"] = sys.modules["resource"] = None
for name in ("sched_getaffinity", "register_at_fork", "pread", "pwrite"):
    if hasattr(os, name):
        delattr(os, name)
import crosscam.cli.main, crosscam.gallery.scan
from crosscam.system.cores import available_cores
assert available_cores() == (os.cpu_count() or 1)
crosscam.cli.main.main(["data", "render", sys.argv[1], "--ids", "4", "--cameras", "2", "--images", "2"])
"""


def test_the_command_line_imports_and_works(tmp_path: object) -> None:
    done = subprocess.run([sys.executable, "-c", BARE, f"{tmp_path}/people"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
