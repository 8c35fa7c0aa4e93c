#!/usr/bin/env python3
"""The port-25 doctor: every verdict of `posthaste probe`, each made true by a network that is so.

    tests/peers/probe.py BUILD [NAME…]

Most tests have a network namespace of their own, with the ports that mail has in the world and
what a namespace allows: routes that lead nowhere, firewalls, addresses."""
import json
import re
import ssl
import subprocess
import sys
import time

from harness import check, check_equal, main, make_certificate, test
from mx import Close, Delay, Garbage, Mx, Reset, Silence
from names import NameServer
from namespace import Namespace
from nobody import AS_NOBODY

OK, FAILED = 0, 69
HERE, SECOND, THERE = "10.9.0.1", "10.9.0.2", "10.9.1.1"  # our addresses, the mail host's
CONFIGURATION = """\
host-name host.example.test
{globals}
<virtual-mta v1>
    smtp-source-host {source} v1.example.test
</virtual-mta>
{extra}
<domain *>
    connect-timeout 2s
    smtp-greeting-timeout 2s
    smtp-hosts {hosts}
{domain}
</domain>
"""


class Doctor:
    """A namespace, and the doctor in it. Its configuration sends everything to THERE."""

    def __init__(self, world, addresses=(HERE, THERE), hosts=f"[{THERE}]", source=HERE, globals="",
                 extra="", domain=""):
        self.world = world
        self.namespace = Namespace(world, *addresses)
        self.configuration = world.work / "probe.conf"
        self.configuration.write_text(CONFIGURATION.format(
            globals=globals, source=source, extra=extra, hosts=hosts, domain=domain))
        self.prefix = ()  # words before the program

    def mx(self, address=THERE, port=25, **script):
        peer = self.namespace.call(Mx, self.world.loop, address, port, **script)
        self.world.peers.append(peer)
        return peer

    def tls(self):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*make_certificate(self.world.work, "mx"))
        return context

    def run(self, *words):
        """(exit code, lines, standard error)"""
        done = subprocess.run(
            [*self.prefix, self.world.build / "engine" / "posthaste", "-c", self.configuration,
             *map(str, words)], stdin=subprocess.DEVNULL, capture_output=True, text=True,
            timeout=100, preexec_fn=self.namespace.enter)
        return done.returncode, done.stdout.splitlines(), done.stderr

    def probe(self, *words, domain="a.test"):
        return self.run("probe", "--vmta", "v1", *words, domain)

    def expect(self, verdict, *words, code=FAILED, port=25, source=HERE):
        """One line, of v1, with this verdict; a text behind the host's address in the line."""
        seen = self.probe(*words)
        line = f"a.test/v1 {source} -> {THERE}:{port}{verdict}"
        check_equal(seen, (code, [line, "1 ok, 0 not ok" if code == OK else "0 ok, 1 not ok"], ""),
                    "the doctor's answer")


def timed_out(port):
    return (f": timed out (port {port} is probably blocked outbound: ask your provider, or deliver"
            " through a relay on another port: smtp-hosts)")


DENIED = ": permission denied (local firewall)"


# ---- the way there --------------------------------------------------------------------------


@test("ok on port 25: the greeting as it is, EHLO by the virtual MTA's name, QUIT", needs="unshare")
def ok(world):
    doctor = Doctor(world)
    mx = doctor.mx(greeting="220-mx.test says\n220 hello")
    doctor.expect(": ok 220 mx.test says hello", code=OK)
    session, = mx.sessions
    check_equal([one.line for one in session.commands], [b"EHLO v1.example.test", b"QUIT"], "said")
    check_equal(session.source, HERE, "source")


# effect: domain default-smtp-port
@test("ok on ports 587 and 2525: by --port, by default-smtp-port and by smtp-hosts",
      needs="unshare")
def ports(world):
    doctor = Doctor(world, domain="default-smtp-port 2525",
                    extra=f"<domain b.test>\nsmtp-hosts [{THERE}]:587\n</domain>")
    for port in (587, 2525):
        doctor.mx(port=port, greeting=f"220 port {port}")
    doctor.expect(": ok 220 port 587", "--port", 587, code=OK, port=587)
    doctor.expect(": ok 220 port 2525", code=OK, port=2525)
    code, lines, _ = doctor.probe(domain="b.test")
    check_equal((code, lines[0]), (OK, f"b.test/v1 {HERE} -> {THERE}:587: ok 220 port 587"), "b")


