#!/usr/bin/env python3
"""Mail of the engine's own: who asked to be told is told what happens to a queue.

    tests/peers/policy_notices.py BUILD [NAME…]"""
import email
import sys
import time

from harness import check, check_equal, main, test, wait_for

RULES = """\
<smtp-pattern-list p>
    reply /slow down/ mode=backoff
    reply /blocked/ disable-source-ip
</smtp-pattern-list>
"""
TOLD = ["boss@ops.test", "crew@ops.test"]


def watched(world, domain="", **parts):
    """A host that answers as the recipient's name says, one for ops.test, and an engine."""
    def answer(_, argument):
        return "450 4.7.1 slow down" if b"slow" in argument else \
            "550 5.7.1 blocked, see http://bl.test" if b"block" in argument else "250 2.1.5 ok"
    world.mx(11, ["*"], rcpt=answer)
    ops = world.mx(12, ["ops.test"], rcpt=answer)
    engine = world.engine(globals=RULES, **parts,
                          domain="smtp-pattern-list p\nbackoff-retry-after 1h\n" + domain)
    return ops, engine


def notices(mx):
    """Of the notices at the host: what they are about, oldest first."""
    return [email.message_from_bytes(one.data)["Subject"] for one in mx.messages]


def backoff(engine, mode, queue="a.test/v1"):
    engine.control("set queue", queue, mode=mode)


# effect: domain backoff-notify
@test("backoff-notify: mail about a queue that goes into backoff mode, and about its end")
def mode_changes(world):
    ops, engine = watched(world, "backoff-notify " + ",".join(TOLD))
    world.send("slow@a.test")
    wait_for(lambda: ops.messages, "a notice arrives")
    one = ops.messages[0]
    message = email.message_from_bytes(one.data)
    check_equal((one.sender, one.accepted_rcpts), ("", TOLD), "envelope")
    check_equal(message["Subject"], "queue a.test/v1: backoff mode", "Subject")
    check_equal(message["Auto-Submitted"], "auto-generated", "Auto-Submitted")
    check_equal(message["From"], "posthaste <postmaster@in.example.test>", "From")
    check_equal(" ".join(message["To"].split()), ", ".join(TOLD), "To")
    check(message["Date"] and message["Message-ID"], "Date and Message-ID are there")
    body = message.get_payload()
    check("450 4.7.1 slow down" in body and "Recipients that wait in it: 1" in body, body)
    check_equal(one.session.source, world.address(101), "it leaves from the same virtual MTA")
    backoff(engine, "normal")
    wait_for(lambda: len(ops.messages) == 2, "the second arrives")
    check_equal(notices(ops)[1], "queue a.test/v1: normal mode again", "Subject")
    records = engine.wait_records("d", 4)
    check_equal({(one["queue"], one.get("orig", "")) for one in records}, {("ops.test/v1", "")}, "records")


@test("backoff-notify: once in a while for each queue, however often it changes; also over 2 workers")
def bounded(world):
    ops, engine = watched(world, "backoff-notify boss@ops.test", workers=2)
    world.send("slow@a.test")
    world.send("slow@b.test")
    wait_for(lambda: len(ops.messages) == 2, "a notice for each queue")
    for mode in ("normal", "backoff") * 5:
        backoff(engine, mode)
    wait_for(lambda: len(ops.messages) == 3, "and one of a change back")
    time.sleep(1)
    check_equal(sorted(notices(ops)), ["queue a.test/v1: backoff mode",
                                       "queue a.test/v1: normal mode again",
                                       "queue b.test/v1: backoff mode"], "notices")


@test("backoff-notify: none into the queue that it is about; others hear of it; \"\" clears")
def no_circle(world):
    extra = ('<domain quiet.test>\nbackoff-notify ""\n</domain>\n'
             "<domain joined.test>\nqueue-to ops.test\n</domain>\n")
    ops, engine = watched(world, "backoff-notify boss@ops.test,a@joined.test,b@other.test",
                          extra=extra)
    world.send("slow@ops.test")
    world.send("slow@quiet.test")
    wait_for(lambda: [one for one in engine.records("d") if one["rcpt"] == "b@other.test"],
             "who is elsewhere hears of it")
    time.sleep(1)
    check_equal([one["rcpt"] for one in engine.records("d")], ["b@other.test"], "who was told")
    check_equal(notices(ops), [], "notices in the queue itself")
    check_equal({one["queue"] for one in engine.records("t")}, {"ops.test/v1", "quiet.test/v1"},
                "queues in backoff mode")


# effect: domain disabled-source-ip-notify
@test("disabled-source-ip-notify: names the address, the queue and the reply")
def disabled(world):
    ops, engine = watched(world, "disabled-source-ip-notify boss@ops.test\n"
                                 "reenable-source-ip-after 1h")
    world.send("block@a.test")
    wait_for(lambda: ops.messages, "a notice arrives")
    subject = f"queue a.test/v1: source address {world.address(101)} disabled"
    check_equal(notices(ops), [subject], "Subject")
    check("550 5.7.1 blocked, see http://bl.test" in ops.messages[0].data.decode(), "the reply")
    engine.wait_records("b", 1)
    check_equal([one["queue"] for one in engine.records("b")], ["a.test/v1"], "bounces")


@test("a notice that meets trouble is ordinary mail: kept over kill -9, and it bounces to nobody")
def is_mail(world):
    ops, engine = watched(world, "backoff-notify boss@ops.test")
    engine.control("pause queue", "ops.test/*")
    world.send("slow@a.test")
    wait_for(lambda: engine.queued() == 2, "the notice waits")
    engine.kill()
    engine.start()
    check_equal(engine.queued(), 2, "recipients after kill -9")
    ops.script["rcpt"] = "550 5.1.1 no such boss"
    engine.control("resume queue", "ops.test/*")
    bounce = engine.wait_records("b", 1)[0]
    check_equal((bounce["rcpt"], bounce.get("orig", "")), ("boss@ops.test", ""), "the bounce")
    time.sleep(0.5)
    check_equal(engine.queued(), 1, "recipients left: none is a bounce message")


@test("backoff-notify: what is no mail address is refused, where it stands")
def refused(world):
    engine = world.engine(start=False, domain="backoff-notify boss@ops.test,nobody")
    code, out, errors = engine.command("check")
    check_equal(code, 78, "exit code")
    check("backoff-notify: 'nobody' is no address" in out + errors, out + errors)


if __name__ == "__main__":
    sys.exit(main(__doc__.splitlines()[0]))
