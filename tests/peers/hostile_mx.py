"""Rows C: what a receiving host may do to our client, over real sockets.

The long time-outs (C16, C36, C41) are in tests/sim/test_sim_rows.c; C27 to C30 belong to features
of their own."""
import re
import ssl
import time

from harness import (body_of, check, check_equal, expire, make_certificate, openssl, test,
                     wait_for)
from mx import (Await, Close, Delay, Garbage, ReadBytes, Reset, Silence, StartTls,
                Turns)
from namespace import Namespace

LATER = "retry-after 1h\nretry-recipients-after 1h"


def only_types(engine, *wanted):
    """The kinds of the delivery's records, in order."""
    check_equal([one["type"] for one in engine.records("d", "b", "t", "tq")], list(wanted),
                "records")


def server_context(certificate, secret):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, secret)
    return context


# ---- greetings ------------------------------------------------------------------------------


@test("C1 a 5xx greeting leads to the next MX")
def c1_next(world):
    first, second = world.mx(11, greeting=["554 5.7.1 no", Close()]), world.mx(12)
    world.route("*", first, second)
    engine = world.engine()
    world.send()
    engine.wait_records("d", 1)
    check_equal(len(second.messages), 1, "messages at the second host")
    only_types(engine, "d")


# effect: domain bounce-upon-5xx-greeting
@test("C1 all greet 5xx: deferred or bounced, as bounce-upon-5xx-greeting says; 521 is final")
def c1_all(world):
    for last, reply in ((11, "554 5.7.1 no"), (12, "554 5.7.1 no"), (13, "521 5.3.2 no mail")):
        world.mx(last, [f"d{last}.test"], greeting=[reply, Close()])
    engine = world.engine(domain=LATER + "\nbounce-upon-5xx-greeting no",
                          extra="<domain d12.test>\nbounce-upon-5xx-greeting yes\n</domain>")
    for last in (11, 12, 13):
        world.send(f"u@d{last}.test")
    bounces = engine.wait_records("b", 2)
    check_equal(sorted(one["queue"] for one in bounces), ["d12.test/v1", "d13.test/v1"], "bounced")
    queue = engine.wait_records("tq", 1)
    check_equal([one["queue"] for one in queue], ["d11.test/v1"], "deferred")


@test("C2 421 in the greeting or to EHLO: a record for the queue, the message is not charged")
def c2_queue(world):
    world.mx(11, ["greeting.test"], greeting=["421 4.3.2 full", Close()])
    world.mx(12, ["ehlo.test"], ehlo=["421 4.3.2 full", Close()])
    engine = world.engine(domain=LATER)
    world.send("u@greeting.test")
    world.send("u@ehlo.test")
    records = engine.wait_records("tq", 2)
    check(all("421 4.3.2 full" in one["dsnDiag"] for one in records), str(records))
    only_types(engine, "tq", "tq")
    check_equal(engine.queued(), 2, "queued")


@test("C2 421 in a transaction: a transient record for its recipients")
def c2_transaction(world):
    closing = ["421 4.3.2 going", Close()]
    world.mx(11, ["rcpt.test"], rcpt=closing)
    world.mx(12, ["data.test"], data=closing)
    world.mx(13, ["final.test"], final=closing)
    engine = world.engine(domain=LATER)
    for domain in ("rcpt.test", "data.test", "final.test"):
        world.send([f"a@{domain}", f"b@{domain}"])
    records = engine.wait_records("t", 6)
    check(all("421 4.3.2 going" in one["dsnDiag"] for one in records), str(records))
    only_types(engine, *["t"] * 6)


# effect: domain smtp-greeting-timeout
@test("C3 an endless greeting, an endless line, and a drip are ended")
def c3(world):
    world.mx(11, ["lines.test"], greeting=Garbage(b"220-more\r\n", 1 << 30))
    world.mx(12, ["line.test"], greeting=[b"220 ", Garbage(b"a", 1 << 30)])
    drip = [b"220 a"] + [part for _ in range(100) for part in (Delay(0.3), b"a")]
    world.mx(13, ["drip.test"], greeting=drip)
    engine = world.engine(domain=LATER + "\nsmtp-greeting-timeout 2s")
    for domain in ("lines.test", "line.test", "drip.test"):
        world.send(f"u@{domain}")
    records = {one["queue"]: one["dsnStatus"] for one in engine.wait_records("tq", 3)}
    only_types(engine, "tq", "tq", "tq")
    for domain in ("lines.test", "line.test"):
        check("4.5.0" in records[f"{domain}/v1"], str(records))
    for mx in world.peers:
        wait_for(lambda: mx.sessions[0].ended, "the connection is closed", 10)


BROKEN = [b"2\r\n", b"25\r\n", b"250-one\r\n", b"abc\r\n", b"999 x\r\n", b"250_x\r\n",
          b"250-one\r\n251 two\r\n", b"\r\n", b"199 x\r\n", b"2500 x\r\n", b"250\rx\r\n"]


@test("C4 what is no reply: deferred and closed")
def c4(world):
    for number, reply in enumerate(BROKEN):
        world.mx(11 + number, [f"d{number}.test"], rcpt=[reply, Delay(0.2), Close()])
    engine = world.engine(domain=LATER)
    with world.client() as client:
        client.hello()
        for number in range(len(BROKEN)):
            client.message(f"u@d{number}.test")
    engine.wait_records("t", len(BROKEN))
    only_types(engine, *["t"] * len(BROKEN))
    for mx in world.peers:
        check_equal(mx.messages, [], "messages")


@test("C5 replies that end with a bare LF are taken")
def c5(world):
    mx = world.mx(greeting=b"220-hello\n220 there\n", ehlo=b"250-hi\n250 PIPELINING\n",
                  mail=b"250 ok\n", rcpt=b"250 ok\n", data=b"354 go\n", final=b"250 taken\n")
    engine = world.engine()
    world.send()
    engine.wait_records("d", 1)
    check_equal(len(mx.messages), 1, "messages")


HOSTILE = b"550 5.1.1 \x1b[31mred\x00\xff\xfe \"quote\", =cmd|' /C calc'!A0 \x07bell\r\n"


