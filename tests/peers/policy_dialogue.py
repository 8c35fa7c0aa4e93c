#!/usr/bin/env python3
"""What the directives about the dialogue do, seen at the sink and in the records.

    tests/peers/policy_dialogue.py BUILD [NAME…]"""
import ssl
import sys
import time

from harness import check, check_equal, main, make_certificate, test, wait_for
from mx import Close, Delay, ReadBytes, Silence, Turns

LATER = "retry-after 1h\n    retry-recipients-after 1h\n"


# effect: domain smtp-553-means-invalid-mailbox
@test("smtp-553-means-invalid-mailbox: no takes a bare 553 out of bad-mailbox")
def code_553(world):
    world.mx(rcpt="553 not here")
    engine = world.engine(domain="smtp-553-means-invalid-mailbox no",
                          extra="<domain yes.test>\n    smtp-553-means-invalid-mailbox yes\n"
                                f"    smtp-hosts [{world.address(11)}]:2525\n</domain>")
    world.send("u@a.test")
    world.send("u@yes.test")
    seen = {one["rcpt"]: (one["bounceCat"], one["bounceClass"])
            for one in engine.wait_records("b", 2)}
    check_equal(seen, {"u@a.test": ("other", "soft"), "u@yes.test": ("bad-mailbox", "hard")},
                "categories")


@test("a bare 550 is about the mailbox only where a recipient is answered")
def code_550(world):
    world.mx(mail=lambda session, argument: "550 no" if b"mail@" in argument else "250 ok",
             rcpt=lambda session, argument: "550 no" if b"rcpt@" in argument else "250 ok",
             data="550 no")
    engine = world.engine()
    world.send("u@a.test", sender="mail@in.test")
    world.send("rcpt@a.test")
    world.send("data@a.test")
    seen = {(one["rcpt"], one["bounceCat"], one["bounceClass"])
            for one in engine.wait_records("b", 3)}
    check_equal(seen, {("u@a.test", "policy-related", "block"),
                       ("rcpt@a.test", "bad-mailbox", "hard"),
                       ("data@a.test", "policy-related", "block")}, "categories")


# effect: domain replace-smtp-421-service-response
@test("replace-smtp-421-service-response: records have RFC 5321's text, errors of ours stay")
def replace_421(world):
    world.mx(greeting=Turns("421 too busy, ask again", "220 mx.test"), rcpt="421 go away")
    engine = world.engine(domain="replace-smtp-421-service-response yes")
    world.send()
    queue = engine.wait_records("tq", 1)[0]
    rcpt = engine.wait_records("t", 1)[0]
    wanted = "smtp;421 Service not available, closing transmission channel"
    check_equal([queue["dsnDiag"], rcpt["dsnDiag"]], [wanted, wanted], "dsnDiag")


@test("replace-smtp-421-service-response: what we say ourselves is not replaced")
def replace_not_ours(world):
    world.mx(greeting=Close())
    engine = world.engine(domain="replace-smtp-421-service-response yes")
    world.send()
    check("connection closed by peer" in engine.wait_records("tq", 1)[0]["dsnDiag"], "our words")


# effect: domain retry-after-dns-error
@test("retry-after-dns-error: waits so long, whatever retry-after says")
def dns_error(world):
    names = world.names({"a.test": "servfail"})
    world.mx()
    engine = world.engine(globals=names.directive, routes=" ",
                          domain=LATER + "    retry-after-dns-error 2s")
    world.send()
    records = engine.wait_records("tq", 3)
    check_equal({one["dsnStatus"][:5] for one in records}, {"4.4.3"}, "status")


# effect: domain retry-upon-new-mail
@test("retry-upon-new-mail: mail for a waiting queue opens it")
def new_mail(world):
    mx = world.mx(greeting=Turns("421 not now", "421 not now", "220 mx.test"))
    engine = world.engine(domain=LATER + "    retry-upon-new-mail yes",
                          extra="<domain wait.test>\n    retry-upon-new-mail no\n"
                                f"    smtp-hosts [{world.address(11)}]:2525\n</domain>")
    world.send("u1@a.test")
    engine.wait_records("tq", 1)
    world.send("u1@wait.test")
    engine.wait_records("tq", 2)
    world.send("u2@wait.test")
    world.send("u2@a.test")
    seen = {one["rcpt"] for one in engine.wait_records("d", 2)}
    check_equal(seen, {"u1@a.test", "u2@a.test"}, "delivered")
    time.sleep(0.3)
    check_equal(len(mx.messages), 2, "messages: the queue without it waits on")


