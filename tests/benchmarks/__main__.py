"""`python -m tests.benchmarks [NAME ...] [--json] [--max N]`: measure, and print what was measured.

Each other module of this package with a function `run(max_size: int | None) -> Figures` is a benchmark and
goes by its name. With `--json` the last line is one JSON object (a line for each of several benchmarks).
"""

import argparse
import importlib
import pkgutil
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "cloud")]

from tests import benchmarks  # noqa: E402
from tests.benchmarks.figures import Figures  # noqa: E402
from tests.lab.machine import end_as_by_ctrl_c  # noqa: E402


def names() -> list[str]:
    """The benchmarks that there are."""
    modules = [module.name for module in pkgutil.iter_modules(benchmarks.__path__)]
    source = {name: Path(benchmarks.__path__[0]) / f"{name}.py" for name in modules}
    return [name for name in modules if source[name].is_file() and "\ndef run(" in source[name].read_text()]


def main() -> int:
    """Run the benchmarks that the command line names, all by default."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__.splitlines()[0])
    parser.add_argument("name", nargs="*", help=f"one or more of: {', '.join(names())} (default: all)")
    parser.add_argument("--json", action="store_true", help="end with one JSON object a benchmark")
    parser.add_argument("--max", type=int, help="largest size to measure")
    options = parser.parse_args()
    for name in options.name:
        if name not in names():
            print(f"benchmarks: there is no {name}; there are {', '.join(names())}", file=sys.stderr)
            return 2
    end_as_by_ctrl_c()
    for name in options.name or names():
        result: Figures = importlib.import_module(f"tests.benchmarks.{name}").run(options.max)
        print(result.to_json() if options.json else result.to_text(), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
