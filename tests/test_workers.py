import threading
import time

import pytest

from clientbook import workers


def test_lots_come_back_in_their_order_though_some_take_longer():
    def work(n):
        time.sleep(0.02 if n % 3 == 0 else 0)
        return n * n

    assert list(workers.in_turn(work, range(20))) == [n * n for n in range(20)]
    assert list(workers.in_turn(work, [])) == []


def test_lots_are_taken_only_as_they_are_worked_on(monkeypatch):
    monkeypatch.setattr(workers, "MOST_PROCESSES", 2)
    taken, done, lock = [], [], threading.Lock()

    def lots():
        for n in range(30):
            with lock:
                taken.append(n)
                # nothing holds more lots than are worked on, and the one that is handed on
                assert len(taken) - len(done) <= 3
            yield n

    for each in workers.in_turn(lambda n: n, lots()):
        with lock:
            done.append(each)
    assert done == list(range(30))


def test_what_goes_wrong_in_a_lot_is_told():
    def work(n):
        if n == 5:
            raise ValueError("the fifth")
        return n

    with pytest.raises(ValueError, match="the fifth"):
        list(workers.in_turn(work, range(9)))
