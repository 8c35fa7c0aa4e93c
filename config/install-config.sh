#!/bin/sh
# Puts the starting configuration in its place, and leaves one that is there alone.
#     install-config.sh SOURCE DIRECTORY
set -eu
target="${DESTDIR:-}$2/posthaste.conf"
if [ -e "$target" ]; then
    echo "$target is kept: the new one is beside it, posthaste.conf.new"
    install -m 0644 "$1" "$target.new"
else
    install -d -m 0755 "$(dirname "$target")"
    install -m 0644 "$1" "$target"
fi
