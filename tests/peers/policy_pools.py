#!/usr/bin/env python3
"""Which member of a virtual MTA pool takes a message, seen at the receiving host.

    tests/peers/policy_pools.py BUILD [NAME…]"""
import sys
import time
from collections import Counter

from harness import check, check_equal, main, test

MEMBERS = ("p1", "p2", "p3", "p4")
IDLE_SECONDS = 0.3  # a connection of nobody's mail is kept so long


def pool(world, weights=(1, 1, 1, 1)):
    """Parts of a configuration whose default is a pool of these."""
    blocks = [f"<virtual-mta {name}>\nsmtp-source-host {world.address(111 + i)} {name}.test\n"
              "</virtual-mta>\n" for i, name in enumerate(MEMBERS)]
    members = "".join(f"    virtual-mta {name} weight={weight}\n"
                      for name, weight in zip(MEMBERS, weights))
    return {"source": "default-virtual-mta pool",
            "extra": "".join(blocks) + f"<virtual-mta-pool pool>\n{members}</virtual-mta-pool>\n"}


def senders(mx):
    return Counter((one.session.hello or "").partition(".")[0] for one in mx.messages)


def send_slowly(world, count, seconds):
    with world.client() as client:
        client.hello()
        begin = time.monotonic()
        for i in range(count):
            client.message(f"u{i}@a.test")
            time.sleep(max(0, begin + (i + 1) * seconds - time.monotonic()))


def sticks(world, workers):
    """Slow mail to one domain: taken in turn each member's connection would be gone before its
    next message. So it is 64 connections by turns, and 4 if each member had its 16 in one run."""
    mx = world.mx()
    engine = world.engine(workers=workers, **pool(world),
                          domain=f"connection-idle-timeout {int(IDLE_SECONDS * 1000)}ms")
    send_slowly(world, 64, IDLE_SECONDS / 2.5)
    engine.wait_records("d", 64)
    check(len(mx.sessions) <= 20, f"{len(mx.sessions)} connections for 64 messages")
    seen = senders(mx)
    check(all(seen[name] >= 4 for name in MEMBERS), f"each has its share, nearly: {seen}")


@test("a pool stays with the member that has a connection: far fewer are opened")
def stays(world):
    sticks(world, 1)


@test("a pool stays with the member that has a connection on another worker")
def stays_elsewhere(world):
    sticks(world, 2)


@test("weights of a pool hold over 1,000 messages, whatever connections there are")
def weights_hold(world):
    weights = (1, 2, 3, 4)
    mx = world.mx()
    engine = world.engine(**pool(world, weights), domain="max-smtp-out 2")
    with world.client() as client:
        client.hello()
        for i in range(1000):
            client.message(f"u{i}@d{i % 3}.test")
    engine.wait_records("d", 1000, 60)
    seen = senders(mx)
    check_equal(sum(seen.values()), 1000, "messages")
    for name, weight in zip(MEMBERS, weights):
        check(abs(seen[name] - 100 * weight) <= 20, f"{name}: {seen}, wanted {weights} of 10")


if __name__ == "__main__":
    sys.exit(main(__doc__.splitlines()[0]))
