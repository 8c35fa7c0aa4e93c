#!/usr/bin/env python3
"""What single directives do to mail, seen by clients and at the sink: a test for each.

    tests/peers/policy_effects.py BUILD [NAME…]"""
import re
import socket
import ssl
import sys
import time

from harness import (PORT, Client, check, check_equal, header_of, main, make_certificate, make_content, test,
                     wait_for)
from mx import Await, Delay, Turns

UNAVAILABLE = (("yes.test", "yes"), ("no.test", "no"))
EIGHT_BIT = "Grüße\r\n".encode()


def hellos(mx):
    return [one.session.hello for one in mx.messages]


def most_at_once(mx):
    """Sessions open at the same time, at most."""
    steps = []
    for one in mx.sessions:
        steps += [(one.begun, 1), (one.ended or time.monotonic(), -1)]
    now = most = 0
    for _, step in sorted(steps):
        now += step
        most = max(most, now)
    return most


# effect: global include
# effect: source include
# effect: domain include
# effect: virtual-mta include
@test("include: what is read in a block holds in it")
def includes(world):
    mx = world.mx()
    parts = {"all": "<virtual-mta v3>\ninclude {work}/vmta*.inc\n</virtual-mta>\n",
             "vmta1": f"smtp-source-host {world.address(103)} v3.example.test\n",
             "source": "default-virtual-mta v3\n", "domain": "max-msg-per-connection 1\n"}
    for name, text in parts.items():
        (world.work / f"{name}.inc").write_text(text.replace("{work}", str(world.work)))
    engine = world.engine(globals=f"include {world.work}/all.inc",
                          source=f"include {world.work}/source.inc",
                          domain=f"max-smtp-out 1\ninclude {world.work}/domain.inc")
    world.send()
    world.send()
    engine.wait_records("d", 2)
    check_equal(hellos(mx), ["v3.example.test"] * 2, "names")
    check_equal(len(mx.sessions), 2, "sessions")


# effect: global domain-macro
@test("domain-macro: its domains have the policy of the block")
def domain_macro(world):
    mx = world.mx()
    world.destinations["$big.test"] = f"[{mx.address}]:{PORT}"
    engine = world.engine(globals="domain-macro big a, b", domain="smtp-hosts [127.0.0.1]:1")
    world.send("u@b.test")
    world.send("u@c.test")
    engine.wait_records("d", 1)
    engine.wait_records("tq", 1)
    check_equal(mx.delivered, ["u@b.test"], "delivered")


# effect: global smtp-source-host
# effect: virtual-mta host-name
@test("smtp-source-host of all, host-name of a virtual MTA: addresses and names at the sink")
def default_source(world):
    mx = world.mx()
    world.engine(globals=f"smtp-source-host {world.address(103)} d.example.test",
                 source="default-virtual-mta {default}",
                 extra="<virtual-mta v3>\nhost-name v3.example.test\n"
                       f"smtp-source-host {world.address(104)}\n</virtual-mta>")
    world.send()
    world.send(vmta="v3")
    wait_for(lambda: len(mx.messages) == 2, "two messages arrive")
    check_equal(sorted((one.session.source, one.session.hello) for one in mx.messages),
                [(world.address(103), "d.example.test"), (world.address(104), "v3.example.test")],
                "sources")


# effect: global log-file
@test("log-file: the log is in it")
def log_file(world):
    engine = world.engine(globals=f"log-file {world.work}/engine.log")
    engine.stop()
    check((world.work / "engine.log").read_text(), "the file has lines")


# effect: global shutdown-timeout
@test("shutdown-timeout: a transaction in flight is waited for so long")
def shutdown_timeout(world):
    mx = world.mx(final=[Delay(30), "250 2.0.0 taken"])
    engine = world.engine(globals="shutdown-timeout 1s")
    world.send()
    wait_for(lambda: mx.transactions and mx.transactions[0].data is not None, "the dot arrives")
    begin = time.monotonic()
    engine.stop()
    check(0.5 < time.monotonic() - begin < 10, f"it took {time.monotonic() - begin} s")


