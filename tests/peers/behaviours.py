#!/usr/bin/env python3
"""What the best open engine proves of itself, and interfaces.md promises, row by row.

    tests/peers/behaviours.py BUILD [ROW…]

The numbers are those of the table of delivery behaviours."""
import ssl
import sys
import time

from harness import (body_of, check, check_equal, header_of, main, make_certificate, make_content,
                     test, wait_for)
from mx import Close, Turns
from namespace import Namespace

TRACE = b"received"


def without_trace(message):
    """Header lines of the message, trace fields left out, and its body."""
    lines, skipping = [], False
    for line in header_of(message).split(b"\r\n"):
        if line[:1] in (b" ", b"\t"):
            if not skipping:
                lines.append(line)
            continue
        skipping = line.split(b":")[0].lower() == TRACE
        if not skipping:
            lines.append(line)
    return b"\r\n".join(lines), body_of(message)


# effect: global smtp-listener
# effect: global spool
# effect: source always-allow-relaying
# effect: virtual-mta smtp-source-host
# effect: acct-file records
# effect: global control-socket
# effect: source default-virtual-mta
@test("1 a message arrives as it was sent, with one reception and one delivery")
def end_to_end(world):
    mx = world.mx()
    engine = world.engine()
    content = make_content(body=bytes(range(32, 127)) * 3 + b"\r\n\r\nsecond\tline \r\n\r\n")
    world.send(content=content)
    wait_for(lambda: mx.messages, "a message arrives")
    message = mx.messages[0]
    check_equal(without_trace(message.data), without_trace(content), "header and body")
    check_equal(message.sender, "sender@in.test", "sender")
    check_equal(message.accepted_rcpts, ["user@a.test"], "recipients")
    check_equal(message.session.source, world.address(101), "source address")
    check_equal(message.session.hello, "v1.example.test", "EHLO name")
    engine.wait_records("d", 1)
    engine.stop()
    check_equal([one["type"] for one in engine.records()], ["r", "d"], "records")
    record = engine.records("d")[0]
    check_equal(record["dlvSourceIp"], world.address(101), "dlvSourceIp")
    check_equal(record["vmta"], "v1", "vmta")
    check_equal(record["queue"], "a.test/v1", "queue")
    check(record["dsnDiag"].startswith("smtp;250"), record["dsnDiag"])


# effect: source process-x-virtual-mta
# effect: source process-x-job
@test("1 a virtual MTA chosen by header sends from its own address and name")
def chosen_vmta(world):
    mx = world.mx()
    engine = world.engine()
    world.send(vmta="v2", job="job-7")
    world.send()
    wait_for(lambda: len(mx.messages) == 2, "two messages arrive")
    seen = sorted((one.session.source, one.session.hello) for one in mx.messages)
    check_equal(seen, [(world.address(101), "v1.example.test"),
                       (world.address(102), "v2.example.test")], "sources")
    for one in mx.messages:
        check(b"x-virtual-mta" not in one.data.lower() and b"x-job" not in one.data.lower(),
              "control headers are removed")
    records = {one["vmta"]: one for one in engine.wait_records("d", 2)}
    check_equal(records["v2"]["jobId"], "job-7", "jobId")


@test("2 lines that begin with dots survive both hops")
def stuffed(world):
    mx = world.mx()
    world.engine()
    body = b".\r\n..\r\n...x\r\n.dot\r\n\r\n.\r\nlast.\r\n"
    world.send(body=body)
    wait_for(lambda: mx.messages, "a message arrives")
    check_equal(body_of(mx.messages[0].data), body, "body")


@test("2 dots survive by BDAT too")
def stuffed_chunks(world):
    mx = world.mx(capabilities=("PIPELINING", "CHUNKING", "8BITMIME"))
    world.engine()
    body = b".\r\n..\r\n...x\r\n.dot\r\n\r\n.\r\nlast.\r\n"
    world.send(body=body)
    wait_for(lambda: mx.messages, "a message arrives")
    check(mx.messages[0].chunks, "it came by BDAT")
    check_equal(body_of(mx.messages[0].data), body, "body")


