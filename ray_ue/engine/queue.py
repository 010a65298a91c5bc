"""The queue of an evaluation's cells, an actor. It holds packed jobs and imports nothing that is needed to train one."""

from collections import Counter, deque

HANDED_OUT = 3  # times: a cell that ends its workers each time must not hold up the others
ENDED = (
    f"its workers ended {HANDED_OUT} times before it did, most likely because memory did not suffice: do less side by side (--part 0.5), "
    "or train on fewer or smaller images"
)


class Queue:
    """Hands each cell to one lane. A lane that comes back without having finished its cell, as its workers died, gets it again."""

    def __init__(self, jobs: list[bytes]) -> None:
        self.waiting = deque(enumerate(jobs))
        self.taken: dict[int, tuple[int, bytes]] = {}
        self.handed_out = Counter[int]()
        self.news: list[tuple[int, dict]] = []
        self.notes: dict[int, str] = {}

    def next(self, lane: int) -> tuple[int, bytes] | None:
        if lane in self.taken and self.handed_out[self.taken[lane][0]] >= HANDED_OUT:
            self.done(lane, {"failed": ENDED})
        if lane not in self.taken and self.waiting:
            self.taken[lane] = self.waiting.popleft()
        ticket = self.taken.get(lane)
        if ticket:
            self.handed_out[ticket[0]] += 1
        return ticket

    def done(self, lane: int, facts: dict) -> None:
        number, _ = self.taken.pop(lane)
        self.notes.pop(lane, None)
        self.news.append((number, facts))

    def give_up(self, lane: int) -> None:
        """A lane has ended for good: its cell waits for another one."""
        if ticket := self.taken.pop(lane, None):
            self.waiting.appendleft(ticket)
        self.notes.pop(lane, None)

    def note(self, lane: int, text: str) -> None:
        self.notes[lane] = text

    def poll(self) -> tuple[list[tuple[int, dict]], dict[int, str]]:
        """Cells finished since the last call, and what each lane says of the cell it is at."""
        news, self.news = self.news, []
        return news, dict(self.notes)