@test("every address of every virtual MTA is told of, in order, and of {default}", needs="unshare")
def every_address(world):
    range_of_three = "10.9.2.0/24"
    doctor = Doctor(world, (HERE, SECOND, THERE, "10.9.2.1", "10.9.2.2", "10.9.2.3", "fd00::1"),
                    extra=f"""<virtual-mta v2>
                        smtp-source-host {SECOND} second.example.test
                        smtp-source-host {range_of_three} range.example.test
                    </virtual-mta>
                    <virtual-mta empty>
                        smtp-source-host 10.77/16 empty.example.test
                    </virtual-mta>""")
    mx = doctor.mx(greeting="220 hello")
    code, lines, _ = doctor.run("probe", "a.test")
    sources = ["10.9.2.1", "10.9.2.2", "10.9.2.3"]
    told = [f"v1 {HERE}", f"v2 {SECOND}", *(f"v2 {one}" for one in sources)]
    check_equal(lines[1:6], [f"a.test/{one} -> {THERE}:25: ok 220 hello" for one in told], "lines")
    check(re.fullmatch(rf"a\.test/{{default}} 10\.9\.[\d.]+ -> {THERE}:25: ok 220 hello", lines[0]),
          lines[0])
    check_equal((code, lines[6:]), (FAILED, [
        "a.test/empty none: no address of this host is in the range of its smtp-source-host",
        "6 ok, 1 not ok"]), "the rest")
    seen = sorted((one.source, one.hello) for one in mx.sessions if one.hello != "host.example.test")
    check_equal(seen, sorted([(HERE, "v1.example.test"), (SECOND, "second.example.test"),
                              *((one, "range.example.test") for one in sources)]), "as seen there")


@test("refused: nobody listens", needs="unshare")
def refused(world):
    Doctor(world).expect(": refused")


@test("timed out: what is sent gets lost, and not in this host's firewall", needs="nft")
def lost_on_the_way(world):
    doctor = Doctor(world)
    doctor.mx()
    firewall(doctor, "input", "tcp dport { 25, 587 } drop")
    doctor.expect(timed_out(25))
    doctor.expect(timed_out(587), "--port", 587, port=587)


def firewall(doctor, hook, *rules):
    run = doctor.namespace.command
    run("nft", "add", "table", "inet", "filter")
    run("nft", "add", "chain", "inet", "filter", hook,
        f"{{ type filter hook {hook} priority 0; }}")
    for rule in rules:
        run("nft", "add", "rule", "inet", "filter", hook, *rule.split())


@test("permission denied: an output rule of this host drops or rejects, whatever it looks like",
      needs="nft")
def denied(world):
    doctor = Doctor(world)
    for port in (25, 26, 27, 28):
        doctor.mx(port=port, greeting="220 hello")
    firewall(doctor, "output", "tcp dport 25 drop", "tcp dport 26 reject with tcp reset",
             "tcp dport 27 reject with icmpx type admin-prohibited",
             f"ip saddr {SECOND} tcp dport 28 drop")
    for port in (25, 26, 27):
        doctor.expect(DENIED, "--port", port, port=port)
    doctor.expect(": ok 220 hello", "--port", 28, code=OK, port=28)


@test("permission denied by a rule for one source address: only that one", needs="nft")
def denied_for_one(world):
    doctor = Doctor(world, (HERE, SECOND, THERE), extra="<virtual-mta v2>\n"
                    f"smtp-source-host {SECOND} v2.example.test\n</virtual-mta>")
    doctor.mx(greeting="220 hello")
    firewall(doctor, "output", f"ip saddr {SECOND} tcp dport 25 drop")
    doctor.expect(": ok 220 hello", code=OK)
    _, lines, _ = doctor.run("probe", "--vmta=v2", "a.test")
    check_equal(lines[0], f"a.test/v2 {SECOND} -> {THERE}:25{DENIED}", "v2")