# effect: global always-allow-relaying
@test("always-allow-relaying for all holds where a source says nothing")
def relaying(world):
    world.mx()
    for globals_, code in (("always-allow-relaying yes", 250), ("", 550)):
        engine = world.engine(start=False, globals=globals_)
        text = engine.configuration.read_text()
        engine.configuration.write_text(text.replace("    always-allow-relaying yes\n", ""))
        engine.start()
        with world.client() as client:
            client.hello()
            client.expect("MAIL FROM:<s@in.test>", 250)
            client.expect("RCPT TO:<u@a.test>", code)
        engine.stop()


# effect: source max-message-hops
@test("max-message-hops: a message with more Received headers is refused")
def hops(world):
    world.mx()
    world.engine(source="max-message-hops 3")
    for count, code in ((3, "250"), (4, "554 5.4.6")):
        with world.client() as client:
            client.hello()
            client.envelope("u@a.test")
            reply = client.data(make_content(headers="Received: from x by y; today\r\n" * count))
            check(reply.startswith(code), f"{count}: {reply}")


# effect: source allow-chunking
# effect: source allow-smtputf8
@test("allow-chunking, allow-smtputf8: not offered, and refused")
def extensions(world):
    engine = world.engine()
    for offered in (True, False):
        if not offered:
            engine.write(source="allow-chunking no\nallow-smtputf8 no")
            engine.command("reload")
        with world.client() as client:
            said = client.hello()
            check_equal(["CHUNKING" in said, "SMTPUTF8" in said], [offered] * 2, "offers")
            if not offered:
                reply = client.command("MAIL FROM:<s@in.test> SMTPUTF8")
                check(reply.startswith("5"), reply)
                client.envelope("u@a.test")
                client.send("BDAT 3 LAST\r\nab\n")
                check(client.reply().startswith("50"), "BDAT is refused")


# effect: source add-date-header
# effect: source add-message-id-header
# effect: source remove-header
# effect: source jobid-header
@test("headers of a source: added where missing, removed, read")
def headers(world):
    mx = world.mx()
    engine = world.engine(source="add-date-header yes\nadd-message-id-header yes\n"
                                 "remove-header X-Secret,X-Other\njobid-header X-Campaign")
    world.send(content=make_content(headers="X-Secret: 1\r\nX-Campaign: c-9\r\nX-Stays: 1\r\n"))
    engine.wait_records("d", 1)
    names = [line.split(b":")[0].lower() for line in header_of(mx.messages[0].data).split(b"\r\n")]
    for name in (b"date", b"message-id", b"x-stays"):
        check_equal(names.count(name), 1, name.decode())
    check(b"x-secret" not in names, "removed")
    check_equal(engine.records("d")[0]["jobId"], "c-9", "jobId")


# effect: source allow-empty-x-virtual-mta
@test("allow-empty-x-virtual-mta: an empty header means the default")
def empty_vmta(world):
    mx = world.mx()
    engine = world.engine()
    for allowed in (False, True):
        if allowed:
            engine.write(source="allow-empty-x-virtual-mta yes")
            engine.command("reload")
        with world.client() as client:
            client.hello()
            client.envelope("u@a.test")
            reply = client.data(make_content(headers="X-Virtual-MTA:\r\n"))
            check(reply.startswith("250" if allowed else "5"), reply)
    wait_for(lambda: hellos(mx) == ["v1.example.test"], "it leaves from the default")


# effect: smtp-listener source
# effect: smtp-listener host-name
@test("smtp-listener: its source and its name")
def listener(world):
    mx = world.mx()
    other = world.address(2)
    world.engine(extra=f"<smtp-listener {other}:{PORT}>\nsource own\nhost-name own.example.test\n"
                       "</smtp-listener>\n<source own>\nalways-allow-relaying yes\n"
                       "default-virtual-mta v2\n</source>")
    with Client((other, PORT)) as client:
        check(client.greeting.startswith("220 own.example.test"), client.greeting)
        client.hello()
        client.message("user@a.test")
    wait_for(lambda: mx.messages, "a message arrives")
    check_equal(hellos(mx), ["v2.example.test"], "names")


