#!/usr/bin/env python3
"""Configurations as people bring them along: they load, and mean what they say.

    tests/peers/examples.py BUILD [NAME…]"""
import ssl
import sys
import time

from harness import PORT, Client, check, check_equal, main, make_certificate, test, wait_for

# Every oddity that configurations in use have: tabs, no indent, double blanks, comments behind
# tags and values, macro lists wrapped behind a comma, words in any case, yes beside true.
ODD = """\
# a comment with "quotes" and a < tag
host-name\tin.example.test   # the name
smtp-listener {listener} # note
control-socket {control}
Run-As-Root no
Postmaster you@example.test
http-mgmt-port 8080
HTTP-access 127.0.0.1 monitor
http-access ::1 monitor
log-rotate 8
sync-msg-create false
total-max-smtp-out 1200
Pickup {work}/pickup {work}/bad
domain-macro hundred {hundred}
domain-macro tld com , net,
    org, de,
    co.uk
domain-macro nested x.$tld, y.$tld
<source 127.0.0.1/8>   # who may
always-allow-relaying  yes
  smtp-service true
\tprocess-x-virtual-mta true
log-connections no
log-commands\tno
add-received-header true
default-virtual-mta pool1
</source>
<source 0/0>
log-connections no
</source>
include {work}/vmtas/*.conf
<virtual-mta-pool pool1>
virtual-mta v1
virtual-mta v2
</virtual-mta-pool>
<domain  $hundred>   # double blank
max-smtp-out   10
max-msg-rate 250/h
max-msg-per-connection 100
retry-after 10m,10m,20m,30m,1h,1h,2h,6h
</domain>
<domain $nested>
bounce-after 4d12h
use-starttls yes
dkim-sign no
</domain>
<domain *>
smtp-hosts [{sink}]:{port}
retry-after 10m
</domain>
<spool {work}/spool>
sync-msg-update no
</spool>
<bounce-category-patterns>
/spam/ spam-related
/unknown recipients – possible/ bad-mailbox
/mailbox +(is +)?full/ quota-issues
// other
</bounce-category-patterns>
<acct-file {work}/acct.csv>
records d,b,t
move-interval 5m
max-size 50M
delete-after never
</acct-file>"""


def write_odd(world, sink):
    (world.work / "spool").mkdir()
    for name in ("pickup", "bad", "vmtas"):
        (world.work / name).mkdir()
    for last in range(1, 101):
        own = f"<virtual-mta v{last}>\r\nsmtp-source-host {world.address(100 + last)} " \
              f"v{last}.example.test\r\n\t<domain  *>\r\n\tmax-smtp-out 2 # few\r\n" \
              "\t</domain>\r\n</virtual-mta>"
        (world.work / "vmtas" / f"{last:03}.conf").write_bytes(own.encode())
    text = ODD.format(listener=f"{world.address(1)}:{PORT}", control=world.short / "c.sock",
                      work=world.work, sink=sink.address, port=PORT,
                      hundred=", ".join(f"isp{number}.test" for number in range(100)))
    path = world.work / "odd.conf"
    path.write_bytes(text.replace("\n", "\r\n").encode())
    return path


@test("a configuration of several hundred lines with every oddity: warnings only, and mail goes")
def odd(world):
    mx = world.mx()
    path = write_odd(world, mx)
    engine = world.engine(start=False)
    engine.configuration.write_bytes(path.read_bytes())
    engine.socket = world.short / "c.sock"
    code, out, said = engine.command("check")
    check(code == 0, out + said)
    check(": error: " not in out + said, out + said)
    engine.start()
    with Client((world.address(1), PORT)) as client:
        client.hello()
        for domain in ("isp7.test", "x.co.uk", "isp99.test"):
            client.message(f"u@{domain}")
    wait_for(lambda: len(mx.messages) == 3, "three messages arrive")
    check_equal({one.session.hello for one in mx.messages}, {"v1.example.test", "v2.example.test"},
                "names")
    code, out, _ = engine.command("explain", "isp99.test/v1")
    check(code == 0 and "10m,10m,20m,30m,1h,1h,2h,6h" in out, out)


# As it stands in the operators' examples, addresses and all.
UNCHANGED = r"""smtp-listener 0/0:25
smtp-listener 10.0.1.22:25
<smtp-user foo>
password barbaz
authentication-method password
</smtp-user>
<source 0/0>
require-auth true
allow-starttls true
require-starttls-before-auth true
</source>
relay-domain some.domain
relay-address bounce@bounce.yourdomain.com
relay-address /@foo(bar)?\.com$/
smtp-server-tls-certificate /etc/pmta/yourcert.pem
<domain *>
use-starttls true
require-starttls true
</domain>
smtp-source-host 192.168.0.10 mail10.yourserver.com
<virtual-mta mta1>
smtp-source-host 1.2.3.4 mta1.yourserver.com
<domain *>
use-starttls true
require-starttls true
retry-after 10m
</domain>
</virtual-mta>
<virtual-mta mta2>
smtp-source-host 2.3.4.5 mta2.yourserver.com
<domain *>
use-starttls false
require-starttls false
retry-after 45m
</domain>
</virtual-mta>
"""


