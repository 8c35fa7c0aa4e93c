"""Runs every fuzz target for a short while on its corpus; prints "N passed, N failed".

smoke.py BUILD [SECONDS]: seconds are for each target. What a run finds stays in BUILD/findings."""
import os
import subprocess
import sys
from pathlib import Path


def main():
    build = Path(sys.argv[1]).resolve()
    seconds = int(sys.argv[2]) if len(sys.argv) > 2 else 10
    findings = build / "findings"
    findings.mkdir(exist_ok=True)
    passed = failed = 0
    for target in sorted((build / "tests" / "fuzz").glob("fuzz_*")):
        if not os.access(target, os.X_OK) or target.is_dir():
            continue
        corpus = Path("tests/fuzz") / target.name.replace("fuzz_", "corpus_")
        fresh = build / "corpus" / target.name
        fresh.mkdir(parents=True, exist_ok=True)
        run = subprocess.run([str(target), f"-max_total_time={seconds}", "-print_final_stats=1",
                              f"-artifact_prefix={findings}/{target.name}-", str(fresh),
                              *([str(corpus)] if corpus.is_dir() else [])],
                             capture_output=True, text=True, errors="replace")
        if run.returncode == 0:
            passed += 1
        else:
            failed += 1
            print(f"{target.name}: {run.stderr[-4000:]}")
    print(f"{passed} passed, {failed} failed")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