# effect: domain max-errors-per-connection
@test("max-errors-per-connection: after so many refusals mail goes on over another one")
def max_errors(world):
    mx = world.mx(rcpt=lambda session, argument: "550 5.1.1 no" if b"bad" in argument else "250 ok")
    engine = world.engine(domain="max-errors-per-connection 2\n    max-smtp-out 1\n"
                                 "    connection-idle-timeout 5s")
    engine.control("pause queue", "*/*")
    for i in range(6):
        world.send(f"bad{i}@a.test")
    engine.control("resume queue", "*/*")
    engine.wait_records("b", 6)
    refused = [sum(code == 550 for one in session.transactions for _, code in one.rcpts)
               for session in mx.sessions]
    # One more may have been on its way behind the second refusal.
    check_equal(sum(refused), 6, "refusals")
    check(max(refused) <= 3 and len(mx.sessions) >= 2, f"refusals of each connection: {refused}")


# effect: domain smtp-multiple-line-response-timeout
@test("smtp-multiple-line-response-timeout: a reply that has begun must end in time")
def reply_in_time(world):
    world.mx(mail=Turns([b"250-wait\r\n", Delay(30), "250 ok"], "250 ok"))
    engine = world.engine(domain="smtp-multiple-line-response-timeout 1s")
    begun = time.monotonic()
    world.send()
    engine.wait_records("d", 1)
    lost = engine.records("t")
    check(lost and "timed out" in lost[0]["dsnDiag"], f"deferred: {lost}")
    check(time.monotonic() - begun < 15, "in time")


# effect: domain ignore-dsn
@test("ignore-dsn: nothing of RFC 3461 is said to a host that offers DSN")
def ignore_dsn(world):
    mx = world.mx(capabilities=("PIPELINING", "DSN", "8BITMIME"))
    engine = world.engine(domain="ignore-dsn yes",
                          extra="<domain dsn.test>\n    ignore-dsn no\n"
                                f"    smtp-hosts [{world.address(11)}]:2525\n</domain>")
    for domain in ("a.test", "dsn.test"):
        with world.client() as client:
            client.hello()
            client.expect("MAIL FROM:<sender@in.test> RET=HDRS ENVID=e1", 250)
            client.expect(f"RCPT TO:<u@{domain}> NOTIFY=FAILURE", 250)
            client.data(b"Subject: x\r\n\r\nx\r\n")
    engine.wait_records("d", 2)
    wait_for(lambda: len(mx.messages) == 2, "both arrive")
    said = {one.accepted_rcpts[0]: (b"ENVID" in one.mail, b"NOTIFY" in one.rcpts[0][0])
            for one in mx.messages}
    check_equal(said, {"u@a.test": (False, False), "u@dsn.test": (True, True)}, "DSN said")


# effect: domain bounce-upon-transfer-failure
@test("bounce-upon-transfer-failure: a connection that breaks in the message bounces it")
def transfer_failure(world):
    world.mx(body=Close())
    engine = world.engine(domain="bounce-upon-transfer-failure yes\n    retry-recipients-after 1h",
                          extra="<domain again.test>\n    bounce-upon-transfer-failure no\n"
                                f"    smtp-hosts [{world.address(11)}]:2525\n</domain>")
    world.send("u@a.test")
    world.send("u@again.test")
    bounced = engine.wait_records("b", 1)[0]
    deferred = engine.wait_records("t", 1)[0]
    check_equal((bounced["rcpt"], bounced["dsnStatus"][:5], bounced["bounceCat"]),
                ("u@a.test", "5.4.2", "bad-connection"), "bounced")
    check_equal((deferred["rcpt"], deferred["dsnStatus"][:5]), ("u@again.test", "4.4.2"),
                "deferred")


