"""Many names as two arrays: a million Python strings would be copied into every process that only reads them."""

from collections.abc import Iterable, Sequence
from typing import overload

import numpy as np
from numpy.typing import NDArray


class FileNames(Sequence[str]):
    """Names that are made into strings when they are asked for.

    Attributes:
        text: uint8, the UTF-8 of all names, one behind the other.
        offsets: (n + 1,) int64; name i is bytes `offsets[i]` to `offsets[i + 1]`.
    """

    def __init__(self, text: NDArray[np.uint8], offsets: NDArray[np.int64]):
        self.text, self.offsets = text, offsets

    @classmethod
    def of(cls, names: Iterable[str]) -> "FileNames":
        """From strings."""
        encoded = [name.encode("utf-8", "surrogatepass") for name in names]  # JSON can name half a surrogate pair
        lengths = np.fromiter(map(len, encoded), np.int64, len(encoded))
        text = np.frombuffer(b"".join(encoded), np.uint8)
        return cls(text, np.concatenate(([0], np.cumsum(lengths))).astype(np.int64))

    def __len__(self) -> int:
        """Number of names."""
        return len(self.offsets) - 1

    @overload
    def __getitem__(self, i: int) -> str: ...
    @overload
    def __getitem__(self, i: slice) -> list[str]: ...
    def __getitem__(self, i: int | slice) -> str | list[str]:
        """Name i, or those of a slice."""
        if isinstance(i, slice):
            return [self[k] for k in range(len(self))[i]]
        i = range(len(self))[i]
        return self.text[self.offsets[i] : self.offsets[i + 1]].tobytes().decode("utf-8", "surrogatepass")