@test("permission denied: a prohibit route, IPv4 and IPv6", needs="unshare")
def prohibited(world):
    doctor = Doctor(world, (HERE,))
    doctor.namespace.command("ip", "route", "add", "prohibit", THERE)
    doctor.expect(DENIED)
    six = Doctor(world, ("fd00::1",), source="fd00::1", hosts="[fd01::1]")
    six.namespace.command("ip", "-6", "route", "add", "prohibit", "fd01::1")
    _, lines, _ = six.probe()
    check_equal(lines[0], f"a.test/v1 fd00::1 -> [fd01::1]:25{DENIED}", "IPv6")


@test("without the right to look at the firewall its drops are timeouts", needs="nft")
def denied_unseen(world):
    doctor = Doctor(world)
    firewall(doctor, "output", "tcp dport 25 drop")
    doctor.prefix = AS_NOBODY
    doctor.expect(timed_out(25))


@test("source address not on this host", needs="unshare")
def foreign_source(world):
    doctor = Doctor(world, source="192.0.2.77")
    doctor.mx()
    doctor.expect(": source address not on this host", source="192.0.2.77")


@test("no route: none there, an unreachable one, a blackhole", needs="unshare")
def no_route(world):
    doctor = Doctor(world, (HERE,))
    doctor.expect(": no route")
    for kind in ("unreachable", "blackhole"):
        doctor.namespace.command("ip", "route", "add", kind, THERE)
        doctor.expect(": no route")
        doctor.namespace.command("ip", "route", "del", kind, THERE)


# ---- who answers ----------------------------------------------------------------------------


@test("greeted with 554, and with 421", needs="unshare")
def greeted_with(world):
    doctor = Doctor(world)
    mx = doctor.mx(greeting="554 5.7.1 blocked: see https://example.test/why")
    doctor.expect(": greeted with 554 5.7.1 blocked: see https://example.test/why")
    mx.script["greeting"] = ["421 4.3.2 later", Close()]
    doctor.expect(": greeted with 421 4.3.2 later")


@test("what a host says cannot control the terminal; it is whole in JSON", needs="unshare")
def hostile_greeting(world):
    doctor = Doctor(world)
    doctor.mx(greeting=b"554 \x1b[2J\xc2\x9b31m \x00 \xff\r\n")
    doctor.expect(": greeted with 554 \\x1b[2J\\u009b31m   \\xff")
    _, lines, _ = doctor.probe("--json")
    verdict = json.loads(lines[0])["probes"][0]["verdict"]
    check_equal(verdict, "greeted with 554 \x1b[2J\x9b31m   \ufffd", "verdict")


@test("who says nothing, leaves, or speaks no SMTP is told apart", needs="unshare")
def no_dialogue(world):
    doctor = Doctor(world)
    mx = doctor.mx(greeting=Silence())
    for script, verdict in (
            ({"greeting": Silence()}, "timed out waiting for the greeting"),
            ({"greeting": Close()}, "the host closed the connection before the greeting"),
            ({"greeting": b"SSH-2.0-OpenSSH_9.2\r\n"}, "what answers is no SMTP server"),
            ({"greeting": Garbage(b"220-x\r\n", 1 << 20)}, "what answers is no SMTP server"),
            ({"greeting": "220 v1.example.test ESMTP"}, "the host bears our own name, mail would "
                                                        "loop: 220 v1.example.test ESMTP"),
            ({"ehlo": "550 5.7.1 go away"}, "EHLO answered with 550 5.7.1 go away"),
            ({"ehlo": Close()}, "the host closed the connection before the answer to EHLO"),
            ({"ehlo": Reset()},
             "connection lost before the answer to EHLO: Connection reset by peer")):
        mx.script.update({"greeting": "220 hello", "ehlo": mx.ehlo, **script})
        doctor.expect(": " + verdict)


@test("ok before a slow host has said goodbye; HELO where EHLO is unknown", needs="unshare")
def slow_goodbye(world):
    doctor = Doctor(world)
    mx = doctor.mx(greeting=[Delay(1), "220 hello"], quit=Silence())
    doctor.expect(": ok 220 hello", code=OK)
    mx.script.update(ehlo="502 5.5.1 what?", quit=Reset())
    doctor.expect(": ok 220 hello", code=OK)


# ---- TLS ------------------------------------------------------------------------------------


