"""The queue of an evaluation's cells, an actor. It holds packed jobs and imports nothing that is needed to train one."""

from collections import deque


class Queue:
    """Hands each cell to one lane. A lane that comes back without having finished its cell (its workers died) gets it again."""

    def __init__(self, jobs: list[bytes]) -> None:
        self.waiting = deque(enumerate(jobs))
        self.taken: dict[int, tuple[int, bytes]] = {}
        self.news: list[tuple[int, dict]] = []
        self.notes: dict[int, str] = {}

    def next(self, lane: int) -> tuple[int, bytes] | None:
        if lane not in self.taken and self.waiting:
            self.taken[lane] = self.waiting.popleft()
        return self.taken.get(lane)

    def done(self, lane: int, facts: dict) -> None:
        number, _ = self.taken.pop(lane)
        self.notes.pop(lane, None)
        self.news.append((number, facts))

    def note(self, lane: int, text: str) -> None:
        self.notes[lane] = text

    def poll(self) -> tuple[list[tuple[int, dict]], dict[int, str]]:
        """Cells finished since the last call, and what each lane says of the cell it is at."""
        news, self.news = self.news, []
        return news, dict(self.notes)