# effect: domain bounce-upon-pix-transfer-failure
@test("bounce-upon-pix-transfer-failure: only behind a greeting of asterisks")
def pix_failure(world):
    masked = {"greeting": "220 " + "*" * 30 + "2***0*0", "ehlo": "500 5.5.1 XXXX?"}
    cut = world.mx(11, ["pix.test"], body=Close(), **masked)
    world.mx(12, ["plain.test"], body=Close())
    whole = world.mx(13, ["good.test"], **masked)
    engine = world.engine(domain="bounce-upon-pix-transfer-failure yes\n"
                                 "    retry-recipients-after 1h")
    for name in ("pix", "plain", "good"):
        world.send(f"u@{name}.test")
    check_equal([one["rcpt"] for one in engine.wait_records("b", 1)], ["u@pix.test"], "bounced")
    check_equal([one["rcpt"] for one in engine.wait_records("t", 1)], ["u@plain.test"], "deferred")
    engine.wait_records("d", 1)
    check_equal([one.verb for one in cut.sessions[0].commands][:2], ["EHLO", "HELO"], "commands")
    check(whole.messages[0].raw.endswith(b"Hello.\r\n.\r\n"), "the message is whole")


@test("bounce-upon-transfer-failure: the end of the engine bounces nothing")
def transfer_ours(world):
    mx = world.mx(final=Turns(Silence(), "250 ok"))
    engine = world.engine(domain="bounce-upon-transfer-failure yes")
    world.send()
    wait_for(lambda: mx.transactions and mx.transactions[0].data, "the message is there")
    engine.stop(60)
    check_equal(engine.records("b"), [], "bounces")


# effect: domain assume-delivery-upon-data-termination-timeout
@test("assume-delivery-upon-data-termination-timeout: silence after the dot is a delivery")
def assume_delivery(world):
    mx = world.mx(final=lambda session, data: Close() if b"close" in data else Silence())
    engine = world.engine(domain="assume-delivery-upon-data-termination-timeout yes\n"
                                 "    smtp-data-termination-timeout 1s\n"
                                 "    retry-recipients-after 1h")
    world.send("u@a.test")
    record = engine.wait_records("d", 1)[0]
    check("delivery is assumed" in record["dsnDiag"], record["dsnDiag"])
    world.send("u@a.test", body=b"close\r\n")
    check_equal(engine.wait_records("t", 1)[0]["dsnStatus"][:5], "4.4.2", "closed, not silent")
    check_equal(len(mx.transactions), 2, "transactions")


# effect: domain allow-cancel-during-transfer
@test("allow-cancel-during-transfer: a refusal in a message stops it; with no it is sent whole")
def cancel(world):
    body = [ReadBytes(50_000), "552 5.3.4 too much"]
    stopped = world.mx(11, ["a.test"], receive_bytes=16384, body=body, final=None)
    whole = world.mx(12, ["whole.test"], receive_bytes=16384, body=body, final=None)
    engine = world.engine(extra="<domain whole.test>\n    allow-cancel-during-transfer no\n"
                                "</domain>")
    size = 8_000_000
    world.send("u@a.test", size=size)
    world.send("u@whole.test", size=size)
    records = engine.wait_records("b", 2)
    check_equal({one["dsnDiag"] for one in records}, {"smtp;552 5.3.4 too much"}, "records")
    wait_for(lambda: stopped.sessions[0].ended, "the session ends")
    check_equal(stopped.transactions[0].data, None, "what came before the end")
    check(stopped.sessions[0].closed_by_peer, "closed by the engine")
    wait_for(lambda: whole.transactions[0].data is not None, "the whole message comes")
    check(len(whole.transactions[0].data) >= size, "its size")


# effect: domain reuse-ssl-session
@test("reuse-ssl-session: the second connection resumes the first one's session")
def reuse_session(world):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*make_certificate(world.work, "mx"))
    mx = world.mx(tls=context)
    engine = world.engine(domain="reuse-ssl-session yes",
                          extra="<domain fresh.test>\n    reuse-ssl-session no\n"
                                f"    smtp-hosts [{world.address(11)}]:2525\n</domain>")
    for count, domain in enumerate(("a.test", "a.test", "fresh.test", "fresh.test"), 1):
        world.send(f"u@{domain}")
        engine.wait_records("d", count)
    seen = [session.tls.session_reused for session in mx.sessions]
    check_equal(seen, [False, True, False, False], "sessions resumed")


if __name__ == "__main__":
    sys.exit(main(__doc__.splitlines()[0]))
