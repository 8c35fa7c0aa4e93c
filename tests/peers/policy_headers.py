#!/usr/bin/env python3
"""What directives do to the header and the envelope of a message, seen at the sink.

    tests/peers/policy_headers.py BUILD [NAME…]"""
import email.utils
import re
import sys
import time

from harness import check, check_equal, main, test, wait_for
from mx import CAPABILITIES, Turns


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


# effect: global include-headers-from
# effect: virtual-mta-pool include-headers-from
# effect: virtual-mta include-headers-from
@test("include-headers-from: those of top level, pool and virtual MTA, one behind the other")
def included(world):
    mx = world.mx(11, ["a.test"], capabilities=(*CAPABILITIES, "CHUNKING"))
    plain = world.mx(12, ["b.test"])
    (world.work / "all").write_bytes(b"List-Id: <a>\n\nX-Two: 1\r\n 2\n")
    (world.work / "more").write_bytes(b"X-More: ${hostname}")
    (world.work / "pool").write_bytes(b"X-Pool: 1\n")
    (world.work / "own").write_bytes(b"X-Own: 1\n")
    engine = world.engine(
        source="add-received-header no", domain="remove-header X-Gone,X-Own",
        globals="include-headers-from all\ninclude-headers-from more",
        extra="<virtual-mta v3>\nsmtp-source-host {0}.103 v3.example.test\n"
              "include-headers-from own\n</virtual-mta>\n<virtual-mta-pool p>\n"
              "virtual-mta v3\ninclude-headers-from {1}/pool\n</virtual-mta-pool>"
              .format(world.net, world.work))
    given = b"List-Id: <a>\r\nX-Two: 1\r\n 2\r\nX-More: ${hostname}\r\n"
    body = b"\r\n.dot\r\n" + b"x" * 70 + b"\r\n" + b"y\r\n" * 120000
    for domain, peer in (("a", mx), ("b", plain)):
        for vmta, more in (("v1", b""), ("p", b"X-Pool: 1\r\nX-Own: 1\r\n")):
            count = len(peer.messages)
            head = b"X-Virtual-MTA: %s\r\nX-Gone: 1\r\n" % vmta.encode()
            world.send(f"u@{domain}.test", content=head + b"A: 1\r\n" + body)
            wait_for(lambda: len(peer.messages) > count, "it comes")
            one = peer.messages[-1]
            check_equal(one.data.partition(b"\r\n\r\n")[0] + b"\r\n", given + more + b"A: 1\r\n",
                        f"header, {vmta} to {domain}")
            check_equal(one.data == given + more + b"A: 1\r\n" + body, True, "all of it")
            check(b"SIZE=%d" % len(one.data) in one.mail, one.mail)
    (world.work / "all").write_bytes(b"X-New: 1\n")
    engine.control("reload")
    world.send("new@a.test", content=b"A: 1\r\n\r\nx\r\n")
    check_equal(at_sink(mx, 3)["new@a.test"],
                b"X-New: 1\r\nX-More: ${hostname}\r\nA: 1\r\n\r\nx\r\n", "after a reload")


@test("include-headers-from: what is no header is refused at load, and the file in force stays")
def included_wrong(world):
    mx = world.mx()
    (world.work / "own").write_bytes(b"X-Own: 1\n")
    engine = world.engine(source="add-received-header no", globals="include-headers-from own")
    for content, problem in ((b"X-A: 1\nnothing\n", "own:2:1: error: this is no header field"),
                             (b" folded\n", "own:1:1"), (b"\nX-A: \xc3\xbc\n", "own:2:1"),
                             (b"X-A: " + b"a" * 999, "own:1:1: error: this line is too long"),
                             (b"X-A: 1\n" * 3000, "are too large"), (b".A: 1\n", "own:1:1"),
                             (b"X A: 1\n", "own:1:1"), (b"X-A: 1\rX-B: 2\n", "own:1:1")):
        (world.work / "own").write_bytes(content)
        code, out, err = engine.command("check")
        check(code != 0 and problem in out + err, f"{content[:20]}: {code} {out}{err}")
    check_equal(engine.ask("reload")["status"] != "success", True, "reload is refused")
    (world.work / "own").unlink()
    code, out, err = engine.command("check")
    check(code != 0 and "posthaste.conf:8" in out + err and "cannot read" in out + err, out + err)
    world.send(content=b"A: 1\r\n\r\nx\r\n")
    check_equal(at_sink(mx)["user@a.test"], b"X-Own: 1\r\nA: 1\r\n\r\nx\r\n", "the message")


