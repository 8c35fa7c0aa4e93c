#!/usr/bin/env python3
"""The built-in sink, seen from both its sides: a test for each directive.

    tests/peers/policy_sink.py BUILD [NAME…]"""
import sys
import time

from harness import Client, check, check_equal, main, make_content, test, wait_for

SINK_PORT = 2626


def sink_of(world, last=1):
    return (world.address(last), SINK_PORT)


def with_sink(world, *lines, **parts):
    """An engine whose mail goes to its own sink."""
    address, port = sink_of(world)
    settings = [f"dummy-smtp-ip {address}", f"dummy-smtp-port {port}", *lines]
    world.destinations.setdefault("*", f"[{address}]:{port}")
    return world.engine(globals="\n".join([*settings, parts.pop("globals", "")]), **parts)


def offers(world):
    with Client(sink_of(world)) as client:
        return [line[4:].split(" ")[0] for line in client.hello().split("\n")[1:]]


# effect: global dummy-smtp-ip
# effect: global dummy-smtp-port
# effect: global dummy-smtp-update-stats
@test("dummy-smtp-port: what is sent there is answered 250 and is nowhere")
def sink_takes(world):
    engine = with_sink(world)
    for i in range(3):
        world.send([f"{i}a@a.test", f"{i}b@b.test"], content=make_content(size=20000))
    records = engine.wait_records("d", 6)
    engine.wait_empty()
    check_equal({one["dsnDiag"] for one in records}, {"smtp;250 2.0.0 Ok: thrown away"}, "dsnDiag")
    status = engine.status()
    sink, traffic = status["dummySmtp"], status["traffic"]
    check_equal((sink["recipients"], traffic["messagesIn"], len(engine.records("r"))), (6, 3, 6),
                "recipients at the sink, messages and recipients taken in")
    with Client(sink_of(world)) as client:  # any sender may send anything anywhere
        client.hello()
        client.envelope("any@elsewhere.example", sender="")
        check_equal(client.data(b"Subject: x\r\n\r\n.\r\n"), "250 2.0.0 Ok: thrown away", "reply")
    engine.kill()
    engine.write(globals=engine.parts["globals"] + "\ndummy-smtp-update-stats no")
    engine.start()
    check_equal(engine.status()["queue"]["rcpts"], 0, "recipients after a restart")
    world.send("c@a.test")
    engine.wait_records("d", 7)
    check_equal(engine.status()["dummySmtp"]["messages"], 0, "counted with update-stats no")


@test("dummy-smtp-port: off by default, comes and goes with a reload, is no listener's")
def sink_reload(world):
    world.mx()
    engine = world.engine(globals=f"dummy-smtp-ip {world.address(1)}")

    def listens():
        try:
            Client(sink_of(world)).close()
            return True
        except OSError:
            return False
    check(not listens(), "it listens by default")
    engine.write(globals=f"dummy-smtp-ip {world.address(1)}\ndummy-smtp-port {SINK_PORT}")
    engine.control("reload")
    check(listens(), "it does not listen after the reload")
    engine.write()
    engine.control("reload")
    wait_for(lambda: not listens(), "the sink is closed")
    engine.write(globals="dummy-smtp-port 2525")
    check_equal(engine.ask("reload")["status"], "error", "a listener's port for the sink")
    check("is this listener's too" in engine.command("check")[2], "check says nothing")


# effect: global dummy-smtp-has-chunking
# effect: global dummy-smtp-has-pipelining
# effect: global dummy-smtp-has-verp
@test("dummy-smtp-has-…: what the sink offers")
def sink_offers(world):
    engine = with_sink(world)
    seen = offers(world)
    check_equal([one in seen for one in ("CHUNKING", "PIPELINING", "VERP")], [True, True, False],
                "CHUNKING, PIPELINING, VERP by default")
    engine.write(globals=engine.parts["globals"] + "\ndummy-smtp-has-chunking no\n"
                 "dummy-smtp-has-pipelining no\ndummy-smtp-has-verp yes")
    engine.control("reload")
    seen = offers(world)
    check_equal([one in seen for one in ("CHUNKING", "PIPELINING", "VERP")], [False, False, True],
                "CHUNKING, PIPELINING, VERP as configured")
    with Client(sink_of(world)) as client:
        client.hello()
        client.expect("MAIL FROM:<a@a.test> VERP", 250)
    world.send("a@a.test")  # and the engine gets by with it
    engine.wait_records("d", 1)


# effect: global dummy-smtp-latency
@test("dummy-smtp-latency: each flight of replies comes so much later")
def sink_latency(world):
    with_sink(world, "dummy-smtp-latency 300")
    begin = time.monotonic()
    with Client(sink_of(world)) as client:
        client.hello()
        client.send("MAIL FROM:<a@a.test>\r\nRCPT TO:<b@b.test>\r\nDATA\r\n")
        check_equal([client.reply()[:3] for _ in range(3)], ["250", "250", "354"], "replies")
    seconds = time.monotonic() - begin
    check(0.9 <= seconds < 3, f"three flights took {seconds:.2f} s")


@test("dummy-smtp-latency: is the least, of short ones too")
def sink_short_latency(world):
    with_sink(world, "dummy-smtp-latency 2")
    with Client(sink_of(world)) as client:
        early = []
        for _ in range(100):
            begin = time.monotonic()
            client.expect("NOOP", 250)
            early.append(time.monotonic() - begin < 0.002)
        check_equal(sum(early), 0, "flights that came early, of 100")


@test("dummy-smtp-latency: a flight larger than the output is served whole")
def sink_long_flight(world):
    with_sink(world, "dummy-smtp-latency 1")
    with Client(sink_of(world)) as client:
        client.hello()
        client.send("MAIL FROM:<a@a.test>\r\n" + "RCPT TO:<b@b.test>\r\n" * 2000 + "DATA\r\n")
        seen = [client.reply()[:3] for _ in range(2002)]
        check_equal(seen, ["250"] * 2001 + ["354"], "replies")
        client.send("\r\nx\r\n.\r\nMAIL FROM:<c@a.test>\r\n")
        check_equal([client.reply()[:3] for _ in range(2)], ["250", "250"], "replies")


# effect: global dummy-smtp-await-slot
@test("dummy-smtp-await-slot: over total-max-smtp-in it says 421, or lets wait")
def sink_await_slot(world):
    engine = with_sink(world, "total-max-smtp-in 2", workers=2)
    full = [Client(sink_of(world)) for _ in range(2)]
    with Client(sink_of(world)) as client:
        check_equal(client.greeting[:9], "421 4.7.0", "of the third")
        check_equal(client.reply(), "", "after it")
    engine.write(globals=engine.parts["globals"] + "\ndummy-smtp-await-slot yes")
    engine.control("reload")
    waiting = Client(sink_of(world), read_greeting=False)
    waiting.socket.settimeout(0.4)
    try:
        check_equal(waiting.socket.recv(100), None, "said without a place")
    except TimeoutError:
        pass
    full.pop().close()
    waiting.socket.settimeout(5)
    check_equal(waiting.reply()[:3], "220", "when a place is free")
    waiting.hello()
    for one in [waiting, *full]:
        one.close()


if __name__ == "__main__":
    sys.exit(main(__doc__.splitlines()[0]))
