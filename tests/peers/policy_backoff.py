#!/usr/bin/env python3
"""What rules for replies do, and backoff mode, seen at the sink.

    tests/peers/policy_backoff.py BUILD [NAME…]"""
import sys
import time
from collections import Counter

from harness import check, check_equal, main, test, wait_for
from mx import Delay, Turns


def rules(*lines):
    return "<smtp-pattern-list p>\n" + "".join(f"    reply {one}\n" for one in lines) + \
        "</smtp-pattern-list>\n"


def sources(mx):
    return [one.session.hello.partition(".")[0] for one in mx.messages]


def logged(world, words):
    return words in (world.work / "engine.log").read_text(errors="replace")


# effect: domain smtp-pattern-list
# effect: smtp-pattern-list reply
# effect: domain backoff-retry-after
@test("C30 a rate-limit text: backoff of that domain and virtual MTA only")
def rate_limit(world):
    mx = world.mx(final=Turns("450 4.7.1 rate limited, slow down", "250 2.0.0 taken"))
    engine = world.engine(globals=rules("/rate limited/ mode=backoff"),
                          domain="smtp-pattern-list p\nbackoff-retry-after 1h")
    world.send("u1@a.test")
    wait_for(lambda: logged(world, "queue a.test/v1: normal to backoff mode"), "backoff mode")
    deferred = engine.wait_records("t", 1)[0]
    world.send("u2@b.test")
    world.send("u3@a.test", vmta="v2")
    delivered = engine.wait_records("d", 2)
    check_equal({one["queue"] for one in delivered}, {"b.test/v1", "a.test/v2"}, "delivered")
    check(not logged(world, "queue b.test/v1: normal") and
          not logged(world, "queue a.test/v2: normal"), "no other queue is in backoff mode")
    check_equal(deferred["queue"], "a.test/v1", "queue deferred")
    check_equal(engine.queued(), 1, "recipients that wait")


# effect: smtp-pattern-list include
@test("include in <smtp-pattern-list>: rules of a file, in the place where it is included")
def included(world):
    world.mx(rcpt=lambda _, argument: "450 4.7.1 stop and go" if b"u1" in argument
             else "450 4.7.1 slow down")
    (world.work / "shared.rules").write_text("reply /slow down/ mode=backoff\n"
                                             "reply /stop/ mode=backoff\n")
    engine = world.engine(globals="<smtp-pattern-list p>\nreply /and go/ mode=normal\n"
                                  "include shared.rules\n</smtp-pattern-list>\n",
                          domain="smtp-pattern-list p\nbackoff-retry-after 1h")
    world.send("u1@a.test")
    world.send("u2@b.test")
    wait_for(lambda: logged(world, "queue b.test/v1: normal to backoff mode"), "backoff mode")
    engine.wait_records("t", 2)
    check(logged(world, "shared.rules:1: 450 4.7.1 slow down"), "the rule's file and line")
    check(not logged(world, "queue a.test/v1: normal to backoff"), "the rule before it comes first")


# effect: domain backoff-max-msg-rate
@test("backoff-max-msg-rate: holds in backoff mode, and over kill -9")
def backoff_rate(world):
    mx = world.mx(rcpt=lambda _, argument: "450 4.7.1 slow down" if b"bad" in argument
                  else "250 2.1.5 ok")
    engine = world.engine(globals=rules("/slow down/ mode=backoff"),
                          domain="smtp-pattern-list p\nbackoff-max-msg-rate 3/1h\n"
                                 "backoff-retry-after 1h")
    world.send("bad@a.test")
    engine.wait_records("t", 1)
    for i in range(6):
        world.send(f"u{i}@a.test")
    wait_for(lambda: len(mx.messages) >= 2, "what the rate allows")
    time.sleep(1)
    before = len(mx.messages)
    check(before <= 3, f"{before} of a rate of 3")
    engine.kill()
    engine.start()
    time.sleep(1)
    check(len(mx.messages) <= 3, f"{len(mx.messages)} after a restart")
    check_equal(engine.queued(), 7 - len(mx.messages), "recipients that wait")


