#!/usr/bin/env python3
"""Delivery behaviours of source addresses, pauses and changes of route, and a row of what a
configuration may contain, each by its name in the tables.

    tests/peers/policy_rows.py BUILD [ROW…]"""
import ssl
import sys
import time
from collections import Counter

from harness import check, check_equal, main, make_certificate, test, wait_for
from mx import Delay, Turns
from namespace import Namespace

QUIET_SECONDS = 1.5  # in which a queue that may not send would have sent
GONE, GONE_TOO = "198.51.100.7", "198.51.100.8"
ONE_EACH = "max-msg-per-connection 1"


def two_sources(world, first, second):
    """A virtual MTA of two addresses, s1 and s2, and <source> lines that choose it."""
    return {"source": "default-virtual-mta two",
            "extra": f"<virtual-mta two>\nsmtp-source-host {first} s1.example.test\n"
                     f"smtp-source-host {second} s2.example.test\n</virtual-mta>\n"}


def inject(world, count, domain="a.test"):
    with world.client() as client:
        client.hello()
        for i in range(count):
            client.message(f"u{i}@{domain}")


def names(mx):
    """How many messages came by which EHLO name, its first word."""
    return Counter((one.session.hello or "").partition(".")[0] for one in mx.messages)


def row(engine, queue):
    """Of a queue, as show queue has it."""
    return engine.control("show queue", queue)["queues"][0]


# ---- a source address that does not work -----------------------------------------------------


def in_namespace(world, *sources):
    """An engine and its peer where addresses can be taken away; `sources` of its virtual MTA."""
    namespace = Namespace(world, f"{GONE}/32", f"{GONE_TOO}/32")
    mx = namespace.call(world.mx)
    engine = world.engine(start=False, preexec=namespace.enter, domain=ONE_EACH,
                          **two_sources(world, *sources))
    namespace.call(engine.start)
    return namespace, mx, engine


@test("behaviour 16 a source address that is not there: its mate delivers everything",
      needs="unshare")
def source_gone(world):
    namespace, mx, engine = in_namespace(world, GONE, world.address(104))
    namespace.command("ip", "address", "del", f"{GONE}/32", "dev", "lo")
    namespace.call(inject, world, 10)
    engine.wait_records("d", 10)
    engine.wait_empty()
    check_equal(names(mx), {"s2": 10}, "messages by EHLO name")
    check_equal({one.source for one in mx.sessions}, {world.address(104)}, "source addresses")
    check_equal(engine.records("t", "tq", "b"), [], "records of failure")
    said = engine.process.text().count(f"source address {GONE} is not on this host: suspended")
    check_equal(said, 1, "times it was tried and suspended")


@test("behaviour 16 a source address that goes away under mail: nothing is lost or late",
      needs="unshare")
def source_goes(world):
    namespace, mx, engine = in_namespace(world, GONE, world.address(104))
    namespace.call(inject, world, 10)
    engine.wait_records("d", 10)
    check_equal(set(names(mx)), {"s1", "s2"}, "EHLO names while both are there")
    by_first = names(mx)["s1"]
    namespace.command("ip", "address", "del", f"{GONE}/32", "dev", "lo")
    namespace.call(inject, world, 10)
    engine.wait_records("d", 20)
    engine.wait_empty()
    check_equal(names(mx), {"s1": by_first, "s2": 20 - by_first}, "messages by EHLO name")
    check_equal(engine.records("t", "tq", "b"), [], "records of failure")


@test("behaviour 16 no source address is there: the queue waits, and goes on when one is back",
      needs="unshare")
def sources_gone(world):
    namespace, mx, engine = in_namespace(world, GONE, GONE_TOO)
    for address in (GONE, GONE_TOO):
        namespace.command("ip", "address", "del", f"{address}/32", "dev", "lo")
    namespace.call(inject, world, 3)
    failed = engine.wait_records("tq", 1)[0]
    check("bind failed on source address 198.51.100." in failed["dsnDiag"], failed["dsnDiag"])
    time.sleep(QUIET_SECONDS)
    check_equal((len(mx.sessions), engine.queued()), (0, 3), "connections, and what waits")
    check_equal(engine.records("t", "b"), [], "records of recipients")
    for address in (GONE, GONE_TOO):
        namespace.command("ip", "address", "add", f"{address}/32", "dev", "lo")
    engine.control("reload")  # or in a minute, when the suspension is over
    engine.control("schedule", "*/*")
    engine.wait_records("d", 3)
    check_equal(len(mx.messages), 3, "messages")


