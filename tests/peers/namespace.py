"""A network of its own: for tests in which addresses vanish or ports run out.

The engine runs inside it; a test makes its sockets there by `call`. Needs root."""
import ctypes
import os
import subprocess
import threading

CLONE_NEWNET = 0x40000000
libc = ctypes.CDLL(None, use_errno=True)


class Namespace:
    """Loopback is up. `addresses` are added to it."""

    def __init__(self, world, *addresses):
        self.holder = world.start("unshare", "--net", "sleep", "300")
        self.file = None
        own = os.readlink("/proc/self/ns/net")
        path = f"/proc/{self.holder.popen.pid}/ns/net"
        while self.file is None:
            if os.readlink(path) != own:
                self.file = os.open(path, os.O_RDONLY)
        self.command("ip", "link", "set", "lo", "up")
        for address in addresses:
            self.command("ip", "address", "add", address, "dev", "lo")

    def enter(self):
        """This thread, or this process between fork and exec, is inside from here on."""
        if libc.setns(self.file, CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), "setns")

    def call(self, function, *arguments, **options):
        """Calls the function inside, in a thread of its own; the sockets it makes stay there."""
        result = []

        def inside():
            self.enter()
            result.append(function(*arguments, **options))

        thread = threading.Thread(target=inside)
        thread.start()
        thread.join()
        if not result:
            raise OSError("the call inside the namespace failed")
        return result[0]

    def command(self, *words):
        subprocess.run([str(word) for word in words], check=True, capture_output=True,
                       preexec_fn=self.enter)

    def set(self, name, value):
        """A network setting, as net.ipv4.ip_local_port_range."""
        self.command("sysctl", "-q", "-w", f"{name}={value}")
