"""The command line where the system has neither fcntl, nor affinities, nor fork: as on Windows and partly on macOS."""

import subprocess
import sys

BARE = """
import os, shutil, sys
import numpy, random, torch  # they look for the system themselves
for module in ("fcntl", "resource", "pwd", "grp", "termios"):
    sys.modules[module] = None
for name in (
    "sched_getaffinity register_at_fork fork pread pwrite posix_fallocate posix_fadvise getuid geteuid getppid "
    "setsid killpg mkfifo statvfs getloadavg fchmod fchown chown nice sysconf uname lockf sendfile copy_file_range "
    "set_blocking O_NONBLOCK O_CLOEXEC O_DIRECTORY O_NOFOLLOW"
).split():
    if hasattr(os, name):
        delattr(os, name)
import crosscam.cli.main, crosscam.gallery.scan
from crosscam.system.cores import available_cores
assert available_cores() == (os.cpu_count() or 1)
here = sys.argv[1]
def crosscam_does(words):
    crosscam.cli.main.main(words.format(here=here).split())
crosscam_does("data render {here}/people --ids 4 --cameras 2 --images 2")
import signal
for name in ("SIGKILL", "SIGHUP", "SIGUSR1", "SIGPIPE", "SIGCHLD"):  # Windows has no such signals
    if hasattr(signal, name):
        delattr(signal, name)
shutil._use_fd_functions = False  # as the library itself finds there
real_open = os.open
def no_folders(path, *rest, **more):  # nor can a folder be opened there
    if os.path.isdir(path):
        raise PermissionError(13, "Permission denied")
    return real_open(path, *rest, **more)
os.open = no_folders
crosscam_does("gallery create {here}/g rrid-nano")
crosscam_does("gallery add {here}/g rrid-nano {here}/people --subset all")
crosscam_does("gallery update {here}/g --ids 1 --track somebody")
crosscam_does("gallery forget {here}/g --pids 1")
crosscam_does("gallery compact {here}/g")
crosscam_does("gallery backup {here}/g {here}/copy")
crosscam_does("gallery verify {here}/copy")
crosscam_does("extract rrid-nano {here}/people/query {here}/v.npz")
print("all done")
"""


def test_the_command_line_imports_and_works(tmp_path: object) -> None:
    done = subprocess.run([sys.executable, "-c", BARE, f"{tmp_path}"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("all done\n"), done.stdout + done.stderr