@test("C6 hostile bytes in a reply stay inside their field: log, JSON, CSV")
def c6(world):
    world.mx(rcpt=[HOSTILE, b"550-more\rtext\r\n550 end\r\n"])
    engine = world.engine(extra=f"<acct-file {world.work}/plain.csv>\nrecords b\n</acct-file>")
    world.send()
    record = engine.wait_records("b", 1)[0]
    check("red" in record["dsnDiag"] and "bell" in record["dsnDiag"], record["dsnDiag"])
    wait_for(lambda: engine.csv_rows("plain"), "a row of the CSV")
    engine.stop()
    rows = engine.csv_rows("plain")
    check_equal(len(rows), 1, "rows")
    check(None not in rows[0] and rows[0]["rcpt"] == "user@a.test", str(rows[0]))
    check("=cmd|" in rows[0]["dsnDiag"], rows[0]["dsnDiag"])
    files = [*world.work.glob("*.csv"), *world.work.glob("*.jsonl"), world.work / "engine.log"]
    for path in files:
        data = path.read_bytes()
        check(not re.search(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]", data),
              f"control characters in {path.name}")
        data.decode("utf-8")


@test("C7 an extra reply is never credited to the next message")
def c7_extra(world):
    mx = world.mx(final=Turns(b"250 2.0.0 taken\r\n250 2.0.0 extra\r\n", "250 2.0.0 taken"),
                  mail=Turns("250 2.1.0 ok", "550 5.7.1 refused"))
    engine = world.engine(domain=LATER + "\nmax-smtp-out 1\nconnection-idle-timeout 10s")
    world.send("one@a.test")
    engine.wait_records("d", 1)
    world.send("two@a.test")
    record = engine.wait_records("b", 1)[0]
    check_equal(record["rcpt"], "two@a.test", "the bounce's recipient")
    only_types(engine, "d", "b")
    check_equal(mx.delivered, ["one@a.test"], "delivered")


@test("C7 a reply before its command ends the session; nothing is credited")
def c7_early(world):
    mx = world.mx(ehlo=Turns(b"250-mx\r\n250 PIPELINING\r\n250 2.1.0 early\r\n250 2.1.5 early\r\n"
                             b"354 early\r\n250 2.0.0 early\r\n", "250 mx"))
    engine = world.engine()
    world.send()
    wait_for(lambda: mx.messages, "a message arrives")
    engine.wait_records("d", 1)
    check_equal(mx.messages[0].session.number > 0, True, "delivered by another session")
    check_equal(len(mx.messages), 1, "messages")


# ---- TLS ------------------------------------------------------------------------------------


@test("C8 plaintext behind the 220 to STARTTLS: abort, nothing of it counts")
def c8(world):
    context = server_context(*make_certificate(world.work, "mx"))
    mx = world.mx(tls=context)
    mx.script["starttls"] = [b"220 go\r\n250-mx\r\n250 PIPELINING\r\n", StartTls()]
    engine = world.engine(domain=LATER + "\nrequire-starttls yes")
    world.send()
    engine.wait_records("tq", 1)
    only_types(engine, "tq")
    check_equal(mx.transactions, [], "transactions")


def refuse_tls(world, how):
    context = server_context(*make_certificate(world.work, "mx"))
    mx = world.mx(tls=context)
    mx.script["starttls"] = how
    return mx


@test("C9 STARTTLS 454, opportunistic: in the clear on a new connection, and remembered")
def c9_opportunistic(world):
    mx = refuse_tls(world, "454 4.7.0 not now")
    engine = world.engine()
    world.send("one@a.test")
    engine.wait_records("d", 1)
    check_equal([one.number for one in mx.sessions], [0, 1], "sessions")
    check_equal(mx.messages[0].session.number, 1, "delivered by session")
    world.send("two@a.test")
    engine.wait_records("d", 2)
    check_equal(len([one for one in mx.sessions[2].commands if one.verb == "STARTTLS"]), 0,
                "STARTTLS to a host that is remembered")
    only_types(engine, "d", "d")


@test("C9 STARTTLS 454 or 501, required: deferred 4.7, nothing in the clear")
def c9_required(world):
    for last, reply in ((11, "454 4.7.0 not now"), (12, "501 5.5.4 what")):
        mx = world.mx(last, [f"d{last}.test"],
                      tls=server_context(*make_certificate(world.work, f"mx{last}")))
        mx.script["starttls"] = reply
    engine = world.engine(domain=LATER + "\nrequire-starttls yes")
    world.send("u@d11.test")
    world.send("u@d12.test")
    records = engine.wait_records("tq", 2)
    check(all(re.match(r"[45]\.7\.", one["dsnStatus"]) or "4.7." in one["dsnStatus"]
              for one in records), str([one["dsnStatus"] for one in records]))
    only_types(engine, "tq", "tq")
    for mx in world.peers:
        check_equal(mx.transactions, [], "transactions")


@test("C9 a handshake that fails, required: deferred 4.7, nothing in the clear")
def c9_handshake(world):
    mx = refuse_tls(world, ["220 go ahead", Delay(0.3), b"this is no TLS record at all\r\n",
                            Delay(0.5), Close()])
    engine = world.engine(domain=LATER + "\nrequire-starttls yes")
    world.send()
    record = engine.wait_records("tq", 1)[0]
    check("4.7." in record["dsnStatus"], record["dsnStatus"])
    check_equal(mx.transactions, [], "transactions")


@test("C10 what EHLO offered before TLS is forgotten")
def c10(world):
    context = server_context(*make_certificate(world.work, "mx"))
    mx = world.mx(tls=context)
    mx.script["ehlo"] = lambda session, _: (
        "250 mx" if session.tls else "250-mx\n250-PIPELINING\n250-CHUNKING\n250 STARTTLS")
    engine = world.engine()
    world.send()
    engine.wait_records("d", 1)
    message = mx.messages[0]
    check(message.session.tls is not None, "it came over TLS")
    check_equal(message.chunks, [], "chunks")
    for _, data in message.session.reads:
        check(not (b"MAIL" in data and b"RCPT" in data), f"pipelined: {data!r}")


@test("C11 EHLO refused with 500 or 502: HELO")
def c11(world):
    for last, reply in ((11, "500 5.5.2 what"), (12, "502 5.5.1 no")):
        world.mx(last, [f"d{last}.test"], ehlo=reply)
    engine = world.engine()
    world.send("u@d11.test")
    world.send("u@d12.test")
    engine.wait_records("d", 2)
    for mx in world.peers:
        check_equal([one.verb for one in mx.sessions[0].commands][:3], ["EHLO", "HELO", "MAIL"],
                    "commands")