@test("3 a quoted local part goes round")
def quoted(world):
    mx = world.mx()
    engine = world.engine()
    world.send('"a b"@a.test', sender='"x @ y"@in.test')
    wait_for(lambda: mx.messages, "a message arrives")
    check_equal(mx.messages[0].accepted_rcpts, ['"a b"@a.test'], "recipients")
    check_equal(mx.messages[0].sender, '"x @ y"@in.test', "sender")
    check_equal(engine.wait_records("d", 1)[0]["rcpt"], '"a b"@a.test', "the record's recipient")


@test("4 RCPT 450: one transient record, stays queued")
def temp_fail(world):
    mx = world.mx(rcpt="450 4.2.1 not now")
    engine = world.engine(domain="retry-recipients-after 1h")
    world.send()
    record = engine.wait_records("t", 1)[0]
    check(record["dsnDiag"].startswith("smtp;450 4.2.1"), record["dsnDiag"])
    check_equal(record["dsnAction"], "delayed", "dsnAction")
    time.sleep(0.5)
    check_equal(engine.queued(), 1, "queued")
    check_equal(mx.messages, [], "messages")
    check_equal([one["type"] for one in engine.records()], ["r", "t"], "records")


@test("5 RCPT 550: one bounce, removed")
def perm_fail(world):
    mx = world.mx(rcpt="550 5.1.1 no such user")
    engine = world.engine()
    world.send()
    record = engine.wait_records("b", 1)[0]
    check_equal(record["dsnAction"], "failed", "dsnAction")
    check_equal(record["bounceCat"], "bad-mailbox", "bounceCat")
    engine.wait_empty()
    time.sleep(0.3)
    check_equal([one["type"] for one in engine.records()], ["r", "b"], "records")
    wait_for(lambda: mx.transactions[0].data_code, "DATA was refused as well")
    check_equal(mx.transactions[0].data_code, 554, "the pipelined DATA's reply")


@test("5 a bounce has the category of the rule its reply meets, ours before the program's")
def categories(world):
    said = {"ours.test": "554 5.7.1 our own words on a block list",
            "theirs.test": "554 5.7.1 on a block list", "codes.test": "554 5.2.2 so",
            "reload.test": "554 5.7.1 something else"}
    for last, (domain, reply) in enumerate(said.items(), 11):
        world.mx(last, [domain], rcpt=reply)
    rules = "<bounce-category-patterns>\n/%s/ mine\n</bounce-category-patterns>"
    engine = world.engine(extra=rules % "own words")
    for domain in list(said)[:3]:
        world.send(f"u@{domain}")
    records = {one["rcpt"][2:]: (one["bounceCat"], one["bounceClass"])
               for one in engine.wait_records("b", 3)}
    check_equal(records, {"ours.test": ("mine", "block"), "theirs.test": ("spam-related", "block"),
                          "codes.test": ("quota-issues", "soft")}, "categories")
    code, out, _ = engine.command("test-bounce", said["ours.test"], "ours.test/v1")
    line = engine.configuration.read_text().split("\n").index("/own words/ mine") + 1
    check(code == 0 and f"/own words/ at {engine.configuration}:{line}" in out, out)
    check("pattern list none" in out, out)
    code, out, _ = engine.command("test-bounce", "smtp;" + said["theirs.test"])
    check(code == 0 and "category     spam-related" in out and "bounce-categories.conf:" in out,
          out)
    check_equal(engine.command("test-bounce", "no such user")[0], 64, "no reply: exit code")
    check_equal(engine.command("test-bounce", "550 no", "a.test/v9")[0], 68, "unknown: exit code")
    engine.write(extra=rules % "something else")
    engine.command("reload")
    world.send("u@reload.test")
    check_equal(engine.wait_records("b", 4)[3]["bounceCat"], "mine", "after a reload")


def gaps(times):
    return [later - earlier for earlier, later in zip(times, times[1:])]


def check_growing(times, wanted):
    """Attempts stand at least so far apart, and no attempt comes much too late."""
    seen = gaps(times)[:len(wanted)]
    for gap, least in zip(seen, wanted):
        check(least - 0.05 <= gap < least + 3, f"gaps {seen}, wanted {wanted}")


