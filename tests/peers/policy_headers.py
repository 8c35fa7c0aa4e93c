#!/usr/bin/env python3
"""What directives do to the header and the envelope of a message, seen at the sink.

    tests/peers/policy_headers.py BUILD [NAME…]"""
import sys

from harness import check, check_equal, main, test, wait_for


def at_sink(mx, count=1):
    """What the sink got, by recipient."""
    wait_for(lambda: len(mx.messages) >= count, lambda: f"{count} messages: {mx.messages}")
    return {one.accepted_rcpts[0]: one.data for one in mx.messages}


# effect: source retain-x-virtual-mta
# effect: source retain-x-job
@test("retain-x-…: the control header is obeyed, and stays where it stood")
def retain(world):
    mx = world.mx()
    engine = world.engine(source="add-received-header no\nretain-x-virtual-mta yes\n"
                                 "retain-x-job yes")
    content = b"A: 1\r\nX-Virtual-MTA: v2\r\nx-job : j7\r\nX-Envid: e\r\nB: 2\r\n\r\nx\r\n"
    world.send(content=content)
    check_equal(at_sink(mx)["user@a.test"], content.replace(b"X-Envid: e\r\n", b""), "the message")
    record = engine.wait_records("d", 1)[0]
    check_equal((record["vmta"], record["jobId"]), ("v2", "j7"), "vmta, jobId")


@test("retain-x-…: each for itself; add-x-virtual-mta-header writes the only one")
def retain_one(world):
    mx = world.mx()
    engine = world.engine(source="add-received-header no\nretain-x-job yes")
    content = b"A: 1\r\nX-Virtual-MTA: v2\r\nX-Job: j7\r\nB: 2\r\n\r\nx\r\n"
    world.send("a@a.test", content=content)
    engine.write(source="add-received-header no\nretain-x-virtual-mta yes\n"
                        "add-x-virtual-mta-header yes")
    engine.control("reload")
    world.send("b@a.test", content=content)
    check_equal(at_sink(mx, 2), {"a@a.test": b"A: 1\r\nX-Job: j7\r\nB: 2\r\n\r\nx\r\n",
                                 "b@a.test": b"A: 1\r\nB: 2\r\nX-Virtual-MTA: v2\r\n\r\nx\r\n"},
                "the messages")


if __name__ == "__main__":
    sys.exit(main(__doc__.splitlines()[0]))