POOL = ("<virtual-mta p1>\nsmtp-source-host {} s1.example.test\n</virtual-mta>\n"
        "<virtual-mta p2>\nsmtp-source-host {} s2.example.test\n</virtual-mta>\n"
        "<virtual-mta-pool pool>\nvirtual-mta p1\nvirtual-mta p2\n</virtual-mta-pool>\n")


def pool_in_namespace(world, workers, second=None):
    namespace = Namespace(world, f"{GONE}/32", f"{GONE_TOO}/32")
    mx = namespace.call(world.mx)
    engine = world.engine(start=False, preexec=namespace.enter, workers=workers,
                          domain="retry-after 1h", source="default-virtual-mta pool",
                          extra=POOL.format(GONE, second or world.address(104)))
    namespace.call(engine.start)
    namespace.command("ip", "address", "del", f"{GONE}/32", "dev", "lo")
    return namespace, mx, engine


def mate_takes_over(world, workers):
    namespace, mx, engine = pool_in_namespace(world, workers)
    namespace.call(inject, world, 10)
    engine.wait_records("d", 10)
    namespace.call(inject, world, 10)  # those that the first would have had do not even try
    records = engine.wait_records("d", 20)
    engine.wait_empty()
    check_equal(names(mx), {"s2": 20}, "messages by EHLO name")
    check_equal({(one["queue"], one["vmta"], one["vmtaPool"]) for one in records},
                {("a.test/p2", "p2", "pool")}, "records")
    tried = len(engine.records("tq"))
    check(1 <= tried <= workers, f"{tried} attempts in vain: one by each worker that had the queue")
    check_equal(engine.records("t", "b"), [], "records of recipients")


@test("behaviour 16 a member of a pool has no source address: its mate delivers everything",
      needs="unshare")
def pool_mate(world):
    mate_takes_over(world, 1)


@test("behaviour 16 a member of a pool has no source address, its mate is another worker's",
      needs="unshare")
def pool_mate_elsewhere(world):
    mate_takes_over(world, 2)


@test("behaviour 16 no member of a pool has a source address: mail waits with the last it reached",
      needs="unshare")
def pool_gone(world):
    namespace, mx, engine = pool_in_namespace(world, 1, GONE_TOO)
    namespace.command("ip", "address", "del", f"{GONE_TOO}/32", "dev", "lo")
    namespace.call(inject, world, 10)
    wait_for(lambda: len(engine.records("tq")) >= 2, "both have tried")
    time.sleep(QUIET_SECONDS)
    tried, waiting = len(engine.records("tq")), engine.queued()
    check(tried <= 4 and waiting == 10, f"{tried} attempts, {waiting} wait")
    for address in (GONE, GONE_TOO):
        namespace.command("ip", "address", "add", f"{address}/32", "dev", "lo")
    engine.control("reload")
    engine.control("schedule", "*/*")
    engine.wait_records("d", 10)
    check_equal(names(mx), {"s1": 5, "s2": 5}, "each message from its own member again")


@test("behaviour 16 a member of a pool is disabled at a host by its reply: its mate goes on")
def pool_disabled(world):
    mx = world.mx(mail=lambda session, _: "450 4.7.1 blocked" if session.hello.startswith("s1")
                  else "250 2.1.0 ok")
    engine = world.engine(globals="<smtp-pattern-list p>\nreply /blocked/ disable-source-ip\n"
                                  "</smtp-pattern-list>\n", source="default-virtual-mta pool",
                          domain="smtp-pattern-list p\nretry-after 1h\nretry-recipients-after 1h",
                          extra=POOL.format(world.address(103), world.address(104)))
    inject(world, 10)
    engine.wait_records("d", 10)
    check_equal(names(mx), {"s2": 10}, "messages by EHLO name")
    engine.wait_empty()


