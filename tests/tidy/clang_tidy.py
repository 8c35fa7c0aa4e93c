"""clang-tidy over the product's sources; prints "N passed, N failed", a file each.

clang_tidy.py BUILD: a build folder that clang compiled (its compile_commands.json). A file that is
compiled more than once, for tests and fuzz targets too, is looked at as it was compiled first."""
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

PRODUCT = ("engine/", "policy/", "vmta/")
FILE_SECONDS = 120  # that one file may take


def first_commands(build, root):
    """{name: entry} of the product's sources, the first command of each that is not sanitized."""
    entries = {}
    for entry in json.loads(Path(build, "compile_commands.json").read_text()):
        path = (Path(entry["directory"]) / entry["file"]).resolve()
        name = str(path.relative_to(root)) if path.is_relative_to(root) else ""
        if name.startswith(PRODUCT) and "-fsanitize" not in entry["command"]:
            entries.setdefault(name, entry)
    return entries


def check(commands, name):
    try:
        run = subprocess.run(["clang-tidy", "-p", commands, "--quiet", name], capture_output=True,
                             text=True, timeout=FILE_SECONDS)
    except subprocess.TimeoutExpired:
        return name, False, f"not done after {FILE_SECONDS} s"
    return name, run.returncode == 0, run.stdout + ("" if run.stdout else run.stderr)


def main():
    build = Path(sys.argv[1])
    entries = first_commands(build, Path.cwd())
    commands = build / "clang-tidy"
    commands.mkdir(exist_ok=True)
    (commands / "compile_commands.json").write_text(json.dumps(list(entries.values())))
    failed = 0
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for name, good, text in pool.map(lambda name: check(commands, name), sorted(entries)):
            if not good:
                failed += 1
                print(f"{name}:\n{text[-3000:]}")
    print(f"{len(entries) - failed} passed, {failed} failed")
    return 1 if failed or not entries else 0


if __name__ == "__main__":
    sys.exit(main())