@test("STARTTLS where it is offered and policy lets it: the version is told", needs="unshare")
def starttls(world):
    doctor = Doctor(world, extra="<domain plain.test>\nuse-starttls no\n</domain>\n"
                                 "<domain old.test>\nsmtp-tls-allow-tlsv1.3 no\n</domain>")
    mx = doctor.mx(tls=doctor.tls(), greeting="220 hello")
    doctor.expect(" (TLSv1.3): ok 220 hello", code=OK)
    check_equal([one.verb for one in mx.sessions[0].commands], ["EHLO", "STARTTLS", "EHLO", "QUIT"],
                "said")
    _, lines, _ = doctor.probe(domain="plain.test")
    check_equal(lines[0], f"plain.test/v1 {HERE} -> {THERE}:25: ok 220 hello", "without TLS")
    _, lines, _ = doctor.probe(domain="old.test")
    check_equal(lines[0], f"old.test/v1 {HERE} -> {THERE}:25 (TLSv1.2): ok 220 hello", "TLS 1.2")


@test("TLS failed: required and not offered, refused, broken, an alert",
      needs="unshare")
def tls_failed(world):
    doctor = Doctor(world, domain="require-starttls yes")
    mx = doctor.mx(greeting="220 hello")
    doctor.expect(": TLS failed: 454 4.7.4 TLS is required and was not offered")
    mx.capabilities.append("STARTTLS")
    for script, verdict in (
            ("454 4.7.0 no TLS today", "454 4.7.0 no TLS today"),
            ([b"220 go ahead\r\n250 and this\r\n"], "more came behind the answer to STARTTLS"),
            (["220 go ahead", Delay(0.2), Close()], "the host closed the connection"),
            (["220 go ahead", Silence()], "timed out in the handshake")):
        mx.script["starttls"] = script
        doctor.expect(": TLS failed: " + verdict)
    handshake_failure = b"\x15\x03\x01\x00\x02\x02\x28"  # an alert: RFC 8446 6.2
    for said, words in ((b"this is no TLS\r\n", "wrong version"),
                        (handshake_failure, "alert handshake failure")):
        mx.script["starttls"] = ["220 go ahead", Delay(0.2), said, Silence()]
        _, lines, _ = doctor.probe()
        check(re.search(rf": TLS failed: .*{words}", lines[0]), lines)


@test("TLS failed where it is not required: that mail goes in the clear is said", needs="unshare")
def tls_failed_opportunistic(world):
    doctor = Doctor(world)
    mx = doctor.mx(greeting="220 hello", starttls=["220 go ahead", Delay(0.2), Close()])
    mx.capabilities.append("STARTTLS")
    doctor.expect(": TLS failed: the host closed the connection"
                  " (mail goes in the clear instead)")


@test("port 465: TLS from the first byte, no STARTTLS in it", needs="unshare")
def port_465(world):
    doctor = Doctor(world)
    context = doctor.tls()

    async def secure(session, _argument):
        await session.start_tls(context)

    mx = doctor.mx(port=465, connect=secure, greeting="220 inside")
    mx.capabilities.append("STARTTLS")
    doctor.expect(" (TLSv1.3): ok 220 inside", "--port=465", code=OK, port=465)
    check_equal([one.verb for one in mx.sessions[0].commands], ["EHLO", "QUIT"], "said")


@test("port 465: TLS failed where the host talks in the clear", needs="unshare")
def port_465_clear(world):
    doctor = Doctor(world)
    doctor.mx(port=465)
    _, lines, _ = doctor.probe("--port", 465)
    check(lines[0].startswith(f"a.test/v1 {HERE} -> {THERE}:465: TLS failed: ") and
          "in the clear" not in lines[0], lines)


# ---- which host -----------------------------------------------------------------------------


MX = ("10.9.1.1", "10.9.1.2", "10.9.1.3")


def with_names(world, zone, addresses=(HERE,), domain="", **options):
    """Hosts by DNS. Theirs must not be addresses of this host, for an MX there is a loop: they
    are made local by a route."""
    doctor = Doctor(world, addresses, globals="name-server 127.0.0.1", **options)
    text = doctor.configuration.read_text()
    doctor.configuration.write_text(text.replace(f"    smtp-hosts [{THERE}]\n", domain + "\n"))
    doctor.namespace.command("ip", "route", "add", "local", "10.9.1.0/24", "dev", "lo")
    doctor.names = doctor.namespace.call(NameServer, world.loop, "127.0.0.1", 53, zone)
    world.peers.append(doctor.names)
    return doctor