@test("C11 10,000 EHLO lines are capped")
def c11_lines(world):
    mx = world.mx(ehlo=["250-" + "\n250-".join(f"X{i}" for i in range(10000)), "250 PIPELINING"])
    engine = world.engine(domain=LATER)
    world.send()
    engine.wait_records("tq", 1)
    check_equal(mx.transactions, [], "transactions")


# ---- replies in a transaction ---------------------------------------------------------------


@test("C12 mixed RCPT results are recorded each")
def c12_mixed(world):
    replies = {b"a@": "250 2.1.5 ok", b"b@": "550 5.1.1 no such user", b"c@": "450 4.2.1 later"}
    mx = world.mx(rcpt=lambda _, argument: next(reply for start, reply in replies.items()
                                                if start in argument))
    engine = world.engine(domain=LATER)
    world.send(["a@a.test", "b@a.test", "c@a.test"])
    engine.wait_records("d", 1)
    seen = {one["rcpt"]: one["type"] for one in engine.records("d", "b", "t")}
    check_equal(seen, {"a@a.test": "d", "b@a.test": "b", "c@a.test": "t"}, "records")
    check_equal(mx.delivered, ["a@a.test"], "delivered")


@test("C12 all refused but DATA 354: a lone dot, its 250 is ignored")
def c12_lone_dot(world):
    mx = world.mx(rcpt=Turns("550 5.1.1 no", "250 2.1.5 ok"), data_unwanted="354 go ahead")
    engine = world.engine(domain="max-smtp-out 1\nconnection-idle-timeout 10s")
    world.send("one@a.test")
    engine.wait_records("b", 1)
    world.send("two@a.test")
    engine.wait_records("d", 1)
    only_types(engine, "b", "d")
    empty = mx.transactions[0]
    check_equal((empty.data, empty.data_code), (b"", 354), "the refused transaction's message")
    check_equal(mx.delivered, ["two@a.test"], "delivered")
    check_equal(len(mx.sessions), 1, "sessions")


@test("C13 250 to DATA is a protocol error: deferred")
def c13(world):
    mx = world.mx(data="250 2.0.0 ok")
    engine = world.engine(domain=LATER)
    world.send()
    engine.wait_records("t", 1)
    only_types(engine, "t")
    check_equal(mx.messages, [], "messages")


@test("C14 4xx or 5xx and a close during the body is read and recorded")
def c14(world):
    world.mx(11, ["five.test"], body=[ReadBytes(20000), "552 5.3.4 too much", Close()])
    world.mx(12, ["four.test"], body=[ReadBytes(20000), "452 4.3.1 no room", Close()])
    engine = world.engine(domain=LATER)
    world.send("u@five.test", size=3_000_000)
    world.send("u@four.test", size=3_000_000)
    bounce = engine.wait_records("b", 1)[0]
    check("552 5.3.4 too much" in bounce["dsnDiag"], bounce["dsnDiag"])
    transient = engine.wait_records("t", 1)[0]
    check("452 4.3.1 no room" in transient["dsnDiag"], transient["dsnDiag"])
    check_equal(len(engine.records("d", "b", "t", "tq")), 2, "records")


@test("C14 smtp-sink's way: 5xx in the midst of the body, the rest is read")
def c14_reads_on(world):
    async def early(session, _):
        await session.send(b"554 5.7.1 content refused\r\n")

    world.mx(body=[ReadBytes(5000), early], final=Close())
    engine = world.engine(domain=LATER)
    world.send(size=1_000_000)
    bounce = engine.wait_records("b", 1)[0]
    check("554 5.7.1 content refused" in bounce["dsnDiag"], bounce["dsnDiag"])
    only_types(engine, "b")


@test("C15 closed after the dot: tried again, and the record says it may come twice")
def c15(world):
    mx = world.mx(final=Turns(Close(), "250 2.0.0 taken"))
    engine = world.engine()
    world.send()
    engine.wait_records("d", 1)
    record = engine.records("t")[0]
    check_equal(record.get("afterDotLost"), True, "afterDotLost")
    check("twice" in record["dsnDiag"], record["dsnDiag"])
    only_types(engine, "t", "d")
    check_equal(len(mx.messages), 1, "messages")


# effect: domain smtp-data-termination-timeout
@test("C15 silence after the dot: as long as configured, then tried again")
def c15_silence(world):
    mx = world.mx(final=Turns(Silence(), "250 2.0.0 taken"))
    engine = world.engine(domain="smtp-data-termination-timeout 1500ms")
    world.send()
    engine.wait_records("d", 1)
    record = engine.records("t")[0]
    check_equal(record.get("afterDotLost"), True, "afterDotLost")
    check("timed out" in record["dsnDiag"], record["dsnDiag"])
    check_equal(len(mx.messages), 1, "messages")


# effect: domain data-send-timeout
@test("C17 a peer that stops reading: data-send-timeout, deferred 4.4.2, memory bounded")
def c17(world):
    world.mx(receive_bytes=4096, body=Silence())
    engine = world.engine(domain=LATER + "\ndata-send-timeout 2s")
    before = resident_bytes(engine)
    world.send(size=20_000_000)
    record = engine.wait_records("t", 1, 30)[0]
    check("4.4.2" in record["dsnStatus"], record["dsnStatus"])
    check(resident_bytes(engine) - before < 60_000_000, "memory grew with the message")


