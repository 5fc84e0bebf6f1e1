"""The command line: ``crosscam COMMAND``. Each command is a frozen dataclass of options with a ``run`` method."""

from __future__ import annotations

import errno
import os
import sys
import traceback
from collections.abc import Sequence

import crosscam
from crosscam.cli.streams import flush_output, forget_output, prepare_streams
from crosscam.errors import CrosscamError, StoppedError
from crosscam.system.cores import available_cores

# A disk's troubles, which the system tells without the name of a file.
DISK = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EFBIG}
REPORT = "crosscam: This is a fault of crosscam, not yours. Please report it, with the lines above and the command."


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse, run, and end with 0; with 2 and one line for what the user can mend; with 130 after Ctrl-C.

    Anything else that is raised is a fault of crosscam's: its traceback is shown, and the status is 1.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    prepare_streams()
    try:
        try:
            _run(words)
        finally:
            # What is still buffered is written here, where a closed pipe is expected.
            flush_output()
    except BrokenPipeError:
        forget_output()
    except KeyboardInterrupt:
        _end("stopped.", 130)
    except StoppedError as stop:
        _end(str(stop), 130)
    except Exception as error:
        if "--debug" in words:
            raise
        line = _one_line(error)
        if line is not None:
            _end(line, 2)
        traceback.print_exception(error)
        _say(REPORT)
        sys.exit(1)


def _run(words: list[str]) -> None:
    if words == ["--version"]:
        sys.stdout.write(f"crosscam {crosscam.__version__}\n")
        return
    from crosscam.cli.overwriting import refuse_overwriting
    from crosscam.cli.parsing import parse  # --version needs no parser

    command = parse(words)
    refuse_overwriting(command)
    _use_all_cores()
    command.run()


def _end(text: str, status: int) -> None:
    _say(f"crosscam: {' '.join(text.split())}")
    sys.exit(status)


def _say(text: str) -> None:
    from crosscam.cli.show import say  # so that what shows nothing loads no console

    say(text)


def _one_line(error: Exception) -> str | None:
    """What the user can mend; None for a fault of crosscam's own."""
    if isinstance(error, CrosscamError):
        return str(error)
    if isinstance(error, OSError) and error.filename is not None:
        return f"{os.fsdecode(error.filename)}: {error.strerror}. Check the path, and who may read and write there."
    if isinstance(error, OSError) and error.errno in DISK:
        return f"Cannot write ({error.strerror}). Free some space, or choose another place."
    return None


def _use_all_cores() -> None:
    """One torch thread for each core that this process may use; torchrun's processes share them."""
    processes = int(os.environ.get("LOCAL_WORLD_SIZE", "0"))
    # torchrun sets OMP_NUM_THREADS by itself; alone, it is what the user wants.
    if "OMP_NUM_THREADS" in os.environ and not processes:
        return
    import torch  # the command has loaded it by now, if it computes

    torch.set_num_threads(max(1, available_cores() // max(1, processes)))


if __name__ == "__main__":
    main()