# ---- limits of source addresses --------------------------------------------------------------


@test("behaviour 17 two a day: two of ten are delivered, the others wait without a record")
def selection_rate(world):
    mx = world.mx()
    engine = world.engine(domain=f"source-ip-max-msg-rate {world.address(101)} 2/24h")
    inject(world, 10)
    engine.wait_records("d", 2)
    time.sleep(QUIET_SECONDS)
    check_equal((len(mx.messages), engine.queued()), (2, 8), "messages, and what waits")
    check_equal(engine.records("t", "tq", "b"), [], "what waits for a limit was not attempted")
    check_equal({one.source for one in mx.sessions}, {world.address(101)}, "source addresses")


@test("behaviour 18 a limited source address has its two of ten, the other the rest")
def selection_rate_pool(world):
    mx = world.mx()
    engine = world.engine(
        domain=f"{ONE_EACH}\nsource-ip-max-msg-rate {world.address(103)} 2/24h",
        **two_sources(world, world.address(103), world.address(104)))
    inject(world, 10)
    engine.wait_records("d", 10)
    check_equal(names(mx), {"s1": 2, "s2": 8}, "messages by EHLO name")
    check_equal(engine.records("t", "tq", "b"), [], "records of failure")


# ---- pauses ----------------------------------------------------------------------------------


def stays_paused(mx, engine, waiting):
    """Nothing is sent, nothing recorded; who asks hears why."""
    sessions, records = len(mx.sessions), len(engine.records())
    time.sleep(QUIET_SECONDS)
    check_equal((len(mx.messages), len(mx.sessions) - sessions), (0, 0), "sent while paused")
    check_equal((engine.queued(), len(engine.records()) - records), (waiting, 0),
                "what waits, and records while paused")
    check(row(engine, "a.test/v1")["paused"], "the queue is shown as paused")
    check("paused" in engine.command("show", "queue", "a.test/v1")[1], "show queue says paused")


@test("behaviour 39 suspended while it waits for its time: nothing is sent until it is resumed")
def suspend_scheduled(world):
    mx = world.mx(rcpt=Turns("450 4.2.1 later", "250 2.1.5 ok"))
    engine = world.engine(domain="retry-recipients-after 1s")
    world.send()
    engine.wait_records("t", 1)
    engine.control("pause queue", "a.test/*")
    stays_paused(mx, engine, 1)
    engine.control("resume queue", "a.test/*")
    engine.wait_records("d", 1)
    check_equal(mx.delivered, ["user@a.test"], "delivered")


@test("behaviour 39 suspended before it is ready: other queues go on, it does when resumed")
def suspend_ready(world):
    mx = world.mx(domains=["a.test"])
    other = world.mx(12, domains=["b.test"])
    engine = world.engine()
    engine.control("pause queue", "a.test/*")
    inject(world, 5)
    inject(world, 5, "b.test")
    engine.wait_records("d", 5)
    stays_paused(mx, engine, 5)
    check_equal(len(other.messages), 5, "messages of another queue")
    engine.control("resume queue", "a.test/*")
    engine.wait_records("d", 10)
    check_equal(mx.delivered, [f"u{i}@a.test" for i in range(5)], "delivered")


@test("behaviour 39 suspended with mail on the wire: that ends, no more follows until resumed")
def suspend_and_deliver(world):
    mx = world.mx(final=Turns([Delay(1), "250 2.0.0 taken"], "250 2.0.0 taken"))
    engine = world.engine(domain="max-smtp-out 1")
    inject(world, 5)
    wait_for(lambda: mx.transactions and mx.transactions[0].data_code, "the first is on the wire")
    engine.control("pause queue", "a.test/*")
    engine.wait_records("d", 1)
    time.sleep(QUIET_SECONDS)
    check_equal((len(mx.messages), engine.queued()), (1, 4), "messages, and what waits")
    engine.kill()  # a pause outlives that
    engine.start()
    time.sleep(QUIET_SECONDS)
    check_equal((len(mx.messages), engine.queued()), (1, 4), "the same after kill -9")
    engine.control("resume queue", "a.test/*")
    engine.wait_records("d", 5)
    check_equal(mx.delivered, [f"u{i}@a.test" for i in range(5)], "delivered once each")
    check_equal(engine.records("t", "tq", "b"), [], "records of failure")


