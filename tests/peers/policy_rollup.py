#!/usr/bin/env python3
"""Domains with the same MX hosts share a queue, and find their own again.

    tests/peers/policy_rollup.py BUILD [NAME…]"""
import sys
from collections import Counter

from harness import check, check_equal, main, test, wait_for

LIST = """\
<mx-rollup-list>
    mx mx1.big.test Big.rollup
    mx mx2.big.test big.rollup
</mx-rollup-list>
"""
AUTO = "auto-mx-rollup yes"
MANY = 200


def mx_of(*hosts, ttl=60):
    """The answer for a domain: "host" or "preference host"."""
    records = []
    for host in hosts:
        preference, _, name = host.rpartition(" ")
        records.append(("MX", int(preference or 10), name, ttl))
    return records


def queues(engine):
    return {row["name"]: row["rcpts"] for row in engine.control("show queues")["queues"]}


def queue_of(records):
    """By the domain of the recipient."""
    found = {}
    for one in records:
        found.setdefault(one["rcpt"].partition("@")[2], set()).add(one["queue"].partition("/")[0])
    return {domain: "|".join(sorted(names)) for domain, names in found.items()}


def big(world, **more):
    """Two receiving hosts of a provider, and another host."""
    first, second, other = world.mx(11), world.mx(12), world.mx(13)
    names = world.names({
        "mx1.big.test": [("A", first.address)], "mx2.big.test": [("A", second.address)],
        "mx3.big.test": [("A", other.address)], "backup.test": [("A", other.address)],
        "a.test": mx_of("mx1.big.test", "mx2.big.test", "20 backup.test"),
        "b.test": mx_of("5 MX2.big.test", "5 mx1.BIG.test"), **more})
    return names, (first, second, other)


# effect: mx-rollup-list mx
@test("mx-rollup-list: domains with the hosts listed share a queue, its settings and those hosts")
def listed(world):
    names, mxs = big(world,
                     **{"wider.test": mx_of("mx1.big.test", "mx2.big.test", "mx3.big.test"),
                        "narrow.test": mx_of("mx1.big.test"),
                        "worse.test": mx_of("mx3.big.test", "20 mx1.big.test", "20 mx2.big.test")})
    engine = world.engine(globals=names.directive, routes=" ", extra=LIST + "<domain big.rollup>\n"
                          "    max-smtp-out 1\n    max-msg-per-connection 3\n</domain>\n")
    engine.control("pause queue", "big.rollup/v1")
    domains = ["a.test", "b.test", "wider.test", "narrow.test", "worse.test"]
    for i in range(15):
        world.send(f"u{i}@{domains[i % 5]}")
    wait_for(lambda: queues(engine).get("big.rollup/v1") == 9, lambda: queues(engine))
    engine.control("resume queue", "big.rollup/v1")
    records = engine.wait_records("d", 15)
    check_equal(queue_of(records),
                {"a.test": "big.rollup", "b.test": "big.rollup", "wider.test": "big.rollup",
                 "narrow.test": "narrow.test", "worse.test": "worse.test"}, "queues")
    rolled = [one for mx in mxs for one in mx.messages
              if one.accepted_rcpts[0].partition("@")[2] in domains[:3]]
    check_equal({one.session.mx for one in rolled} - set(mxs[:2]), set(), "hosts not listed")
    check_equal(sorted(Counter(one.session for one in rolled).values()), [3, 3, 3],
                "messages of each connection")
    engine.wait_empty()


# effect: domain disable-mx-rollup
@test("disable-mx-rollup: a domain keeps its queue")
def disabled(world):
    names, _ = big(world)
    engine = world.engine(globals=names.directive, routes=" ",
                          extra=LIST + "<domain b.test>\n    disable-mx-rollup yes\n</domain>\n")
    for domain in ("a.test", "b.test") * 2:
        world.send(f"u@{domain}")
    check_equal(queue_of(engine.wait_records("d", 4)), {"a.test": "big.rollup", "b.test": "b.test"},
                "queues")


