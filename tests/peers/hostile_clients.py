"""Rows S: what an injecting client may do to our server, where it matters end to end."""
import random
import re
import resource
import signal
import socket
import threading
import time

from harness import body_of, check, check_equal, make_content, test, wait_for

HEAD = b"From: a@in.test\r\nSubject: smuggling\r\n\r\nbefore"
SMUGGLED = (b"MAIL FROM:<evil@in.test>\r\nRCPT TO:<victim@a.test>\r\nDATA\r\n"
            b"Subject: smuggled\r\n\r\nevil\r\n")
ENDS = {"S1": b"\n.\n", "S2": b"\r.\r", "S3": b"\r.\n", "S4": b"\n.\r", "S5": b"\n.\r\n",
        "S6": b"\r\n.\n", "S7": b"\r.\r\n", "S8": b"\r\n.\r", "S9": b"\r\n\0.\r\n",
        "S10": b"\r\n.\0\r\n"}


def split(data, how):
    """The pieces in which the bytes are sent."""
    if how == "whole":
        return [data]
    if how == "bytes":
        return [data[i:i + 1] for i in range(len(data))]
    random_ = random.Random(len(data))
    pieces, at = [], 0
    while at < len(data):
        length = random_.randint(1, 40)
        pieces.append(data[at:at + length])
        at += length
    return pieces


def send_pieces(client, data, how):
    for piece in split(data, how):
        client.send(piece)
        if how != "whole":
            time.sleep(0.0005)


def check_no_end(world, end):
    mx = world.mx()
    engine = world.engine()
    for how in ("whole", "bytes", "random"):
        with world.client() as client:
            client.hello()
            client.envelope("user@a.test")
            client.expect("DATA", 354)
            send_pieces(client, HEAD + end + SMUGGLED + b".\r\n", how)
            reply = client.reply()
            check(reply.startswith("550 5.5.2") or b"\0" in end and reply.startswith("550 5.6.0"),
                  f"{how}: {reply}")
            client.expect("NOOP", 250)
            client.message("after@a.test")
    wait_for(lambda: len(mx.messages) == 3, "the good messages arrive")
    time.sleep(0.2)
    check_equal(sorted(set(mx.delivered)), ["after@a.test"], "delivered")
    check_equal(engine.status()["traffic"]["messagesIn"], 3, "messages in")


def register_ends():
    for row, end in ENDS.items():
        test(f"{row} {end!r} is no end of data: refused, and nothing in it is a command")(
            lambda world, end=end: check_no_end(world, end))


register_ends()


@test("S44 S1 to S10 by BDAT: refused, the octets are never commands")
def s44_chunks(world):
    mx = world.mx()
    world.engine()
    with world.client() as client:
        client.hello()
        for end in ENDS.values():
            content = HEAD + end + b"after\r\n"
            client.envelope("user@a.test")
            client.send(b"BDAT %d LAST\r\n" % len(content) + content)
            reply = client.reply()
            check(reply.startswith("550 5."), f"{end!r}: {reply}")
        client.message("after@a.test")
    wait_for(lambda: mx.messages, "the good message arrives")
    check_equal(mx.delivered, ["after@a.test"], "delivered")


def readings(raw):
    """How many messages each reader finds in what came over the wire: one that ends a message at
    CRLF . CRLF alone, one that takes any line end for one."""
    strict = raw.split(b"\r\n.\r\n")
    lenient = re.split(rb"(?:\r\n|\r|\n)\.(?:\r\n|\r|\n)", raw)
    return [len([part for part in parts if part]) for parts in (strict, lenient)]