def resident_bytes(engine):
    with open(f"/proc/{engine.process.popen.pid}/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * 4096


@test("C18 the code wins over the text")
def c18(world):
    cases = {"a": ("250 5.7.1 blocked, spam", "d"), "b": ("550 4.2.2 mailbox full", "b"),
             "c": ("421 5.7.32 not allowed", "t"), "d": ("450 5.1.1 no such user", "t")}
    for number, (name, (reply, _)) in enumerate(cases.items()):
        world.mx(11 + number, [f"{name}.test"], final=reply)
    engine = world.engine(domain=LATER)
    for name in cases:
        world.send(f"u@{name}.test")
    wait_for(lambda: len(engine.records("d", "b", "t")) == len(cases), "all are recorded")
    seen = {one["rcpt"][2]: one["type"] for one in engine.records("d", "b", "t")}
    check_equal(seen, {name: kind for name, (_, kind) in cases.items()}, "records")


@test("C19 FIN or RST before the banner, RST in a pipelined group: deferred, next MX")
def c19(world):
    good = world.mx(19)
    for last, script in ((11, {"connect": Close()}), (12, {"connect": Reset()})):
        bad = world.mx(last, **script)
        world.route(f"d{last}.test", bad, good)
    world.mx(13, ["middle.test"], rcpt=[Await(b"DATA", 2), Reset()])
    engine = world.engine(domain=LATER)
    world.send("u@d11.test")
    world.send("u@d12.test")
    world.send("u@middle.test")
    engine.wait_records("d", 2)
    engine.wait_records("t", 1)
    check_equal(good.delivered, ["u@d11.test", "u@d12.test"], "delivered")
    check_equal(len(engine.records("d", "b", "t", "tq")), 3, "records")


@test("C19 silence, RST or a close after QUIT: delivered all the same, soon over")
def c19_quit(world):
    for last, how in ((11, Silence()), (12, Reset()), (13, Close())):
        world.mx(last, [f"d{last}.test"], quit=how)
    engine = world.engine()
    for last in (11, 12, 13):
        world.send(f"u@d{last}.test")
    engine.wait_records("d", 3)
    only_types(engine, "d", "d", "d")
    wait_for(lambda: engine.status()["connections"]["out"] == 0, "connections are closed", 8)


# ---- names and addresses --------------------------------------------------------------------


def by_names(world, zone, **options):
    """An engine that finds its way by this zone."""
    names = world.names(zone)
    engine = world.engine(globals=names.directive, routes=" ", **options)
    return names, engine


@test("C20 a null MX bounces at once 5.1.10; with others beside it, it is ignored")
def c20(world):
    mx = world.mx()
    _, engine = by_names(world, {"null.test": [("MX", 0, ".")],
                                 "both.test": [("MX", 0, "."), ("MX", 10, "mx.test")],
                                 "mx.test": [("A", mx.address)]})
    world.send("u@null.test")
    world.send("u@both.test")
    bounce = engine.wait_records("b", 1)[0]
    check_equal((bounce["rcpt"], bounce["dsnStatus"][:6]), ("u@null.test", "5.1.10"), "bounce")
    check("556" in bounce["dsnDiag"], bounce["dsnDiag"])
    engine.wait_records("d", 1)
    check_equal(mx.delivered, ["u@both.test"], "delivered")


@test("C21 an MX that is an alias is used only where no other is left; an IP as MX is skipped")
def c21_alias(world):
    good, alias = world.mx(11), world.mx(12)
    _, engine = by_names(world, {
        "two.test": [("MX", 10, "alias.test"), ("MX", 20, "good.test")],
        "one.test": [("MX", 10, "alias.test")],
        "ip.test": [("MX", 10, world.address(13)), ("MX", 20, "good.test")],
        "alias.test": [("CNAME", "real.test")], "real.test": [("A", alias.address)],
        "good.test": [("A", good.address)]})
    for domain in ("two.test", "one.test", "ip.test"):
        world.send(f"u@{domain}")
    engine.wait_records("d", 3)
    check_equal(good.delivered, ["u@ip.test", "u@two.test"], "delivered at the good host")
    check_equal(alias.delivered, ["u@one.test"], "delivered at the alias")


# effect: domain prohibited-hosts
@test("C21 an MX that points to loopback is a loop: 5.4.6")
def c21_prohibited(world):
    mx = world.mx()
    names = world.names({"a.test": [("MX", 10, "mx.test")], "mx.test": [("A", mx.address)]})
    engine = world.engine(globals=names.directive, routes="""
        <domain *>
            prohibited-hosts 127/8 ::1 0/8
        </domain>""")
    world.send()
    bounce = engine.wait_records("b", 1)[0]
    check_equal(bounce["dsnStatus"][:5], "5.4.6", "status")
    check_equal(mx.sessions, [], "sessions")


@test("C21 our own listener as MX is a loop: 5.4.6, never delivered to ourselves")
def c21_own(world):
    _, engine = by_names(world, {"a.test": [("MX", 10, "mx.test")],
                                 "mx.test": [("A", world.address(1))]})
    world.send()
    bounce = engine.wait_records("b", 1)[0]
    check_equal(bounce["dsnStatus"][:5], "5.4.6", "status")
    time.sleep(0.3)
    check_equal(engine.status()["traffic"]["messagesIn"], 1, "messages in")


@test("C22 many hosts with many addresses: five are tried, few questions are asked")
def c22(world):
    peers = [world.mx(20 + i, greeting=["421 4.3.2 full", Close()]) for i in range(40)]
    zone = {"a.test": [("MX", 10, f"mx{i}.test") for i in range(50)]}
    zone.update({f"mx{i}.test": [("A", world.address(20 + (7 * i + j) % 40)) for j in range(20)]
                 for i in range(50)})
    names, engine = by_names(world, zone, domain=LATER + "\nmax-smtp-out 1")
    world.send()
    engine.wait_records("tq", 1, 30)
    time.sleep(0.3)
    tried = sum(len(peer.sessions) for peer in peers)
    check(1 < tried <= 5, f"{tried} connections")
    check(len(names.asked) <= 150, f"{len(names.asked)} questions")
    only_types(engine, "tq")


@test("C22 hosts of equal preference share the load")
def c22_equal(world):
    hosts = [world.mx(11 + i) for i in range(4)]
    zone = {f"d{i}.test": [("MX", 10, f"mx{j}.test") for j in range(4)] for i in range(24)}
    zone.update({f"mx{j}.test": [("A", hosts[j].address)] for j in range(4)})
    _, engine = by_names(world, zone)
    with world.client() as client:
        client.hello()
        for i in range(24):
            client.message(f"u@d{i}.test")
    engine.wait_records("d", 24)
    check(all(host.messages for host in hosts),
          str([len(host.messages) for host in hosts]))


@test("C22 where we are an MX ourselves only better ones are used")
def c22_self(world):
    better, worse = world.mx(11), world.mx(12)
    _, engine = by_names(world, {
        "a.test": [("MX", 10, "better.test"), ("MX", 20, "in.example.test"),
                   ("MX", 30, "worse.test")],
        "b.test": [("MX", 20, "in.example.test"), ("MX", 30, "worse.test")],
        "better.test": [("A", better.address)], "worse.test": [("A", worse.address)],
        "in.example.test": [("A", world.address(1))]})
    world.send("u@a.test")
    world.send("u@b.test")
    engine.wait_records("d", 1)
    bounce = engine.wait_records("b", 1)[0]
    check_equal((bounce["rcpt"], bounce["dsnStatus"][:5]), ("u@b.test", "5.4.6"), "bounce")
    check_equal(better.delivered, ["u@a.test"], "delivered")
    check_equal(worse.sessions, [], "sessions at the worse host")


@test("C23 a truncated answer is asked for again over TCP")
def c23_tcp(world):
    mx = world.mx()
    names, engine = by_names(world, {"mx.test": [("A", mx.address)]})
    names.zone["a.test"] = names.truncated([("MX", 10, "mx.test")])
    world.send()
    engine.wait_records("d", 1)
    check(("a.test", "MX", True) in names.asked, str(names.asked))


@test("C23 loops, garbage, halves and wrong ids are no answer: 4.4.3")
def c23_broken(world):
    kinds = ("loop", "garbage", "cut", "servfail", "refused")
    _, engine = by_names(world, {f"{kind}.test": kind for kind in kinds}, domain=LATER)
    for kind in kinds:
        world.send(f"u@{kind}.test")
    records = engine.wait_records("tq", len(kinds), 60)
    check(all("4.4.3" in one["dsnStatus"] for one in records), str(records))
    check_equal(engine.records("b", "d"), [], "bounces")


@test("C23 an answer with another id is not believed")
def c23_wrong_id(world):
    mx = world.mx()
    _, engine = by_names(world, {"wrong.test": "wrong-id", "good.test": [("A", mx.address)]},
                         domain=LATER)
    world.send("u@wrong.test")
    world.send("u@good.test")
    engine.wait_records("d", 1)
    check_equal(mx.delivered, ["u@good.test"], "delivered")
    check_equal(engine.records("b"), [], "bounces")


@test("C23 an alias that points to itself; TTLs of 0 and 2^31")
def c23_alias(world):
    mx = world.mx()
    _, engine = by_names(world, {
        "zero.test": [("MX", 10, "mx0.test", 0)], "mx0.test": [("A", mx.address, 0)],
        "long.test": [("MX", 10, "mx1.test", 1 << 31)], "mx1.test": [("A", mx.address, 1 << 31)],
        "loop.test": [("MX", 10, "round.test")], "round.test": [("CNAME", "round.test")]},
        domain=LATER)
    for domain in ("zero.test", "long.test", "loop.test"):
        world.send(f"u@{domain}")
    engine.wait_records("d", 2)
    check_equal(mx.delivered, ["u@long.test", "u@zero.test"], "delivered")
    wait_for(lambda: engine.records("tq", "b"), "the loop ends in a record", 40)


@test("C24 a virtual MTA with IPv4 only, a host with IPv6 only: 4.4.4")
def c24(world):
    _, engine = by_names(world, {"a.test": [("MX", 10, "mx.test")], "mx.test": [("AAAA", "::1")]},
                         domain=LATER)
    world.send()
    record = wait_for(lambda: engine.records("tq", "b"), "a record")[0]
    check_equal(record["dsnStatus"][1:5], ".4.4", "status")


@test("C24 a host with both families: the one we have is used; IPv6 where we have it")
def c24_both(world):
    mx = world.mx(11)
    six = world.mx_six()
    _, engine = by_names(world, {
        "both.test": [("MX", 10, "both-mx.test")],
        "both-mx.test": [("AAAA", "2001:db8::1"), ("A", mx.address)],
        "six.test": [("MX", 10, "six-mx.test")], "six-mx.test": [("AAAA", "::1")]},
        extra=f"""<virtual-mta six>
            smtp-source-host ::1 six.example.test
            <domain six.test>
                default-smtp-port {six.port}
            </domain>
        </virtual-mta>""")
    world.send("u@both.test")
    world.send("u@six.test", vmta="six")
    engine.wait_records("d", 2)
    check_equal(mx.delivered, ["u@both.test"], "delivered over IPv4")
    check_equal((six.delivered, six.sessions[0].source, six.sessions[0].hello),
                (["u@six.test"], "::1", "six.example.test"), "delivered over IPv6")


@test("C25 a source address that vanished: only that virtual MTA is suspended", needs="unshare")
def c25(world):
    namespace = Namespace(world, "198.51.100.7/32")
    mx = namespace.call(world.mx)
    engine = world.engine(start=False, preexec=namespace.enter, extra="""
        <virtual-mta gone>
            smtp-source-host 198.51.100.7 gone.example.test
        </virtual-mta>""")
    namespace.call(engine.start)
    namespace.command("ip", "address", "del", "198.51.100.7/32", "dev", "lo")
    with namespace.call(world.client) as client:
        client.hello()
        client.message("one@a.test", vmta="gone")
        engine.wait_records("tq", 1)
        client.message("two@a.test")
        engine.wait_records("d", 1)
    check_equal([one.session.source for one in mx.messages], [world.address(101)], "sources")
    check_equal(mx.delivered, ["two@a.test"], "delivered")
    namespace.command("ip", "address", "add", "198.51.100.7/32", "dev", "lo")
    engine.control("schedule", "*/*")
    wait_for(lambda: "one@a.test" in mx.delivered, "the address is used again when it is back", 90)
    check_equal(mx.messages[1].session.source, "198.51.100.7", "source")


@test("a firewall of this host rejects with ICMP: a failed connect, at once", needs="nft")
def rejected_here(world):
    namespace = Namespace(world)
    namespace.call(world.mx)
    rules = "add table inet f; add chain inet f output { type filter hook output priority 0; };" \
            f"add rule inet f output ip daddr {world.address(11)} tcp dport 2525" \
            " reject with icmp type admin-prohibited"
    namespace.command("nft", rules)
    engine = world.engine(start=False, preexec=namespace.enter)
    namespace.call(engine.start)
    with namespace.call(world.client) as client:
        client.hello()
        client.message("one@a.test")
    record = engine.wait_records("tq", 1)[0]
    check_equal((record["stage"], record["dsnStatus"][:5]), ("connect", "4.4.1"), "record")


@test("C26 expired, self-signed and wrongly named certificates: encrypted all the same")
def c26(world):
    cases = {"name": make_certificate(world.work, "name", subject="other.test"),
             "self": make_certificate(world.work, "self"),
             "big": make_certificate(world.work, "big", key="rsa:4096"),
             "expired": expire(world.work, make_certificate(world.work, "expired"))}
    for number, (name, pair) in enumerate(cases.items()):
        world.mx(11 + number, [f"{name}.test"], tls=server_context(*pair))
    engine = world.engine(domain="require-starttls yes")
    for name in cases:
        world.send(f"u@{name}.test")
    records = engine.wait_records("d", len(cases))
    check(all(one["tls"] == "opportunistic" for one in records), str(records))


@test("C26 a chain of 100 certificates ends in a record, not in a hang")
def c26_chain(world):
    folder = world.work
    issuer = make_certificate(folder, "root", key="ec:" + ec_parameters(folder))
    chain = b""
    for number in range(100):
        issuer = make_certificate(folder, f"c{number}", key="ec:" + ec_parameters(folder),
                                  issuer=issuer, subject=f"c{number}.test")
        chain = issuer[0].read_bytes() + chain
    whole = folder / "chain.pem"
    whole.write_bytes(chain)
    world.mx(tls=server_context(whole, issuer[1]))
    engine = world.engine(domain=LATER)
    world.send()
    record = wait_for(lambda: engine.records("d", "tq"), "a record")[0]
    check(record["type"] == "d" or "4.7" in record["dsnStatus"], str(record))


def large_key(world):
    """RSA of 16,384 bits, of five primes: even so it takes half a minute, so it is kept."""
    path = world.build / "peers" / "rsa16384.pem"
    if not path.exists():
        openssl("genrsa", "-primes", 5, "-out", world.work / "new.pem", 16384)
        (world.work / "new.pem").rename(path)
    return path


@test("C26 a key of 16,384 bits, a curve of its own parameters: a record, and soon")
def c26_keys(world):
    curve = world.work / "curve.key"
    openssl("ecparam", "-name", "prime256v1", "-param_enc", "explicit", "-genkey", "-out", curve)
    for last, key in ((11, large_key(world)), (12, curve)):
        certificate = world.work / f"{last}.pem"
        openssl("req", "-x509", "-new", "-key", key, "-out", certificate, "-subj", "/CN=mx",
                "-days", 30)
        world.mx(last, [f"d{last}.test"], tls=server_context(certificate, key))
    engine = world.engine(domain=LATER + "\nrequire-starttls yes")
    begin = time.monotonic()
    for last in (11, 12):
        world.send(f"u@d{last}.test")
    records = wait_for(lambda: len(engine.records("d", "tq")) == 2 and engine.records("d", "tq"),
                       "both are recorded")
    check(all(one["type"] == "d" or "4.7." in one["dsnStatus"] for one in records), str(records))
    check(time.monotonic() - begin < 15, "it took long")


@test("C26 a thousand session tickets: delivered, memory as before")
def c26_tickets(world):
    context = server_context(*make_certificate(world.work, "mx"))
    context.num_tickets = 1000
    mx = world.mx(tls=context)
    engine = world.engine(domain="max-msg-per-connection 1")
    world.send("first@a.test")
    engine.wait_records("d", 1)
    before = resident_bytes(engine)
    for number in range(10):
        world.send(f"u{number}@a.test")
    engine.wait_records("d", 11)
    check(all(one.session.tls is not None for one in mx.messages), "all came over TLS")
    check(resident_bytes(engine) - before < 10_000_000, "memory grew with the tickets")


def ec_parameters(folder):
    path = folder / "ec.param"
    if not path.exists():
        openssl("ecparam", "-name", "prime256v1", "-out", path)
    return str(path)


@test("C26 no close_notify after the 250: delivered")
def c26_close(world):
    context = server_context(*make_certificate(world.work, "mx"))
    mx = world.mx(tls=context, final=["250 2.0.0 taken", Delay(0.05), Reset()])
    engine = world.engine()
    world.send()
    engine.wait_records("d", 1)
    time.sleep(0.3)
    only_types(engine, "d")
    check_equal(len(mx.messages), 1, "messages")


@test("C31 larger than SIZE: bounced here 5.3.4, nothing is sent")
def c31(world):
    mx = world.mx(capabilities=("PIPELINING", "SIZE 1000"))
    engine = world.engine()
    world.send(size=5000)
    bounce = engine.wait_records("b", 1)[0]
    check_equal(bounce["dsnStatus"][:5], "5.3.4", "status")
    check_equal(mx.transactions, [], "transactions")


@test("C31 SIZE without a number, or 0, is no limit")
def c31_none(world):
    world.mx(11, ["none.test"], capabilities=("PIPELINING", "SIZE"))
    world.mx(12, ["zero.test"], capabilities=("PIPELINING", "SIZE 0"))
    engine = world.engine()
    world.send("u@none.test", size=5000)
    world.send("u@zero.test", size=5000)
    engine.wait_records("d", 2)


@test("C32 a server that reads on only when its replies are read: no deadlock")
def c32(world):
    text = "250-" + "x" * 500
    long_reply = "\n".join([text] * 60 + ["250 2.1.5 ok"])
    mx = world.mx(rcpt=long_reply, receive_bytes=4096)
    engine = world.engine(domain="smtp-data-termination-timeout 20s")
    rcpts = [f"u{i:03}@a.test" for i in range(300)]
    world.send(rcpts)
    engine.wait_records("d", 300, 40)
    check_equal(mx.delivered, rcpts, "delivered")


# ---- CHUNKING -------------------------------------------------------------------------------

CHUNKS = ("PIPELINING", "8BITMIME", "CHUNKING")


@test("C33 BDAT refused as unknown: RSET, sent again with DATA, remembered for the host")
def c33(world):
    for number, reply in enumerate(("502 5.5.1 what", "503 5.5.1 what", "504 5.5.4 what")):
        world.mx(11 + number, [f"d{number}.test"], capabilities=CHUNKS, bdat=reply)
    engine = world.engine()
    for number in range(3):
        world.send(f"u@d{number}.test")
    engine.wait_records("d", 3)
    for number in range(3):
        world.send(f"v@d{number}.test")
    engine.wait_records("d", 6)
    only_types(engine, *["d"] * 6)
    for mx in world.peers:
        verbs = [one.verb for session in mx.sessions for one in session.commands]
        check_equal(verbs.count("BDAT"), 1, "BDAT to a host that does not know it")
        check("RSET" in verbs or len(mx.sessions) > 2, str(verbs))
        check_equal(len(mx.messages), 2, "messages")


@test("C33 dots are stuffed when DATA takes the place of a refused BDAT")
def c33_dots(world):
    mx = world.mx(capabilities=CHUNKS, bdat="502 5.5.1 what")
    engine = world.engine(domain="max-smtp-out 1")
    engine.control("pause queue", "*/*")
    bodies = [b".%d\r\n..\r\n.\r\nend\r\n" % i for i in range(4)]
    with world.client() as client:
        client.hello()
        for number, body in enumerate(bodies):
            client.message(f"u{number}@a.test", body=body)
    engine.control("resume queue", "*/*")
    engine.wait_records("d", 4)
    for one in mx.messages:
        check_equal(body_of(one.data), bodies[int(one.accepted_rcpts[0][1])], "body")
    only_types(engine, *["d"] * 4)


@test("C33 a policy refusal of BDAT is final as for DATA")
def c33_policy(world):
    mx = world.mx(capabilities=CHUNKS, bdat="554 5.7.1 spam")
    engine = world.engine()
    world.send()
    bounce = engine.wait_records("b", 1)[0]
    check("554 5.7.1 spam" in bounce["dsnDiag"], bounce["dsnDiag"])
    check_equal(len(mx.transactions), 1, "transactions")


@test("C34 RCPTMAX is kept; the rest is sent in further transactions, uncharged")
def c34(world):
    mx = world.mx(capabilities=("PIPELINING", "LIMITS RCPTMAX=3"),
                  rcpt=lambda session, _: "250 2.1.5 ok"
                  if len(session.transaction.accepted_rcpts) < 3 else "550 5.5.1 I told you")
    engine = world.engine(domain=LATER + "\nmax-smtp-out 1")
    rcpts = [f"u{i}@a.test" for i in range(8)]
    world.send(rcpts)
    engine.wait_records("d", 8)
    check_equal(mx.delivered, rcpts, "delivered")
    only_types(engine, *["d"] * 8)


@test("C35 a queue id of 64 KiB in the 250: cut, delivered")
def c35(world):
    world.mx(final="250 2.0.0 " + "i" * 65000)
    engine = world.engine()
    world.send()
    record = engine.wait_records("d", 1)[0]
    check(20 < len(record["dsnDiag"]) < 4000, f"{len(record['dsnDiag'])} characters")


@test("C37 a host that greets or says EHLO with our own name: 5.4.6")
def c37(world):
    world.mx(11, ["greeting.test"], greeting="220 v1.example.test ESMTP")
    world.mx(12, ["ehlo.test"], ehlo="250-v1.example.test\n250 PIPELINING")
    engine = world.engine()
    world.send("u@greeting.test")
    world.send("u@ehlo.test")
    bounces = engine.wait_records("b", 2)
    check(all(one["dsnStatus"].startswith("5.4.6") for one in bounces), str(bounces))
    for mx in world.peers:
        check_equal(mx.transactions, [], "transactions")


# ---- secondary replies ----------------------------------------------------------------------

CODES = {"2": "250 2.0.0 ok", "4": "450 4.0.0 later", "5": "550 5.0.0 no",
         "1": ["421 4.3.2 going", Close()], "0": Close()}


def scripted(kind, place):
    """The sender's address says what each reply is: 2, 4, 5, 1 (421), 0 (closed)."""
    def entry(session, argument):
        sender = session.transaction.sender
        plan = re.match(r"m(.)r(.)(.)d(.)f(.)@", sender).groups()
        code = plan[place(session) if callable(place) else place]
        if kind == "data" and code == "2":
            return "354 go ahead"
        return CODES[code]
    return entry


def rcpt_place(session):
    return 1 if b"<a@" in session.commands[-1].line else 2


def plans():
    """Every combination that a dialogue can come to."""
    out = [f"m{mail}r22d2f2" for mail in "4510"]
    for first in "2450":
        for second in "245":
            out.append(f"m2r{first}{second}d2f2")
    out += [f"m2r2{second}d{data}f2" for second in "245" for data in "4510"]
    out += [f"m2r2{second}d2f{final}" for second in "245" for final in "4510"]
    return sorted(set(out))


def expected(plan):
    """What becomes of a@ and b@: d, b or t. The first failing command decides."""
    mail, first, second, data, final = plan[1], plan[3], plan[4], plan[6], plan[8]
    result = {"2": "d", "4": "t", "5": "b", "1": "t", "0": "t"}
    if mail != "2":
        return result[mail] * 2
    if first in "10":
        return "tt"
    out = ""
    for rcpt in (first, second):
        if rcpt != "2":
            out += result[rcpt]
        else:
            out += result[data] if data != "2" else result[final]
    return out


def outcomes_of(engine):
    seen = {}
    for one in engine.records("d", "b", "t"):
        place = 0 if one["rcpt"].startswith("a@") else 1
        seen.setdefault(one["orig"].partition("@")[0], ["", ""])[place] += one["type"]
    return {plan: "|".join(both) for plan, both in seen.items()}


@test("C39 the first failing command decides, pipelined as in lock-step")
def c39(world):
    script = {"mail": scripted("mail", 0), "rcpt": scripted("rcpt", rcpt_place),
              "data": scripted("data", 3), "final": scripted("final", 4)}
    world.mx(11, ["pipelined.test"], **script)
    world.mx(12, ["lockstep.test"], capabilities=("8BITMIME",), **script)
    world.mx(13, ["chunks.test"], capabilities=CHUNKS, **script)
    engine = world.engine(domain=LATER)
    wanted = {plan: "|".join(expected(plan)) for plan in plans()}
    chunked = {plan: both for plan, both in wanted.items() if plan[6] == "2"}  # no DATA there
    cases = {"pipelined.test": wanted, "lockstep.test": wanted, "chunks.test": chunked}
    for domain, wanted in cases.items():
        with world.client() as client:
            client.hello()
            for plan in wanted:
                client.message([f"a@{domain}", f"b@{domain}"], sender=f"{plan}@{domain}")
    count = 2 * sum(len(wanted) for wanted in cases.values())
    wait_for(lambda: len(engine.records("d", "b", "t")) >= count, "all are recorded", 40)
    time.sleep(0.5)
    for domain, wanted in cases.items():
        seen = {}
        for one in engine.records("d", "b", "t"):
            plan, _, where = one["orig"].partition("@")
            if where == domain:
                place = 0 if one["rcpt"].startswith("a@") else 1
                seen.setdefault(plan, ["", ""])[place] += one["type"]
        seen = {plan: "|".join(both) for plan, both in seen.items()}
        differ = {plan: (seen.get(plan), wanted[plan]) for plan in wanted
                  if seen.get(plan) != wanted[plan]}
        check(not differ, f"{domain}: (seen, wanted) {differ}")


# ---- carrying -------------------------------------------------------------------------------


@test("C40 the final reply is 4xx, 5xx or 421 with the next transaction on the wire")
def c40(world):
    replies = {"four.test": "451 4.3.0 later", "five.test": "554 5.7.1 no",
               "leave.test": ["421 4.3.2 going", Close()]}
    for number, (domain, reply) in enumerate(replies.items()):
        # The first is accepted, so that the third is carried behind the second.
        turns = Turns("250 2.0.0 taken", [Await(b"MAIL FROM", 1), reply], "250 2.0.0 taken")
        world.mx(11 + number, [domain], final=turns)
    engine = world.engine(domain=LATER + "\nmax-smtp-out 1")
    engine.control("pause queue", "*/*")
    for domain in replies:
        with world.client() as client:
            client.hello()
            for i in range(5):
                client.message(f"u{i}@{domain}", body=b"body %d\r\n" % i)
    engine.control("resume queue", "*/*")
    engine.wait_records("d", 12)
    time.sleep(0.5)
    carried = 0
    for mx, (domain, _) in zip(world.peers, replies.items()):
        wanted = [f"u{i}@{domain}" for i in range(5) if i != 1]
        check_equal(mx.delivered, wanted, "delivered")
        for one in mx.messages:
            number = int(one.accepted_rcpts[0][1])
            check_equal(body_of(one.data), b"body %d\r\n" % number, "body")
        check(not [one for one in mx.transactions if one.data == b"" and one.accepted_rcpts],
              "an empty message was delivered")
        carried += any(len(session.transactions) > 2 for session in mx.sessions[:1])
    check(carried, "nothing was carried")
    kinds = sorted((one["type"], one["rcpt"]) for one in engine.records("t", "b", "tq"))
    check_equal(kinds, [("b", "u1@five.test"), ("t", "u1@four.test"), ("t", "u1@leave.test")],
                "records that are no delivery")


@test("C40 354 for a carried message that must not go: closed, no empty message")
def c40_pause(world):
    mx = world.mx(final=Turns("250 2.0.0 taken", [Await(b"DATA", 2), Delay(1), "250 2.0.0 taken"],
                              "250 2.0.0 taken"))
    engine = world.engine(domain=LATER + "\nmax-smtp-out 1")
    engine.control("pause queue", "*/*")
    with world.client() as client:
        client.hello()
        for i in range(4):
            client.message(f"u{i}@a.test", body=b"body %d\r\n" % i)
    engine.control("resume queue", "*/*")
    wait_for(lambda: len(mx.transactions) >= 2 and mx.transactions[1].data is not None,
             "the second message is sent")
    engine.control("pause queue", "a.test/v1")
    time.sleep(1.5)
    at_pause = len(mx.messages)
    check_equal(at_pause, 2, "messages while paused")
    engine.control("resume queue", "*/*")
    engine.wait_records("d", 4)
    check_equal(mx.delivered, [f"u{i}@a.test" for i in range(4)], "delivered")
    check(not [one for one in mx.transactions if one.data == b""], "an empty message was sent")
    only_types(engine, *["d"] * 4)


@test("C42 no ports left to one destination: nothing is suspended", needs="unshare")
def c42(world):
    namespace = Namespace(world)
    namespace.set("net.ipv4.ip_local_port_range", "40000 40003")
    first = namespace.call(world.mx, 11, ["a.test"], final=[Delay(0.1), "250 2.0.0 taken"])
    namespace.call(world.mx, 12, ["b.test"])
    engine = world.engine(start=False, preexec=namespace.enter, domain="max-smtp-out 40")
    namespace.call(engine.start)
    engine.control("pause queue", "*/*")
    client = namespace.call(world.client)
    client.hello()
    for i in range(40):
        client.message(f"u{i:02}@a.test")
    client.message("other@b.test")
    client.close()
    engine.control("resume queue", "*/*")
    engine.wait_records("d", 41, 60)
    check_equal(len(first.delivered), 40, "delivered")
    check("suspended" not in engine.process.text(), "a source was suspended")
    check_equal(engine.records("b"), [], "bounces")


@test("C43 TLS required and MX 1 without STARTTLS: MX 2")
def c43_next(world):
    plain = world.mx(11)
    secure = world.mx(12, tls=server_context(*make_certificate(world.work, "mx")))
    world.route("*", plain, secure)
    engine = world.engine(domain=LATER + "\nrequire-starttls yes")
    world.send()
    engine.wait_records("d", 1)
    check_equal((plain.transactions, len(secure.messages)), ([], 1), "transactions")
    check(secure.messages[0].session.tls is not None, "it came over TLS")


@test("C43 a connection in the clear is never used again once TLS is required")
def c43_reload(world):
    mx = world.mx()
    engine = world.engine(domain="max-smtp-out 1\nconnection-idle-timeout 60s")
    world.send("one@a.test")
    engine.wait_records("d", 1)
    engine.write(domain="max-smtp-out 1\nconnection-idle-timeout 60s\nrequire-starttls yes")
    engine.control("reload")
    world.send("two@a.test")
    record = engine.wait_records("tq", 1)[0]
    check("4.7." in record["dsnStatus"], record["dsnStatus"])
    check_equal(mx.delivered, ["one@a.test"], "delivered")
    check_equal(len(mx.transactions), 1, "transactions")


# effect: domain require-starttls
@test("C43 TLS required and no host offers it: deferred, nothing in the clear")
def c43_none(world):
    mx = world.mx()
    engine = world.engine(domain=LATER + "\nrequire-starttls yes")
    world.send()
    record = engine.wait_records("tq", 1)[0]
    check("4.7." in record["dsnStatus"], record["dsnStatus"])
    check_equal(mx.transactions, [], "transactions")


@test("C38 a reply made to be slow to sort is other, and counted; mail for others goes on")
def c38(world):
    slow = b"550 5.1.1 " + b"a" * 600 + b"-b-" + b"a" * 60000 + b"\r\n"
    world.mx(11, ["slow.test"], rcpt=[slow])
    world.mx(12, ["other.test"])
    rules = "".join(f"/(a+)+{number}$|(a+)+b/ mine\n" for number in range(200))
    engine = world.engine(
        extra=f"<bounce-category-patterns>\n{rules}</bounce-category-patterns>")
    with world.client() as client:
        client.hello()
        for number in range(20):
            client.message(f"u{number}@slow.test")
            client.message(f"u{number}@other.test")
    records = engine.wait_records("b", 20)
    check_equal({one["bounceCat"] for one in records}, {"other"}, "categories")
    engine.wait_records("d", 20)
    check(engine.status()["traffic"]["costlyReplies"] >= 1, str(engine.status()["traffic"]))
