"""The command line: ``crosscam COMMAND``. Each command is a frozen dataclass of options with a ``run`` method."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import torch

import crosscam
from crosscam.cli.parsing import parse
from crosscam.cli.show import say, show_text
from crosscam.errors import CrosscamError, StoppedError
from crosscam.system.cores import available_cores


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse, run, and end with 0; with 2 and one line for what the user can mend; with 130 after Ctrl-C."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        if words == ["--version"]:
            show_text(f"crosscam {crosscam.__version__}\n")
        else:
            command = parse(words)
            _use_all_cores()
            command.run()
        # What is still buffered is written here, where a closed pipe is expected.
        sys.stdout.flush()
    except BrokenPipeError:
        _forget_output()
    except KeyboardInterrupt:
        _end("stopped.", 130)
    except StoppedError as stop:
        _end(str(stop), 130)
    except (CrosscamError, ValueError, OSError) as error:
        if "--debug" in words:
            raise
        _end(_one_line(error), 2)


def _end(text: str, status: int) -> None:
    say(f"crosscam: {' '.join(text.split())}")
    sys.exit(status)


def _one_line(error: Exception) -> str:
    if isinstance(error, OSError) and error.filename is not None:
        return f"{os.fsdecode(error.filename)}: {error.strerror}. Check the path, and who may read and write there."
    return str(error)


def _forget_output() -> None:
    """Standard output was closed by its reader, as by ``| head``; the interpreter must not try again at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _use_all_cores() -> None:
    """One torch thread for each core that this process may use; torchrun's processes share them."""
    processes = int(os.environ.get("LOCAL_WORLD_SIZE", "0"))
    # torchrun sets OMP_NUM_THREADS by itself; alone, it is what the user wants.
    if "OMP_NUM_THREADS" in os.environ and not processes:
        return
    torch.set_num_threads(max(1, available_cores() // max(1, processes)))


if __name__ == "__main__":
    main()