# effect: domain retry-recipients-after
@test("6 attempts for a recipient at growing intervals")
def retry_recipient(world):
    mx = world.mx(rcpt=Turns(*["450 4.2.1 not now"] * 4, "250 2.1.5 ok"))
    world.engine(domain="retry-recipients-after 500ms,1s,2s,3s")
    world.send()
    wait_for(lambda: mx.messages, "a message arrives")
    check_growing([one.time for one in mx.transactions], [0.5, 1, 2, 3])


# effect: domain retry-after
@test("6 attempts for a queue at growing intervals")
def retry_queue(world):
    mx = world.mx(greeting=Turns(*[["421 4.3.2 not now", Close()]] * 3, "220 mx ESMTP"))
    engine = world.engine(domain="retry-after 500ms,1s,2s")
    world.send()
    wait_for(lambda: mx.messages, "a message arrives")
    check_growing([one.begun for one in mx.sessions], [0.5, 1, 2])
    engine.wait_records("d", 1)
    check_equal([one["type"] for one in engine.records()], ["r", "tq", "tq", "tq", "d"], "records")


# effect: domain smtp-hosts
@test("6 a refused connection is tried again on the schedule")
def retry_connect(world):
    world.destinations["*"] = f"[{world.address(11)}]:2525"
    engine = world.engine(domain="retry-after 500ms,1s")
    world.send()
    record = engine.wait_records("tq", 2)[0]
    check("refused" in record["dsnDiag"].lower(), record["dsnDiag"])
    check("4.4.1" in record["dsnStatus"], record["dsnStatus"])
    mx = world.mx()
    wait_for(lambda: mx.messages, "a message arrives")


# effect: global name-server
@test("7 SERVFAIL is tried again on the schedule, before any connect")
def retry_dns(world):
    names = world.names({"a.test": "servfail"})
    mx = world.mx()
    engine = world.engine(globals=names.directive, domain="retry-after 500ms,1s")
    world.send()
    record = engine.wait_records("tq", 2, 40)[0]
    check("4.4.3" in record["dsnStatus"], record["dsnStatus"])
    check_equal(mx.sessions, [], "sessions")
    names.zone["a.test"] = [("MX", 10, "mx.a.test")]
    names.zone["mx.a.test"] = [("A", mx.address)]
    wait_for(lambda: mx.messages, "a message arrives", 40)


@test("7 NXDOMAIN bounces 5.1.2")
def nxdomain(world):
    names = world.names({})
    engine = world.engine(globals=names.directive)
    world.send("user@gone.test")
    record = engine.wait_records("b", 1)[0]
    check("5.1.2" in record["dsnStatus"], record["dsnStatus"])
    check_equal(record["bounceCat"], "bad-domain", "bounceCat")
    engine.wait_empty()


# effect: domain bounce-after
@test("8 bounce-after: one attempt, then the expiry")
def expires(world):
    world.mx(rcpt="450 4.2.1 not now")
    engine = world.engine(domain="bounce-after 2s\nretry-recipients-after 1h")
    world.send()
    record = engine.wait_records("b", 1)[0]
    check("4.4.7" in record["dsnStatus"], record["dsnStatus"])
    check_equal(record["bounceCat"], "message-expired", "bounceCat")
    check("450 4.2.1 not now" in record["dsnDiag"], record["dsnDiag"])
    engine.wait_empty()
    check_equal([one["type"] for one in engine.records()], ["r", "t", "b"], "records")


@test("9 421 to MAIL in a pipelined group: a transient record that keeps the reply")
def disconnect_in_mail(world):
    mx = world.mx(mail=Turns(["421 4.3.2 going down", Close()], "250 2.1.0 ok"))
    engine = world.engine()
    world.send()
    record = engine.wait_records("t", 1)[0]
    check("421 4.3.2 going down" in record["dsnDiag"], record["dsnDiag"])
    wait_for(lambda: mx.messages, "a message arrives")
    engine.wait_records("d", 1)
    check_equal([one["type"] for one in engine.records()], ["r", "t", "d"], "records")


