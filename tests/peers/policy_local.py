#!/usr/bin/env python3
"""Deliveries that are not SMTP, seen in the records and at the sink: a test for each.

    tests/peers/policy_local.py BUILD [NAME…]"""
import sys
from collections import Counter

from harness import check_equal, main, test


def domain(name, *lines):
    return f"<domain {name}>\n" + "".join(f"    {line}\n" for line in lines) + "</domain>\n"


# effect: domain type
@test("type discard: nothing reaches the sink, records say delivered by discard")
def discard(world):
    mx = world.mx()
    engine = world.engine(extra=domain("void.test", "type discard"))
    for i in range(5):
        world.send([f"{i}a@void.test", f"{i}b@void.test"])
    world.send("u@a.test")
    records = engine.wait_records("d", 11)
    engine.wait_empty()
    gone = [one for one in records if one["rcpt"].endswith("@void.test")]
    check_equal(sorted(one["rcpt"] for one in gone),
                sorted(f"{i}{x}@void.test" for i in range(5) for x in "ab"), "recipients")
    check_equal({(one["dlvType"], one["dsnStatus"][:5]) for one in gone}, {("discard", "2.0.0")},
                "dlvType and dsnStatus")
    check_equal([one.accepted_rcpts for one in mx.messages], [["u@a.test"]], "at the sink")
    check_equal([one["dlvType"] for one in records if one not in gone], ["smtp"], "of the other")


# effect: domain discard-as-bounce
@test("discard-as-bounce: what is discarded is recorded as bounced")
def discard_as_bounce(world):
    mx = world.mx()
    engine = world.engine(extra=domain("void.test", "type discard", "discard-as-bounce yes"))
    world.send(["u0@void.test", "u1@void.test"])
    records = engine.wait_records("b", 2)
    engine.wait_empty()
    check_equal({(one["dlvType"], one["dsnStatus"][:5]) for one in records},
                {("discard", "5.0.0")}, "dlvType and dsnStatus")
    check_equal((len(engine.records("d")), len(mx.messages)), (0, 0), "delivered, at the sink")


@test("type discard: max-msg-rate holds for it")
def discard_rate(world):
    world.mx()
    engine = world.engine(extra=domain("void.test", "type discard", "max-msg-rate 2/h"))
    for i in range(4):
        world.send(f"u{i}@void.test")
    world.send("last@a.test")  # had they been free, they would be gone before this one
    records = engine.wait_records("d", 3)
    check_equal(Counter(one["dlvType"] for one in records), {"discard": 2, "smtp": 1}, "dlvType")


@test("type discard: a reload that brings it ends what connections would carry")
def discard_after_reload(world):
    mx = world.mx()
    quiet = "connection-idle-timeout 1m"
    engine = world.engine(extra=domain("a.test", quiet))
    world.send("u0@a.test")
    engine.wait_records("d", 1)
    engine.write(extra=domain("a.test", quiet, "type discard"))
    engine.control("reload")
    world.send("u1@a.test")
    records = engine.wait_records("d", 2)
    check_equal([one["dlvType"] for one in records], ["smtp", "discard"], "dlvType")
    check_equal(len(mx.messages), 1, "messages at the sink")


if __name__ == "__main__":
    sys.exit(main(__doc__.splitlines()[0]))