@test("S44 what looks like an end inside a chunk goes out as one message, for any reader")
def s44_readers(world):
    mx = world.mx(capabilities=("PIPELINING", "8BITMIME"))
    world.engine()
    content = b"Subject: dots\r\n\r\n.\r\n\r\n.\r\n" + SMUGGLED + b".\r\n..\r\n.\r\n"
    with world.client() as client:
        client.hello()
        client.envelope("user@a.test")
        client.send(b"BDAT %d\r\n" % (len(content) - 3) + content[:-3])
        check(client.reply().startswith("250 "), "the first chunk")
        client.send(b"BDAT 3 LAST\r\n" + content[-3:])
        check(client.reply().startswith("250 "), "the last chunk")
        client.envelope("user@a.test")
        check(client.data(content).startswith("250 "), "the same by DATA")
    wait_for(lambda: len(mx.messages) == 2, "both arrive")
    for message in mx.messages:
        check_equal(body_of(message.data), body_of(content), "body")
        check_equal(readings(message.raw), [1, 1], "messages that readers see")
    check_equal(mx.delivered, ["user@a.test"] * 2, "delivered")


DOTS = (b".\r\n..\r\n...x\r\n.x\r\nx.\r\n. \r\n\r\n.\r\n..\r\n" + b"." * 70 + b"\r\nend\r\n")


@test("S27 dots at every split: one leading dot removed, the body as it was, one 250")
def s27(world):
    mx = world.mx()
    world.engine()
    hows = ["whole", "bytes", "random"]
    with world.client() as client:
        client.hello()
        for how in hows:
            client.envelope(f"{how}@a.test")
            client.expect("DATA", 354)
            content = b"Subject: dots\r\n\r\n" + DOTS
            stuffed = b"".join((b"." if line.startswith(b".") else b"") + line
                               for line in content.splitlines(keepends=True))
            send_pieces(client, stuffed + b".\r\n", how)
            check(client.reply().startswith("250 "), how)
            client.expect("NOOP", "250 2.0.0")
    wait_for(lambda: len(mx.messages) == len(hows), "all arrive")
    for message in mx.messages:
        check_equal(body_of(message.data), DOTS, f"body, {message.accepted_rcpts}")


@test("S27 the end of data split after each of its bytes")
def s27_end(world):
    mx = world.mx()
    world.engine()
    with world.client() as client:
        client.hello()
        for at in range(1, 5):
            client.envelope(f"u{at}@a.test")
            client.expect("DATA", 354)
            data = b"Subject: end\r\n\r\nline\r\n.\r\n"
            client.send(data[:-5 + at])
            time.sleep(0.05)
            client.send(data[-5 + at:])
            check(client.reply().startswith("250 "), str(at))
    wait_for(lambda: len(mx.messages) == 4, "all arrive")
    for message in mx.messages:
        check_equal(body_of(message.data), b"line\r\n", "body")


@test("S27 dots at the edges of the chunks in which a large body travels")
def s27_large(world):
    mx = world.mx()
    world.engine()
    lines = [b"." * (i % 7) + b"x" * (i % 61) for i in range(40000)]
    body = b"\r\n".join(lines) + b"\r\n"
    world.send(body=body)
    wait_for(lambda: mx.messages, "it arrives")
    check(body_of(mx.messages[0].data) == body, "the body has changed")


@test("S29 a client that leaves in DATA leaves nothing")
def s29_data(world):
    world.mx()
    engine = world.engine()
    for reset in (False, True):
        with world.client() as client:
            client.hello()
            client.envelope("user@a.test")
            client.expect("DATA", 354)
            client.send(b"Subject: half\r\n\r\nhalf a mess")
            time.sleep(0.1)
            if reset:
                client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    time.sleep(0.5)
    check_equal(engine.status()["traffic"]["messagesIn"], 0, "messages in")
    check_equal(engine.queued(), 0, "queued")


@test("S29 a client that leaves behind the dot: its message is queued once at most")
def s29_dot(world):
    mx = world.mx()
    engine = world.engine()
    for number in range(20):
        with world.client() as client:
            client.hello()
            client.envelope(f"u{number:02}@a.test")
            client.expect("DATA", 354)
            client.send(make_content() + b".\r\n")
    engine.wait_empty()
    time.sleep(0.5)
    check(len(mx.delivered) == len(set(mx.delivered)), f"delivered twice: {mx.delivered}")


