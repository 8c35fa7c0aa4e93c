#!/usr/bin/env python3
"""Priorities of queues, seen at the sink: a test for each directive.

    tests/peers/policy_priority.py BUILD [NAME…]"""
import sys

from harness import check, check_equal, main, test, wait_for
from mx import Delay

PRIORITIES = """
<domain low.test>
    queue-priority 10
{low}
</domain>
<domain high.test>
    queue-priority 90
</domain>"""


def order(world, low="", workers=2, late=4):
    """The domains in the order their messages came, over one connection at a time: twelve for
    low.test, and then some for high.test."""
    mx = world.mx(final=[Delay(0.15), "250 2.0.0 taken"])
    engine = world.engine(workers=workers, globals="total-max-smtp-out 1",
                          extra=PRIORITIES.format(low=low))
    for number in range(12):
        world.send(f"u{number}@low.test")
    wait_for(lambda: mx.messages, "the first is there")
    for number in range(late):
        world.send(f"u{number}@high.test")
    before = len(mx.messages)
    engine.wait_records("d", 12 + late)
    check_equal(engine.records("tq", "t"), [], "deferrals")
    came = [one.accepted_rcpts[0].partition("@")[2] for one in mx.messages]
    return came, before


# effect: domain queue-priority
@test("queue-priority: a lower queue gives its connection away after its message")
def gives_way(world):
    came, before = order(world)
    last = max(place for place, domain in enumerate(came) if domain == "high.test")
    check(last <= before + 4 + 3, f"{before} were there when the others came: {came}")


# effect: domain allow-priority-interruption
@test("allow-priority-interruption no: it keeps its connection as long as it has mail")
def keeps(world):
    came, _ = order(world, low="    allow-priority-interruption no")
    check_equal(came, ["low.test"] * 12 + ["high.test"] * 4, "the order")


if __name__ == "__main__":
    sys.exit(main(__doc__.splitlines()[0]))