DATE = re.compile(rb"Date: ([A-Z][a-z]{2}, \d\d? [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d \+0000)\r\n")


# effect: source date-header-time
@test("date-header-time: of the reception it stays, of the delivery it is the attempt's")
def date_of_delivery(world):
    engine = world.engine(source="add-received-header no\nadd-date-header yes\n"
                                 "date-header-time delivery")
    engine.control("pause queue", "*/*")
    world.send("new@a.test", content=b"A: 1\r\n\r\n.x\r\n")
    world.send("has@a.test", content=b"Date: then\r\nA: 1\r\n\r\nx\r\n")
    engine.write(source="add-received-header no\nadd-date-header override\n"
                        "date-header-time delivery")
    engine.control("reload")
    world.send("over@a.test", content=b"Date: then\r\nA: 1\r\n\r\nx\r\n")
    engine.write(source="add-received-header no\nadd-date-header yes")
    engine.control("reload")
    before = time.time()
    world.send("old@a.test", content=b"A: 1\r\n\r\nx\r\n")
    accepted = time.time()
    engine.kill()  # what is to be added later outlives this
    time.sleep(max(0, accepted + 2.1 - time.time()))
    mx = world.mx()
    engine.write(source="")
    begun = time.time()
    engine.start()
    engine.control("resume queue", "*/*")
    got = at_sink(mx, 4)
    check_equal(got["has@a.test"], b"Date: then\r\nA: 1\r\n\r\nx\r\n", "one that has a date")
    for rcpt, earliest, latest in (("new", begun, time.time()), ("over", begun, time.time()),
                                   ("old", before, accepted)):
        fields = DATE.findall(got[f"{rcpt}@a.test"])
        check_equal(len(fields), 1, f"dates of {rcpt}: {got[f'{rcpt}@a.test']}")
        when = email.utils.parsedate_to_datetime(fields[0].decode()).timestamp()
        check(earliest - 1 <= when <= latest, f"{rcpt}: {fields[0]}")
    check(got["new@a.test"].startswith(b"Date: ") and got["new@a.test"].endswith(
        b"\r\nA: 1\r\n\r\n.x\r\n"), got["new@a.test"])


# effect: source auto-qualify-domain
# effect: global domain-suffix
@test("auto-qualify-domain: addresses without a domain get the suffix, or the host name, or a no")
def qualified(world):
    mx = world.mx()
    engine = world.engine(globals="domain-suffix Suffix.test")

    def send(sender, rcpt):
        """The replies to MAIL and RCPT, and what the sink got."""
        count = len(mx.messages)
        with world.client() as client:
            client.hello()
            replies = []
            for line in (f"MAIL FROM:<{sender}>", f"RCPT TO:<{rcpt}>"):
                client.send(line + "\r\n")
                replies.append(client.reply()[:9])
            if not replies[-1].startswith("250"):
                return replies
            check(client.data(b"A: 1\r\n\r\nx\r\n").startswith("250 "), "taken")
        wait_for(lambda: len(mx.messages) > count, "it comes")
        return mx.messages[-1].sender, mx.messages[-1].accepted_rcpts

    check_equal(send("me", "you"), ("me@suffix.test", ["you@suffix.test"]), "the suffix")
    check_equal(send("", '"y u"'), ("", ['"y u"@suffix.test']), "the null sender stays")
    check_equal(send("me@a.test", "you@b"), ("me@a.test", ["you@b"]), "those with a domain stay")
    check_equal(send("me", "PostMaster"), ("me@suffix.test", ["PostMaster@in.example.test"]),
                "postmaster is the one here")
    engine.write(globals="")
    engine.control("reload")
    check_equal(send("me", "you"), ("me@in.example.test", ["you@in.example.test"]), "host name")
    engine.write(source="auto-qualify-domain no", globals="domain-suffix suffix.test")
    engine.control("reload")
    check_equal(send("me", "you")[0], "501 5.1.7", "no sender")
    check_equal(send("me@a.test", "you")[1], "501 5.1.3", "no recipient")
    check_equal(send("", "postmaster"), ("", ["postmaster@in.example.test"]), "postmaster")


