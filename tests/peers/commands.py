#!/usr/bin/env python3
"""What operators' commands show and do, with the engine and its peers: a test for each.

    tests/peers/commands.py BUILD [NAME…]"""
import sys

from harness import check, check_equal, main, test, wait_for
from mx import Delay

PROVIDERS = """\
<provider big>
    max-smtp-out 7
    max-msg-rate 100/h
</provider>
<provider small>
    max-connect-rate 5/m
</provider>
<domain a.test>
    provider big
</domain>
<domain b.test>
    provider big
</domain>
"""


@test("show topdomains: sums over virtual MTAs, the largest first, as many as asked")
def top_domains(world):
    engine = world.engine(workers=2)
    engine.control("pause queue", "*/*")
    for count, domain, vmta in ((1, "a.test", "v1"), (2, "b.test", "v1"), (3, "c.test", "v1"),
                                (4, "b.test", "v2")):
        world.send([f"u{i}@{domain}" for i in range(count)], vmta=vmta)
    answer = engine.control("show topdomains")
    check_equal([(row["name"], row["rcpts"]) for row in answer["domains"]],
                [("b.test", 6), ("c.test", 3), ("a.test", 1)], "domains")
    answer = engine.control("show topdomains", maxitems=1)
    check_equal([row["name"] for row in answer["domains"]], ["b.test"], "the largest")
    check_equal(answer["total"], 3, "how many there are")
    code, out, _ = engine.command("show", "topdomains", "--maxitems=2")
    check(code == 0 and out.index("b.test") < out.index("c.test") and "a.test" not in out, out)


@test("show providers: what waits over all its domains and virtual MTAs, connections, caps")
def providers(world):
    mx = world.mx(final=[Delay(3), "250 taken"])
    engine = world.engine(workers=2, extra=PROVIDERS)
    world.send("u1@a.test", vmta="v1")
    world.send("u2@b.test", vmta="v2")
    world.send("u3@c.test", vmta="v2")
    wait_for(lambda: len(mx.messages) + len(mx.transactions) >= 3, "all are on the wire")
    engine.control("pause queue", "*/*")
    world.send(["u4@a.test", "u5@a.test"], vmta="v2")
    answer = engine.control("show providers")
    rows = {row.pop("name"): row for row in answer["providers"]}
    check_equal(list(rows), ["big", "small"], "providers in the order of the file")
    size = rows["big"].pop("bytes")
    check_equal(rows["big"], {"rcpts": 4, "ready": 2, "connections": 2, "maxSmtpOut": "7",
                              "maxMsgRate": "100/h", "maxConnectRate": "unlimited"}, "big")
    check(size > 0 and rows["small"]["rcpts"] == rows["small"]["connections"] == 0, rows)
    code, out, _ = engine.command("show", "providers")
    check(code == 0 and "100/h" in out and "5/m" in out, out)


if __name__ == "__main__":
    sys.exit(main(__doc__.splitlines()[0]))
