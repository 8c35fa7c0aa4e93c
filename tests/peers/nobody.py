"""A program without rights. It may pass folders that are closed to others and read in them, or it
would not come as far as the test wants it to where the checkout lies in /root."""
import os
import pwd

NOBODY = pwd.getpwnam("nobody")
READS_ALL = "-all,+dac_read_search"
AS_NOBODY = ("setpriv", "--reuid", str(NOBODY.pw_uid), "--regid", str(NOBODY.pw_gid),
             "--clear-groups", "--inh-caps", READS_ALL, "--ambient-caps", READS_ALL)


def give_to_nobody(world):
    """All of the world's folders and what is in them."""
    for path in (world.work, world.short, *world.work.rglob("*"), *world.short.rglob("*")):
        os.chown(path, NOBODY.pw_uid, NOBODY.pw_gid)