@test("10 451 and close after the dot hits only that message")
def disconnect_in_data(world):
    mx = world.mx(final=Turns(["451 4.3.0 not now", Close()], "250 2.0.0 taken"))
    engine = world.engine(domain="max-smtp-out 1\nretry-recipients-after 1h")
    with world.client() as client:
        client.hello()
        client.message("one@a.test")
        client.message("two@a.test")
    wait_for(lambda: mx.messages, "the other one arrives")
    engine.wait_records("d", 1)
    record = engine.wait_records("t", 1)[0]
    check("451 4.3.0" in record["dsnDiag"], record["dsnDiag"])
    time.sleep(0.3)
    check_equal(sorted(one["type"] for one in engine.records("d", "t", "b", "tq")), ["d", "t"],
                "records")
    check_equal(len(mx.messages), 1, "messages")


@test("11 when the first host ends, the next message goes to the second")
def try_next_host(world):
    first = world.mx(11, greeting=Turns("220 mx ESMTP", ["421 4.3.2 gone", Close()]),
                     final=["451 4.3.0 not now", Close()])
    second = world.mx(12)
    world.route("*", first, second)
    engine = world.engine(domain="max-smtp-out 1\nretry-recipients-after 1h")
    with world.client() as client:
        client.hello()
        client.message("one@a.test")
        client.message("two@a.test")
    wait_for(lambda: second.messages, "the other one arrives at the second host")
    engine.wait_records("d", 1)
    check_equal(len(engine.records("t")), 1, "transient records")
    check_equal(engine.records("tq"), [], "queue records")


@test("12 a peer that closes an idle connection costs nothing")
def peer_idle_out(world):
    async def leave(session, _):
        import asyncio
        await asyncio.sleep(0.7)
        if not session.buffer:
            return Close()
        return None

    mx = world.mx(final=["250 2.0.0 taken", leave])
    engine = world.engine(domain="connection-idle-timeout 30s\nmax-smtp-out 1")
    world.send("one@a.test")
    wait_for(lambda: mx.sessions and mx.sessions[0].ended, "the peer closes")
    time.sleep(0.2)
    world.send("two@a.test")
    engine.wait_records("d", 2)
    check_equal(len(mx.sessions), 2, "sessions")
    check_equal(mx.delivered, ["one@a.test", "two@a.test"], "delivered")
    check_equal(engine.records("t", "tq"), [], "transient records")


# effect: domain connection-idle-timeout
@test("12 an idle connection is used again")
def idle_reuse(world):
    mx = world.mx()
    engine = world.engine(domain="connection-idle-timeout 30s\nmax-smtp-out 1")
    world.send("one@a.test")
    engine.wait_records("d", 1)
    world.send("two@a.test")
    engine.wait_records("d", 2)
    check_equal(len(mx.sessions), 1, "sessions")


def gives_way(world, workers, **script):
    """One connection at a time from one virtual MTA, and mail to one domain after the other: each
    arrives while the connection to the one before is kept for it. Seconds between arrivals."""
    mx = world.mx(**script)
    source = f"smtp-source-host {world.address(103)} v3.example.test"
    engine = world.engine(workers=workers, domain="connection-idle-timeout 5m",
                          extra=f"<virtual-mta v3>\n{source}\nmax-smtp-out 1\n</virtual-mta>")
    for i in range(6):
        world.send(f"user@d{i}.test", vmta="v3")
        wait_for(lambda: len(mx.messages) == i + 1, f"the message to d{i}.test arrives")
    world.send("again@d5.test", vmta="v3")
    engine.wait_records("d", 7)
    check_equal(engine.records("t", "tq"), [], "transient records")
    check_equal(len(mx.sessions), 6, "sessions: the last is used again")
    for one in mx.sessions[:5]:
        check_equal(one.commands[-1].verb, "QUIT", "the last command")
    return gaps([one.time for one in mx.messages])


# effect: virtual-mta max-smtp-out
@test("12 an idle connection gives way to mail for another domain")
def idle_gives_way(world):
    check(max(gives_way(world, 1)) < 15, "no message waits for an idle timeout")


