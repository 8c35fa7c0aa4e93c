#!/usr/bin/env python3
"""The files of config/providers: they load, know what the providers say, and hold what they say.

    tests/peers/policy_providers.py BUILD [NAME…]"""
import sys
from pathlib import Path

from harness import check, check_equal, main, test, wait_for
from mx import Delay

PROVIDERS = Path(__file__).resolve().parents[2] / "config" / "providers"
NAMES = ["apple", "comcast", "gmail", "gmx", "microsoft", "microsoft365", "orange", "yahoo"]

MINIMAL = """\
host-name mail.example.com
smtp-source-host 192.0.2.10 mail.example.com
smtp-listener 127.0.0.1:2525
<source 127.0.0.1>
    always-allow-relaying yes
</source>
<spool {work}/spool>
</spool>
"""

# What the hosts say, with addresses of documentation in place of real ones, and the actions of the
# rule that is to fire; None: no rule's, the recipient alone waits or bounces.
BACKOFF_4H, BACKOFF_1H = "mode=backoff duration=4h", "mode=backoff duration=1h"
BACKOFF_30M, BACKOFF_15M = "mode=backoff duration=30m", "mode=backoff duration=15m"
DISABLE = "disable-source-ip reenable-after=12h"
HOLD = "defer-queue duration=4h"
TENTH = "mode=backoff duration=1h trigger=10/10m"

