#!/usr/bin/env python3
"""What a directive does to mail, seen at the sink and in the records: a test for each.

    tests/peers/policy.py BUILD [NAME…]"""
import sys
from collections import Counter

from harness import check_equal, main, make_content, test, wait_for

POOL = """\
<virtual-mta-pool both>
    virtual-mta v1
    virtual-mta v2 weight=2
</virtual-mta-pool>
"""

PATTERNS = """\
<pattern-list people>
    rcpt-to /^vip@/ virtual-mta=v2
</pattern-list>
<pattern-list by-kind>
    header X-Kind /^news/ virtual-mta=v2
    * call-to:people
</pattern-list>
"""


def sources(mx):
    return Counter(one.session.hello.partition(".")[0] for one in mx.messages)


# effect: virtual-mta-pool virtual-mta
@test("virtual-mta-pool: members take turns by weight, records name the pool")
def pool_turns(world):
    mx = world.mx()
    engine = world.engine(extra=POOL, source="default-virtual-mta both")
    engine.control("pause queue", "*/*")  # where a connection is open, a message stays with it
    for i in range(9):
        world.send(f"u{i}@a.test")
    engine.control("resume queue", "*/*")
    records = engine.wait_records("d", 9)
    check_equal(sources(mx), {"v1": 3, "v2": 6}, "messages by virtual MTA")
    check_equal(Counter((one["vmta"], one["vmtaPool"]) for one in records),
                {("v1", "both"): 3, ("v2", "both"): 6}, "vmta and vmtaPool of deliveries")
    check_equal({(one["vmta"], one["vmtaPool"]) for one in engine.records("r")},
                {("both", "both")}, "vmta and vmtaPool of receptions")


@test("virtual-mta-pool: chosen by header; what was chosen holds over kill -9")
def pool_by_header(world):
    engine = world.engine(extra=POOL)
    engine.control("pause queue", "*/*")
    for i in range(6):
        world.send(f"u{i}@a.test", vmta="both")
    engine.kill()
    mx = world.mx()
    engine.write()
    engine.start()
    engine.control("resume queue", "*/*")
    records = engine.wait_records("d", 6)
    check_equal(sources(mx), {"v1": 2, "v2": 4}, "messages by virtual MTA")
    check_equal({one["vmtaPool"] for one in records}, {"both"}, "vmtaPool")


# effect: source pattern-list
# effect: pattern-list header
# effect: pattern-list rcpt-to
# effect: pattern-list *
@test("pattern-list: header, sender and recipient choose the virtual MTA")
def pattern_list(world):
    mx = world.mx()
    engine = world.engine(globals=PATTERNS, source="pattern-list by-kind")
    world.send("u0@a.test", content=make_content(headers="X-Kind: news letter\r\n"))
    world.send("vip@a.test")
    world.send("u1@a.test")
    engine.wait_records("d", 3)
    seen = {one.accepted_rcpts[0]: one.session.hello.partition(".")[0] for one in mx.messages}
    check_equal(seen, {"u0@a.test": "v2", "vip@a.test": "v2", "u1@a.test": "v1"}, "virtual MTAs")


# effect: global invalid-virtual-mta-fallback
# effect: source reject-invalid-virtual-mta
@test("invalid-virtual-mta-fallback: what names an unknown virtual MTA leaves from it")
def fallback(world):
    mx = world.mx()
    engine = world.engine(globals="invalid-virtual-mta-fallback v2",
                          source="reject-invalid-virtual-mta no")
    world.send(vmta="nobody")
    engine.wait_records("d", 1)
    wait_for(lambda: mx.messages, "a message arrives")
    check_equal(sources(mx), {"v2": 1}, "messages by virtual MTA")


if __name__ == "__main__":
    sys.exit(main(__doc__.splitlines()[0]))
