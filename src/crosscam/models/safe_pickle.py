"""A pickle reader that cannot run anything.

A pickle is a program for a small stack machine, and two of its instructions call what the file names. The machine
here has no such power: a name stays a name, an object is a bag for its state, and the few calls that files of
tensors need (``OrderedDict``, the tensor rebuilders) are answered by plain data. Any other call is refused.
"""

from __future__ import annotations

import io
import pickletools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

_MAX_DIMS = 8
_MAX_SIZE = 1 << 40
_DTYPES = {
    "DoubleStorage": "<f8",
    "FloatStorage": "<f4",
    "HalfStorage": "<f2",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ShortStorage": "<i2",
    "CharStorage": "i1",
    "ByteStorage": "u1",
    "BoolStorage": "?",
}


class RefusedError(Exception):
    """Why a file is not read, to stand after its path."""


@dataclass(frozen=True)
class Name:
    """Something the pickle refers to by module and name. It is never looked up."""

    path: str


class Instance:
    """An object of the file: its class is not known, only its state is kept."""

    state: object = None


@dataclass(frozen=True)
class Storage:
    """Where the numbers of a tensor lie: the key of its bytes, their type and how many there are."""

    key: str
    dtype: np.dtype[np.generic]
    numel: int


@dataclass(frozen=True)
class StoredTensor:
    """A tensor before its storage is read; offset and stride in elements."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]


def load_pickle(stream: io.BytesIO) -> tuple[object, dict[str, Storage]]:
    """What one pickle from the stream's position on holds, and every storage that it mentions, by key.

    Names, instances and tensors are inert data. The stream then stands behind the pickle. RefusedError: damaged, an
    instruction that ``torch.save`` does not write, or a call that is not allowed.
    """
    machine = _Machine()
    try:
        return machine.run(stream), machine.storages
    except (ValueError, TypeError, IndexError, KeyError, AttributeError, OverflowError) as error:
        raise RefusedError("is not a file that torch.save wrote, or it is damaged") from error


class _Machine:
    """The instructions that ``torch.save`` uses (pickle protocol 2), and no other."""

    def __init__(self) -> None:
        self.stack: list[object] = []
        self.marks: list[int] = []
        self.memo: dict[object, object] = {}
        self.storages: dict[str, Storage] = {}

    def run(self, stream: io.BytesIO) -> object:
        for opcode, argument, _ in pickletools.genops(stream):
            name = opcode.name
            if name == "STOP":
                return self.stack.pop()
            if name in _LITERALS:
                self.stack.append(argument)
            elif name in _PLAIN:
                self.stack.append(_PLAIN[name]())
            elif name in ("BINPUT", "LONG_BINPUT"):
                self.memo[argument] = self.stack[-1]
            elif name in ("BINGET", "LONG_BINGET"):
                self.stack.append(self.memo[argument])
            elif name == "GLOBAL":
                self.stack.append(Name(str(argument).replace(" ", ".", 1)))
            elif name == "MARK":
                self.marks.append(len(self.stack))
            elif name in ("TUPLE", "TUPLE1", "TUPLE2", "TUPLE3"):
                self.stack.append(tuple(self._take(name.removeprefix("TUPLE"))))
            elif name in ("APPEND", "APPENDS", "SETITEM", "SETITEMS"):
                self._fill(name)
            elif name in ("REDUCE", "NEWOBJ", "BUILD", "BINPERSID"):
                self._object(name)
            elif name != "PROTO":
                raise RefusedError(f"uses the pickle instruction {name}, which torch.save does not write")
        raise RefusedError("ends within its pickle")

    def _take(self, count: str) -> list[object]:
        """The top ``count`` values, or those above the last mark."""
        start = len(self.stack) - int(count) if count else self.marks.pop()
        if start < 0 or start > len(self.stack):
            raise IndexError("the stack is too short")
        values = self.stack[start:]
        del self.stack[start:]
        return values

    def _fill(self, name: str) -> None:
        values = self._take({"APPEND": "1", "SETITEM": "2"}.get(name, ""))
        target = self.stack[-1]
        if name.startswith("APPEND") and isinstance(target, list):
            target.extend(values)
        elif name.startswith("SETITEM") and isinstance(target, dict):
            # Text and numbers alone: hashing a tuple of tuples of ... could take for ever.
            keys = values[0::2]
            if not all(isinstance(key, str | int) for key in keys):
                raise TypeError("keys are text or numbers")
            target.update(zip(keys, values[1::2], strict=True))
        else:
            raise TypeError(f"{name} on another kind of value")

    def _object(self, name: str) -> None:
        argument = self.stack.pop()
        if name == "BINPERSID":
            thing = _persistent(argument)
            if isinstance(thing, Storage) and self.storages.setdefault(thing.key, thing) != thing:
                raise ValueError("one storage, two sizes")
            self.stack.append(thing)
        elif name == "BUILD":
            target = self.stack[-1]
            if isinstance(target, Instance):
                target.state = argument
            elif not isinstance(target, dict):
                raise TypeError("only objects and ordered dictionaries have a state")
        else:
            callee = self.stack.pop()
            if not isinstance(callee, Name) or not isinstance(argument, tuple):
                raise TypeError("only a named thing can be called")
            self.stack.append(Instance() if name == "NEWOBJ" else _answer(callee.path, argument))


_LITERALS = {"BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE", "SHORT_BINSTRING", "BINSTRING"}
_PLAIN: dict[str, Callable[[], object]] = {
    "EMPTY_DICT": dict,
    "EMPTY_LIST": list,
    "EMPTY_TUPLE": tuple,
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
}


def _answer(called: str, arguments: tuple[object, ...]) -> object:
    """What a call in the file stands for, as plain data."""
    if called == "collections.OrderedDict":
        pairs = arguments[0] if arguments else []
        if not isinstance(pairs, list) or not all(isinstance(p, list) and isinstance(p[0], str) for p in pairs):
            raise TypeError("an ordered dictionary of pairs")
        return dict(pairs)
    if called in ("torch._utils._rebuild_tensor", "torch._utils._rebuild_tensor_v2"):
        storage, offset, shape, stride = arguments[:4]
        if not isinstance(storage, Storage) or not isinstance(offset, int) or offset < 0:
            raise TypeError("a tensor stands on a storage")
        return StoredTensor(storage, offset, _sizes(shape), _sizes(stride))
    if called in ("torch.nn.parameter.Parameter", "torch._utils._rebuild_parameter"):
        return arguments[0]
    if called in _IGNORED:
        return Instance()
    raise RefusedError(f"asks to call {show(called)} while it is read, which no file of tensors does")


# Calls in pickled modules, and in what a training keeps beside its weights, whose result holds no tensors.
_IGNORED = {
    "__builtin__.set",
    "builtins.set",
    "collections.Counter",
    "_codecs.encode",
    "numpy.dtype",
    "numpy.core.multiarray.scalar",
    "numpy._core.multiarray.scalar",
    "torch.device",
    "torch.Size",
    "torch.nn.backends.thnn._get_thnn_function_backend",
}


def _persistent(identity: object) -> Storage | Name:
    """A storage, or the class of a module with its source text, which is dropped."""
    if not isinstance(identity, tuple) or not identity:
        raise TypeError("a persistent identity is a tuple")
    if identity[0] == "module" and isinstance(identity[1], Name):
        return identity[1]
    kind, storage_type, key, _, numel = identity[:5]
    if kind != "storage" or not isinstance(storage_type, Name) or not isinstance(key, str):
        raise TypeError("a persistent identity is a storage or a module")
    if identity[5:] not in ((), (None,)):
        raise RefusedError("holds storages that are views of others, which is not supported")
    module, _, name = storage_type.path.rpartition(".")
    if module not in ("torch", "torch.cuda") or name not in _DTYPES:
        raise RefusedError(f"holds a storage of type {show(storage_type.path)}, which is not supported")
    return Storage(key, np.dtype(_DTYPES[name]), _sizes((numel,))[0])


def _sizes(values: object) -> tuple[int, ...]:
    if not isinstance(values, tuple) or len(values) > _MAX_DIMS:
        raise TypeError("sizes are a short tuple")
    if not all(type(v) is int and 0 <= v <= _MAX_SIZE for v in values):
        raise TypeError("sizes are whole numbers")
    return values


def show(text: str) -> str:
    """Text of the file, safe to print on one line."""
    return ascii(text[:80])
