"""Rows S of commands and parameters: the same facts that the unit tests of the server core show,
here through the engine's own sockets, to its spool and to the receiving host."""
import re
import resource
import time

from harness import body_of, check, check_equal, make_content, test, wait_for
from hostile_clients import resident

GIGABYTE = 1_000_000_000


def codes(client, *lines):
    """The first nine characters of the reply to each line."""
    return [client.command(line)[:9] for line in lines]


def is_taken(client, rcpt):
    """As a client does that tries again: 452 may come at RCPT or after the text."""
    client.expect("RSET", 250)
    seen = codes(client, "MAIL FROM:<s@in.test>", f"RCPT TO:<{rcpt}>")
    if seen[1] == "250 2.1.5" and client.data(make_content()).startswith("250 "):
        return True
    time.sleep(0.5)  # or the server has had enough of our commands (S33)
    return False


def gone(client):
    """The server has closed."""
    try:
        return client.reply() == ""
    except OSError:
        return True


def send_endlessly(client, piece, most):
    """Until the server has enough; what it said."""
    for _ in range(most // len(piece)):
        try:
            client.send(piece)
        except OSError:
            break
    return client.reply()


@test("S11 a bare LF ends no command: 500 5.5.2, and the third closes")
def s11(world):
    world.engine()
    with world.client() as client:
        client.hello()
        client.send("NOOP\n")
        check(client.reply().startswith("500 5.5.2"), "the first")
        client.expect("NOOP", 250)
        client.send("NOOP\nNOOP\n")
        check(client.reply().startswith("500 5.5.2"), "the second")
        check(client.reply().startswith("421 4.7.0"), "the third")
        check(gone(client), "closed")


@test("S12 NUL in a command: 500; in a message: 550 5.6.0, nothing is queued")
def s12(world):
    world.mx()
    engine = world.engine()
    with world.client() as client:
        client.hello()
        client.send(b"NO\0OP\r\n")
        check(client.reply().startswith("500 5.5.2"), "in a command")
        client.envelope("user@a.test")
        reply = client.data(b"Subject: x\r\n\r\na\0b\r\n")
        check(reply.startswith("550 5.6.0"), reply)
        client.expect("NOOP", 250)
    check_equal(engine.status()["traffic"]["messagesIn"], 0, "messages in")


@test("S13 a command over 512 bytes: 500 5.5.2, read over to its CRLF")
def s13(world):
    world.engine()
    with world.client() as client:
        client.hello()
        check_equal(codes(client, "NOOP " + "x" * 505, "NOOP " + "x" * 506, "NOOP"),
                    ["250 2.0.0", "500 5.5.2", "250 2.0.0"], "at the limit")
        check_equal(codes(client, "NOOP " + "x" * 3_000_000, "NOOP"),
                    ["500 5.5.2", "250 2.0.0"], "far over it")


# effect: source max-message-size
@test("S14 a gigabyte without CRLF, as a command and as text: 421, constant memory")
def s14(world):
    engine = world.engine(source="max-message-size 1g")
    piece = b"x" * (1 << 20)
    before = resident(engine)
    with world.client() as client:
        client.hello()
        reply = send_endlessly(client, piece, GIGABYTE)
        check(reply.startswith("421 "), reply)
    with world.client() as client:
        client.hello()
        client.envelope("user@a.test")
        client.expect("DATA", 354)
        reply = send_endlessly(client, piece, GIGABYTE)
        check(reply.startswith("421 "), reply)
    check(resident(engine) - before < 30_000_000, "memory grew with what came")
    check_equal(engine.status()["traffic"]["messagesIn"], 0, "messages in")


# effect: source max-line-length
@test("S15 text lines up to max-line-length pass untouched, longer ones are refused 554 5.6.0")
def s15(world):
    mx = world.mx()
    world.engine(source="max-line-length 64k")
    longest = "ü".encode() * (65536 // 2)
    with world.client() as client:
        client.hello()
        client.message("user@a.test", parameters=" BODY=8BITMIME", body=longest + b"\r\n")
        client.envelope("user@a.test")
        reply = client.data(make_content(body=longest + b"x\r\n"))
        check(reply.startswith("554 5.6.0"), reply)
    wait_for(lambda: mx.messages, "the first arrives")
    check(body_of(mx.messages[0].data) == longest + b"\r\n", "the line has changed")


@test("S16 who talks before the greeting gets 554 5.5.1 and a closed connection")
def s16(world):
    world.engine()
    for _ in range(5):
        with world.client(read_greeting=False) as client:
            client.send("EHLO early\r\n")
            reply = client.reply()
            if reply.startswith("554 5.5.1"):
                check(gone(client), "closed")
                return
            check(reply.startswith("220 "), reply)  # it was greeted before it had spoken
    check(False, "in five tries the greeting always came first")


@test("S17 nothing may follow DATA, EHLO or STARTTLS in the same flight: 554 5.5.0, closed")
def s17(world):
    mx = world.mx()
    world.engine()
    envelope = "MAIL FROM:<s@in.test>\r\nRCPT TO:<user@a.test>\r\n"
    for flight in (envelope + "DATA\r\nSubject: x\r\n", "EHLO b\r\nMAIL FROM:<s@in.test>\r\n",
                   "STARTTLS\r\nNOOP\r\n"):
        with world.client() as client:
            client.hello()
            client.send(flight)
            replies = [client.reply()]
            while replies[-1]:
                replies.append(client.reply())
            check(replies[-2].startswith("554 5.5.0"), f"{flight!r}: {replies}")
    with world.client() as client:  # pipelining itself is fine
        client.hello()
        client.send(envelope + "DATA\r\n")
        check_equal([client.reply()[:3] for _ in range(3)], ["250", "250", "354"], "replies")
        client.send("Subject: x\r\n\r\nbody\r\n.\r\n" + envelope)
        check_equal([client.reply()[:3] for _ in range(3)], ["250"] * 3, "replies")
    wait_for(lambda: mx.messages, "it arrives")


@test("S18 what follows STARTTLS in its segment is never run")
def s18(world):
    engine = world.engine()
    with world.client() as client:
        client.hello()
        client.send("STARTTLS\r\nMAIL FROM:<s@in.test>\r\nRCPT TO:<user@a.test>\r\n")
        check(client.reply().startswith("554 5.5.0"), "the flight is refused")
        check(gone(client), "closed")
    check_equal(engine.status()["traffic"]["messagesIn"], 0, "messages in")


@test("S19 STARTTLS is not offered: 502, with an argument 501; in a transaction nothing is lost")
def s19(world):
    mx = world.mx()
    world.engine()
    with world.client() as client:
        check("STARTTLS" not in client.hello(), "it is not offered")
        check_equal(codes(client, "STARTTLS", "STARTTLS now"), ["502 5.5.1", "501 5.5.4"], "said")
        client.envelope("user@a.test")
        check_equal(codes(client, "STARTTLS"), ["502 5.5.1"], "in a transaction")
        check(client.data(make_content()).startswith("250 "), "the transaction goes on")
    wait_for(lambda: mx.messages, "it arrives")


@test("S23 parameters of MAIL: unknown 555, twice 501, too large 552, BINARYMIME 501")
def s23(world):
    world.engine(source="max-message-size 1m")
    cases = {"XYZ=1": "555 5.5.4", "SIZE=1 SIZE=1": "501 5.5.4", "SIZE=1048577": "552 5.3.4",
             "SIZE=18446744073709551616": ("501 5.5.4", "552 5.3.4"), "SIZE=-1": "501 5.5.4",
             "SIZE=": "501 5.5.4", "BODY=BINARYMIME": "501 5.5.4", "BODY=x": "501 5.5.4",
             "SIZE=1048576": "250 2.1.0"}
    with world.client() as client:
        client.hello()
        for parameter, wanted in cases.items():
            seen = codes(client, f"MAIL FROM:<s@in.test> {parameter}")[0]
            check(seen in wanted, f"{parameter}: {seen}, wanted {wanted}")


@test("S24 recipient 1,001 gets 452 4.5.3, the first thousand stand")
def s24(world):
    mx = world.mx()
    engine = world.engine()
    rcpts = [f"u{i:04}@a.test" for i in range(1000)]
    with world.client() as client:
        client.hello()
        client.expect("MAIL FROM:<s@in.test>", 250)
        client.send("".join(f"RCPT TO:<{one}>\r\n" for one in rcpts + ["more@a.test"]))
        check_equal({client.reply()[:3] for _ in rcpts}, {"250"}, "the first thousand")
        reply = client.reply()
        check(reply.startswith("452 4.5.3"), reply)
        check(client.data(make_content()).startswith("250 "), "the message is taken")
    engine.wait_records("d", 1000)
    check_equal(mx.delivered, rcpts, "delivered")


@test("S25 recipients: source routes stripped, sizes held, metacharacters only characters")
def s25(world):
    mx = world.mx()
    engine = world.engine()
    shell = "|/bin/sh;`id`$(x)&"
    good = {"@a.example,@b.example:routed@a.test": "routed@a.test", '"a b"@a.test': '"a b"@a.test',
            f'"{shell}"@a.test': f'"{shell}"@a.test', "l" * 64 + "@a.test": "l" * 64 + "@a.test"}
    bad = {"<" + "l" * 65 + "@a.test>": "501 5.1.3",
           "<u@" + "d" * 63 + ".a" * 100 + ">": "501 5.1.3",
           "<u@[192.0.2.1]>": "501 5.1.3", "<u@host:25>": "501 5.1.3", "<>": "501 5.1.3",
           "<grüße@a.test>": "553 5.6.7", "<u@bücher.test>": "553 5.6.7"}
    with world.client() as client:
        client.hello()
        client.expect("MAIL FROM:<s@in.test>", 250)
        for path, wanted in bad.items():
            check_equal(codes(client, f"RCPT TO:{path}")[0], wanted, path)
        for path in good:
            client.expect(f"RCPT TO:<{path}>", 250)
        check(client.data(make_content()).startswith("250 "), "the message is taken")
    engine.wait_records("d", len(good))
    check_equal(sorted(one["rcpt"] for one in engine.records("d")), sorted(good.values()),
                "recorded")
    check_equal(sorted(re.sub(r"\\(.)", r"\1", one) for one in mx.delivered),
                sorted(good.values()), "delivered")


@test("S26 DATA without recipients is 503; a body behind it is never taken for commands")
def s26(world):
    mx = world.mx()
    engine = world.engine(source="max-rcpt-per-message 1000")
    with world.client() as client:
        client.hello()
        client.expect("MAIL FROM:<s@in.test>", 250)
        client.expect("DATA", "503 5.5.1")
        client.expect("RSET", 250)
        client.send("MAIL FROM:<s@in.test>\r\nRCPT TO:<u@[192.0.2.1]>\r\nDATA\r\n"
                    "MAIL FROM:<evil@in.test>\r\nRCPT TO:<victim@a.test>\r\nDATA\r\nevil\r\n.\r\n")
        replies = [client.reply() for _ in range(3)]
        check_equal([one[:3] for one in replies[:2]], ["250", "501"], "replies")
        check(replies[2][:3] in ("503", "554"), replies[2])
        while client.reply():
            pass
    time.sleep(0.3)
    check_equal((engine.status()["traffic"]["messagesIn"], mx.transactions), (0, []), "messages")


@test("S28 BDAT: sizes checked, octets of a refused chunk read over, one message of many chunks")
def s28(world):
    mx = world.mx()
    world.engine(source="max-message-size 1m")
    with world.client() as client:
        client.hello()
        octets = b"MAIL FROM:<evil@in.test>\r\nRCPT TO:<victim@a.test>\r\n"
        client.send(b"BDAT %d LAST\r\n" % len(octets) + octets)
        check(client.reply().startswith("503 5.5.1"), "without RCPT")
        client.expect("NOOP", 250)
        client.envelope("user@a.test")
        client.send(b"BDAT 9\r\nSubject: ")
        check(client.reply().startswith("250 "), "a chunk")
        client.expect("DATA", "503 5.5.1")
        client.send(b"BDAT 5\r\nx\r\n\r\n")
        check(client.reply().startswith("250 "), "a second")
        client.send(b"BDAT 8\r\n.\r\na\r\n.\r")
        check(client.reply().startswith("250 "), "a third")
        client.send(b"BDAT 1\r\n\n")
        check(client.reply().startswith("250 "), "a fourth")
        client.send(b"BDAT 0 LAST\r\n")
        check(client.reply().startswith("250 2.0.0 Ok: queued as"), "the last")
        client.envelope("user@a.test")
        client.send(b"BDAT 1100000\r\n" + b"x" * 1_100_000)
        reply = client.reply()
        check(reply.startswith("552 5.3.4"), reply)
        client.expect("NOOP", 250)
    for size in ("x", "", "18446744073709551616", "-1", "1 FIRST"):
        with world.client() as client:
            client.hello()
            client.envelope("user@a.test")
            reply = client.command(f"BDAT {size}".rstrip())
            check(reply.startswith(("501 5.5.4", "552 5.3.4")), f"{size!r}: {reply}")
    wait_for(lambda: mx.messages, "it arrives")
    check_equal(body_of(mx.messages[0].data), b".\r\na\r\n.\r\n", "body")
    check_equal(mx.delivered, ["user@a.test"], "delivered")


# effect: source smtp-command-timeout
@test("S30 a slow client is ended: in a command, in a message, also if each byte comes in time")
def s30(world):
    engine = world.engine(source="smtp-command-timeout 2s\nsmtp-data-timeout 2s")
    for in_data in (False, True):
        with world.client() as client:
            client.hello()
            if in_data:
                client.envelope("user@a.test")
                client.expect("DATA", 354)
            begin = time.monotonic()
            client.socket.settimeout(0.2)
            reply = None
            while reply is None and time.monotonic() - begin < 10:
                try:
                    client.send("x")
                    reply = client.reply()
                except TimeoutError:
                    continue
                except OSError:
                    reply = ""
            seconds = time.monotonic() - begin
            check(reply is not None and reply[:9] in ("421 4.4.2", ""), f"{reply}")
            check(1.5 < seconds < 6, f"after {seconds:.1f} s")
    check_equal(engine.status()["traffic"]["messagesIn"], 0, "messages in")


@test("S32 no descriptor left: sessions are served, mail waits for connections, then all goes out")
def s32(world):
    # That accepting stops is for the unit and kernel tests: an accept of the ring keeps the limit
    # that held when it was begun.
    mx = world.mx()
    engine = world.engine(domain="max-msg-per-connection 1")
    sent = ["after@a.test"]
    pid = engine.process.popen.pid
    limit = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    with world.client() as client:
        client.hello()
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (3, limit[1]))
        for number in range(5):  # a spool that cannot open its next file says 452 for a while
            seen = codes(client, "MAIL FROM:<s@in.test>", f"RCPT TO:<u{number}@a.test>")
            check(seen[1] in ("250 2.1.5", "452 4.3.1", "503 5.5.1"), str(seen))
            if seen[1] == "250 2.1.5":
                reply = client.data(make_content())
                check(reply.startswith(("250 ", "452 4.3.1")), reply)
                sent += [f"u{number}@a.test"] if reply.startswith("250 ") else []
            client.expect("RSET", 250)
        check(len(sent) > 1, "nothing was taken")
        engine.wait_records("tq", 1)
        check_equal(mx.sessions, [], "sessions without a descriptor")
        resource.prlimit(pid, resource.RLIMIT_NOFILE, limit)
        wait_for(lambda: is_taken(client, "after@a.test"), "mail is taken again")
    wait_for(lambda: len(mx.delivered) >= len(sent), "all arrive", 30)
    check_equal(mx.delivered, sorted(sent), "delivered")
    check_equal(engine.records("b"), [], "bounces")


@test("S33 a hundred commands that lead nowhere end the session: 421")
def s33(world):
    world.engine()
    for word in ("NOOP", "RSET", "VRFY someone"):
        with world.client() as client:
            client.hello()
            replies = []
            while len(replies) < 1000 and (not replies or replies[-1][:3] != "421"):
                replies.append(client.command(word))
            check(50 <= len(replies) <= 101, f"{word}: {len(replies)} commands")
            check(replies[-1].startswith("421 4.7.0"), replies[-1])
            check(gone(client), "closed")


@test("S40 DSN parameters are taken where they are well formed, else 501 5.5.4")
def s40(world):
    mx = world.mx(capabilities=("PIPELINING", "8BITMIME", "DSN"))
    world.engine()
    with world.client() as client:
        check("DSN" in client.hello(), "it is offered")
        for bad in ("ENVID=" + "x" * 101, "ENVID=+ZZ", "RET=FULL RET=HDRS", "RET=SOME", "ENVID="):
            check_equal(codes(client, f"MAIL FROM:<s@in.test> {bad}")[0], "501 5.5.4", bad)
        client.expect("MAIL FROM:<s@in.test> RET=HDRS ENVID=" + "y" * 96 + "+2B", 250)
        for bad in ("NOTIFY=NEVER,FAILURE", "NOTIFY=", "NOTIFY=SOMETIMES", "ORCPT=rfc822;+ZZ",
                    "ORCPT=none", "NOTIFY=NEVER NOTIFY=NEVER"):
            check_equal(codes(client, f"RCPT TO:<u@a.test> {bad}")[0], "501 5.5.4", bad)
        client.expect("RCPT TO:<u@a.test> NOTIFY=FAILURE,DELAY ORCPT=rfc822;o+2Bx@a.test", 250)
        check(client.data(make_content()).startswith("250 "), "the message is taken")
    wait_for(lambda: mx.messages, "it arrives")
    message = mx.messages[0]
    check(b"RET=HDRS" in message.mail and b"+2B" in message.mail, repr(message.mail))
    check(b"NOTIFY=" in message.rcpts[0][0] and b"ORCPT=rfc822;o+2Bx@a.test" in message.rcpts[0][0],
          repr(message.rcpts[0]))