# effect: domain max-smtp-out
# effect: domain max-msg-per-connection
@test("max-smtp-out, max-msg-per-connection: connections at once, messages on each")
def connections(world):
    mx = world.mx(final=[Delay(0.2), "250 2.0.0 taken"])
    engine = world.engine(domain="max-smtp-out 2\nmax-msg-per-connection 2")
    for number in range(8):
        world.send(f"u{number}@a.test")
    engine.wait_records("d", 8)
    check_equal(most_at_once(mx), 2, "connections at once")
    counts = [sum(one.session is session for one in mx.messages) for session in mx.sessions]
    check(max(counts) == 2, f"messages on each connection: {counts}")


# effect: virtual-mta-pool max-smtp-out
@test("max-smtp-out of a pool holds for each member")
def pool_connections(world):
    mx = world.mx(final=[Delay(0.2), "250 2.0.0 taken"])
    engine = world.engine(source="default-virtual-mta both",
                          extra="<virtual-mta-pool both>\nvirtual-mta v1\nvirtual-mta v2\n"
                                "max-smtp-out 1\n</virtual-mta-pool>")
    for number in range(8):
        world.send(f"u{number}@d{number}.test")
    engine.wait_records("d", 8)
    check_equal(most_at_once(mx), 2, "connections at once of two members")


# effect: domain smtp-421-means-mx-unavailable
@test("smtp-421-means-mx-unavailable: after a 421 the connection is not used again")
def unavailable(world):
    for last, (domain, _) in enumerate(UNAVAILABLE, 11):
        world.mx(last, [domain], rcpt=Turns("421 4.3.2 not now", "250 2.1.5 ok"))
    engine = world.engine(extra="".join(
        f"<domain {domain}>\nsmtp-421-means-mx-unavailable {says}\n"
        "connection-idle-timeout 30s\n</domain>\n" for domain, says in UNAVAILABLE))
    for domain, _ in UNAVAILABLE:
        world.send(f"one@{domain}")
    engine.wait_records("d", 2)
    check_equal([len(mx.sessions) for mx in world.peers], [2, 1], "sessions")


# effect: domain ignore-8bitmime
@test("ignore-8bitmime: an 8-bit body bounces as where it is not offered")
def ignore_8bitmime(world):
    mx = world.mx()
    engine = world.engine(domain="ignore-8bitmime yes")
    world.send(body=EIGHT_BIT)
    record = engine.wait_records("b", 1)[0]
    check("5.6.3" in record["dsnStatus"], record["dsnStatus"])
    check_equal(mx.messages, [], "messages")


# effect: domain ignore-chunking
# effect: domain ignore-pipelining
@test("ignore-chunking, ignore-pipelining: DATA, and one command at a time")
def ignore_flights(world):
    mx = world.mx(capabilities=("PIPELINING", "CHUNKING", "8BITMIME"),
                  mail=[Delay(0.3), "250 2.1.0 ok"])
    world.engine(domain="ignore-chunking yes\nignore-pipelining yes")
    world.send()
    wait_for(lambda: mx.messages, "a message arrives")
    check(not mx.messages[0].chunks, "it came by DATA")
    times = {one.verb: one.time for one in mx.sessions[0].commands}
    check(times["RCPT"] - times["MAIL"] > 0.25, "RCPT waits for the reply to MAIL")


# effect: global journal-sync
@test("journal-sync: an outcome is on disk, and with that in the records, after so long")
def journal_sync(world):
    mx = world.mx()
    for wait, settings in ((0, ""), (3, "journal-sync 3s")):
        engine = world.engine(globals=settings)
        before = len(engine.records("d"))
        world.send()
        wait_for(lambda: len(mx.messages) == before + 1, "a message arrives")
        begin = time.monotonic()
        engine.wait_records("d", before + 1)
        took = time.monotonic() - begin
        check(wait - 0.5 < took < wait + 2, f"the record after {took} s, wanted {wait}")
        engine.stop()


class Bodies:
    """How many further bodies have come while the reply to one is held back."""

    def __init__(self, out):
        self.out = out

    async def run(self, session):
        self.out.append(session.buffer.count(b" LAST"))