def zone(*hosts):
    """a.test has these MX, in this order of preference."""
    out = {"a.test": [("MX", 10 * (i + 1), f"mx{i}.test") for i in range(len(hosts))]}
    out.update({f"mx{i}.test": [("A", host)] for i, host in enumerate(hosts)})
    return out


@test("the domain's MX, best preference first, by its name and address", needs="unshare")
def by_mx(world):
    doctor = with_names(world, zone(*MX))
    doctor.mx(MX[0], greeting="220 best")
    doctor.mx(MX[1], greeting="220 worse")
    seen = doctor.probe()
    check_equal(seen, (OK, [f"a.test/v1 {HERE} -> {MX[0]}:25 mx0.test: ok 220 best",
                            "1 ok, 0 not ok"], ""), "answer")


@test("a host that is away leads to the next; what was wrong at the first counts if both are",
      needs="unshare")
def next_host(world):
    doctor = with_names(world, zone(*MX))
    second = doctor.mx(MX[1], greeting="220 worse")
    doctor.mx(MX[2], greeting="220 never asked")
    _, lines, _ = doctor.probe()
    check_equal(lines[0], f"a.test/v1 {HERE} -> {MX[1]}:25 mx1.test: ok 220 worse", "second host")
    second.script["greeting"] = "554 no"
    _, lines, _ = doctor.probe()
    check_equal(lines[0], f"a.test/v1 {HERE} -> {MX[0]}:25 mx0.test: refused", "both are bad")


@test("of equal hosts every source asks the same", needs="unshare")
def same_host(world):
    records = {"a.test": [("MX", 10, f"mx{i}.test") for i in range(3)],
               **{f"mx{i}.test": [("A", host)] for i, host in enumerate(MX)}}
    sources = [f"10.9.3.{last}" for last in range(1, 21)]
    doctor = with_names(world, records, (HERE, *sources), source="10.9.3.0/24")
    for address in MX:
        doctor.mx(address)
    code, lines, _ = doctor.probe()
    check_equal((code, len(lines)), (OK, 21), "answer")
    check_equal({line.split()[3] for line in lines[:-1]}, {f"{MX[0]}:25"}, "hosts asked")


@test("a domain that cannot be resolved: why not, from every source", needs="unshare")
def unresolved(world):
    doctor = with_names(world, {"null.test": [("MX", 0, "")], "a.test": "silence",
                                "far.test": [("MX", 10, "lo.test")], "lo.test": [("A", "127.0.0.9")]})
    begin = time.monotonic()
    for domain, why in (("none.test", "550 5.1.2 domain does not exist"),
                        ("null.test", "556 5.1.10 domain accepts no mail (null MX)"),
                        ("far.test", "554 5.4.6 MX points to a prohibited address"),
                        ("a.test", "451 4.4.3 DNS lookup failed")):
        check_equal(doctor.probe(domain=domain),
                    (FAILED, [f"{domain}/v1 {HERE}: not resolved: {why}", "0 ok, 1 not ok"], ""),
                    domain)
    check(time.monotonic() - begin < 40, "a silent name server is given up")


@test("an address of a family that no host has does not count, unless it is the only one",
      needs="unshare")
def other_family(world):
    doctor = with_names(world, zone(MX[0]), (HERE, "fd00::1"),
                        extra="<virtual-mta both>\n"
                              f"smtp-source-host {HERE} both.example.test\n"
                              "smtp-source-host fd00::1 both.example.test\n</virtual-mta>\n"
                              "<virtual-mta six>\n"
                              "smtp-source-host fd00::1 six.example.test\n</virtual-mta>")
    doctor.mx(MX[0], greeting="220 hello")
    code, lines, _ = doctor.run("probe", "--vmta", "both", "a.test")
    check_equal((code, lines), (OK, [
        f"a.test/both {HERE} -> {MX[0]}:25 mx0.test: ok 220 hello",
        "a.test/both fd00::1: not used: no mail host has an IPv6 address",
        "1 ok, 0 not ok, 1 not used"]), "both")
    code, lines, _ = doctor.run("probe", "--vmta", "six", "a.test")
    check_equal((code, lines[0]), (FAILED, "a.test/six fd00::1: not resolved: 451 4.4.4 no host has"
                                   " an address of a family that the virtual MTA can use"), "six")


