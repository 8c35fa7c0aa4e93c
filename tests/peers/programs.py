#!/usr/bin/env python3
"""posthaste between programs that we did not write.

    tests/peers/programs.py BUILD [NAME…]"""
import email.message
import email.policy
import os
import pwd
import shutil
import smtplib
import subprocess
import sys
import time
from pathlib import Path

from harness import (PORT, Failure, check, check_equal, main, make_certificate, make_content,
                     test, wait_for)
from receivers import SBIN, open_folder, start_smtp_sink, take_dumps, wait_listening

DEBIAN_PYTHON = "/usr/bin/python3"  # the one that Debian's modules are for


def run(*arguments, seconds=60, **options):
    done = subprocess.run([str(one) for one in arguments], capture_output=True, text=True,
                          timeout=seconds, check=False, **options)
    check(done.returncode == 0,
          f"{arguments[0]}: exit {done.returncode}: {done.stdout[-1500:]}{done.stderr[-1500:]}")
    return done.stdout


# ---- Postfix's test programs ----------------------------------------------------------------


@test("smtp-source → posthaste → smtp-sink: 500 messages, each once", needs="smtp-source")
def postfix_pair(world):
    folder, _ = start_smtp_sink(world, 11)
    engine = world.engine()
    run(f"{SBIN}/smtp-source", "-s", "10", "-m", "500", "-l", "3000", "-d", "-N", "-f",
        "sender@in.test", "-t", "user@a.test", "-S", "campaign", f"{world.address(1)}:{PORT}")
    engine.wait_records("d", 500, 60)
    lines = take_dumps(folder)
    check_equal(len(lines), 500, "dumps")
    rcpts = sorted(rcpt for line in lines for rcpt in line.rcpts)
    check_equal(len(set(rcpts)), 500, "different recipients")
    recorded = sorted(one["rcpt"] for one in engine.records("d"))
    check_equal(recorded, rcpts, "recipients of records and of the sink")
    check_equal({line.hello for line in lines}, {"v1.example.test"}, "EHLO names")


@test("smtp-sink that closes in the midst of the body (-A): read, recorded, tried again",
      needs="smtp-sink")
def postfix_abort(world):
    start_smtp_sink(world, 11, "-A", "0", "-f", "data", "-p")
    engine = world.engine(domain="retry-recipients-after 1h\nretry-after 1h")
    world.send(size=200_000)
    record = wait_for(lambda: engine.records("t", "b"), "a record")[0]
    check(record["dsnDiag"].startswith("smtp;"), record["dsnDiag"])
    check_equal(engine.records("d"), [], "deliveries")


@test("smtp-sink without ESMTP (-e), and one that is slow: delivered", needs="smtp-sink")
def postfix_plain(world):
    folder, _ = start_smtp_sink(world, 11, "-e", "-w", "1")
    engine = world.engine()
    world.send()
    engine.wait_records("d", 1)
    check_equal(len(take_dumps(folder)), 1, "dumps")
    check_equal(engine.records("d")[0].get("dlvEsmtpAvailable", ""), "", "extensions")


# ---- swaks, smtplib -------------------------------------------------------------------------


@test("swaks → posthaste: several recipients, an attachment, headers of ours", needs="swaks")
def swaks(world):
    mx = world.mx()
    world.engine()
    attachment = world.work / "attachment.bin"
    attachment.write_bytes(os.urandom(100_000))
    output = run("swaks", "--server", world.address(1), "--port", PORT, "--from", "s@in.test",
                 "--to", "a@a.test,b@a.test,c@b.test", "--header", "X-Virtual-MTA: v2",
                 "--attach", f"@{attachment}", "--body", ".dots\n..\n.", "--helo", "swaks.test")
    check("250 2.0.0 Ok: queued as" in output, output[-800:])
    wait_for(lambda: len(mx.delivered) == 3, "three arrive")
    check_equal(mx.delivered, ["a@a.test", "b@a.test", "c@b.test"], "delivered")
    check_equal(len(mx.messages), 2, "messages: one for each domain")
    for message in mx.messages:
        check_equal(message.session.hello, "v2.example.test", "EHLO name")
        check(b"X-Virtual-MTA" not in message.data, "the header is removed")


@test("swaks in pipelined and in plain dialogue gets the same answers", needs="swaks")
def swaks_pipelined(world):
    mx = world.mx()
    world.engine()
    for option in ("--pipeline", "--protocol=SMTP"):
        run("swaks", "--server", world.address(1), "--port", PORT, "--from", "s@in.test", "--to",
            "a@a.test", option)
    wait_for(lambda: len(mx.messages) == 2, "two arrive")


