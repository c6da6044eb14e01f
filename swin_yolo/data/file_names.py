"""Many names as two arrays: a million Python strings would be copied into every process that only reads them."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from swin_yolo.data.lazy_sequence import LazySequence


class FileNames(LazySequence[str]):
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

    def at(self, i: int) -> str:
        """Name i."""
        return self.text[self.offsets[i] : self.offsets[i + 1]].tobytes().decode("utf-8", "surrogatepass")
