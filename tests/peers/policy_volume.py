#!/usr/bin/env python3
"""Limits of bytes delivered over time, measured at the sink: a test for each directive.

    tests/peers/policy_volume.py BUILD [NAME…]"""
import sys
import time

from harness import check, check_equal, main, make_content, test
from measures import three_sources

SLACK = 0.3   # the sink may see one late and the next in time, on a busy machine
SIZE = 9500   # bytes of a message, nearly
SEVERAL = "30k/2s"  # three of them


def send(world, count, size=SIZE, domains="a"):
    """The bytes of each message, as they arrive."""
    for number in range(count):
        world.send(f"u{number}@{domains[number % len(domains)]}.test",
                   content=make_content(size=size))


def most_bytes(messages, seconds):
    """In any window, by the time each message has ended."""
    return max(sum(len(other.data) for other in messages
                   if one.time <= other.time < one.time + seconds) for one in messages)


def check_volume(messages, count, most=31000, seconds=2, least=8):
    """So many in `least` seconds at most, and no window with more than that."""
    check_equal(len(messages), count, "messages")
    seen = most_bytes(messages, seconds - SLACK)
    check(seen <= most, f"{seen} bytes in {seconds} s: {[one.time for one in messages]}")
    span = messages[-1].time - messages[0].time
    check(span < least, f"they took {span:.1f} s")


def number_of(transaction):
    return int(transaction.accepted_rcpts[0][1:].partition("@")[0])


def refuse_odd(session, _):
    return "550 5.7.1 no" if number_of(session.transaction) % 2 else "250 2.0.0 taken"


# effect: domain max-data-volume-rate
@test("max-data-volume-rate: bytes of a queue over time; what was refused does not count")
def of_a_queue(world):
    mx = world.mx(final=refuse_odd)
    engine = world.engine(workers=2, domain=f"max-data-volume-rate {SEVERAL}\nmax-smtp-out 5")
    send(world, 18)
    engine.wait_records("d", 9)
    engine.wait_records("b", 9)
    check_volume(mx.messages, 9)
    check_equal(engine.records("tq", "t"), [], "deferrals")


@test("max-data-volume-rate: a message larger than all of it goes alone, and is paid back")
def larger_than_all(world):
    mx = world.mx()
    engine = world.engine(domain="max-data-volume-rate 20k/1s\nmax-smtp-out 5")
    send(world, 2, size=3000)
    send(world, 1, size=50000)
    send(world, 2, size=3000)
    engine.wait_records("d", 5)
    large = next(one for one in mx.messages if len(one.data) > 40000)
    others = [one.time for one in mx.messages if one is not large]
    check(all(not large.time - 1 + SLACK < one < large.time + 3 - SLACK for one in others),
          f"the large one at {large.time}, others at {others}")
    check(max(others + [large.time]) - min(others) < 9, "it took long")


# effect: domain backoff-max-data-volume-rate
@test("backoff-max-data-volume-rate: the queue's in backoff mode")
def in_backoff(world):
    mx = world.mx()
    engine = world.engine(domain=f"backoff-max-data-volume-rate {SEVERAL}\nmax-smtp-out 3")
    send(world, 12)
    engine.wait_records("d", 12)
    check(most_bytes(mx.messages, 2) > 60000, "in normal mode there is no limit")
    engine.control("pause queue", "*/*")
    send(world, 9)
    check_equal(engine.command("set", "queue", "--mode=backoff", "a.test/v1")[0], 0, "exit code")
    engine.control("resume queue", "*/*")
    engine.wait_records("d", 21)
    check_volume(mx.messages[12:], 9)


# effect: domain source-ip-max-data-volume-rate
@test("source-ip-max-data-volume-rate: bytes over time from each address, the others go on")
def of_source_addresses(world):
    mx = world.mx()
    extra, addresses = three_sources(world)
    engine = world.engine(source="default-virtual-mta three", extra=extra,
                          domain="max-smtp-out 3\nconnection-idle-timeout 10s\n"
                                 f"source-ip-max-data-volume-rate 0/0 {SEVERAL}\n"
                                 f"source-ip-max-data-volume-rate {addresses[2]} 10k/2s")
    send(world, 21, size=9000)
    engine.wait_records("d", 21)
    for source, most in zip(addresses, (30000, 30000, 10000)):
        seen = most_bytes([one for one in mx.messages if one.session.source == source], 2 - SLACK)
        check(seen <= most, f"{seen} bytes in 2 s from {source}")
    check(mx.messages[-1].time - mx.messages[0].time < 7, "it took longer than it must")


# effect: virtual-mta max-smtp-data-volume-rate
@test("max-smtp-data-volume-rate: all queues of a virtual MTA together, on every worker")
def of_a_virtual_mta(world):
    mx = world.mx()
    engine = world.engine(workers=2, source="default-virtual-mta w",
                          extra=f"<virtual-mta w>\nsmtp-source-host {world.address(103)} w.test\n"
                                f"max-smtp-data-volume-rate {SEVERAL}\n</virtual-mta>")
    send(world, 12, domains="abcdef")
    engine.wait_records("d", 12)
    check_volume(mx.messages, 12)


# effect: virtual-mta-pool max-smtp-data-volume-rate
@test("max-smtp-data-volume-rate of a pool: of each member that does not say itself")
def of_a_pool(world):
    mx = world.mx()
    pool = "<virtual-mta-pool p>\nvirtual-mta one\nvirtual-mta two\n" \
           f"max-smtp-data-volume-rate {SEVERAL}\n</virtual-mta-pool>"
    members = "".join(f"<virtual-mta {name}>\nsmtp-source-host {world.address(last)} s.test\n"
                      f"{more}\n</virtual-mta>\n" for name, last, more in
                      [("one", 103, ""), ("two", 104, "max-smtp-data-volume-rate 10k/2s")])
    engine = world.engine(extra=members + pool)
    for number in range(8):
        world.send(f"u{number}@a.test", content=make_content(size=9000,
                                                             vmta="one" if number < 5 else "two"))
    engine.wait_records("d", 8)
    for last, most in ((103, 30000), (104, 10000)):
        mine = [one for one in mx.messages if one.session.source == world.address(last)]
        check(most_bytes(mine, 2 - SLACK) <= most, f"of {last}: {most_bytes(mine, 2 - SLACK)}")


# effect: provider max-data-volume-rate
@test("max-data-volume-rate of a <provider>: all its domains, from every virtual MTA")
def of_a_provider(world):
    mx = world.mx()
    engine = world.engine(workers=2, domain="provider big",
                          extra=f"<provider big>\nmax-data-volume-rate {SEVERAL}\n</provider>")
    for number in range(9):
        world.send(f"u{number}@{'abc'[number % 3]}.test",
                   content=make_content(size=SIZE, vmta="v1" if number % 2 else "v2"))
    engine.wait_records("d", 9)
    check_volume(mx.messages, 9)


@test("rates of bytes hold over kill -9")
def survives(world):
    mx = world.mx()
    policy = {"domain": "max-data-volume-rate 35k/m\nmax-smtp-out 3"}
    engine = world.engine(**policy)
    send(world, 5)
    engine.wait_records("d", 3)
    engine.kill()
    engine.write(**policy)
    engine.start()
    time.sleep(1.5)  # nothing may leave meanwhile
    check_equal((len(mx.messages), engine.queued()), (3, 2), "messages there, recipients waiting")


if __name__ == "__main__":
    sys.exit(main(__doc__.splitlines()[0]))
