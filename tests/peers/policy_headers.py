#!/usr/bin/env python3
"""What directives do to the header and the envelope of a message, seen at the sink.

    tests/peers/policy_headers.py BUILD [NAME…]"""
import sys

from harness import check, check_equal, main, test, wait_for
from mx import CAPABILITIES


def at_sink(mx, count=1):
    """What the sink got, by recipient."""
    wait_for(lambda: len(mx.messages) >= count, lambda: f"{count} messages: {mx.messages}")
    return {one.accepted_rcpts[0]: one.data for one in mx.messages}


# effect: source retain-x-virtual-mta
# effect: source retain-x-job
@test("retain-x-…: the control header is obeyed, and stays where it stood")
def retain(world):
    mx = world.mx()
    engine = world.engine(source="add-received-header no\nretain-x-virtual-mta yes\n"
                                 "retain-x-job yes")
    content = b"A: 1\r\nX-Virtual-MTA: v2\r\nx-job : j7\r\nX-Envid: e\r\nB: 2\r\n\r\nx\r\n"
    world.send(content=content)
    check_equal(at_sink(mx)["user@a.test"], content.replace(b"X-Envid: e\r\n", b""), "the message")
    record = engine.wait_records("d", 1)[0]
    check_equal((record["vmta"], record["jobId"]), ("v2", "j7"), "vmta, jobId")


@test("retain-x-…: each for itself; add-x-virtual-mta-header writes the only one")
def retain_one(world):
    mx = world.mx()
    engine = world.engine(source="add-received-header no\nretain-x-job yes")
    content = b"A: 1\r\nX-Virtual-MTA: v2\r\nX-Job: j7\r\nB: 2\r\n\r\nx\r\n"
    world.send("a@a.test", content=content)
    engine.write(source="add-received-header no\nretain-x-virtual-mta yes\n"
                        "add-x-virtual-mta-header yes")
    engine.control("reload")
    world.send("b@a.test", content=content)
    check_equal(at_sink(mx, 2), {"a@a.test": b"A: 1\r\nX-Job: j7\r\nB: 2\r\n\r\nx\r\n",
                                 "b@a.test": b"A: 1\r\nB: 2\r\nX-Virtual-MTA: v2\r\n\r\nx\r\n"},
                "the messages")


# effect: source bcc
@test("bcc: one more recipient of the same message, beyond the limit, who chooses nothing")
def bcc(world):
    mx = world.mx()
    engine = world.engine(
        globals="<pattern-list copies>\n    rcpt-to /^archive@/ virtual-mta=v2\n</pattern-list>",
        source="bcc archive@Copies.test\nmax-rcpt-per-message 1\npattern-list copies")
    with world.client() as client:
        client.hello()
        client.message("user@a.test", parameters=" RET=HDRS ENVID=e1")
        client.expect("MAIL FROM:<sender@in.test>", 250)  # refused: no copy either
        client.expect("RCPT TO:<two@a.test>", 250)
        reply = client.data(b"X-Virtual-MTA: none\r\n\r\nx\r\n")
        check(reply.startswith("550 5.5.0"), reply)
    got = at_sink(mx, 2)
    engine.wait_empty()
    check_equal(sorted(got), ["archive@copies.test", "user@a.test"], "recipients")
    check_equal(got["archive@copies.test"], got["user@a.test"], "the same bytes")
    check(b"archive" not in got["user@a.test"] and b"for <user@a.test>" in got["user@a.test"],
          "the copy's recipient stands nowhere in it")
    check_equal({(one["rcpt"], one["vmta"]) for one in engine.wait_records("d", 2)},
                {("user@a.test", "v1"), ("archive@copies.test", "v1")}, "deliveries")
    check_equal(len(mx.messages), 2, "messages: a copy has no copy")


@test("bcc: kill -9 after 250, and the copy is there as the message is")
def bcc_killed(world):
    engine = world.engine(source="bcc archive@copies.test")
    engine.control("pause queue", "*/*")
    world.send("user@a.test")
    engine.kill()
    mx = world.mx()
    engine.write(source="")
    engine.start()
    engine.control("resume queue", "*/*")
    check_equal(sorted(at_sink(mx, 2)), ["archive@copies.test", "user@a.test"], "recipients")


@test("bcc: what is no address is refused at load")
def bcc_refused(world):
    engine = world.engine(start=False)
    for address in ("a@b@c.test", "a@-c.test", "j\u00f6@c.test"):
        engine.write(source=f"bcc {address}")
        code, out, err = engine.command("check")
        check(code != 0 and "bcc:" in out + err, f"{address}: {code} {out}{err}")


# effect: domain remove-header
@test("remove-header of <domain>: left out of what is sent, by DATA and by BDAT; \"\" clears")
def removed_when_sent(world):
    mx = world.mx(11, ["a.test", "c.test"], capabilities=(*CAPABILITIES, "CHUNKING"))
    plain = world.mx(12, ["b.test"])
    engine = world.engine(source="add-received-header no", domain="remove-header X-Secret,List-Id",
                          extra='<domain c.test>\nremove-header ""\n</domain>')
    head = b"A: 1\r\nx-secret: 1\r\n 2\r\nList-Id : <l>\r\nB: 2\r\n"
    body = b"\r\nX-Secret: stays\r\n.dot\r\n" + b"x" * 70 + b"\r\n" + b"y\r\n" * 120000
    for domain in "abc":
        world.send(f"u@{domain}.test", content=head + body)
    got = at_sink(mx, 2)
    short = b"A: 1\r\nB: 2\r\n" + body
    check_equal(at_sink(plain)["u@b.test"] == short, True, "by DATA")
    check_equal(got["u@a.test"] == short, True, "by BDAT")
    check_equal(got["u@c.test"] == head + body, True, "cleared")
    for one in mx.messages + plain.messages:
        check(b"SIZE=%d" % len(one.data) in one.mail, one.mail)
    engine.wait_empty()


if __name__ == "__main__":
    sys.exit(main(__doc__.splitlines()[0]))