@test("smtplib → posthaste: a message with parts, UTF-8 everywhere, dots")
def python_smtplib(world):
    mx = world.mx()
    world.engine()
    message = email.message.EmailMessage()
    message["From"], message["To"] = "Grüße <s@in.test>", "Käthe <käthe@a.test>"
    message["Subject"] = "Überraschung"
    message.set_content(".eins\n..\n.\nzwei ü\n")
    message.add_alternative("<p>zwei ü</p>", subtype="html")
    message.add_attachment(os.urandom(5000), "application", "octet-stream", filename="ü.bin")
    with smtplib.SMTP(world.address(1), PORT, local_hostname="smtplib.test") as client:
        refused = client.send_message(message, "s@in.test", ["käthe@a.test", "plain@a.test"])
    check_equal(refused, {}, "refused")
    wait_for(lambda: len(mx.delivered) == 2, "both arrive")
    seen = email.message_from_bytes(mx.messages[0].data, policy=email.policy.SMTPUTF8)
    parts = [one.get_content() for one in seen.walk() if not one.is_multipart()]
    sent = [one.get_content() for one in message.walk() if not one.is_multipart()]
    check_equal([str(one).split() for one in parts], [str(one).split() for one in sent], "parts")
    check_equal(seen["Subject"], "Überraschung", "subject")


# effect: source max-rcpt-per-message
@test("smtplib meets the limits: too many recipients, too large, no such command")
def python_limits(world):
    world.mx()
    world.engine(source="max-rcpt-per-message 100\nmax-message-size 100k")
    with smtplib.SMTP(world.address(1), PORT) as client:
        client.ehlo("smtplib.test")
        check_equal(client.esmtp_features["size"], str(100 * 1024), "SIZE")
        refused = client.sendmail("s@in.test", [f"u{i}@a.test" for i in range(120)],
                                  make_content())
        check_equal(len(refused), 20, "recipients refused")
        check_equal(set(code for code, _ in refused.values()), {452}, "their code")
        try:
            client.sendmail("s@in.test", "a@a.test", make_content(size=300_000))
            raise Failure("a message over the limit was taken")
        except smtplib.SMTPSenderRefused as error:
            check_equal(error.smtp_code, 552, "code at MAIL")
        check_equal(client.docmd("WIZ")[0], 500, "an unknown command")


# ---- receivers ------------------------------------------------------------------------------


def messages_in(folder):
    """Of a maildir."""
    return [path.read_bytes() for path in (folder / "new").glob("*")] if folder.exists() else []


def send_to_maildir(world, engine, folder, count=20):
    """Sends messages with dots and long lines; all must arrive with their bodies unchanged."""
    bodies = [b".%d\r\n..\r\n" % i + b"x" * 900 + b"\r\n.\r\nend %d\r\n" % i for i in range(count)]
    with world.client() as client:
        client.hello()
        for number, body in enumerate(bodies):
            client.message(f"user{number % 3}@a.test", body=body, subject=f"number {number}",
                           vmta=f"v{1 + number % 2}")
    engine.wait_records("d", count, 60)
    wait_for(lambda: len(messages_in(folder)) == count, "all are in the maildir", 30)
    lines = [one.replace(b"\r\n", b"\n") for one in messages_in(folder)]
    seen = sorted(one.partition(b"\n\n")[2].rstrip(b"\n") for one in lines)
    wanted = sorted(one.replace(b"\r\n", b"\n").rstrip(b"\n") for one in bodies)
    check(seen == wanted, "the bodies are as they were")
    return lines


@test("posthaste → aiosmtpd")
def aiosmtpd(world):
    folder = world.short / "maildir"
    receiver = world.start(DEBIAN_PYTHON, "-m", "aiosmtpd", "-n", "-l",
                           f"{world.address(11)}:{PORT}", "-c", "aiosmtpd.handlers.Mailbox",
                           folder)
    wait_listening(world.address(11), PORT, receiver)
    world.destinations["*"] = f"[{world.address(11)}]:{PORT}"
    engine = world.engine()
    send_to_maildir(world, engine, folder)