def bodies_in_flight(world, settings):
    """Bodies that wait at the host, which says nothing for a while after the second one."""
    seen = []
    mx = world.mx(capabilities=("PIPELINING", "CHUNKING", "8BITMIME"),
                  final=Turns("250 2.0.0 taken",
                              [Await(b"nothing", 1), Bodies(seen), "250 2.0.0 taken"],
                              "250 2.0.0 taken"))
    engine = world.engine(domain="max-smtp-out 1\n" + settings)
    engine.control("pause queue", "*/*")
    for i in range(6):
        world.send(f"u{i}@a.test")
    engine.control("resume queue", "*/*")
    engine.wait_records("d", 6)
    check_equal((len(mx.sessions), len(mx.messages)), (1, 6), "sessions, messages")
    return 1 + seen[0]


# effect: domain max-msg-in-flight
@test("max-msg-in-flight: so many bodies on the wire whose final reply is awaited, no more")
def in_flight(world):
    check_equal(bodies_in_flight(world, "max-msg-in-flight 3"), 3, "bodies in flight")


@test("max-msg-in-flight 1: no body leaves before the reply to the one before")
def in_flight_one(world):
    check_equal(bodies_in_flight(world, ""), 1, "bodies in flight")


def tls_said(world, settings, versions=()):
    """(protocol, cipher) of a delivery, from the record and from the peer."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*make_certificate(world.work, "mx"))
    context.set_ciphers("ALL:@SECLEVEL=0")
    if versions:
        context.minimum_version = context.maximum_version = versions
    mx = world.mx(tls=context)
    engine = world.engine(domain=settings)
    world.send()
    record = engine.wait_records("d", 1)[0]
    tls = mx.messages[0].session.tls
    check_equal([record.get("dlvTlsProtocol"), record.get("dlvTlsCipher")],
                [tls.version(), tls.cipher()[0]] if tls else [None, None], "the record")
    return tls and (tls.version(), tls.cipher()[0])


# effect: domain smtp-tls-allow-tlsv1.3
# effect: domain smtp-tls-ciphers
@test("smtp-tls-allow-tlsv1.3 no, smtp-tls-ciphers: TLS 1.2 with that cipher")
def no_tls13(world):
    said = tls_said(world, "smtp-tls-allow-tlsv1.3 no\n"
                           "smtp-tls-ciphers ECDHE-RSA-AES128-GCM-SHA256")
    check_equal(said, ("TLSv1.2", "ECDHE-RSA-AES128-GCM-SHA256"), "TLS")


# effect: domain smtp-tls-allow-tlsv1.2
@test("smtp-tls-allow-tlsv1.2 no: a host that knows no newer gets no TLS")
def no_tls12(world):
    check_equal(tls_said(world, "smtp-tls-allow-tlsv1.2 no", ssl.TLSVersion.TLSv1_2), None, "TLS")


# Both are off in the library's own settings, whose level must be lowered as well.
OLD = "smtp-tls-ciphers ALL:@SECLEVEL=0\nsmtp-tls-allow-"


# effect: domain smtp-tls-allow-tlsv1
@test("smtp-tls-allow-tlsv1: TLS 1.0 is spoken")
def tls10(world):
    said = tls_said(world, OLD + "tlsv1 yes", ssl.TLSVersion.TLSv1)
    check_equal(said and said[0], "TLSv1", "TLS")


@test("smtp-tls-allow-tlsv1 no: TLS 1.0 is not spoken")
def no_tls10(world):
    check_equal(tls_said(world, OLD + "tlsv1 no", ssl.TLSVersion.TLSv1), None, "TLS")


# effect: domain smtp-tls-allow-tlsv1.1
@test("smtp-tls-allow-tlsv1.1: TLS 1.1 is spoken")
def tls11(world):
    said = tls_said(world, OLD + "tlsv1.1 yes", ssl.TLSVersion.TLSv1_1)
    check_equal(said and said[0], "TLSv1.1", "TLS")


@test("smtp-tls-allow-tlsv1.1 no: TLS 1.1 is not spoken")
def no_tls11(world):
    check_equal(tls_said(world, OLD + "tlsv1.1 no", ssl.TLSVersion.TLSv1_1), None, "TLS")


# effect: domain smtp-tls-tlsv1.3-ciphersuites
@test("smtp-tls-tlsv1.3-ciphersuites: the suite that is allowed")
def suites(world):
    said = tls_said(world, "smtp-tls-tlsv1.3-ciphersuites TLS_CHACHA20_POLY1305_SHA256")
    check_equal(said, ("TLSv1.3", "TLS_CHACHA20_POLY1305_SHA256"), "TLS")


# effect: pattern-list mail-from
@test("pattern-list: mail-from chooses the virtual MTA")
def mail_from(world):
    mx = world.mx()
    world.engine(globals="<pattern-list p>\nmail-from /^news@/ virtual-mta=v2\n</pattern-list>",
                 source="pattern-list p")
    world.send(sender="news@in.test")
    world.send(sender="other@in.test")
    wait_for(lambda: len(mx.messages) == 2, "two messages arrive")
    check_equal({one.sender: one.session.hello[:2] for one in mx.messages},
                {"news@in.test": "v2", "other@in.test": "v1"}, "virtual MTAs")


@test("explain and show settings tell what a setting overrides")
def overrides(world):
    engine = world.engine(domain="max-smtp-out 3",
                          extra="<domain a.test>\nmax-smtp-out 1\n</domain>")
    lines = engine.configuration.read_text().split("\n")
    before, now = (f"{engine.configuration}:{lines.index(text) + 1}"
                   for text in ("max-smtp-out 3", "max-smtp-out 1"))
    code, out, _ = engine.command("explain", "a.test/v1")
    check(code == 0 and re.search(rf"^max-smtp-out +1 +{now}\n +overrides +3 +{before}$", out,
                                  re.M), out)
    code, out, _ = engine.command("show", "settings", "a.test/v1")
    check(code == 0 and re.search(rf"^max-smtp-out +1 +{now}, overrides 3 of {before}$", out, re.M),
          out)


# effect: global allow-no-source-address
@test("allow-no-source-address: the engine starts though an address is not on this host")
def foreign_address(world):
    mx = world.mx()
    world.engine(globals="allow-no-source-address yes",
                 extra="<virtual-mta far>\nsmtp-source-host 192.0.2.77 far.example.test\n"
                       "</virtual-mta>")
    world.send()
    wait_for(lambda: mx.messages, "mail of another virtual MTA arrives")


# effect: domain connect-timeout
@test("connect-timeout: a host that does not answer is given up after it")
def connect_timeout(world):
    with socket.socket() as server, socket.socket() as one, socket.socket() as other:
        server.bind((world.address(11), PORT))
        server.listen(0)
        for filler in (one, other):  # its backlog is full: further SYNs are dropped
            filler.setblocking(False)
            filler.connect_ex((world.address(11), PORT))
        world.destinations["*"] = f"[{world.address(11)}]:{PORT}"
        engine = world.engine(domain="connect-timeout 1s\nretry-after 1h")
        begin = time.monotonic()
        world.send()
        record = engine.wait_records("tq", 1)[0]
        took = time.monotonic() - begin
    check("4.4.1" in record["dsnStatus"], str(record))
    check(0.9 < took < 2.7, f"it took {took:.1f} s")


# effect: spool min-free-space
# effect: global spool-min-free-space
@test("min-free-space: where the volume would have less, no mail is taken")
def min_free_space(world):
    world.mx()
    for globals_, own in (("spool-min-free-space 1000000000", ""), ("", "min-free-space 1000000g")):
        engine = world.engine(start=False, globals=globals_)
        text = engine.configuration.read_text()
        engine.configuration.write_text(text.replace(f"{world.work}/spool>\n",
                                                            f"{world.work}/spool>\n{own}\n"))
        engine.start()
        with world.client() as client:
            client.hello()
            reply = client.command("MAIL FROM:<s@in.test>")
            check(reply.startswith("452 4.3.1"), reply)
        engine.stop()


# effect: global workers
@test("workers: so many threads listen")
def workers(world):
    engine = world.engine(workers=3)
    with open(f"/proc/{engine.process.popen.pid}/net/tcp", encoding="ascii") as file:
        mine = [line for line in file if re.search(f":{PORT:04X} 00000000:0000 0A", line)]
    net = "".join(f"{int(part):02X}" for part in reversed(world.listener[0].split(".")))
    check_equal(sum(f" {net}:" in line for line in mine), 3, "listening sockets")


if __name__ == "__main__":
    sys.exit(main(__doc__.splitlines()[0]))
