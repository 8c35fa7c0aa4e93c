#!/usr/bin/env python3
"""Limits and rates, seen at the sink: a test for each.

    tests/peers/policy_limits.py BUILD [NAME…]"""
import sys

from harness import check, check_equal, main, test
from mx import Delay

SLACK = 0.05  # between the engine's clock and that of the sink


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
    check(raised[2] - raised[0] < 4, f"they grew at {raised}")


if __name__ == "__main__":
    sys.exit(main(__doc__.splitlines()[0]))