# effect: domain backoff-max-smtp-out
@test("backoff-max-smtp-out: fewer connections in backoff mode")
def backoff_connections(world):
    mx = world.mx(mail=Turns("421 4.7.0 too many connections", "250 2.1.0 ok"))
    engine = world.engine(globals=rules("/too many/ mode=backoff"),
                          domain="smtp-pattern-list p\nmax-smtp-out 8\nbackoff-max-smtp-out 1\n"
                                 "backoff-retry-after 1s\nmax-msg-per-connection 1")
    world.send("u@a.test")
    engine.wait_records("t", 1)
    begin = len(mx.sessions)
    for i in range(12):
        world.send(f"u{i}@a.test")
    engine.wait_records("d", 13)
    spans = sorted((one.begun, one.ended or time.monotonic()) for one in mx.sessions[begin:])
    check(all(a[1] <= b[0] + 0.05 for a, b in zip(spans, spans[1:])), f"one at a time: {spans}")


# effect: domain backoff-max-connect-rate
@test("backoff-max-connect-rate: fewer new connections in backoff mode")
def backoff_connect_rate(world):
    mx = world.mx(mail=Turns("421 4.7.0 too many connections", "250 2.1.0 ok"))
    engine = world.engine(globals=rules("/too many/ mode=backoff"),
                          domain="smtp-pattern-list p\nbackoff-max-connect-rate 3/1h\n"
                                 "backoff-retry-after 1s\nmax-msg-per-connection 1")
    world.send("u@a.test")
    engine.wait_records("t", 1)
    for i in range(6):
        world.send(f"u{i}@a.test")
    wait_for(lambda: len(mx.messages) >= 3, "what the rate allows")
    time.sleep(1.5)
    check_equal((len(mx.sessions), len(mx.messages)), (4, 3),
                "calls, the one before backoff mode too, and messages")


# effect: domain backoff-to-normal-after
# effect: domain backoff-to-normal-after-delivery
@test("backoff mode ends by time, and by a delivery")
def backoff_ends(world):
    world.mx(11, ["a.test", "b.test"], rcpt=lambda session, argument:
             "450 4.7.1 slow down" if b"bad" in argument else "250 2.1.5 ok")
    engine = world.engine(globals=rules("/slow down/ mode=backoff"),
                          domain="smtp-pattern-list p",
                          extra="<domain a.test>\nbackoff-to-normal-after 2s\n"
                                "backoff-retry-after 1h\n</domain>\n"
                                "<domain b.test>\nbackoff-to-normal-after-delivery yes\n"
                                "backoff-retry-after 1h\n</domain>\n")
    world.send("bad@a.test")
    world.send("bad@b.test")
    engine.wait_records("t", 2)
    world.send("good@b.test")
    wait_for(lambda: logged(world, "queue b.test/v1: backoff to normal mode: a message was"),
             "a delivery ends backoff mode")
    wait_for(lambda: logged(world, "queue a.test/v1: backoff to normal mode: its time is over"),
             "time ends backoff mode")


@test("trigger: a rule acts only when so many matches lie within its window")
def trigger(world):
    world.mx(rcpt="450 4.2.1 busy")
    engine = world.engine(globals=rules("/busy/ mode=backoff trigger=3/1h"),
                          domain="smtp-pattern-list p")
    for i in range(2):
        world.send(f"u{i}@a.test")
        engine.wait_records("t", i + 1)
    time.sleep(0.2)
    seen = len(engine.records("t"))
    check(seen >= 3 or not logged(world, "to backoff mode"), "two matches are too few")
    wait_for(lambda: len(engine.records("t")) >= 3 and logged(world, "to backoff mode"),
             "the third match")


