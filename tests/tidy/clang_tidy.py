"""clang-tidy over the product's sources; prints "N passed, N failed", a file each.

clang_tidy.py BUILD: a build folder that clang compiled (its compile_commands.json)."""
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path


def check(build, name):
    run = subprocess.run(["clang-tidy", "-p", build, "--quiet", name], capture_output=True,
                         text=True)
    return name, run.returncode, run.stdout


def main():
    build = sys.argv[1]
    root = Path.cwd()
    names = set()
    for entry in json.loads(Path(build, "compile_commands.json").read_text()):
        path = (Path(entry["directory"]) / entry["file"]).resolve()
        if path.is_relative_to(root):
            name = str(path.relative_to(root))
            if name.startswith(("engine/", "policy/", "vmta/")):
                names.add(name)
    failed = 0
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for name, code, text in pool.map(lambda name: check(build, name), sorted(names)):
            if code != 0:
                failed += 1
                print(f"{name}:\n{text[-3000:]}")
    print(f"{len(names) - failed} passed, {failed} failed")
    return 1 if failed or not names else 0


if __name__ == "__main__":
    sys.exit(main())