# ---- another route for what waits ------------------------------------------------------------


LATER = "450 4.2.1 later"
TO_QUEUE = "<domain a.test>\nqueue-to {}\n</domain>\n"
TO_VMTA = "<domain a.test>\nreroute-to-virtual-mta {}\n</domain>\n"
WAIT_SECONDS_KEPT = 4


class Rebinding:
    """Mail to a.test that was put off for WAIT_SECONDS_KEPT, and rules that send it elsewhere.

    In the queue of a.test it goes to `own`, in first.rollup to `first`, in second.rollup to
    `second`; from another virtual MTA it stays with `own` and has another name."""

    def __init__(self, world):
        self.world = world
        self.own = world.mx(11, domains=["a.test"], rcpt=Turns(LATER, LATER, "250 2.1.5 ok"))
        self.first = world.mx(12, domains=["first.rollup"])
        self.second = world.mx(13, domains=["second.rollup"])
        self.engine = world.engine(domain=f"retry-recipients-after {WAIT_SECONDS_KEPT}s\n"
                                          "retry-after 1s")
        world.send(["one@a.test", "two@a.test"])
        self.engine.wait_records("t", 2)
        self.began = time.monotonic()

    def rebind(self, rules, queue):
        """Reloads with these rules; what waits is in that queue then."""
        self.engine.write(extra=rules)
        self.engine.control("reload")
        wait_for(lambda: {one["name"]: one["rcpts"] for one in
                          self.engine.control("show queues")["queues"] if one["rcpts"]}
                 == {queue: 2}, f"both wait in {queue}")

    def arrives(self, mx, queue, seconds=WAIT_SECONDS_KEPT, records=2):
        """Both arrive there when they are due, not before; no other host heard of them."""
        delivered = self.engine.wait_records("d", 2)
        waited = mx.messages[0].time - self.began
        check(seconds - 0.5 < waited < seconds + 8, f"after {waited} s, due after {seconds}")
        check_equal({one["queue"] for one in delivered}, {queue}, "queue")
        check_equal(mx.delivered, ["one@a.test", "two@a.test"], "delivered")
        others = [one for one in (self.own, self.first, self.second) if one is not mx]
        check_equal([one.delivered for one in others], [[], []], "delivered elsewhere")
        check_equal(len(self.engine.records("t")), records, "transient records")
        self.engine.wait_empty()


@test("behaviour 40 rebind: what waits goes to the new route when it is due")
def rebind_end_to_end(world):
    moved = Rebinding(world)
    moved.rebind(TO_QUEUE.format("first.rollup"), "first.rollup/v1")
    moved.arrives(moved.first, "first.rollup/v1")


@test("behaviour 40 rebind twice: the last route counts, the time stays")
def rebind_twice(world):
    moved = Rebinding(world)
    moved.rebind(TO_QUEUE.format("first.rollup"), "first.rollup/v1")
    moved.rebind(TO_QUEUE.format("second.rollup"), "second.rollup/v1")
    moved.arrives(moved.second, "second.rollup/v1")


@test("behaviour 40 rebind cancelled: with the old rules it is in its old queue, on time")
def rebind_cancel(world):
    moved = Rebinding(world)
    moved.rebind(TO_QUEUE.format("first.rollup"), "first.rollup/v1")
    moved.rebind("", "a.test/v1")
    moved.arrives(moved.own, "a.test/v1")


@test("behaviour 40 rebind, put off there: it stays on the new route, and its wait begins anew")
def rebind_requeue(world):
    moved = Rebinding(world)
    moved.first.script["rcpt"] = Turns(LATER, LATER, "250 2.1.5 ok")
    moved.rebind(TO_QUEUE.format("first.rollup"), "first.rollup/v1")
    moved.arrives(moved.first, "first.rollup/v1", 2 * WAIT_SECONDS_KEPT, records=4)


