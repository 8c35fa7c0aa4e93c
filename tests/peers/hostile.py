#!/usr/bin/env python3
"""Hostile peers, clients and starts: the rows of the table of hostile cases that a real socket
shows in seconds.

    tests/peers/hostile.py BUILD [ROW…]"""
import sys

import hostile_clients  # noqa: F401: registers its tests
import hostile_commands  # noqa: F401
import hostile_mx  # noqa: F401
import hostile_start  # noqa: F401
from harness import main

if __name__ == "__main__":
    sys.exit(main(__doc__.splitlines()[0]))