POSTFIX_MAIN = """\
compatibility_level = 3.6
queue_directory = {queue}
data_directory = {data}
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
mail_owner = postfix
setgid_group = postdrop
inet_interfaces = all
inet_protocols = ipv4
myhostname = postfix.example.test
mydestination =
mynetworks = 127.0.0.0/8
virtual_mailbox_domains = a.test
virtual_mailbox_base = {base}
virtual_mailbox_maps = static:maildir/
virtual_uid_maps = static:{uid}
virtual_gid_maps = static:{gid}
virtual_minimum_uid = 1
maillog_file_prefixes = {base}
maillog_file = {base}/log
smtpd_client_connection_count_limit = 0
smtpd_tls_security_level = may
smtpd_tls_chain_files = {base}/chain.pem
"""
POSTFIX_MASTER = """\
{address}:{port} inet n - n - - smtpd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
local unix - n n - - local
virtual unix - n n - - virtual
lmtp unix - - n - - lmtp
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
"""


class Postfix:
    """A Postfix of this test's own."""

    def __init__(self, world, last):
        self.world, self.address = world, world.address(last)
        base = open_folder(world, "postfix")
        user = pwd.getpwnam("postfix")
        nobody = pwd.getpwnam("nobody")
        self.folder = base / "maildir"
        os.chown(base, nobody.pw_uid, nobody.pw_gid)
        certificate, secret = make_certificate(world.work, "postfix")
        (base / "chain.pem").write_bytes(secret.read_bytes() + certificate.read_bytes())
        self.conf = base / "conf"
        for name in ("conf", "queue", "data"):
            (base / name).mkdir()
        os.chown(base / "data", user.pw_uid, user.pw_gid)
        (self.conf / "main.cf").write_text(POSTFIX_MAIN.format(
            queue=base / "queue", data=base / "data", base=base, address=self.address,
            uid=nobody.pw_uid, gid=nobody.pw_gid))
        (self.conf / "master.cf").write_text(POSTFIX_MASTER.format(address=self.address,
                                                                   port=PORT))
        for name in ("postfix-files", "dynamicmaps.cf"):
            if Path("/etc/postfix", name).exists():
                shutil.copy(Path("/etc/postfix", name), self.conf / name)
        run(f"{SBIN}/postfix", "-c", self.conf, "check")
        self.process = world.start("/usr/lib/postfix/sbin/master", "-c", self.conf, "-d")
        wait_listening(self.address, PORT, self.process)
        world.destinations["*"] = f"[{self.address}]:{PORT}"


@test("posthaste → Postfix, over TLS, into a maildir", needs="postfix")
def postfix(world):
    receiver = Postfix(world, 11)
    engine = world.engine()
    lines = send_to_maildir(world, engine, receiver.folder)
    records = engine.records("d")
    check(all(one["dlvTlsProtocol"] == "TLSv1.3" for one in records), str(records[0]))
    check(any(b"v2.example.test" in one for one in lines), "the second virtual MTA's name")


@test("posthaste → Postfix that refuses, defers and greylists: each has its record",
      needs="postfix")
def postfix_refuses(world):
    receiver = Postfix(world, 11)
    access = receiver.conf / "access"
    access.write_text("/^no@/ 550 5.7.1 refused\n/^later@/ 450 4.7.1 greylisted\n/./ OK\n")
    with open(receiver.conf / "main.cf", "a", encoding="utf-8") as file:
        file.write(f"smtpd_recipient_restrictions = check_recipient_access regexp:{access}\n")
    run(f"{SBIN}/postfix", "-c", receiver.conf, "reload")
    time.sleep(1)
    engine = world.engine(domain="retry-recipients-after 1h")
    world.send(["no@a.test", "later@a.test", "yes@a.test"])
    engine.wait_records("d", 1)
    seen = {one["rcpt"]: (one["type"], one["smtpCode"]) for one in engine.records("d", "b", "t")}
    check_equal(seen, {"no@a.test": ("b", 550), "later@a.test": ("t", 450),
                       "yes@a.test": ("d", 250)}, "records")


OPENSMTPD = """\
listen on {address} port {port} hostname opensmtpd.example.test
action "store" maildir "{folder}" virtual {{ "@" = nobody }}
match from any for domain "a.test" action "store"
"""
# In a mount namespace of its own: paths and users that are compiled in, without a trace outside.
OPENSMTPD_START = """\
set -e
root=$1 base=$2
mount --make-rprivate /
cp /etc/passwd /etc/group "$base"
echo 'opensmtpd:x:64001:64001::/var/lib/opensmtpd/empty:/usr/sbin/nologin' >>"$base/passwd"
echo 'opensmtpq:x:64002:64002::/var/lib/opensmtpd/empty:/usr/sbin/nologin' >>"$base/passwd"
echo 'opensmtpd:x:64001:' >>"$base/group"
echo 'opensmtpq:x:64002:' >>"$base/group"
mount --bind "$base/passwd" /etc/passwd
mount --bind "$base/group" /etc/group
for folder in /var/spool /var/lib /run /usr/libexec; do
    mkdir -p $folder
    mount -t tmpfs none $folder
done
mkdir -m 711 -p /var/spool/smtpd /var/lib/opensmtpd/empty
cp -r "$root/usr/libexec/opensmtpd" /usr/libexec/
exec "$root/usr/sbin/smtpd" -d -f "$base/smtpd.conf"
"""