@test("12 an idle connection gives way to mail for another domain on another worker")
def idle_gives_way_elsewhere(world):
    check(max(gives_way(world, 2)) < 15, "no message waits for an idle timeout")


@test("12 an idle connection whose peer is silent after QUIT gives way as well")
def idle_gives_way_silent(world):
    waited = gives_way(world, 2, quit=None)
    check(min(waited[:5]) > 0.9, lambda: f"QUIT was waited for: {waited}")
    check(sorted(waited)[2] < 4, lambda: f"and not for long: {waited}")


@test("13 421 after a delivery harms no other message")
def collateral(world):
    mx = world.mx(mail=Turns("250 2.1.0 ok", ["421 4.4.5 enough for now", Close()],
                             "250 2.1.0 ok"))
    engine = world.engine(domain="max-smtp-out 1\nconnection-idle-timeout 10s")
    with world.client() as client:
        client.hello()
        for i in range(4):
            client.message(f"u{i}@a.test")
    wait_for(lambda: len(mx.messages) == 4, lambda: f"all arrive: {mx.delivered}")
    engine.wait_records("d", 4)
    check_equal(mx.delivered, [f"u{i}@a.test" for i in range(4)], "delivered")
    check_equal(engine.records("t", "tq", "b"), [], "other records")


@test("13 250 with a 421 behind it, then closed: delivered once, no transient record")
def reply_and_421(world):
    mx = world.mx(final=Turns(["250 2.0.0 taken", "421 4.4.5 bye", Close()], "250 2.0.0 taken"))
    engine = world.engine(domain="max-smtp-out 1")
    with world.client() as client:
        client.hello()
        for i in range(3):
            client.message(f"u{i}@a.test")
    wait_for(lambda: len(mx.messages) == 3, lambda: f"all arrive: {mx.delivered}")
    engine.wait_records("d", 3)
    check_equal(mx.delivered, [f"u{i}@a.test" for i in range(3)], "delivered")
    check_equal(engine.records("t", "tq", "b"), [], "other records")


@test("14 the first MX cannot be reached: the second is used")
def broken_first_mx(world):
    mx = world.mx(12)
    world.destinations["*"] = f"[{world.address(11)}]:2525;[{mx.address}]:2525"
    engine = world.engine()
    world.send()
    wait_for(lambda: mx.messages, "a message arrives")
    engine.wait_records("d", 1)
    check_equal(engine.records("t", "tq"), [], "transient records")


@test("14 the same by DNS")
def broken_first_mx_dns(world):
    mx = world.mx(12)
    names = world.names({"a.test": [("MX", 10, "dead.test"), ("MX", 20, "good.test")],
                         "dead.test": [("A", world.address(11))],
                         "good.test": [("A", mx.address)]})
    engine = world.engine(globals=names.directive, routes=" ")
    world.send()
    wait_for(lambda: mx.messages, "a message arrives")
    check_equal(engine.wait_records("d", 1)[0]["dsnMta"], f"good.test ({mx.address})", "dsnMta")


@test("15 a source address that is not there: the record says which", needs="unshare")
def bad_source(world):
    namespace = Namespace(world, "198.51.100.7/32")
    world.destinations["*"] = f"[{world.address(11)}]:2525"
    engine = world.engine(start=False, preexec=namespace.enter, extra="""
        <virtual-mta gone>
            smtp-source-host 198.51.100.7 gone.example.test
        </virtual-mta>""")
    namespace.call(engine.start)
    namespace.command("ip", "address", "del", "198.51.100.7/32", "dev", "lo")
    with namespace.call(world.client) as client:
        client.hello()
        client.message("user@a.test", vmta="gone")
    record = engine.wait_records("tq", 1)[0]
    check("bind" in record["dsnDiag"] and "198.51.100.7" in record["dsnDiag"], record["dsnDiag"])


