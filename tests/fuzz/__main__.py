"""Run the fuzzer: `python -m tests.fuzz COUNT [--first NUMBER] [--base B] [--keep FOLDER]`."""

import argparse
import sys
import tempfile
from pathlib import Path

from tests.fuzz.harness import Fuzzer

parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description="Read mutated files, report what goes wrong.")
parser.add_argument("count", type=int, help="number of mutated files")
parser.add_argument("--first", type=int, default=0, help="number of the first case")
parser.add_argument("--base", type=int, default=0, help="another base gives other files")
parser.add_argument("--keep", type=Path, default=Path("build/fuzz"), help="folder for the files of findings")
options = parser.parse_args()

with tempfile.TemporaryDirectory() as folder:
    findings = 0
    for finding in Fuzzer(Path(folder) / "fuzz", options.keep, options.base).run(options.count, options.first):
        findings += 1
        print(finding, flush=True)
print(f"{options.count} files, {findings} findings" + (f", kept in {options.keep}" if findings else ""))
sys.exit(1 if findings else 0)
