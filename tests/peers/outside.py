#!/usr/bin/env python3
"""`posthaste check --dns`: what it finds where the outside does not agree with a configuration.

    tests/peers/outside.py BUILD [NAME…]

Every test has a network namespace of its own, with addresses as the world knows them and a name
server that says what the test says."""
import ipaddress
import json
import re
import subprocess
import sys
import time

from harness import check, check_equal, main, test
from names import NameServer
from namespace import Namespace

OK, CONFIG = 0, 78
FOUR, SIX, NAME = "198.51.100.7", "2001:db8::7", "mta1.example.com"


def reverse(address):
    return ipaddress.ip_address(address).reverse_pointer


GOOD = {NAME: [("A", FOUR), ("AAAA", SIX)], reverse(FOUR): [("PTR", NAME)],
        reverse(SIX): [("PTR", NAME)]}


class Host:
    def __init__(self, world, zone, addresses=(FOUR,), sources=None, extra=""):
        self.world = world
        self.namespace = Namespace(world, *addresses)
        self.names = self.namespace.call(NameServer, world.loop, "127.0.0.1", 53, zone)
        world.peers.append(self.names)
        self.configuration = world.work / "check.conf"
        lines = "\n".join(f"    smtp-source-host {one}" for one in
                          sources or [f"{one} {NAME}" for one in addresses])
        self.configuration.write_text(f"""host-name in.example.com
name-server 127.0.0.1
<virtual-mta v1>
{lines}
</virtual-mta>
{extra}
""")

    def run(self, *words):
        """(exit code, standard output, findings of --dns without their places)"""
        done = subprocess.run([self.world.build / "engine" / "posthaste", "-c", self.configuration,
                               *words], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              timeout=100, preexec_fn=self.namespace.enter)
        place = re.escape(str(self.configuration)) + r":\d+: "
        lines = [line for line in done.stderr.splitlines() if "not yet in effect" not in line]
        check(all(re.match(place, line) for line in lines), done.stderr)
        return done.returncode, done.stdout, [re.sub(place, "", line) for line in lines]

    def expect(self, *findings, code=OK, words=()):
        seen = self.run("check", "--dns", *words)
        check_equal((seen[0], seen[2]), (code, list(findings)), "exit code and findings")


def warn(text, vmta="v1"):
    return f"warning: virtual MTA {vmta}: {text}"


@test("all is well: no finding, exit 0, also with --strict", needs="unshare")
def well(world):
    host = Host(world, GOOD, (FOUR, SIX))
    host.expect(words=["--strict"])
    check_equal({one[:2] for one in host.names.asked},
                {*((NAME, kind) for kind in ("A", "AAAA", "TXT")),
                 *((reverse(one), "PTR") for one in (FOUR, SIX))}, "asked")


@test("without --dns nothing is asked and nothing is found", needs="unshare")
def not_asked(world):
    host = Host(world, {}, (FOUR,), ["192.0.2.99 nowhere.example.com"])
    code, out, findings = host.run("check", "--strict")
    check_equal((code, findings, host.names.asked), (OK, [], []), "answer")
    check(out.endswith(": 0 errors, 0 warnings\n"), out)


@test("a source address that is not on this host is an error, as at the start", needs="unshare")
def foreign(world):
    zone = {NAME: [("A", "192.0.2.99")], reverse("192.0.2.99"): [("PTR", NAME)]}
    host = Host(world, zone, (FOUR,), [f"192.0.2.99 {NAME}"])
    host.expect("error: virtual MTA v1: source address 192.0.2.99 is not on this host (add it, or "
                "set allow-no-source-address yes)", code=CONFIG)


@test("an address without a PTR record", needs="unshare")
def no_ptr(world):
    Host(world, {NAME: [("A", FOUR)]}).expect(
        warn(f"{FOUR} has no PTR record: many mail hosts refuse such an address"))