@test("19 a route changed by reload is used by the next message")
def route_refresh(world):
    first, second = world.mx(11), world.mx(12)
    world.route("*", first)
    engine = world.engine()
    world.send("one@a.test")
    engine.wait_records("d", 1)
    world.route("*", second)
    engine.write()
    engine.control("reload")
    world.send("two@a.test")
    wait_for(lambda: second.messages, "the second message arrives at the second host")
    check_equal(first.delivered, ["one@a.test"], "delivered at the first host")


FIVE = [f"u{i}@a.test" for i in range(5)]


def limited(most, reply):
    """RCPT is refused when so many of this transaction were accepted."""
    def rcpt(session, _):
        accepted = len(session.transaction.accepted_rcpts)
        return reply if accepted >= most else "250 2.1.5 ok"
    return rcpt


@test("20 one recipient too many is sent at once in a second transaction")
def batch(world):
    mx = world.mx(rcpt=limited(4, "452 4.5.3 too many recipients"))
    engine = world.engine(domain="max-smtp-out 1\nretry-recipients-after 1h\nretry-after 1h")
    world.send(FIVE)
    wait_for(lambda: len(mx.delivered) == 5, lambda: f"all arrive: {mx.delivered}")
    engine.wait_records("d", 5)
    check_equal(mx.delivered, FIVE, "delivered")
    check_equal(engine.records("t", "tq", "b"), [], "other records")
    check_equal([len(one.accepted_rcpts) for one in mx.messages], [4, 1], "batches")


@test("21 a full mailbox in a batch is transient alone")
def batch_full_mailbox(world):
    def rcpt(_, argument):
        return "452 4.2.2 mailbox full" if b"u2@" in argument else "250 2.1.5 ok"
    mx = world.mx(rcpt=rcpt)
    engine = world.engine(domain="retry-recipients-after 1h")
    world.send(FIVE)
    engine.wait_records("d", 4)
    record = engine.wait_records("t", 1)[0]
    check_equal(record["rcpt"], "u2@a.test", "the record's recipient")
    time.sleep(0.3)
    check_equal(len(mx.transactions), 1, "transactions")
    check_equal(engine.queued(), 1, "queued")


@test("21 452 that does not say why is transient alone")
def batch_ambiguous(world):
    def rcpt(_, argument):
        return "452 no room" if b"u2@" in argument else "250 2.1.5 ok"
    mx = world.mx(rcpt=rcpt)
    engine = world.engine(domain="retry-recipients-after 1h")
    world.send(FIVE)
    engine.wait_records("d", 4)
    engine.wait_records("t", 1)
    time.sleep(0.3)
    check_equal(len(mx.delivered), 4, "delivered")
    check_equal(engine.queued(), 1, "queued")


@test("22 too many recipients for all of them: bounded")
def batch_pathological(world):
    mx = world.mx(rcpt="452 4.5.3 too many recipients")
    engine = world.engine(domain="max-smtp-out 1\nretry-recipients-after 1h")
    world.send(FIVE)
    engine.wait_records("t", 1)
    time.sleep(1)
    check(len(mx.transactions) <= 10, f"{len(mx.transactions)} transactions")
    check_equal(engine.queued(), 5, "queued")
    check_equal(engine.records("b"), [], "bounces")


# effect: domain max-rcpt-per-message
@test("23 max-rcpt-per-message 1: five transactions on one connection")
def batch_of_one(world):
    mx = world.mx()
    engine = world.engine(domain="max-rcpt-per-message 1\nmax-smtp-out 1")
    world.send(FIVE)
    engine.wait_records("d", 5)
    check_equal(mx.delivered, FIVE, "delivered")
    check_equal(len(mx.messages), 5, "messages")
    check_equal(len(mx.sessions), 1, "sessions")


EIGHT_BIT = "grüße\r\n".encode("latin-1")


@test("24 an 8-bit body to a host without 8BITMIME: bounced here 5.6.3")
def eight_bit_refused(world):
    mx = world.mx(capabilities=("PIPELINING",))
    engine = world.engine()
    world.send(body=EIGHT_BIT)
    record = engine.wait_records("b", 1)[0]
    check("5.6.3" in record["dsnStatus"], record["dsnStatus"])
    check("554" in record["dsnDiag"], record["dsnDiag"])
    check_equal(mx.transactions, [], "transactions")