def envelopes(mx, count):
    """What the sink got: (sender, recipients), sorted."""
    wait_for(lambda: len(mx.messages) >= count, lambda: f"{count} messages: {mx.messages}")
    return sorted((one.sender, one.accepted_rcpts) for one in mx.messages)


# effect: source verp-default
@test("VERP: asked for, or by verp-default, each recipient has a sender of its own")
def verp(world):
    mx = world.mx(11, ["*"])
    engine = world.engine(workers=2)
    with world.client() as client:
        check("VERP" in client.hello(), "it is offered")
        client.message(["a@a.test", "B@a.test", '"c d"@b.test'], sender="me@in.test",
                       parameters=" VERP ENVID=e")
        client.message(["a@a.test", "b@a.test"], sender="me@in.test")
        client.expect("MAIL FROM:<me@in.test> VERP=1", 501)
    plain = [("me@in.test", ["a@a.test", "b@a.test"])]
    named = [('"me-c d=b.test"@in.test', ['"c d"@b.test']),
             ("me-B=a.test@in.test", ["B@a.test"]), ("me-a=a.test@in.test", ["a@a.test"])]
    check_equal(envelopes(mx, 4), sorted(plain + named), "the envelopes")
    check_equal(sorted((one["orig"], one["rcpt"]) for one in engine.wait_records("d", 5)),
                sorted([(sender, rcpts[0]) for sender, rcpts in named] +
                       [("me@in.test", "a@a.test"), ("me@in.test", "b@a.test")]), "orig")
    check_equal({one["orig"] for one in engine.wait_records("r", 5)}, {"me@in.test"}, "r")


@test("verp-default: for every message but of the null sender; it outlives kill -9 and a deferral")
def verp_killed(world):
    engine = world.engine(source="verp-default yes")
    engine.control("pause queue", "*/*")
    world.send(["a@a.test", "b@a.test"], sender="me@in.test")
    world.send(["a@a.test", "b@a.test"], sender="")
    engine.kill()
    mx = world.mx(mail=Turns("451 4.3.0 later", "250 2.1.0 ok"))
    engine.write(source="")
    engine.start()
    engine.control("resume queue", "*/*")
    check_equal(envelopes(mx, 3), [("", ["a@a.test", "b@a.test"]),
                                   ("me-a=a.test@in.test", ["a@a.test"]),
                                   ("me-b=a.test@in.test", ["b@a.test"])], "the envelopes")


@test("VERP: a file and a command are told the sender of each recipient as well")
def verp_local(world):
    world.mx()
    (world.work / "in").mkdir()
    program = world.work / "command"
    program.write_text("#!/bin/sh\necho from $1\n")
    program.chmod(0o755)
    engine = world.engine(
        source="verp-default yes",
        extra=f"<domain file.test>\ntype file\nfile-destination {world.work}/in\n"
              "file-format newfile-pickup\n</domain>\n"
              f'<domain pipe.test>\ntype pipe\ncommand "{program} $from"\n</domain>')
    world.send(["a@file.test", "b@file.test", "c@pipe.test"], sender="me@in.test")
    engine.wait_records("d", 3)
    heads = sorted(one.read_text().split("\n")[:2] for one in (world.work / "in").iterdir())
    check_equal(heads, [[f"x-sender: me-{user}=file.test@in.test", f"x-receiver: {user}@file.test"]
                        for user in "ab"], "files")
    check("from me-c=pipe.test@in.test" in str(engine.records("d")), "the command's answer")


if __name__ == "__main__":
    sys.exit(main(__doc__.splitlines()[0]))