@test("a PTR record whose name does not lead back, or is not the EHLO name", needs="unshare")
def other_ptr(world):
    host = Host(world, {**GOOD, reverse(FOUR): [("PTR", "pool.example.net")],
                        "pool.example.net": [("A", "203.0.113.1")]})
    host.expect(warn(f"the PTR record of {FOUR} names pool.example.net, which does not lead back "
                     "to it"))
    host.names.zone["pool.example.net"] = [("A", FOUR)]
    host.expect(warn(f"the PTR record of {FOUR} names pool.example.net, not the EHLO name {NAME}"))
    host.names.zone["pool.example.net"] = "nxdomain"
    host.expect(warn(f"the PTR record of {FOUR} names pool.example.net, which does not lead back "
                     "to it"))


@test("several PTR names: one that leads back and one that is the EHLO name are enough",
      needs="unshare")
def several_ptr(world):
    host = Host(world, {**GOOD, reverse(FOUR): [("PTR", "a.example.net"), ("PTR", NAME.upper())]})
    host.expect()


@test("an EHLO name that leads elsewhere, nowhere, or is no name", needs="unshare")
def ehlo(world):
    host = Host(world, {**GOOD, NAME: [("A", "203.0.113.1")]})
    not_back = warn(f"the PTR record of {FOUR} names {NAME}, which does not lead back to it")
    host.expect(warn(f"the EHLO name {NAME} leads to 203.0.113.1, not to {FOUR}"), not_back)
    host.names.zone[NAME] = [("AAAA", SIX)]
    host.expect(warn(f"the EHLO name {NAME} has no IPv4 address in DNS: it should lead to {FOUR}"),
                not_back)
    host = Host(world, {reverse(FOUR): [("PTR", NAME)], NAME: [("A", FOUR)]}, (FOUR,),
                [f"{FOUR} mailhost"])
    host.expect(warn(f"the EHLO name mailhost of {FOUR} is no fully qualified domain name"),
                warn(f"the PTR record of {FOUR} names {NAME}, not the EHLO name mailhost"))


@test("name servers that fail or are silent: said as such, and soon", needs="unshare")
def dns_fails(world):
    host = Host(world, {NAME: "servfail", reverse(FOUR): "servfail"})
    code, _, findings = host.run("check", "--dns")
    no_spf = warn(f"the SPF record of {NAME} cannot be looked up for {FOUR}")
    check_equal((code, findings[2:]), (OK, [no_spf]), "findings")
    check(findings[0].startswith(warn(f"the EHLO name {NAME} cannot be looked up: ")) and
          findings[1].startswith(warn(f"the PTR record of {FOUR} cannot be looked up: ")), findings)
    host.names.zone.update({NAME: "silence", reverse(FOUR): [("PTR", NAME)]})
    begin = time.monotonic()
    code, _, findings = host.run("check", "--dns")
    check(time.monotonic() - begin < 40, "it ended in time")
    check_equal(findings[1], warn(f"the PTR record of {FOUR} names {NAME}, which cannot be looked "
                                  "up"), "the second")


SIGNED = "domain-key sel,example.org,/etc/key.pem"


@test("SPF: the EHLO name's record, where it has one, and those of the domains that are signed",
      needs="unshare")
def spf(world):
    zone = {**GOOD, NAME: GOOD[NAME] + [("TXT", "something else")],
            "example.org": [("TXT", "google-site-verification=x"),
                            ("TXT", f"v=spf1 ip4:{FOUR} include:_spf.example.net -all")],
            "_spf.example.net": [("TXT", "v=spf1 " + "ip6:2001:db8:1::/48 " * 8 + f"ip6:{SIX}")]}
    host = Host(world, zone, (FOUR, SIX), extra=SIGNED)
    host.expect()
    host.names.zone["_spf.example.net"] = [("TXT", "v=spf1 ~all")]
    host.expect(warn(f"the SPF record of example.org does not cover {SIX}: fail by -all"))
    host.names.zone[NAME] = GOOD[NAME] + [("TXT", "v=spf1 a:other.example.com ~all")]
    host.names.zone["other.example.com"] = [("A", FOUR)]
    host.names.zone["example.org"] = [("TXT", "v=spf1 a mx ?all")]
    host.expect(warn(f"the SPF record of example.org does not cover {FOUR}: neutral by ?all"),
                warn(f"the SPF record of {NAME} does not cover {SIX}: softfail by ~all"),
                warn(f"the SPF record of example.org does not cover {SIX}: neutral by ?all"))