@test("24 an 8-bit body to a host with 8BITMIME: BODY=8BITMIME")
def eight_bit_sent(world):
    mx = world.mx()
    world.engine()
    world.send(body=EIGHT_BIT)
    wait_for(lambda: mx.messages, "a message arrives")
    check(b"BODY=8BITMIME" in mx.messages[0].mail, repr(mx.messages[0].mail))
    check_equal(body_of(mx.messages[0].data), EIGHT_BIT, "body")


@test("25 a UTF-8 address to a host without SMTPUTF8: bounced here 5.6.7")
def utf8_refused(world):
    mx = world.mx(capabilities=("PIPELINING", "8BITMIME"))
    engine = world.engine()
    world.send("grüße@a.test", parameters=" SMTPUTF8")
    record = engine.wait_records("b", 1)[0]
    check("5.6.7" in record["dsnStatus"], record["dsnStatus"])
    check_equal(mx.transactions, [], "transactions")


@test("25 a UTF-8 address to a host with SMTPUTF8: the parameter")
def utf8_sent(world):
    mx = world.mx()
    world.engine()
    world.send("grüße@a.test", parameters=" SMTPUTF8")
    wait_for(lambda: mx.messages, "a message arrives")
    check(b"SMTPUTF8" in mx.messages[0].mail, repr(mx.messages[0].mail))
    check_equal(mx.messages[0].accepted_rcpts, ["grüße@a.test"], "recipients")


@test("25 SMTPUTF8 that nothing needs is not asked for")
def utf8_not_needed(world):
    mx = world.mx(capabilities=("PIPELINING", "8BITMIME"))
    world.engine()
    world.send("plain@a.test", parameters=" SMTPUTF8")
    wait_for(lambda: mx.messages, "a message arrives")


def server_context(certificate, secret):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, secret)
    return context


# effect: domain use-starttls
@test("26 opportunistic TLS uses a certificate it cannot verify; nothing goes in the clear")
def tls_bad_certificate(world):
    context = server_context(*make_certificate(world.work, "other", subject="wrong.name.test"))
    mx = world.mx(tls=context)
    engine = world.engine(domain="use-starttls yes")
    world.send()
    wait_for(lambda: mx.messages, "a message arrives")
    check(mx.messages[0].session.tls is not None, "it came over TLS")
    check_equal(len(mx.sessions), 1, "sessions")
    engine.wait_records("d", 1)


@test("27 a handshake that fails: delivered in the clear on a new connection, no TLS fields")
def tls_fallback(world):
    context = server_context(*make_certificate(world.work, "mx"))
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("ECDHE-RSA-AES256-GCM-SHA384")
    mx = world.mx(tls=context)
    engine = world.engine(domain="use-starttls yes\nsmtp-tls-allow-tlsv1.2 no")
    world.send()
    wait_for(lambda: mx.messages, "a message arrives")
    check(mx.messages[0].session.tls is None, "it came in the clear")
    check_equal(len(mx.sessions), 2, "sessions")
    record = engine.wait_records("d", 1)[0]
    check(not record.get("dlvTlsProtocol") and not record.get("dlvTlsCipher"), str(record))
    check_equal(engine.records("t", "tq"), [], "transient records")
    world.send("two@a.test")
    engine.wait_records("d", 2)
    check_equal(len(mx.sessions), 3, "sessions: the host is remembered")


# effect: acct-file record-fields
@test("28 protocol and cipher are in the delivery record")
def tls_record(world):
    context = server_context(*make_certificate(world.work, "mx"))
    mx = world.mx(tls=context)
    engine = world.engine(domain="use-starttls yes")
    world.send()
    record = engine.wait_records("d", 1)[0]
    check_equal(record["dlvTlsProtocol"], "TLSv1.3", "protocol")
    cipher = mx.messages[0].session.tls.cipher()[0]
    check_equal(record["dlvTlsCipher"], cipher, "cipher")


if __name__ == "__main__":
    sys.exit(main(__doc__.splitlines()[0]))
