"""What the campaign and the kill test share: three virtual MTAs, one sink, its record."""
from harness import PORT, wait_for
from receivers import Line

VMTAS = ("red", "green", "blue")

CONFIGURATION = """\
host-name in.example.test
{listeners}
control-socket {control}
{spools}
workers {workers}
{sources}
{vmtas}
<domain *>
    smtp-hosts [{sink}]:{port}
    max-smtp-out 4
    connection-idle-timeout 1s
    retry-after 1s
    retry-recipients-after 1s
    use-starttls no
</domain>
<acct-file {work}/acct.csv>
    records d,b,t,tq
    max-size 1g
</acct-file>
"""


def configuration(world, workers, sink, spools=("spool",)):
    """Virtual MTA number n: listener .1+n, source address .101+n."""
    for spool in spools:
        (world.work / spool).mkdir(exist_ok=True)
    listeners, sources, vmtas = "", "", ""
    for number, vmta in enumerate(VMTAS):
        listeners += f"smtp-listener {world.address(1 + number)}:{PORT} source={vmta}-in\n"
        sources += (f"<source {vmta}-in>\nalways-allow-relaying yes\n"
                    f"default-virtual-mta {vmta}\nsmtp-max-connections-per-ip 1000\n</source>\n")
        vmtas += (f"<virtual-mta {vmta}>\nsmtp-source-host {world.address(101 + number)} "
                  f"{vmta}.example.test\n</virtual-mta>\n")
    return CONFIGURATION.format(listeners=listeners, sources=sources, vmtas=vmtas, sink=sink,
                                port=PORT, work=world.work, workers=workers,
                                spools="".join(f"<spool {world.work}/{spool}>\n</spool>\n"
                                               for spool in spools),
                                control=world.short / "control.sock")


def start_sink(world, *options):
    record = world.work / "sink.record"
    sink = world.start(world.build / "bench" / "sink", "--listen", f"{world.address(11)}:{PORT}",
                       "--record", record, *options)
    wait_for(lambda: "listening on" in sink.text(), "the sink listens")
    return sink, record


def read_line(text):
    """Of the sink's record; its columns are in bench/sink_record.h."""
    fields = text.rstrip("\n").split("\t")
    return Line(source=fields[1], hello=fields[2], sender=fields[3], rcpts=fields[4].split(","),
                digest=fields[6], time_us=int(fields[0]), connected_us=int(fields[10]))


def read_record(path):
    with open(path, encoding="utf-8") as file:
        return [read_line(text) for text in file]