def unpack_opensmtpd(world):
    """Debian's package cannot stand beside Postfix: it is only unpacked."""
    root = world.build / "peers" / "opensmtpd"
    if not (root / "usr/sbin/smtpd").exists():
        root.mkdir(exist_ok=True)
        if subprocess.run(["apt-get", "download", "opensmtpd"], cwd=root, capture_output=True,
                          timeout=300, check=False).returncode != 0:
            run("apt-get", "update", seconds=300)  # this machine has no lists yet
            run("apt-get", "download", "opensmtpd", cwd=root, seconds=300)
        run("dpkg", "-x", next(root.glob("opensmtpd_*.deb")), root)
    return root


@test("posthaste → OpenSMTPD, into a maildir", needs="dpkg")
def opensmtpd(world):
    root, base = unpack_opensmtpd(world), open_folder(world, "opensmtpd")
    folder = base / "mail"
    folder.mkdir()
    nobody = pwd.getpwnam("nobody")
    os.chown(folder, nobody.pw_uid, nobody.pw_gid)
    (base / "smtpd.conf").write_text(OPENSMTPD.format(address=world.address(11), port=PORT,
                                                      folder=folder / "maildir"))
    receiver = world.start("unshare", "--mount", "bash", "-c", OPENSMTPD_START, "bash", root, base)
    wait_listening(world.address(11), PORT, receiver)
    world.destinations["*"] = f"[{world.address(11)}]:{PORT}"
    engine = world.engine()
    send_to_maildir(world, engine, folder / "maildir")


# ---- DNS ------------------------------------------------------------------------------------

NSD = """\
server:
    ip-address: {address}@5353
    server-count: 1
    username: ""
    chroot: ""
    zonesdir: "{folder}"
    pidfile: "{folder}/nsd.pid"
    logfile: "{folder}/nsd.log"
    xfrdfile: "{folder}/xfrd.state"
    xfrdir: "{folder}"
    zonelistfile: "{folder}/zone.list"
    database: ""
remote-control:
    control-enable: no
zone:
    name: "test"
    zonefile: "test.zone"
"""
ZONE = """\
$ORIGIN test.
$TTL 300
@ IN SOA ns.test. root.test. 1 3600 600 86400 60
@ IN NS ns.test.
ns IN A {name_server}
a IN MX 20 mx2.a.test.
a IN MX 10 mx1.a.test.
mx1.a IN A {first}
mx2.a IN A {second}
b IN MX 5 dead.test.
b IN MX 10 mx2.a.test.
dead IN A {dead}
c IN A {first}
null IN MX 0 .
"""


@test("NSD: delivery by MX, by address, by the second MX; a null MX and a name that is not there",
      needs="nsd")
def nsd(world):
    first, second = world.mx(11), world.mx(12)
    folder = open_folder(world, "nsd")
    (folder / "nsd.conf").write_text(NSD.format(address=world.address(53), folder=folder))
    (folder / "test.zone").write_text(ZONE.format(
        name_server=world.address(53), first=first.address, second=second.address,
        dead=world.address(13)))
    server = world.start(f"{SBIN}/nsd", "-d", "-c", folder / "nsd.conf")
    wait_listening(world.address(53), 5353, server)
    engine = world.engine(globals=f"name-server {world.address(53)}:5353", routes=" ")
    for domain in ("a.test", "b.test", "c.test", "null.test", "gone.test"):
        world.send(f"u@{domain}")
    engine.wait_records("d", 3)
    engine.wait_records("b", 2)
    check_equal(first.delivered, ["u@a.test", "u@c.test"], "delivered at the first host")
    check_equal(second.delivered, ["u@b.test"], "delivered at the second host")
    seen = {one["rcpt"]: one["dsnStatus"].split()[0] for one in engine.records("b")}
    check_equal(seen, {"u@null.test": "5.1.10", "u@gone.test": "5.1.2"}, "bounces")


if __name__ == "__main__":
    sys.exit(main(__doc__.splitlines()[0]))
