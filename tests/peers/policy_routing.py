#!/usr/bin/env python3
"""Which queue mail joins, and that it finds it again when the rules change.

    tests/peers/policy_routing.py BUILD [NAME…]"""
import sys
from collections import Counter

from harness import check, check_equal, main, test, wait_for
from mx import Delay, Turns

JOINED = "<domain {}>\n    queue-to shared.rollup\n</domain>\n"
V3 = """\
<virtual-mta v3>
    smtp-source-host {} v3.example.test
    <domain {}>
        reroute-to-virtual-mta "{}"
    </domain>
</virtual-mta>
"""
FROM_V3 = "default-virtual-mta v3"
MANY = 400


def helo_of(session):
    return (session.hello or "").partition(".")[0]


def helo(one):
    return helo_of(one.session)


def queues(engine):
    return {row["name"]: row["rcpts"] for row in engine.control("show queues")["queues"]}


# effect: domain queue-to
@test("queue-to: two domains share a queue, its settings and its hosts")
def joins(world):
    mx, other = world.mx(domains=["shared.rollup"]), world.mx(12, domains=["a.test", "b.test"])
    extra = JOINED.format("a.test") + JOINED.format("*.b.test") + "<domain shared.rollup>\n" \
        "    max-smtp-out 1\n</domain>\n"
    engine = world.engine(extra=extra)
    for i in range(6):
        world.send(f"u{i}@{['a.test', 'x.b.test'][i % 2]}")
    records = engine.wait_records("d", 6)
    check_equal({one["queue"] for one in records}, {"shared.rollup/v1"}, "queues")
    check_equal(Counter(one.accepted_rcpts[0].partition("@")[2] for one in mx.messages),
                {"a.test": 3, "x.b.test": 3}, "domains at the shared host")
    check_equal(len(other.messages), 0, "messages at the domains' own host")


# effect: domain reroute-to-virtual-mta
@test("reroute-to-virtual-mta: the other virtual MTA's address and name; records say so")
def reroutes(world):
    mx = world.mx()
    engine = world.engine(extra=V3.format(world.address(103), "a.test", "v2"), source=FROM_V3)
    world.send("u@a.test")
    world.send("u@b.test")
    records = engine.wait_records("d", 2)
    check_equal({one.accepted_rcpts[0]: helo(one) for one in mx.messages},
                {"u@a.test": "v2", "u@b.test": "v3"}, "virtual MTAs at the host")
    check_equal({(one["queue"], one["vmta"]) for one in records},
                {("a.test/v2", "v2"), ("b.test/v3", "v3")}, "queues and virtual MTAs")


@test("a circle of rules is refused, where it stands")
def circles(world):
    world.mx()
    engine = world.engine(start=False, extra="<domain a.test>\nqueue-to b.test\n</domain>\n"
                                             "<domain b.test>\nqueue-to a.test\n</domain>\n")
    code, out, errors = engine.command("check")
    check_equal(code, 78, "exit code")
    check("queue-to: leads in a circle" in out + errors, lambda: out + errors)