# effect: domain reenable-source-ip-after
@test("disable-source-ip: the other address is used, kept over kill -9, until its time is over")
def disable_source(world):
    def by_source(session, _):
        return "550 5.7.1 blocked" if session.hello.startswith("s1") and \
            world.blocking else "250 2.1.0 ok"
    world.blocking = True
    mx = world.mx(mail=by_source)
    two = (f"<virtual-mta two>\nsmtp-source-host {world.net}.103 s1.example.test\n"
           f"smtp-source-host {world.net}.104 s2.example.test\n</virtual-mta>\n")
    engine = world.engine(globals=rules("/blocked/ disable-source-ip"),
                          source="default-virtual-mta two", extra=two,
                          domain="smtp-pattern-list p\nreenable-source-ip-after 6s\n"
                                 "max-msg-per-connection 1")
    for i in range(6):
        world.send(f"u{i}@a.test")
        wait_for(lambda: len(engine.records("d", "b")) == i + 1, "an outcome")
    check_equal(set(sources(mx)), {"s2"}, "names of those that got through")
    check_equal(len(engine.records("b")), 1, "bounced: who found out")
    engine.kill()
    engine.start()
    world.send("after@a.test")
    engine.wait_records("d", 6)
    check_equal(set(sources(mx)), {"s2"}, "names after a restart")
    world.blocking = False
    time.sleep(6)
    for i in range(4):
        world.send(f"w{i}@a.test")
    engine.wait_records("d", 10)
    check("s1" in sources(mx), f"the address is used again: {sources(mx)}")


# effect: domain backoff-upon-all-sources-disabled
@test("backoff-upon-all-sources-disabled: backoff mode when no address is left")
def all_disabled(world):
    world.mx(mail="450 4.7.1 blocked")
    engine = world.engine(globals=rules("/blocked/ disable-source-ip"),
                          domain="smtp-pattern-list p\nreenable-source-ip-after 1h\n"
                                 "backoff-upon-all-sources-disabled yes")
    world.send("u@a.test")
    engine.wait_records("t", 1)
    wait_for(lambda: logged(world, "normal to backoff mode: every source address is disabled"),
             "backoff mode")


@test("C29 greylisting: the wait it asks for, from the same source address")
def greylist(world):
    first = {}

    def grey(session, _):
        name = first.setdefault("name", session.hello)
        first.setdefault("at", time.monotonic())
        if session.hello == name and time.monotonic() - first["at"] >= 2:
            return "250 2.1.5 ok"
        return "450 4.2.0 greylisted, try again in 2 seconds"
    mx = world.mx(rcpt=grey)
    two = (f"<virtual-mta two>\nsmtp-source-host {world.net}.103 s1.example.test\n"
           f"smtp-source-host {world.net}.104 s2.example.test\n</virtual-mta>\n")
    engine = world.engine(globals=rules("/greylisted/ retry-as-told"), extra=two,
                          source="default-virtual-mta two",
                          domain="smtp-pattern-list p\nretry-recipients-after 1h")
    world.send("u@a.test")
    engine.wait_records("d", 1)
    check_equal(len({one.hello for one in mx.sessions if one.hello}), 1, "names that called")
    check_equal(len(engine.records("t")), 1, "deferrals")


@test("bounce-queue and bounce-rcpt: what waits bounces, a 4xx is final")
def bounces(world):
    world.mx(11, ["a.test"], rcpt=lambda _, argument: "450 4.1.1 gone" if b"gone" in argument
             else "450 4.2.0 later")
    world.mx(12, ["b.test"], rcpt=lambda _, argument: "450 4.7.0 kill all" if b"all" in argument
             else "450 4.2.0 later")
    engine = world.engine(globals=rules("/gone/ bounce-rcpt", "/kill all/ bounce-queue"),
                          domain="smtp-pattern-list p\nretry-recipients-after 1h")
    world.send("gone@a.test")
    world.send("later@a.test")
    for i in range(3):
        world.send(f"u{i}@b.test")
    engine.wait_records("t", 4)
    world.send("all@b.test")
    bounced = engine.wait_records("b", 5)
    check_equal(Counter(one["queue"] for one in bounced), {"a.test/v1": 1, "b.test/v1": 4},
                "bounced")
    check_equal(engine.queued(), 1, "recipients that wait")


@test("skip-mx: that host is left out, the next one takes the mail")
def skip_mx(world):
    one = world.mx(11, mail="450 4.3.2 not now")
    other = world.mx(12)
    world.route("a.test", [one], [other])
    engine = world.engine(globals=rules("/not now/ skip-mx duration=1h"),
                          domain="smtp-pattern-list p")
    world.send("u@a.test")
    engine.wait_records("d", 1)
    check_equal((len(one.sessions), len(other.messages)), (1, 1), "calls of one, mail of other")