# effect: global auto-mx-rollup
@test("auto-mx-rollup: the same hosts in the same order share a queue; named domains keep theirs")
def automatic(world):
    names, _ = big(world, **{"c.test": mx_of("mx1.big.test", "mx2.big.test", "50 backup.test"),
                             "named.test": mx_of("mx1.big.test", "mx2.big.test", "20 backup.test"),
                             "plain.test": [("A", world.address(13))]})
    engine = world.engine(globals=names.directive + "\n" + AUTO, routes=" ",
                          extra="<domain named.test>\n    max-smtp-out 3\n</domain>\n"
                                "<domain mx1.big.test.rollup>\n    max-smtp-out 1\n</domain>\n")
    for domain in ("a.test", "b.test", "c.test", "named.test", "plain.test") * 2:
        world.send(f"u@{domain}")
    seen = queue_of(engine.wait_records("d", 10))
    check_equal({"named.test": seen["named.test"], "plain.test": seen["plain.test"]},
                {"named.test": "named.test", "plain.test": "plain.test"}, "queues of their own")
    check_equal(seen["a.test"], seen["c.test"], "the queue of domains with the same hosts")
    check(seen["a.test"].endswith(".mx1.big.test.rollup"), seen)
    check(seen["b.test"] != seen["a.test"] and seen["b.test"].endswith(".mx1.big.test.rollup"),
          lambda: f"other hosts behind the best ones: {seen}")
    text = engine.command("explain", f"{seen['a.test']}/v1")[1]
    check(any("max-smtp-out" in line and "1" in line.split() for line in text.splitlines()),
          lambda: f"the policy of <domain mx1.big.test.rollup>: {text}")


# effect: domain auto-mx-rollup
@test("auto-mx-rollup in <domain>: those that say so, and no others")
def automatic_where_said(world):
    names, _ = big(world, **{"c.test": mx_of("mx1.big.test", "mx2.big.test", "50 backup.test")})
    engine = world.engine(globals=names.directive, routes=" ",
                          extra=f"<domain c.test>\n    {AUTO}\n</domain>\n")
    for domain in ("a.test", "c.test"):
        world.send(f"u@{domain}")
    seen = queue_of(engine.wait_records("d", 2))
    check(seen["a.test"] == "a.test" and seen["c.test"].endswith(".rollup"), seen)


@test("mx-rollup-list: patterns with smtp-hosts, and rollup-by-ip")
def patterns(world):
    names, mxs = big(world, **{
        "p1.test": mx_of("p1.hosted.test"), "p2.test": mx_of("p2.hosted.test"),
        "p1.hosted.test": [("A", world.address(11))], "p2.hosted.test": [("A", world.address(11))],
        "q1.test": mx_of("q1.out.test"), "q2.test": mx_of("q2.out.test"),
        "q3.test": mx_of("q3.out.test"), "q1.out.test": [("A", world.address(11))],
        "q2.out.test": [("A", world.address(11))], "q3.out.test": [("A", world.address(12))]})
    engine = world.engine(
        globals=names.directive, routes=" ",
        extra="<mx-rollup-list>\nmx *.hosted.test hosted.rollup\n"
              "mx *.out.test out.rollup rollup-by-ip\n</mx-rollup-list>\n"
              f"<domain hosted.rollup>\nsmtp-hosts [{mxs[2].address}]:2525\n</domain>\n")
    for domain in ("p1.test", "p2.test", "q1.test", "q2.test", "q3.test") * 2:
        world.send(f"u@{domain}")
    seen = queue_of(engine.wait_records("d", 10))
    check_equal((seen["p1.test"], seen["p2.test"]), ("hosted.rollup",) * 2, "by pattern")
    check_equal(len(mxs[2].messages), 4, "messages at the host of <domain hosted.rollup>")
    check_equal(seen["q1.test"], seen["q2.test"], "the same addresses")
    check(seen["q3.test"] != seen["q1.test"], lambda: f"other addresses: {seen}")
    check(all(seen[f"q{i}.test"].endswith(".out.rollup") for i in (1, 2, 3)), seen)