GMAIL = [
    ("421-4.7.28 [192.0.2.10] Our system has detected an unusual rate of\r\n"
     "421-4.7.28 unsolicited mail originating from your IP address. To protect our\r\n"
     "421-4.7.28 users from spam, mail sent from your IP address has been temporarily\r\n"
     "421-4.7.28 rate limited. Please visit\r\n"
     "421-4.7.28 https://support.google.com/mail/?p=UnsolicitedRateLimitError to\r\n"
     "421 4.7.28 review our Bulk Email Senders Guidelines. 5b1f17b1804b1 - gsmtp", BACKOFF_4H),
    ("421 4.7.28 Gmail has detected an unusual rate of mail originating from your DKIM domain "
     "example.org. To protect our users from spam, mail has been temporarily rate limited. - gsmtp",
     BACKOFF_4H),
    ("421-4.7.0 [192.0.2.10      15] Our system has detected that this message is\r\n"
     "421-4.7.0 suspicious due to the very low reputation of the sending IP address.\r\n"
     "421 4.7.0 To protect our users from spam, mail sent from your IP address has been\r\n",
     BACKOFF_4H),
    ("550 5.7.1 [192.0.2.10] Our system has detected an unusual rate of unsolicited mail "
     "originating from your IP address. To protect our users from spam, mail sent from your IP "
     "address has been blocked.", DISABLE),
    ("550 5.7.28 There is an unusual rate of unsolicited mail originating from your IP address. To "
     "protect our users from spam, mail sent from your IP address has been blocked.", DISABLE),
    ("421 4.4.5 Server busy, try again later. - gsmtp", BACKOFF_30M),
    ("421 4.3.0 Temporary System Problem. Try again later. - gsmtp", BACKOFF_30M),
    ("421 4.7.0 Try again later, closing connection. - gsmtp", BACKOFF_30M),
    ("450 4.2.1 The user you are trying to contact is receiving mail at a rate that prevents "
     "additional messages from being delivered. - gsmtp", None),
    ("421 4.7.32 Your email has been rate limited because the From: header (RFC5322) in this "
     "message isn't aligned with either the authenticated SPF or DKIM organizational domain.",
     None),
    ("452 4.2.2 The email account that you tried to reach is over quota. - gsmtp", None),
    ("550 5.1.1 The email account that you tried to reach does not exist. - gsmtp", None),
]
YAHOO = [
    ("421 4.7.0 [TSS04] Messages from 192.0.2.10 temporarily deferred due to unexpected volume or "
     "user complaints - 4.16.55.1; see https://postmaster.yahooinc.com/error-codes", BACKOFF_4H),
    ("421 4.7.0 [TSS05] Messages from 192.0.2.10 temporarily deferred due to unexpected volume or "
     "user complaints - 4.16.55.1; see https://postmaster.yahooinc.com/error-codes", BACKOFF_4H),
    ("421 4.7.0 [TS01] Messages from 192.0.2.10 temporarily deferred due to user complaints - "
     "4.16.55.1; see http://postmaster.yahoo.com/421-ts01.html", BACKOFF_4H),
    ("421 Message from 192.0.2.10 temporarily deferred - 4.16.50", BACKOFF_4H),
    ("421 4.7.1 [TS03] All messages from 192.0.2.10 will be permanently deferred; Retrying will NOT "
     "succeed. See https://help.yahoo.com/kb/postmaster/SLN3436.html", HOLD),
    ("553 5.7.2 [TSS09] All messages from 192.0.2.10 will be permanently deferred; Retrying will "
     "NOT succeed. See https://postmaster.yahooinc.com/error-codes", HOLD),
    ("451 VS1-IP Excessive unknown recipients - possible Open Relay (#4.1.8)", BACKOFF_4H),
    ("451 Resources temporarily not available - Please try again later", BACKOFF_30M),
    ("553 5.7.1 [BL21] Connections will not be accepted from 192.0.2.10, because the ip is in "
     "Spamhaus's list; see http://postmaster.yahoo.com/550-bl23.html", DISABLE),
    ("553 5.7.1 [BL23] Connections not accepted from IP addresses on Spamhaus XBL; see "
     "http://postmaster.yahoo.com/errors/550-bl23.html", DISABLE),
    ("421 Max message per connection reached, closing transmission channel", None),
    ("450 User is receiving mail too quickly", None),
    ("451 Message temporarily deferred due to unresolvable RFC.5321 from domain. See "
     "https://senders.yahooinc.com/error-codes#unresolvable-from-domain", None),
    ("554 Message not allowed - [PH01] Email not accepted for policy reasons. Please visit "
     "https://postmaster.yahooinc.com/error-codes", None),
    ("554 delivery error: dd This user doesn't have a yahoo.com account (jane@yahoo.com)", None),
]
MICROSOFT = [
    ("421 RP-001 (SNT0-MC2-F19) Unfortunately, some messages from 192.0.2.10 weren't sent. Please "
     "try again. We have limits for how many messages can be sent per hour and per day.",
     BACKOFF_4H),
    ("451 4.7.650 The mail server [192.0.2.10] has been temporarily rate limited due to IP "
     "reputation. For e-mail delivery information, see https://aka.ms/postmaster (S775) "
     "[Name=Protocol Filter Agent][AGT=PFA]", BACKOFF_4H),
    ("451 4.7.651 The mail server [192.0.2.10] has been temporarily rate limited due to IP "
     "reputation. For e-mail delivery information, see https://postmaster.live.com (S3114)",
     BACKOFF_4H),
    ("451 4.7.500 Server busy. Please try again later from [192.0.2.10]. (AS77712344) "
     "[x.prod.protection.outlook.com]", BACKOFF_1H),
    ("451 4.7.700 PFA agent busy, please try again. [x.prod.protection.outlook.com]", BACKOFF_15M),
    ("550 5.7.1 Unfortunately, messages from [192.0.2.10] weren't sent. Please contact your "
     "Internet service provider since part of their network is on our block list (S3150). You can "
     "also refer your provider to http://mail.live.com/mail/troubleshooting.aspx#errors.", DISABLE),
    ("550 5.7.1 Unfortunately, messages from [192.0.2.10] weren't sent. Please contact your "
     "Internet service provider since part of their network is on our block list (S3140).",
     DISABLE),
    ("550 5.7.515 Access denied, sending domain example.org does not meet the required "
     "authentication level.", None),
    ("550 5.5.0 Requested action not taken: mailbox unavailable (S2017062302).", None),
]
MICROSOFT_365 = [
    ("421 4.3.2 The maximum number of concurrent connections per resource forest has exceeded a "
     "limit, closing transmission channel. PRX8", BACKOFF_15M),
    ("451 4.7.500 Server busy. Please try again later from [192.0.2.10]. (AS77712344)", BACKOFF_1H),
    ("451 4.7.550 Access denied, please try again later", BACKOFF_1H),
    ("451 4.7.860 Access denied, please try again later", BACKOFF_1H),
    ("550 5.7.606 Access denied, banned sending IP [192.0.2.10]. To request removal from this list "
     "please visit https://sender.office.com/ and follow the directions. (AS16012609)", DISABLE),
    ("550 5.7.511 Access denied, banned sender[192.0.2.10].", DISABLE),
    ("550 5.7.1 Service unavailable, Client host [192.0.2.10] blocked using Spamhaus. To request "
     "removal from this list see (AS16012611)", DISABLE),
    ("550 5.7.513 Service unavailable, Client host [192.0.2.10] blocked by example.com using "
     "Customer Block list (AS16012607)", None),
    ("550 5.4.1 Recipient address rejected: Access denied.", None),
    ("451 4.7.0 Temporary server error. Please try again later. PRX4 NextHop:", None),
]
APPLE = [
    ("421 4.7.1 Messages to jane@icloud.com deferred due to excessive volume. Try again later - "
     "https://support.apple.com/en-us/HT204137", BACKOFF_1H + " trigger=5/10m"),
    ("451 4.7.1 Service unavailable - try again later", BACKOFF_30M),
    ("550 5.7.1 [CS01] Message rejected due to local policy. Please visit "
     "https://support.apple.com/en-us/HT204137", TENTH),
    ("554 5.7.1 [HM08] Message rejected due to local policy. Please visit "
     "https://support.apple.com/en-us/HT204137", TENTH),
    ("550 5.7.0 Blocked - see https://support.proofpoint.com/dnsbl-lookup.cgi?ip=192.0.2.10",
     DISABLE),
    ("550 5.7.1 Mail from IP 192.0.2.10 was rejected due to listing in Spamhaus SBL. For details "
     "please see http://www.spamhaus.org/query/bl?ip=192.0.2.10", DISABLE),
    ("550 5.7.1 Your email was rejected due to having a domain present in the Spamhaus DBL -- see "
     "https://www.spamhaus.org/dbl/", None),
    ("554 5.7.1 Your message was rejected due to example.jp's DMARC policy.", None),
    ("550 5.1.1 <jane@icloud.com>: user does not exist", None),
    ("552 5.2.2 <jane@icloud.com>: user is over quota", None),
]
GMX = [
    ("421-web.de (mxweb113) Nemesis ESMTP Service not available\r\n421-Service unavailable\r\n"
     "421-Reject due to policy restrictions\r\n"
     "421 For explanation visit https://postmaster.web.de/en/case?c=r0602&i=ip&v=192.0.2.10",
     BACKOFF_4H),
    ("421 Rate limit reached. Please try again later", BACKOFF_4H),
    ("450 Reject due to policy violations.", BACKOFF_4H),
    ("554-gmx.net (mxgmx104) Nemesis ESMTP Service not available\r\n554-No SMTP service\r\n"
     "554-IP address is block listed.\r\n554 For explanation visit "
     "https://postmaster.gmx.net/en/case?c=r0201&i=ip&v=192.0.2.10&r=1MNcgj-1ue23t3pyV-00S2YR",
     DISABLE),
    ("451 Requested action aborted: local error in processing", None),
    ("550 Requested action not taken: mailbox unavailable", None),
    ("550 Reject due to SPF policy. The originating IP of the message is not permitted by the "
     "domain owner", None),
]
ORANGE = [
    ("421 mwinf5c04 ME Trop de connexions, veuillez verifier votre configuration. Too many "
     "connections, slow down. OFR004_104 [104]", BACKOFF_1H),
    ("421 mwinf5c77 ME Service refuse. Veuillez essayer plus tard. Service refused, please try "
     "later. OFR_999 [999]", BACKOFF_4H),
    ("421 4.2.0 Service refuse. Veuillez essayer plus tard. Service refused, please try later. "
     "OFR005_505 [505]", BACKOFF_4H),
    ("550 mwinf5c04 ME Adresse IP source bloquee pour incident de spam. Client host blocked for "
     "spamming issues. OFR006_102 Ref http://csi.cloudmark.com", DISABLE),
    ("550 5.7.1 Mail rejete. Mail rejected. OFR_506 [506]", TENTH),
    ("550 5.1.1 Adresse d au moins un destinataire invalide. Invalid recipient. OFR_416 [416]",
     None),
    ("552 5.1.1 Boite du destinataire pleine. Recipient overquota. OFR_417 [417]", None),
]
COMCAST = [
    ("421 4.1.0 192.0.2.10 Throttled - try again later. Please see "
     "http://postmaster.comcast.net/smtp-error-codes.php#RL000003", BACKOFF_1H),
    ("451 4.2.0 Throttled - https://postmaster.comcast.net/smtp-error-codes.php#RL000010",
     BACKOFF_1H),
    ("421 Too many sessions opened", BACKOFF_30M),
    ("554 resimta-po-14v.sys.comcast.net comcast 192.0.2.10 Comcast block for spam. Please see "
     "http://postmaster.comcast.net/smtp-error-codes.php#BL000000", DISABLE),
    ("421 Reverse DNS failure : Try again later", None),
    ("550 5.1.1 Not our Customer", None),
    YAHOO[0], YAHOO[4],
]
REPLIES = {"gmail.com": GMAIL, "yahoo.com": YAHOO, "aol.com": YAHOO, "hotmail.co.uk": MICROSOFT,
           "firm.onmicrosoft.com": MICROSOFT_365, "icloud.com": APPLE, "gmx.net": GMX,
           "web.de": GMX, "wanadoo.fr": ORANGE, "comcast.net": COMCAST}


