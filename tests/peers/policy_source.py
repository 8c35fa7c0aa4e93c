#!/usr/bin/env python3
"""What <source> says about a session and its messages, seen by the client and at the sink.

    tests/peers/policy_source.py BUILD [NAME…]"""
import sys

from harness import check, check_equal, main, test, wait_for

HEADER = b"Subject: x\r\n"


def offer(client, rcpts, content=HEADER + b"\r\nx\r\n", chunked=False):
    """One transaction; the codes of its recipients and the reply to the message."""
    client.expect("MAIL FROM:<sender@in.test>", 250)
    codes = []
    for rcpt in rcpts:
        client.send(f"RCPT TO:<{rcpt}>\r\n")
        codes.append(client.reply()[:9])
    if chunked:
        client.send(b"BDAT %d LAST\r\n" % len(content) + content)
        return codes, client.reply()
    client.send("DATA\r\n")
    reply = client.reply()
    if reply.startswith("354"):
        client.send(content + b".\r\n")
        reply = client.reply()
    return codes, reply


# effect: source too-many-rcpts-fails-message
@test("too-many-rcpts-fails-message: one recipient too many, and nobody gets the message")
def too_many(world):
    mx = world.mx()
    engine = world.engine(source="max-rcpt-per-message 2\ntoo-many-rcpts-fails-message yes")
    with world.client() as client:
        client.hello()
        for chunked in (False, True):
            codes, reply = offer(client, ["a@a.test", "b@a.test", "c@a.test"], chunked=chunked)
            check_equal(codes, ["250 2.1.5", "250 2.1.5", "554 5.5.3"], "recipients")
            check(reply.startswith("554 5.5.3"), reply)
        codes, reply = offer(client, ["d@a.test", "e@a.test"])
        check(reply.startswith("250"), f"the next message, within the limit: {reply}")
    engine.wait_records("d", 2)
    engine.wait_empty()
    check_equal([one.accepted_rcpts for one in mx.messages], [["d@a.test", "e@a.test"]], "sink")


@test("too-many-rcpts-fails-message no: those within the limit get the message")
def too_many_refused(world):
    mx = world.mx()
    world.engine(source="max-rcpt-per-message 1")
    with world.client() as client:
        client.hello()
        codes, reply = offer(client, ["a@a.test", "b@a.test"])
        check_equal(codes, ["250 2.1.5", "452 4.5.3"], "recipients")
        check(reply.startswith("250"), reply)
    wait_for(lambda: [one.accepted_rcpts for one in mx.messages] == [["a@a.test"]], "the first's")


# effect: source disconnect-on-transient-error
@test("disconnect-on-transient-error: a 4xx reply is the last one, what follows is not obeyed")
def disconnect(world):
    mx = world.mx()
    engine = world.engine(source="max-rcpt-per-message 1\ndisconnect-on-transient-error yes")
    with world.client() as client:
        client.hello()
        client.expect("RCPT TO:<early@a.test>", 503)  # a 5xx reply ends nothing
        client.send("MAIL FROM:<sender@in.test>\r\nRCPT TO:<a@a.test>\r\n"
                    "RCPT TO:<b@a.test>\r\nDATA\r\n")
        seen = [client.reply()[:3] for _ in range(4)]
        check_equal(seen, ["250", "250", "452", ""], "replies, and the end")
    world.send("c@a.test")
    engine.wait_records("d", 1)
    check_equal([one.accepted_rcpts for one in mx.messages], [["c@a.test"]], "at the sink")


# effect: source jobid-prefix
@test("jobid-prefix: stands before job ids, makes none")
def job_prefix(world):
    world.mx()
    engine = world.engine(source="jobid-prefix acme-")
    with world.client() as client:
        client.hello()
        for rcpt, job in (("a", b"X-Job: j1\r\n"), ("b", b"")):
            reply = offer(client, [f"{rcpt}@a.test"], job + HEADER + b"\r\nx\r\n")[1]
            check(reply.startswith("250"), reply)
        long = b"X-Job: " + b"j" * 124 + b"\r\n"
        reply = offer(client, ["c@a.test"], long + HEADER + b"\r\nx\r\n")[1]
        check(reply.startswith("550 5.6.0"), f"129 bytes with the prefix: {reply}")
    jobs = {one["rcpt"]: one.get("jobId", "") for one in engine.wait_records("d", 2)}
    check_equal(jobs, {"a@a.test": "acme-j1", "b@a.test": ""}, "jobId")


@test("jobid-prefix: {auth} and what is no word are refused")
def job_prefix_refused(world):
    engine = world.engine(start=False)
    for prefix in ("{auth}", '"two words"', "j" * 65):
        engine.write(source=f"jobid-prefix {prefix}")
        code, out, err = engine.command("check")
        check(code != 0 and "jobid-prefix:" in out + err, f"{prefix}: {code} {out}{err}")


# effect: source add-x-virtual-mta-header
@test("add-x-virtual-mta-header: the virtual MTA chosen, once, also the member of a pool")
def vmta_header(world):
    mx = world.mx()
    engine = world.engine(source="add-x-virtual-mta-header yes",
                          extra="<virtual-mta-pool p>\n    virtual-mta v2\n</virtual-mta-pool>")
    named = {"a": b"", "b": b"X-Virtual-MTA: v2\r\n", "c": b"X-Virtual-MTA: p\r\n"}
    with world.client() as client:
        client.hello()
        for rcpt, field in named.items():
            content = field + HEADER + b"\r\nX-Virtual-MTA: in the body\r\n"
            reply = offer(client, [f"{rcpt}@a.test"], content)[1]
            check(reply.startswith("250"), reply)
        reply = offer(client, ["d@a.test"], b"X-Virtual-MTA: none\r\n" + HEADER + b"\r\nx\r\n")[1]
        check(reply.startswith("550 5.5.0"), f"a name that nobody has: {reply}")
    records = engine.wait_records("d", 3)
    seen = {one.accepted_rcpts[0]: [line for line in
                                    one.data.partition(b"\r\n\r\n")[0].split(b"\r\n")
                                    if line.lower().startswith(b"x-virtual-mta")]
            for one in mx.messages}
    check_equal(seen, {"a@a.test": [b"X-Virtual-MTA: v1"], "b@a.test": [b"X-Virtual-MTA: v2"],
                       "c@a.test": [b"X-Virtual-MTA: v2"]}, "fields at the sink")
    check_equal({one["rcpt"][0]: (one["vmta"], one.get("vmtaPool", "")) for one in records},
                {"a": ("v1", ""), "b": ("v2", ""), "c": ("v2", "p")}, "records")


if __name__ == "__main__":
    sys.exit(main(__doc__.splitlines()[0]))
