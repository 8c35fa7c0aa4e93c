"""Runs every fuzz target for a short while on its corpus; prints "N passed, N failed".

smoke.py BUILD [SECONDS]: seconds are for each target; as many run at once as there are cores. What
a run finds stays in BUILD/findings, and the inputs that reach new code in BUILD/corpus."""
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

SOURCES = Path("tests/fuzz")
INPUT_SECONDS = 10  # that one input may take: a loop without an end is a finding
OVER = 120          # seconds after its time by which a target has ended


def fuzz(build, name, seconds):
    """(name, whether it is good, what to say when not)."""
    corpus = SOURCES / name.replace("fuzz_", "corpus_")
    fresh = build / "corpus" / name
    fresh.mkdir(parents=True, exist_ok=True)
    try:
        run = subprocess.run([str(build / "tests" / "fuzz" / name), f"-max_total_time={seconds}",
                              f"-timeout={INPUT_SECONDS}", "-print_final_stats=1",
                              f"-artifact_prefix={build}/findings/{name}-", str(fresh),
                              *([str(corpus)] if corpus.is_dir() else [])],
                             capture_output=True, text=True, errors="replace",
                             timeout=seconds + OVER)
    except OSError as error:
        return name, False, f"not built: {error}"
    except subprocess.TimeoutExpired:
        return name, False, f"did not end within {seconds + OVER} s"
    return name, run.returncode == 0, run.stderr[-4000:]


def main():
    build = Path(sys.argv[1]).resolve()
    seconds = int(sys.argv[2]) if len(sys.argv) > 2 else 10
    (build / "findings").mkdir(exist_ok=True)
    names = sorted(path.stem for path in SOURCES.glob("fuzz_*.c"))
    failed = 0
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for name, good, text in pool.map(lambda name: fuzz(build, name, seconds), names):
            if not good:
                failed += 1
                print(f"{name}: {text}")
    print(f"{len(names) - failed} passed, {failed} failed")
    return 1 if failed or not names else 0


if __name__ == "__main__":
    sys.exit(main())