# effect: source smtp-max-connections-per-ip
@test("S31 connections of one address are capped with 421 4.7.0; others go on")
def s31(world):
    world.mx()
    engine = world.engine(source="smtp-max-connections-per-ip 20")
    held = [world.client(source=world.address(200)) for _ in range(20)]
    check(all(one.greeting.startswith("220 ") for one in held), "the first twenty are greeted")
    more = world.client(source=world.address(200))
    check(more.greeting.startswith("421 4.7.0"), more.greeting)
    more.close()
    with world.client(source=world.address(201)) as other:
        other.hello()
        other.message("user@a.test")
    held.pop().close()
    wait_for(lambda: engine.status()["connections"]["in"] == 19, "one has left")
    with world.client(source=world.address(200)) as again:
        check(again.greeting.startswith("220 "), again.greeting)
    for one in held:
        one.close()


def raise_descriptors(wanted):
    """Of this process and those it starts; root may raise the hard limit, too."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft >= wanted:
        return
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, max(hard, wanted)))
    except (ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


@test("S31 ten thousand idle connections cost little, and mail goes on")
def s31_idle(world):
    count = 10000
    raise_descriptors(2 * count)
    mx = world.mx()
    engine = world.engine(globals=f"total-max-smtp-in {count + 100}\ntotal-max-smtp-out 100")
    before = resident(engine)
    held = [world.client(source=world.address(200 + number % 25)) for number in range(count)]
    grown = resident(engine) - before
    check(grown < count * 8192, f"{grown} bytes for {count} idle connections")
    world.send()
    wait_for(lambda: mx.messages, "a message arrives")
    check_equal(engine.status()["connections"]["in"], count, "connections that are still there")
    for one in held:
        one.close()
    wait_for(lambda: engine.status()["connections"]["in"] == 0, "all have left", 30)


def resident(engine):
    with open(f"/proc/{engine.process.popen.pid}/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * 4096


def fill(world, engine, count, size):
    """Sends until the first reply that is no 250 to DATA or MAIL; (accepted, that reply)."""
    accepted = 0
    with world.client() as client:
        client.hello()
        for _ in range(count):
            reply = client.command("MAIL FROM:<s@in.test>")
            if reply.startswith("250"):
                reply = client.command("RCPT TO:<user@a.test>")
            if reply.startswith("250"):
                reply = client.data(make_content(size=size))
            if not reply.startswith("250"):
                return accepted, reply
            accepted += 1
    return accepted, ""


# effect: global spool-max-size
@test("S42 the spool is full: 452 4.3.1; delivery goes on and frees space, mail is taken again")
def s42_full(world):
    mx = world.mx()
    engine = world.engine(globals="spool-max-size 400m")
    engine.control("pause queue", "*/*")
    accepted, reply = fill(world, engine, 500, 1_000_000)
    check(reply.startswith("452 4.3.1"), f"after {accepted}: {reply!r}")
    check(accepted > 50, f"only {accepted} were accepted")
    check_equal(engine.queued(), accepted, "queued")
    engine.control("resume queue", "*/*")
    wait_for(lambda: len(mx.messages) == accepted, "all that was accepted arrives", 60)
    wait_for(lambda: fill(world, engine, 1, 1000)[0] == 1, "mail is taken again")


@test("S42 a disk that takes no more: never 250, the engine lives; after a restart mail goes on")
def s42_disk(world):
    mx = world.mx()
    engine = world.engine(preexec=lambda: signal.signal(signal.SIGXFSZ, signal.SIG_IGN))
    engine.control("pause queue", "*/*")
    world.send("before@a.test")
    pid = engine.process.popen.pid
    limit = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (4096, limit[1]))
    for _ in range(3):
        accepted, reply = fill(world, engine, 5, 1000)
        check_equal(accepted, 0, "accepted")
        check(reply.startswith(("451 4.3.0", "452 4.3.1")), reply)
    check(engine.answers(), "it lives and says how it is")
    resource.prlimit(pid, resource.RLIMIT_FSIZE, limit)
    engine.kill()
    engine.start()
    check_equal(fill(world, engine, 1, 1000)[0], 1, "accepted after the restart")
    engine.control("resume queue", "*/*")
    wait_for(lambda: len(mx.delivered) == 2, "both arrive")
    check_equal(mx.delivered, ["before@a.test", "user@a.test"], "delivered")


# effect: virtual-mta max-queued-recipients
@test("S45 a virtual MTA over max-queued-recipients gets 452 4.2.2, the others go on")
def s45(world):
    mx = world.mx()
    engine = world.engine(extra="""<virtual-mta small>
            smtp-source-host %s small.example.test
            max-queued-recipients 10
        </virtual-mta>""" % world.address(103))
    engine.control("pause queue", "*/small")
    refused = 0
    with world.client() as client:
        client.hello()
        for number in range(30):
            client.envelope(f"u{number}@a.test")
            reply = client.data(make_content(vmta="small"))
            if not reply.startswith("250"):
                check(reply.startswith("452 4.2.2"), reply)
                refused += 1
        check(19 <= refused <= 20, f"{refused} of 30 refused")
        slowest = 0
        for number in range(20):
            begin = time.monotonic()
            client.message(f"v{number}@a.test", vmta="v1")
            slowest = max(slowest, time.monotonic() - begin)
    check(slowest < 2, f"another virtual MTA waited {slowest:.2f} s")
    wait_for(lambda: len(mx.messages) == 20, "the others' messages arrive")
    engine.control("resume queue", "*/small")
    wait_for(lambda: len(mx.messages) == 50 - refused, "then the small one's")


# effect: virtual-mta spool-share
@test("S45 a virtual MTA over its spool-share gets 452 4.2.2, the others go on")
def s45_share(world):
    mx = world.mx()
    engine = world.engine(globals="spool-max-size 400m", extra="""<virtual-mta small>
            smtp-source-host %s small.example.test
            spool-share 5
        </virtual-mta>""" % world.address(103))
    engine.control("pause queue", "*/small")
    accepted, reply = 0, ""
    with world.client() as client:
        client.hello()
        while accepted < 100 and not reply:
            client.envelope("user@a.test")
            answer = client.data(make_content(vmta="small", size=1_000_000))
            if answer.startswith("250 "):
                accepted += 1
            else:
                reply = answer
        check(reply.startswith("452 4.2.2"), f"after {accepted}: {reply}")
        check(5 < accepted <= 21, f"{accepted} MB are 5 % of 400")
        for _ in range(10):
            client.message("other@a.test", vmta="v1", size=1_000_000)
    wait_for(lambda: len(mx.messages) == 10, "the others' messages arrive")
    engine.control("resume queue", "*/small")
    wait_for(lambda: len(mx.messages) == 10 + accepted, "then the small one's")


@test("S43 kill -9 while messages are accepted: every 250 is there once after the restart")
def s43(world):
    mx = world.mx()
    engine = world.engine()
    engine.control("pause queue", "*/*")
    answered, stop = [], threading.Event()

    def inject(number):
        try:
            with world.client() as client:
                client.hello()
                for count in range(100000):
                    if stop.is_set():
                        return
                    rcpt = f"u{number}-{count}@a.test"
                    client.message(rcpt)
                    answered.append(rcpt)
        except Exception:  # noqa: BLE001: the engine is killed under it
            return

    for turn in range(3):
        threads = [threading.Thread(target=inject, args=(f"{turn}{i}",)) for i in range(6)]
        before = len(answered)
        for thread in threads:
            thread.start()
        wait_for(lambda: len(answered) >= before + 60, "messages are accepted")
        engine.kill()
        for thread in threads:
            thread.join()
        engine.start()
    stop.set()
    engine.control("resume queue", "*/*")
    engine.wait_empty(60)
    seen = mx.delivered
    check_equal(sorted(set(answered) - set(seen)), [], "answered 250 and lost")
    check(len(seen) == len(set(seen)), "delivered twice")