@test("every file loads with `check --strict`, alone and all together")
def loads(world):
    engine = world.engine(start=False)
    check_equal(sorted(one.stem for one in PROVIDERS.glob("*.conf")), NAMES, "files")
    for name in [*NAMES, "*"]:
        engine.configuration.write_text(MINIMAL.format(work=world.work) +
                                        f"include {PROVIDERS}/{name}.conf\n")
        code, out, said = engine.command("check", "--strict")
        check(code == 0 and "0 errors, 0 warnings" in out + said, f"{name}: {out}{said}")


@test("what the providers say, and which rule of theirs it meets")
def replies(world):
    world.mx()
    engine = world.engine(globals=f"include {PROVIDERS}/*.conf")
    wrong = []
    for domain, rows in REPLIES.items():
        for text, wanted in rows:
            answer = engine.control("test-bounce", f"{domain}/v1", reply=text)
            check(not answer.get("action", {}).get("tooCostly"), text)
            seen = answer["action"]["actions"] if "action" in answer else None
            if seen != wanted:
                wrong.append(f"{domain}: {text!r}: {seen}, wanted {wanted}")
    check(not wrong, "\n".join(wrong))


@test("test-bounce prints the rule of a provider's file, and what it asks for")
def printed(world):
    world.mx()
    engine = world.engine(globals=f"include {PROVIDERS}/*.conf")
    code, out, said = engine.command("test-bounce", MICROSOFT[5][0], "hotmail.com/v2")
    check_equal((code, said), (0, ""), out)
    check("microsoft-replies" in out and DISABLE in out and "microsoft.conf:" in out, out)
    check("not yet in effect" not in out, out)


