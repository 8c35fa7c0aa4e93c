#!/usr/bin/env python3
"""What a kill -9 does not make the engine forget: rates and the queues' retry clocks.

    tests/peers/restarts.py BUILD [ROW…]

Counted and timed at the receiving host, by its own clock."""
import sys
import time

from harness import check, check_equal, main, test, wait_for
from mx import Close, Turns

WINDOW = 60.0
JITTER = 0.5  # from the engine's decision to the host's clock


def starts(mx):
    """When each recipient was attempted."""
    return sorted(one.time for one in list(mx.transactions) for _ in list(one.rcpts))


def most_in_window(times, seconds):
    return max((sum(1 for one in times if first <= one < first + seconds) for first in times),
               default=0)


def restart(engine, workers):
    engine.kill()
    engine.workers = workers
    engine.write()
    engine.start()


def inject(world, count, to):
    with world.client() as client:
        client.hello()
        for number in range(count):
            client.message(f"user{number}@{to}")


# effect: domain max-msg-rate
@test("max-msg-rate 5/min holds over kill -9 and another number of workers")
def message_rate(world):
    mx = world.mx()
    engine = world.engine(domain="max-msg-rate 5/min", workers=2)
    inject(world, 12, "a.test")
    wait_for(lambda: len(starts(mx)) >= 3, "the first recipients arrive")
    restart(engine, 1)
    began = time.monotonic()
    inject(world, 3, "a.test")
    time.sleep(3)
    restart(engine, 3)
    wait_for(lambda: len(starts(mx)) >= 6, lambda: f"more after a minute: {starts(mx)}", 90)
    check(time.monotonic() - began > WINDOW / 2, "they came too soon")
    time.sleep(5)
    seen = starts(mx)
    check(most_in_window(seen, WINDOW - JITTER) <= 5, lambda: f"too many in a minute: {seen}")
    check_equal(len(engine.records("b")), 0, "bounces")


# effect: domain domain-max-msg-rate
@test("domain-max-msg-rate 6/min holds over kill -9 for all virtual MTAs together")
def domain_rate(world):
    mx = world.mx()
    engine = world.engine(domain="domain-max-msg-rate 6/min", workers=2)
    for vmta in ("v1", "v2"):
        for number in range(6):
            world.send(f"user{number}@a.test", vmta=vmta)
    wait_for(lambda: len(starts(mx)) >= 4, "the first recipients arrive")
    restart(engine, 1)
    time.sleep(3)
    before = len(starts(mx))
    check(before <= 6, lambda: f"too many in a minute: {starts(mx)}")
    wait_for(lambda: len(starts(mx)) > 6, lambda: f"more after a minute: {starts(mx)}", 90)
    time.sleep(2)
    seen = starts(mx)
    check(most_in_window(seen, WINDOW - JITTER) <= 6, lambda: f"too many in a minute: {seen}")


@test("a short rate begins full: after kill -9 its queue waits one window")
def short_rate(world):
    mx = world.mx()
    engine = world.engine(domain="max-msg-rate 4/5s")
    inject(world, 8, "a.test")
    wait_for(lambda: len(starts(mx)) == 4, "four recipients arrive")
    restart(engine, 2)
    wait_for(lambda: len(starts(mx)) == 8, lambda: f"the rest arrives: {starts(mx)}")
    seen = starts(mx)
    check(most_in_window(seen, 5 - JITTER) <= 4, lambda: f"too many in 5 s: {seen}")


@test("the retry clock goes on after kill -9 where it was")
def retry_clock(world):
    down = ["421 4.3.2 not now", Close()]
    mx = world.mx(greeting=Turns(down, down, "220 mx ESMTP"))
    engine = world.engine(domain="retry-after 1s,12s,1h", workers=2)
    world.send()
    engine.wait_records("tq", 2)
    time.sleep(1.5)
    restart(engine, 1)
    wait_for(lambda: mx.messages, "a message arrives", 30)
    times = [one.begun for one in mx.sessions]
    check_equal(len(times), 3, "connections")
    check(11.5 <= times[2] - times[1] <= 16, lambda: f"tried again after {times[2] - times[1]} s")


if __name__ == "__main__":
    sys.exit(main(__doc__.splitlines()[0]))
