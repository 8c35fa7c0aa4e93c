"""What tests of limits measure at the receiving host."""


def three_sources(world):
    """A virtual MTA of three addresses, and they."""
    addresses = [world.address(last) for last in (103, 104, 105)]
    hosts = "".join(f"smtp-source-host {one} s.example.test\n" for one in addresses)
    return f"<virtual-mta three>\n{hosts}</virtual-mta>", addresses


def most_at_once(sessions):
    """Sessions open at the same time, at most. An end the sink has not seen is in the future."""
    steps = []
    for one in sessions:
        steps += [(one.begun, 1), (one.ended or float("inf"), -1)]
    now = most = 0
    for _, step in sorted(steps):
        now += step
        most = max(most, now)
    return most


def most_in_window(times, seconds):
    times = sorted(times)
    return max(sum(begin <= one < begin + seconds for one in times) for begin in times)
