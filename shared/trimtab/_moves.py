"""How a layout moves to new parts with few slices: the greedy behind `layout.relayout`.

A slice is given by one that loses to one that gains, in the order of what it does to the number of slices:

1. a whole slice to a neighbour that gains: one or two slices fewer
2. a boundary between one that loses and one that gains: as many as before
3. a whole slice to one that gains elsewhere: as many as before
4. the end of a slice to one that gains elsewhere: one more
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass


@dataclass(slots=True)
class _Piece:
    owner: str
    size: int


class Layout:
    """Slices as sizes in order, and for every variant how many parts it still has to gain (negative: to lose)."""

    def __init__(self, sizes: Iterable[tuple[str, int]], parts: Mapping[str, int]) -> None:
        self._pieces = [_Piece(owner, size) for owner, size in sizes]
        self._owed = dict(parts)
        for piece in self._pieces:
            self._owed[piece.owner] = self._owed.get(piece.owner, 0) - piece.size

    def sizes(self) -> Iterator[tuple[str, int]]:
        """Owner and size of every slice, in order."""
        return ((piece.owner, piece.size) for piece in self._pieces)

    def settle(self) -> None:
        """Move parts until nobody is owed any."""
        self._merge()
        while any(self._owed.values()):
            moved = self._absorb() or self._shift() or self._hand_over() or self._cut()
            assert moved, "what is gained is what is lost, so somebody can always give"
            self._merge()

    def _merge(self) -> None:
        merged: list[_Piece] = []
        for piece in self._pieces:
            if not piece.size:
                continue
            if merged and merged[-1].owner == piece.owner:
                merged[-1].size += piece.size
            else:
                merged.append(piece)
        self._pieces = merged

    def _neighbours(self, place: int) -> list[_Piece]:
        return [self._pieces[near] for near in (place - 1, place + 1) if 0 <= near < len(self._pieces)]

    def _losing(self) -> list[int]:
        return [place for place, piece in enumerate(self._pieces) if self._owed[piece.owner] < 0]

    def _pay(self, giver: str, taker: str, size: int) -> None:
        self._owed[giver] += size
        self._owed[taker] -= size

    def _absorb(self) -> bool:
        """Give whole slices to neighbours: those between two slices of one owner first, then small ones."""
        moved = False
        for place in sorted(self._losing(), key=self._absorb_order):
            piece = self._pieces[place]
            if piece.size > -self._owed[piece.owner]:
                continue
            takers = [taker.owner for taker in self._neighbours(place) if self._owed[taker.owner] >= piece.size]
            if takers:
                self._pay(piece.owner, takers[0], piece.size)
                piece.owner = takers[0]
                moved = True
        return moved

    def _absorb_order(self, place: int) -> tuple[bool, int]:
        near = self._neighbours(place)
        joins_two = len(near) == 2 and near[0].owner == near[1].owner
        return not joins_two, self._pieces[place].size

    def _shift(self) -> bool:
        """Move boundaries between one that loses and one that gains as far as both allow, the smallest slices first."""
        moved = False
        for place in sorted(self._losing(), key=lambda place: self._pieces[place].size):
            giver = self._pieces[place]
            for taker in sorted(self._neighbours(place), key=lambda piece: -piece.size):
                size = min(giver.size, -self._owed[giver.owner], self._owed[taker.owner])
                if size > 0:
                    self._pay(giver.owner, taker.owner, size)
                    giver.size -= size
                    taker.size += size
                    moved = True
        return moved

    def _hand_over(self) -> bool:
        """Give the smallest whole slice that somebody can take to whoever is owed most."""
        taker = max(self._owed, key=lambda owner: (self._owed[owner], owner))
        fitting = [p for p in self._pieces if p.size <= min(-self._owed[p.owner], self._owed[taker])]
        if not fitting:
            return False
        piece = min(fitting, key=lambda piece: piece.size)
        self._pay(piece.owner, taker, piece.size)
        piece.owner = taker
        return True

    def _cut(self) -> bool:
        """Cut the end of the smallest slice of whoever loses most for whoever is owed most."""
        taker = max(self._owed, key=lambda owner: (self._owed[owner], owner))
        giver = min(self._owed, key=lambda owner: (self._owed[owner], owner))
        owned = [place for place, piece in enumerate(self._pieces) if piece.owner == giver]
        place = min(owned, key=lambda place: self._pieces[place].size)
        piece = self._pieces[place]
        size = min(piece.size, -self._owed[giver], self._owed[taker])
        self._pay(giver, taker, size)
        piece.size -= size
        self._pieces.insert(place + 1, _Piece(taker, size))
        return True
