"""A sequence whose items are made when they are asked for."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Generic, TypeVar, overload

Item = TypeVar("Item")


class LazySequence(Sequence[Item], Generic[Item]):
    """Behaves as a list of its items, and holds none of them: a subclass has a length and makes item i."""

    @abstractmethod
    def at(self, i: int) -> Item:
        """Item i, from 0 to the length less 1."""

    @overload
    def __getitem__(self, i: int) -> Item: ...
    @overload
    def __getitem__(self, i: slice) -> list[Item]: ...
    def __getitem__(self, i: int | slice) -> Item | list[Item]:
        """Item i, from the end where it is negative, or those of a slice."""
        places = range(len(self))
        return [self.at(k) for k in places[i]] if isinstance(i, slice) else self.at(places[i])