@test("SPF: no record, a broken one, one that cannot be looked up", needs="unshare")
def spf_broken(world):
    host = Host(world, {**GOOD, "example.org": []}, extra=SIGNED)
    for record, finding in (
            ([], f"example.org has no SPF record: it should cover {FOUR}"),
            ([("TXT", "v=spf1 nonsense -all")],
             "the SPF record of example.org is broken, or needs more lookups than allowed"),
            ([("TXT", "v=spf1 include:example.org -all")],
             "the SPF record of example.org is broken, or needs more lookups than allowed"),
            ("servfail", f"the SPF record of example.org cannot be looked up for {FOUR}")):
        host.names.zone["example.org"] = record
        host.expect(warn(finding))


@test("SPF: keys of a virtual MTA and of its pool count for it alone; * is no domain",
      needs="unshare")
def spf_keys(world):
    host = Host(world, GOOD, extra=f"""domain-key s,*,/k.pem
        <virtual-mta v2>
            smtp-source-host {FOUR} {NAME}
            domain-key s,two.example,/k.pem
        </virtual-mta>
        <virtual-mta-pool p>
            virtual-mta v2
            domain-key s,pool.example,/k.pem
        </virtual-mta-pool>""")
    host.expect(*(warn(f"{domain} has no SPF record: it should cover {FOUR}", "v2")
                  for domain in ("two.example", "pool.example")))


@test("private addresses, ranges, and virtual MTAs without an address", needs="unshare")
def special(world):
    host = Host(world, {NAME: [("A", "198.51.100.8")], reverse("198.51.100.8"): [("PTR", NAME)]},
                ("10.1.2.3", "198.51.100.8"), [f"10.1.2.3 {NAME}", f"198.51.100.0/24 {NAME}"],
                extra="<virtual-mta empty>\nsmtp-source-host 203.0.113.0/24 x.example.com\n"
                      "</virtual-mta>\n<virtual-mta any>\n</virtual-mta>")
    host.expect(warn("10.1.2.3 is a private address: the outside sees another one, which is not "
                     "checked"),
                warn("no address of this host is in the range of its smtp-source-host", "empty"))


@test("--strict makes errors of warnings; --json has them as messages with their places",
      needs="unshare")
def strict(world):
    host = Host(world, {NAME: [("A", FOUR)]})
    text = f"{FOUR} has no PTR record: many mail hosts refuse such an address"
    host.expect(warn(text), code=CONFIG, words=["--strict"])
    code, out, _ = host.run("--json", "check", "--dns")
    check_equal((code, json.loads(out)), (OK, {"errors": 0, "warnings": 1, "messages": [
        {"file": str(host.configuration), "line": 4, "column": 0, "severity": "warning",
         "text": f"virtual MTA v1: {text}"}]}), "JSON")


@test("many addresses are looked at side by side, and told in order", needs="unshare")
def many(world):
    addresses = [f"198.51.100.{last}" for last in range(1, 201)]
    zone = {NAME: [("A", one) for one in addresses[:30]]}
    zone.update({reverse(one): [("PTR", NAME)] for one in addresses if one != addresses[13]})
    host = Host(world, zone, addresses[:30])
    host.expect(warn(f"{addresses[13]} has no PTR record: many mail hosts refuse such an address"))
    host = Host(world, {NAME: [("A", one) for one in addresses[:30]]}, addresses)
    code, _, findings = host.run("check", "--dns")
    told = [re.search(r"198\.51\.100\.\d+(?= has no PTR)", one) for one in findings]
    check_equal((code, [one[0] for one in told if one]), (OK, addresses), "told")


if __name__ == "__main__":
    sys.exit(main(__doc__.splitlines()[0]))