@test("behaviour 40 rebind over kill -9: route and time are those of before")
def rebind_restart(world):
    moved = Rebinding(world)
    moved.rebind(TO_QUEUE.format("first.rollup"), "first.rollup/v1")
    moved.engine.kill()
    moved.engine.start()
    moved.arrives(moved.first, "first.rollup/v1")


@test("behaviour 40 rebind to another port: smtp-hosts of now counts for what waits")
def rebind_port(world):
    moved = Rebinding(world)
    world.destinations["a.test"] = f"[{moved.first.address}]:{moved.first.port}"
    moved.rebind("", "a.test/v1")
    moved.arrives(moved.first, "a.test/v1")


@test("behaviour 40 xfer to another virtual MTA: its address and name, when it is due")
def xfer_end_to_end(world):
    moved = Rebinding(world)
    moved.rebind(TO_VMTA.format("v2"), "a.test/v2")
    moved.arrives(moved.own, "a.test/v2")
    check_equal(moved.own.messages[0].session.source, world.address(102), "source address")
    check_equal(names(moved.own), {"v2": len(moved.own.messages)}, "EHLO name")


@test("behaviour 40 xfer twice and cancelled: the virtual MTA it had, on time")
def xfer_cancel(world):
    moved = Rebinding(world)
    moved.rebind(TO_VMTA.format("v2"), "a.test/v2")
    third = f"<virtual-mta v3>\nsmtp-source-host {world.address(103)} v3.test\n</virtual-mta>\n"
    moved.rebind(third + TO_VMTA.format("v3"), "a.test/v3")
    moved.rebind(third, "a.test/v1")
    moved.arrives(moved.own, "a.test/v1")
    check_equal(moved.own.messages[0].session.source, world.address(101), "source address")


@test("behaviour 40 xfer, put off there: it stays with the new virtual MTA")
def xfer_requeue(world):
    moved = Rebinding(world)
    moved.own.script["rcpt"] = Turns(LATER, LATER, "250 2.1.5 ok")
    moved.rebind(TO_VMTA.format("v2"), "a.test/v2")
    moved.arrives(moved.own, "a.test/v2", 2 * WAIT_SECONDS_KEPT, records=4)
    check_equal({one.source for one in moved.own.sessions},
                {world.address(101), world.address(102)}, "source addresses that called")


# ---- a certificate of our own ----------------------------------------------------------------


def write_pair(world, certificate, key):
    """A file of both, which stays where it is and is replaced as a whole."""
    path = world.work / "pair.pem"
    path.write_text(certificate.read_text() + key.read_text())
    path.chmod(0o600)
    return path


@test("K5 a key that is another certificate's, no key, no certificate, no file: check says which; "
      "a reload is refused and the old pair stays")
def k5(world):
    ours, others = [make_certificate(world.work, name, subject=f"{name}.test", key="ed25519")
                    for name in ("ours", "others")]
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*make_certificate(world.work, "mx"))
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(ours[0])
    mx = world.mx(tls=context)
    pair = write_pair(world, *ours)
    engine = world.engine(domain=f"{ONE_EACH}\nrequire-starttls yes\n"
                                 f"smtp-client-certificate {pair}")
    inject(world, 1)
    engine.wait_records("d", 1)
    empty = world.work / "empty"
    empty.write_text("")
    for wrong in ((ours[0], others[1]), (ours[0], empty), (empty, ours[1]), None):
        if wrong is None:
            pair.unlink()
        else:
            write_pair(world, *wrong)
        code, out, errors = engine.command("check")
        check(code == 78 and "error: smtp-client-certificate: " in out + errors
              and str(pair) in out + errors, f"{wrong}: {code} {out}{errors}")
        check_equal(engine.command("reload")[0], 78, "exit code of reload")
    inject(world, 1)
    engine.wait_records("d", 2)
    shown = [session.tls.getpeercert()["subject"] for session in mx.sessions]
    check_equal(shown, [((("commonName", "ours.test"),),)] * 2, "what the host was shown")


if __name__ == "__main__":
    sys.exit(main(__doc__.splitlines()[0]))