def there_and_back(world, workers):
    world.later = True
    answer = lambda *_: "450 4.2.1 later" if world.later else "250 2.1.5 ok"
    mx = world.mx(11, rcpt=answer)
    zone = {f"d{i}.test": mx_of("mx.big.test") for i in range(MANY // 4)}
    names = world.names({"mx.big.test": [("A", mx.address)], **zone})
    engine = world.engine(workers=workers, globals=names.directive + "\n" + AUTO, routes=" ",
                          domain="retry-recipients-after 1h\nretry-after 1h")
    for i in range(MANY // 4):
        world.send([f"u{k}@d{i}.test" for k in range(4)])
    engine.wait_records("t", MANY)
    rolled = queues(engine)
    check_equal(list(rolled.values()), [MANY], "recipients in one queue")
    engine.write(globals=names.directive)
    engine.control("reload")
    wait_for(lambda: len(queues(engine)) == MANY // 4 and sum(queues(engine).values()) == MANY,
             lambda: f"each in its own queue: {queues(engine)}")
    engine.write()
    engine.control("reload")
    wait_for(lambda: queues(engine) == rolled, lambda: f"{rolled} again: {queues(engine)}")
    return engine, rolled


@test("auto-mx-rollup: a reload without it, and with it again; what waits is moved")
def reloads(world):
    engine, rolled = there_and_back(world, 1)
    world.later = False
    engine.control("schedule", "*/*")
    records = engine.wait_records("d", MANY)
    check_equal({one["queue"] for one in records}, set(rolled), "queues")
    check_equal(len({one["rcpt"] for one in records}), MANY, "recipients delivered")
    check_equal(len(records), MANY, "deliveries")
    engine.wait_empty()


@test("auto-mx-rollup: between workers, and over kill -9, nothing is lost")
def between_workers(world):
    engine, _ = there_and_back(world, 2)
    engine.kill()
    engine.start()
    world.later = False
    engine.control("schedule", "*/*")
    records = engine.wait_records("d", MANY)
    check_equal(len({one["rcpt"] for one in records}), MANY, "recipients delivered")
    engine.wait_empty()


@test("a roll-up in backoff mode: its stand-in carries the mail, and keeps it")
def stand_in(world):
    world.busy = True
    mx = world.mx(11, rcpt=lambda session, _: "450 4.2.1 too busy"
                  if world.busy and session.hello.startswith("v1") else "250 2.1.5 ok")
    names = world.names({"mx.big.test": [("A", mx.address)],
                         "a.test": mx_of("mx.big.test"), "b.test": mx_of("mx.big.test")})
    engine = world.engine(globals=names.directive + "\n" + AUTO, routes=" ",
                          domain="smtp-pattern-list moody\nbackoff-reroute-to-virtual-mta v2\n"
                                 "retry-after 1h\nretry-recipients-after 1h\n"
                                 "backoff-retry-after 1h",
                          extra="<smtp-pattern-list moody>\nreply /too busy/ mode=backoff\n"
                                "</smtp-pattern-list>\n")
    world.send("u@a.test")
    engine.wait_records("d", 1)
    for i in range(20):
        world.send(f"u{i}@{'ab'[i % 2]}.test")
    records = engine.wait_records("d", 21)
    check_equal({one["vmta"] for one in records}, {"v2"}, "carried by")
    check_equal(len(queue_of(records)), 2, "domains")
    check(len(mx.sessions) < 60, lambda: f"{len(mx.sessions)} sessions")
    engine.wait_empty()


if __name__ == "__main__":
    sys.exit(main(__doc__.splitlines()[0]))
