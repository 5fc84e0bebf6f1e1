"""The exceptions that crosscam raises on purpose.

Each message is one line: what is wrong, where, what was expected, what was found, and the next step.
A bad argument to a function is an :class:`ArgumentError`, which is a ``ValueError``. The command line prints the line
and exits with 2; whatever else is raised is a fault of crosscam's, and shows its traceback.
"""


class CrosscamError(Exception):
    """Anything a user can cause and mend."""


class ArgumentError(CrosscamError, ValueError):
    """A value that a function or an option does not take."""


class UnusedOptionError(ArgumentError):
    """An option that means nothing for what was given; the command line puts its own name for it in front.

    Attributes:
        option: its name in Python.
        told: the rest of the message.
    """

    def __init__(self, option: str, told: str) -> None:
        super().__init__(f"{option} {told}")
        self.option, self.told = option, told


class DataError(CrosscamError):
    """A dataset, table or folder that is not as expected."""


class ImageError(DataError):
    """One image that cannot be read."""


class CheckpointError(CrosscamError):
    """A checkpoint that is missing, damaged, of another recipe, or unsafe to load."""


class RecipeError(CrosscamError):
    """A recipe or one of its settings that cannot be used."""


class TrainingError(CrosscamError):
    """A training that has to stop: a loss that is not finite, a full disk, a lost process."""


class StoppedError(TrainingError):
    """A training that was asked to stop by Ctrl-C or a signal, and has saved before it did."""


class EngineError(CrosscamError):
    """An engine that cannot run here, or a model file that is damaged or does not give what its network gives."""


class StorageError(CrosscamError):
    """A file that cannot be written: a full disk, a folder that is somebody else's."""


class BusyError(CrosscamError):
    """A place that another process is writing to."""


class GalleryError(CrosscamError):
    """A gallery that is missing, damaged, taken, or not opened for what is asked of it."""


class GalleryBusyError(GalleryError, BusyError):
    """A gallery that another process is writing."""


class ModelMismatchError(GalleryError):
    """Descriptors of another model than the one that a gallery was built with."""


class WebError(CrosscamError):
    """A server that cannot be started as it was asked for, or a request to it that cannot be met."""