@test("the examples load unchanged, with warnings about what is not yet in effect only")
def unchanged(world):
    engine = world.engine(start=False)
    engine.configuration.write_text(UNCHANGED)
    code, out, said = engine.command("check")
    check_equal(code, 0, out + said)
    findings = [one for one in (out + said).split("\n") if ": warning: " in one]
    check(all("not yet in effect" in one for one in findings), str(findings))


EXAMPLES = """\
smtp-listener {listener}
<smtp-user foo>
password barbaz
authentication-method password
</smtp-user>
<source 0/0>
require-auth true
allow-starttls true
require-starttls-before-auth true
</source>
<source 127/8>
always-allow-relaying true
process-x-virtual-mta true
require-auth false
</source>
relay-domain some.domain
relay-address bounce@bounce.yourdomain.com
relay-address /@foo(bar)?\\.com$/
smtp-server-tls-certificate {certificate}
<domain *>
use-starttls true
require-starttls true
</domain>
smtp-source-host {net}.110 mail10.yourserver.test
<virtual-mta mta1>
smtp-source-host {net}.101 mta1.yourserver.test
<domain *>
use-starttls true
require-starttls true
retry-after {first}
</domain>
</virtual-mta>
<virtual-mta mta2>
smtp-source-host {net}.102 mta2.yourserver.test
<domain *>
use-starttls false
require-starttls false
retry-after {second}
</domain>
</virtual-mta>
host-name in.example.test
control-socket {control}
<spool {work}/spool>
</spool>
<domain *>
prohibited-hosts none
</domain>
<domain tls.test>
smtp-hosts [{tls}]:{port}
</domain>
<domain plain.test>
smtp-hosts [{plain}]:{port}
</domain>
<acct-file {work}/acct.jsonl>
records d,b,t,tq
</acct-file>
"""


def start_examples(world, tls, plain, first, second):
    (world.work / "spool").mkdir(exist_ok=True)
    certificate, key = make_certificate(world.work, "ours")
    both = world.work / "both.pem"
    both.write_bytes(certificate.read_bytes() + key.read_bytes())
    engine = world.engine(start=False)
    engine.configuration.write_text(EXAMPLES.format(
        listener=f"{world.address(1)}:{PORT}", certificate=both, net=world.net, work=world.work,
        control=engine.socket, tls=tls.address, plain=plain.address, port=PORT, first=first,
        second=second))
    code, out, said = engine.command("check")
    check(code == 0, out + said)
    return engine


@test("two virtual MTAs: addresses, names, STARTTLS required for one and never used for the other")
def two_vmtas(world):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*make_certificate(world.work, "mx"))
    tls, plain = world.mx(11, tls=context), world.mx(12)
    engine = start_examples(world, tls, plain, "10m", "45m")
    engine.start()
    for vmta in ("mta1", "mta2"):
        world.send("u@tls.test", vmta=vmta)
        world.send("u@plain.test", vmta=vmta)
    engine.wait_records("d", 3)
    failed, = engine.wait_records("tq", 1)
    check_equal(failed["queue"], "plain.test/mta1", "the queue whose host offers no TLS")
    seen = sorted((one.session.source, one.session.hello, one.session.tls is not None)
                  for one in tls.messages)
    check_equal(seen, [(world.address(101), "mta1.yourserver.test", True),
                       (world.address(102), "mta2.yourserver.test", False)], "with TLS offered")
    check_equal([(one.session.source, one.session.hello) for one in plain.messages],
                [(world.address(102), "mta2.yourserver.test")], "without")
    for queue, value in (("tls.test/mta1", "10m"), ("tls.test/mta2", "45m")):
        _, out, _ = engine.command("explain", queue)
        check(any(line.split()[:2] == ["retry-after", value] for line in out.split("\n")), out)


@test("two virtual MTAs: each tries again after its own time")
def two_retries(world):
    tls, plain = world.mx(11, greeting="421 4.3.2 not now"), world.mx(12)
    engine = start_examples(world, tls, plain, "1s", "3s")
    engine.start()
    for vmta in ("mta1", "mta2"):
        world.send("u@tls.test", vmta=vmta)
    wait_for(lambda: sum(one.source == world.address(102) for one in tls.sessions) == 2,
             "the second tries again")
    time.sleep(0.1)
    for last, least in ((101, 1), (102, 3)):
        times = [one.begun for one in tls.sessions if one.source == world.address(last)]
        check(least - 0.1 < times[1] - times[0] < least + 2, f"{last}: {times}")


if __name__ == "__main__":
    sys.exit(main(__doc__.splitlines()[0]))