def most_at_once(sessions):
    """The largest number of sessions that overlapped."""
    turns = sorted([(one.begun, 1) for one in sessions] +
                   [(one.ended, -1) for one in sessions if one.ended])
    most = count = 0
    for _, step in turns:
        count += step
        most = max(most, count)
    return most


# effect: provider max-smtp-out
@test("a provider's cap holds over its domains and two virtual MTAs")
def cap(world):
    mx = world.mx(11, ["orange.fr", "wanadoo.fr"], final=[Delay(0.5), "250 2.0.0 taken"])
    engine = world.engine(globals=f"include {PROVIDERS}/orange.conf")
    for i in range(4):
        for vmta in ("v1", "v2"):
            world.send(f"u{i}@orange.fr", vmta=vmta)
            world.send(f"u{i}@wanadoo.fr", vmta=vmta)
    engine.wait_records("d", 16)
    sources = {one.source for one in mx.sessions}
    check_equal(sources, {world.address(101), world.address(102)}, "source addresses")
    check_equal(most_at_once(mx.sessions), 3, "connections at once")


@test("a throttle reply puts that queue into backoff mode, and no other")
def throttled(world):
    refuse = GMAIL[0][0].replace("\r\n", "\n")
    mx = world.mx(11, ["gmail.com", "googlemail.com"], mail=lambda session, _: refuse
                  if session.source == world.address(101) else "250 2.1.0 ok")
    engine = world.engine(globals=f"include {PROVIDERS}/gmail.conf",
                          extra="<domain gmail.com>\nrequire-starttls no\n</domain>\n"
                                "<domain googlemail.com>\nrequire-starttls no\n</domain>\n")
    world.send("u1@gmail.com")
    wait_for(lambda: "queue gmail.com/v1: normal to backoff mode" in engine.process.text(),
             "backoff mode")
    world.send("u2@gmail.com", vmta="v2")
    engine.wait_records("d", 1)
    check_equal(engine.control("show queue", "gmail.com/v1")["queues"][0]["mode"], "backoff", "mode")
    check_equal(engine.process.text().count(" to backoff mode"), 1, "queues put into backoff mode")
    check_equal(len(mx.messages), 1, "messages")
    check_equal(engine.queued(), 1, "recipients that wait")


if __name__ == "__main__":
    sys.exit(main(__doc__.splitlines()[0]))