@test("defer-queue: nothing leaves for so long")
def defer_queue(world):
    mx = world.mx(rcpt=Turns("450 4.3.2 not now", "250 2.1.5 ok"))
    engine = world.engine(globals=rules("/not now/ defer-queue duration=3s"),
                          domain="smtp-pattern-list p")
    world.send("u@a.test")
    engine.wait_records("t", 1)
    begin = time.monotonic()
    world.send("v@a.test")
    engine.wait_records("d", 2)
    check(time.monotonic() - begin >= 2, "nothing leaves before")
    check_equal(len(mx.messages), 2, "messages")


@test("defer-queue: a connection that was opening meanwhile does not end it")
def defer_queue_others(world):
    mx = world.mx(greeting=Turns("220 mx ESMTP", [Delay(1), "220 mx ESMTP"]),
                  rcpt=Turns("450 4.3.2 not now", "250 2.1.5 ok"))
    engine = world.engine(globals=rules("/not now/ defer-queue duration=1h"),
                          domain="smtp-pattern-list p")
    engine.control("pause queue", "*/*")
    for i in range(2):
        world.send(f"u{i}@a.test")
    engine.control("resume queue", "*/*")
    engine.wait_records("t", 1)
    wait_for(lambda: len([one for one in mx.sessions if one.hello]) == 2, "the other is greeted")
    time.sleep(0.5)
    check_equal((len(mx.messages), engine.queued()), (0, 2), "messages, and what waits")


@test("set queue --mode: backoff and normal by command, seen in show queue, kept over kill -9")
def set_mode(world):
    mx = world.mx(rcpt=Turns("450 4.2.0 later", "250 2.1.5 ok"))
    engine = world.engine(domain="backoff-retry-after 1h\nretry-after 1h\nretry-recipients-after 1h")
    world.send("u@a.test")
    engine.wait_records("t", 1)
    code, out, error = engine.command("set", "queue", "--mode=backoff", "a.test/v1")
    check_equal((code, error), (0, ""), f"set queue: {out}")
    time.sleep(0.5)  # a command is answered up to journal-sync (100 ms) before it is on disk
    engine.kill()
    engine.start()
    check_equal(engine.control("show queue", "a.test/v1")["queues"][0]["mode"], "backoff", "mode")
    check("backoff" in engine.command("show", "queue", "a.test/v1")[1], "show queue says backoff")
    check_equal(engine.command("set", "queue", "--mode=normal", "a.*/v1")[0], 0, "exit code")
    check_equal(engine.control("show queue", "a.test/v1")["queues"][0]["mode"], "normal", "mode")
    check_equal(engine.command("set", "queue", "--mode=backoff", "b.test/v1")[0], 68, "no queue")
    check_equal(engine.command("set", "queue", "--mode=odd", "a.test/v1")[0], 64, "no mode")
    check_equal(len(mx.messages), 0, "messages")


@test("disable source, enable source, show disabled sources")
def disable_by_command(world):
    mx = world.mx(rcpt=Turns("450 4.2.0 later", "250 2.1.5 ok"))
    engine = world.engine(domain="retry-after 1s\nretry-recipients-after 1h")
    world.send("u@a.test")
    engine.wait_records("t", 1)
    address = f"{world.net}.101"
    check_equal(engine.command("disable", "source", "127.0.0.77", "a.test/v1")[0], 68, "foreign")
    code, _, error = engine.command("disable", "source", address, "a.test/v1",
                                    "--reenable-after=1h")
    check_equal((code, error), (0, ""), "disable source")
    out = engine.command("show", "disabled", "sources")[1]
    check(address in out and "a.test/v1" in out and "enabled again in" in out, out)
    world.send("v@a.test")
    engine.wait_records("tq", 1)
    check_equal(len(mx.messages), 0, "messages while disabled")
    check_equal(engine.command("enable", "source", address, "a.test/v1")[0], 0, "enable source")
    engine.wait_records("d", 1)
    check_equal(engine.command("enable", "source", address, "a.test/v1")[0], 68, "once is enough")
    check("no source address is disabled" in engine.command("show", "disabled", "sources")[1],
          "none is left")


if __name__ == "__main__":
    sys.exit(main(__doc__.splitlines()[0]))
