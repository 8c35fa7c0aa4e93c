#!/usr/bin/env python3
"""Limits and rates, seen at the sink: a test for each.

    tests/peers/policy_limits.py BUILD [NAME…]"""
import sys
import time
from collections import Counter

from harness import check, check_equal, main, test
from measures import most_at_once, most_in_window, three_sources
from mx import Delay

SLACK = 0.3  # the sink may see one late and the next in time, on a busy machine


# effect: domain source-ip-max-smtp-out
@test("source-ip-max-smtp-out: connections of a queue at once from each source address")
def source_places(world):
    mx = world.mx(final=[Delay(0.15), "250 2.0.0 taken"])
    extra, (one, two, three) = three_sources(world)
    engine = world.engine(source="default-virtual-mta three", extra=extra,
                          domain="max-smtp-out 20\nmax-msg-per-connection 2\n"
                                 f"source-ip-max-smtp-out 0/0 2\nsource-ip-max-smtp-out {two} 1")
    for number in range(40):
        world.send(f"u{number}@a.test")
    engine.wait_records("d", 40)
    by_source = {source: most_at_once(one for one in mx.sessions if one.source == source)
                 for source in (one, two, three)}
    check_equal(by_source, {one: 2, two: 1, three: 2}, "connections at once from each")
    check_equal(engine.records("tq"), [], "deferrals")


# effect: domain source-ip-max-connect-rate
@test("source-ip-max-connect-rate: an address that is full is passed over; then all wait")
def source_connects(world):
    mx = world.mx()
    extra, addresses = three_sources(world)
    engine = world.engine(source="default-virtual-mta three", extra=extra,
                          domain="max-smtp-out 20\nmax-msg-per-connection 1\n"
                                 "source-ip-max-connect-rate 0/0 2/2s")
    for number in range(15):
        world.send(f"u{number}@a.test")
    engine.wait_records("d", 15)
    for source in addresses:
        times = [one.begun for one in mx.sessions if one.source == source]
        check(most_in_window(times, 2 - SLACK) <= 2, f"{source}: {times}")
    check_equal(len(mx.sessions), 15, "connections")
    times = sorted(one.begun for one in mx.sessions)
    check(times[5] - times[0] < 1.5, f"six leave at once: {times}")
    check(times[-1] - times[0] < 7, f"no longer than it must: {times}")
    check_equal(engine.records("tq"), [], "deferrals")


# effect: domain source-ip-max-msg-rate
@test("source-ip-max-msg-rate: recipients over time from each address, its connection resting")
def source_messages(world):
    mx = world.mx()
    extra, addresses = three_sources(world)
    engine = world.engine(source="default-virtual-mta three", extra=extra,
                          domain="max-smtp-out 3\nconnection-idle-timeout 10s\n"
                                 f"source-ip-max-msg-rate 0/0 2/2s\n"
                                 f"source-ip-max-msg-rate {addresses[2]} 4/2s")
    for number in range(24):
        world.send(f"u{number}@a.test")
    engine.wait_records("d", 24)
    for source, count in zip(addresses, (2, 2, 4)):
        times = [one.time for one in mx.messages if one.session.source == source]
        check(most_in_window(times, 2 - SLACK) <= count, f"{source}: {times}")
    times = sorted(one.time for one in mx.messages)
    check(times[-1] - times[0] < 7, f"no longer than it must: {times}")
    check_equal(engine.records("tq"), [], "deferrals")


@test("rates of source addresses hold over kill -9")
def source_rates_survive(world):
    mx = world.mx()
    extra, addresses = three_sources(world)
    policy = {"source": "default-virtual-mta three", "extra": extra,
              "domain": "max-smtp-out 3\nsource-ip-max-msg-rate 0/0 2/m"}
    engine = world.engine(**policy)
    for number in range(9):
        world.send(f"u{number}@a.test")
    engine.wait_records("d", 6)
    engine.kill()
    engine.write(**policy)
    engine.start()
    world.send("u9@a.test")
    time.sleep(1.5)  # nothing may leave meanwhile
    check_equal(engine.queued(), 4, "recipients that wait")
    check_equal(Counter(one.session.source for one in mx.messages),
                {source: 2 for source in addresses}, "messages from each")


# effect: domain smtp-out-rampup-interval
@test("smtp-out-rampup-interval: connections become more one by one")
def rampup(world):
    mx = world.mx(final=[Delay(0.2), "250 2.0.0 taken"])
    engine = world.engine(domain="max-smtp-out 3\nmax-msg-per-connection 1\n"
                                 "smtp-out-rampup-interval 1s")
    for number in range(24):
        world.send(f"u{number}@a.test")
    engine.wait_records("d", 24)
    open_now, most, raised = 0, 0, []
    for when, step in sorted([(one.begun, 1) for one in mx.sessions] +
                             [(one.ended, -1) for one in mx.sessions if one.ended]):
        open_now += step
        if open_now > most:
            most, raised = open_now, raised + [when]
    check_equal(most, 3, "connections at once")
    check(all(b - a > 1 - SLACK for a, b in zip(raised, raised[1:])), f"they grew at {raised}")
    check(raised[2] - raised[0] < 5, f"they grew at {raised}")


if __name__ == "__main__":
    sys.exit(main(__doc__.splitlines()[0]))