# ---- the command ----------------------------------------------------------------------------


@test("many sources: at most 64 at once, verdicts in order", needs="unshare")
def many(world):
    sources = [f"10.9.3.{last}" for last in range(1, 201)]
    doctor = Doctor(world, (THERE, *sources), source="10.9.3.0/24")
    mx = doctor.mx(greeting=[Delay(0.3), "220 hello"])
    code, lines, _ = doctor.probe()
    check_equal((code, lines[-1]), (OK, "200 ok, 0 not ok"), "end")
    order = [line.split()[1] for line in lines[:-1]]
    check_equal(sorted(order), sorted(sources), "sources")
    # A call waits for the answer to its QUIT: until then, at least, it is one of those under way.
    events = sorted([(one.begun, 1) for one in mx.sessions] +
                    [(one.commands[-1].time, -1) for one in mx.sessions])
    open_now = most = 0
    for _, step in events:
        open_now += step
        most = max(most, open_now)
    check(32 <= most <= 64, f"{most} sessions at once")


@test("--timeout bounds all of it; what was not reached is said to be so", needs="unshare")
def bounded(world):
    sources = [f"10.9.3.{last}" for last in range(1, 101)]
    doctor = Doctor(world, (THERE, *sources), source="10.9.3.0/24")
    doctor.mx(greeting=Silence())
    text = doctor.configuration.read_text().replace("smtp-greeting-timeout 2s",
                                                    "smtp-greeting-timeout 30s")
    doctor.configuration.write_text(text)
    begin = time.monotonic()
    code, lines, _ = doctor.probe("--timeout=2")
    check(time.monotonic() - begin < 20, "it ended in time")
    check_equal((code, lines[-1]), (FAILED, "0 ok, 100 not ok"), "end")
    check(all(line.endswith(": no time left for it (--timeout)") for line in lines[:-1]), lines)


@test("--json: one object, every fact by name", needs="unshare")
def as_json(world):
    doctor = Doctor(world)
    doctor.mx(tls=doctor.tls(), greeting="220 hello")
    code, lines, _ = doctor.probe("--json")
    check_equal((code, json.loads(lines[0]), len(lines)), (OK, {
        "probes": [{"domain": "a.test", "vmta": "v1", "source": HERE, "ehlo": "v1.example.test",
                    "host": THERE, "address": f"{THERE}:25", "tls": "TLSv1.3", "result": "ok",
                    "verdict": "ok 220 hello"}],
        "ok": 1, "failed": 0, "unused": 0}, 1), "JSON")


@test("several domains, names as people write them, gmail.com where none is named",
      needs="unshare")
def domains(world):
    doctor = Doctor(world)
    doctor.mx(greeting="220 hello")
    code, lines, _ = doctor.run("probe", "--vmta=V1", "A.Test", "b.test", "münchen.example")
    names = [line.split("/")[0] for line in lines[:-1]]
    check_equal((code, names), (OK, ["a.test", "b.test", "xn--mnchen-3ya.example"]), "domains")
    code, lines, _ = doctor.run("probe", "--vmta", "v1")
    check_equal((code, lines[0]), (OK, f"gmail.com/v1 {HERE} -> {THERE}:25: ok 220 hello"), "none")


@test("beside a running engine, with its configuration")
def beside(world):
    mx = world.mx(greeting="220 hello")
    engine = world.engine()
    code, out, _ = engine.command("probe", "--vmta", "v2", "a.test")
    line = f"a.test/v2 {world.address(102)} -> {mx.address}:2525: ok 220 hello"
    check_equal((code, out.splitlines()[0]), (OK, line), "answer")
    check_equal([one.hello for one in mx.sessions], ["v2.example.test"], "EHLO")
    check_equal(engine.queued(), 0, "queued")


if __name__ == "__main__":
    sys.exit(main(__doc__.splitlines()[0]))
