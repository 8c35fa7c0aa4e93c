#!/usr/bin/env python3
"""Limits of what goes to one receiving host, seen there: a test for each directive.

    tests/peers/policy_destinations.py BUILD [NAME…]"""
import sys
import time

from harness import check, check_equal, main, test, wait_for
from measures import most_at_once, three_sources
from mx import Delay

SLOW = {"final": [Delay(0.1), "250 2.0.0 taken"]}


def two_hosts(world, **options):
    """Domains a.test … d.test have two equal MX hosts."""
    one, two = world.mx(11, **options), world.mx(12, **options)
    zone = {f"{name}.test": [("MX", 10, "one.mx.test"), ("MX", 10, "two.mx.test")]
            for name in "abcd"}
    zone |= {"one.mx.test": [("A", one.address)], "two.mx.test": [("A", two.address)]}
    return one, two, world.names(zone)


def most_from(mx, source):
    return most_at_once(one for one in mx.sessions if one.source == source)


# effect: global mx-connection-limit
@test("mx-connection-limit: connections to a host from a source, over all queues and workers")
def mx_connections(world):
    one, two, names = two_hosts(world, **SLOW)
    engine = world.engine(workers=2, routes=" ", domain="max-msg-per-connection 2",
                          globals=names.directive + "\nmx-connection-limit * 9\n"
                          "mx-connection-limit one.mx.test 1\nmx-connection-limit *.mx.test 2")
    for number in range(48):
        world.send(f"u{number}@{'abcd'[number % 4]}.test")
    begin = time.monotonic()
    engine.wait_records("d", 48)
    seconds = time.monotonic() - begin
    source = world.address(101)
    check_equal((most_from(one, source), most_from(two, source)), (1, 2), "connections at once")
    check(seconds < 8, f"48 messages over 3 connections, 0.1 s each, took {seconds:.1f} s")
    check_equal(engine.records("tq"), [], "deferrals")


@test("mx-connection-limit: who rests gives way, and a host that is down is no reason to wait")
def idle_gives_way(world):
    one, two, names = two_hosts(world)
    two.close()
    engine = world.engine(workers=2, routes=" ", domain="connection-idle-timeout 5m",
                          globals=names.directive + "\nmx-connection-limit * 1")
    for name in "abcdabcd":
        world.send(f"u@{name}.test")
        wait_for(lambda: engine.queued() == 0, "it is delivered", 5)
    check_equal(most_from(one, world.address(101)), 1, "connections at once")
    check(len(one.sessions) >= 4, f"{len(one.sessions)} connections for four domains")


# effect: global ip-connection-limit
@test("ip-connection-limit: connections to an address from each source; the narrowest counts")
def ip_connections(world):
    one, two = world.mx(11, **SLOW), world.mx(12, **SLOW)
    world.route("*", [one, two])
    extra, addresses = three_sources(world)
    engine = world.engine(source="default-virtual-mta three", extra=extra,
                          domain="max-msg-per-connection 2",
                          globals=f"ip-connection-limit {two.address} 2\n"
                                  "ip-connection-limit 127/8 1")
    for number in range(60):
        world.send(f"u{number}@a.test")
    engine.wait_records("d", 60)
    for source in addresses:
        check_equal((most_from(one, source), most_from(two, source)), (1, 2),
                    f"connections at once from {source}")
    check_equal(engine.records("tq"), [], "deferrals")


@test("ip-connection-limit: 0 is none, and a reload changes it for who waits")
def ip_reload(world):
    mx = world.mx(final=[Delay(0.4), "250 2.0.0 taken"])
    engine = world.engine(globals="ip-connection-limit 127/8 1")
    for number in range(8):
        world.send(f"u{number}@d{number}.test")
    wait_for(lambda: mx.messages, "the first is there")
    check_equal(most_at_once(mx.sessions), 1, "connections at once")
    engine.write(globals="ip-connection-limit 127/8 1\nip-connection-limit 127/8 0")
    engine.control("reload")
    engine.wait_records("d", 8)
    check(most_at_once(mx.sessions) >= 4, f"{most_at_once(mx.sessions)} connections at once")


if __name__ == "__main__":
    sys.exit(main(__doc__.splitlines()[0]))