def moves(world, workers):
    """Mail of many domains waits, ready and put off; a reload sends it to another virtual MTA, and
    the next one back. What is put off stays so."""
    world.later = True
    mx = world.mx(rcpt=lambda *_: "450 4.2.1 later" if world.later else "250 2.1.5 ok")
    here, there = (V3.format(world.address(103), "*", to) for to in ("", "v2"))
    engine = world.engine(workers=workers, extra=here, source=FROM_V3,
                          domain="retry-recipients-after 1h\nretry-after 1h")
    for i in range(MANY // 8):
        world.send([f"u{k}@d{i}.test" for k in range(4)])
    engine.wait_records("t", MANY // 2)
    engine.control("pause queue", "*/*")
    for i in range(MANY // 8):
        world.send([f"v{k}@d{i}.test" for k in range(4)])
    wait_for(lambda: sum(queues(engine).values()) == MANY, lambda: f"{MANY}: {queues(engine)}")
    for extra, vmta in [(there, "v2"), (here, "v3"), (there, "v2")]:
        engine.write(extra=extra)
        engine.control("reload")
        wait_for(lambda: {name.partition("/")[2] for name in queues(engine)} == {vmta}
                 and sum(queues(engine).values()) == MANY, lambda: f"{vmta}: {queues(engine)}")
    return engine, mx, here


@test("a reload moves what waits to the queues of now")
def moves_by_reload(world):
    engine, _, _ = moves(world, 1)
    world.later = False
    engine.control("resume queue", "*/*")
    records = engine.wait_records("d", MANY // 2)
    check_equal({one["vmta"] for one in records}, {"v2"}, "virtual MTAs of deliveries")
    check_equal({one["rcpt"][0] for one in records}, {"v"}, "those that were not put off")
    engine.control("schedule", "*/*")
    records = engine.wait_records("d", MANY)
    check_equal(len({one["rcpt"] for one in records}), MANY, "recipients delivered")
    check_equal(len(records), MANY, "deliveries")
    engine.wait_empty()


@test("a reload moves what waits between workers; kill -9 on the way loses nothing")
def moves_between_workers(world):
    engine, mx, here = moves(world, 2)
    engine.write(extra=here)
    engine.control("reload")
    engine.kill()
    engine.start()
    world.later = False
    engine.control("resume queue", "*/*")
    engine.control("schedule", "*/*")
    records = engine.wait_records("d", MANY)
    check_equal(len({one["rcpt"] for one in records}), MANY, "recipients delivered")
    check_equal(len(records), MANY, "deliveries")
    check_equal({helo(one) for one in mx.messages}, {"v3"}, "virtual MTAs at the host")
    engine.wait_empty()


@test("mail put off by a connection after the rules changed goes to its queue of now")
def moves_from_the_wire(world):
    mx = world.mx(final=Turns([Delay(2), "450 4.2.1 later"], "250 2.0.0 taken"))
    engine = world.engine(extra=V3.format(world.address(103), "*", ""), source=FROM_V3)
    world.send("u@a.test")
    wait_for(lambda: mx.sessions, lambda: "a session begins")
    engine.write(extra=V3.format(world.address(103), "*", "v2"))
    engine.control("reload")
    engine.wait_records("t", 1)
    records = engine.wait_records("d", 1)
    check_equal({(one["queue"], one["vmta"]) for one in records}, {("a.test/v2", "v2")}, "queue")


STAND_IN = """\
<virtual-mta v3>
    smtp-source-host {} v3.example.test
    <domain *>
        smtp-pattern-list slow
        backoff-reroute-to-virtual-mta v2
    </domain>
</virtual-mta>
<smtp-pattern-list slow>
    reply /slow down/ mode=backoff
</smtp-pattern-list>
"""


def stands_in(world, workers):
    mx = world.mx(mail=lambda session, _: "421 4.7.0 slow down" if helo_of(session) == "v3"
                  else "250 2.1.0 ok")
    engine = world.engine(workers=workers, extra=STAND_IN.format(world.address(103)),
                          source=FROM_V3, domain="retry-after 1h")
    engine.control("pause queue", "*/*")
    for i in range(20):
        world.send(f"u{i}@a.test")
    engine.control("resume queue", "*/*")
    engine.wait_records("d", 20)
    world.send("late@a.test")
    engine.kill()
    engine.start()
    world.send("later@a.test")
    records = engine.wait_records("d", 22)
    check_equal({(one["queue"], one["vmta"]) for one in records}, {("a.test/v2", "v2")}, "queues")
    check_equal(len({one["rcpt"] for one in records}), 22, "recipients delivered")
    check_equal({helo(one) for one in mx.messages}, {"v2"}, "virtual MTAs at the host")
    engine.control("set queue", "a.test/v3", mode="normal")
    world.send("back@a.test")
    wait_for(lambda: [one for one in mx.sessions if helo_of(one) == "v3"][1:], "v3 tries again")


# effect: domain backoff-reroute-to-virtual-mta
@test("backoff-reroute-to-virtual-mta: takes over in backoff mode, over kill -9, not after")
def takes_over(world):
    stands_in(world, 1)


@test("backoff-reroute-to-virtual-mta: between workers")
def takes_over_between_workers(world):
    stands_in(world, 2)


if __name__ == "__main__":
    sys.exit(main(__doc__.splitlines()[0]))
