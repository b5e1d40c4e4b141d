"""The shards a process holds while it makes them; those that other processes hold, or have made, it passes over."""

from __future__ import annotations

from contextlib import ExitStack

from otoscope.activations.plan import Shard
from otoscope.activations.store import Held, Store
from otoscope.errors import OtoscopeError


class Claims:
    """Shards taken as decoding reaches them, released as they are written.

    Attributes
    ----------
    elsewhere : list of Held
        What other processes hold.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self.elsewhere: list[Held] = []
        self._held: dict[int, ExitStack] = {}

    def take(self, shard: Shard) -> bool:
        """Whether a shard is to be made here; not if another process has it, or made it meanwhile."""
        with ExitStack() as stack:
            try:
                stack.enter_context(self.store.claim(shard))
            except Held as held:
                self.elsewhere.append(held)
                return False
            if self.store.has(shard):
                return False
            self._held[shard.number] = stack.pop_all()
        return True

    def release(self, shard: Shard) -> None:
        """Give up a shard that is written."""
        self._held.pop(shard.number).close()

    def check(self) -> None:
        """Raise where other processes still hold shards: without those the store is not whole."""
        missing = [held for held in self.elsewhere if not self.store.has(held.shard)]
        if not missing:
            return
        others = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
        raise OtoscopeError(f"{missing[0]}{others}")

    def close(self) -> None:
        """Give up all."""
        for stack in self._held.values():
            stack.close()
