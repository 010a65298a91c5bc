"""The queue of cells: each is handed out until it is done, but not for ever."""

from ray_ue.engine.queue import HANDED_OUT, Queue


def test_every_cell_is_handed_out_once_and_its_facts_come_back() -> None:
    queue = Queue([b"a", b"b", b"c"])
    assert [queue.next(0), queue.next(1)] == [(0, b"a"), (1, b"b")]
    queue.note(1, "b: epoch 1")
    queue.done(0, {"accuracy": 0.5})
    assert queue.poll() == ([(0, {"accuracy": 0.5})], {1: "b: epoch 1"})
    assert queue.next(0) == (2, b"c")
    assert queue.poll()[0] == []


def test_a_lane_whose_workers_died_gets_its_cell_again() -> None:
    queue = Queue([b"a", b"b"])
    assert queue.next(0) == queue.next(0) == (0, b"a")
    queue.done(0, {})
    assert queue.next(0) == (1, b"b")


def test_a_cell_that_ends_its_workers_each_time_does_not_hold_up_the_others() -> None:
    queue = Queue([b"deadly", b"b"])
    assert [queue.next(0) for _ in range(HANDED_OUT)] == [(0, b"deadly")] * HANDED_OUT
    assert queue.next(0) == (1, b"b")
    ((number, facts),), _ = queue.poll()
    assert number == 0
    assert facts["failed"].startswith(f"its workers ended {HANDED_OUT} times")


def test_the_cell_of_a_lane_that_is_gone_waits_for_another_lane() -> None:
    queue = Queue([b"a", b"b"])
    queue.next(0)
    queue.give_up(0)
    queue.give_up(7)  # it had none
    assert [queue.next(1), queue.next(2), queue.next(3)] == [(0, b"a"), (1, b"b"), None]
