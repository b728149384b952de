"""`repack.py TEMPLATE ZIP`: make the zip that Chalice built start fast, and be the same each time.

Called by `package`. Lambda's code folder is read-only and a plain zip holds no bytecode, so every cold start
would compile every module again. Here modules are compiled once, for the Python that the template names;
what the function never reads is left out; order and times are fixed, so that the same source gives the
same zip (with PYTHONHASHSEED set: the order of sets gets into bytecode).

botocore comes along, though Lambda has one: what is tested is what runs, and what it may pick up from
elsewhere is not. Of its 400 services' descriptions (16 of 20 MB) only those that the root calls are kept.
"""

import compileall
import json
import py_compile
import shutil
import sys
import tempfile
import zipfile
from pathlib import Path

BOTOCORE_SERVICES = frozenset({"dynamodb", "lambda", "sts"})
"""What the root calls, and what credentials of other accounts need."""
# Folders of wheels that hold C headers and libraries, and parts that the function has no use for.
UNUSED = ("include", "lib64", "urllib3/contrib/emscripten")
UNUSED_SUFFIXES = frozenset({".pyi", ".pyc", ".h", ".pxd", ".pyx"})
LAMBDA_FOLDER = "/var/task"
TIME = (1980, 1, 1, 0, 0, 0)  # the earliest that a zip can hold


class RepackError(Exception):
    """The zip can't be made as it should be; the text says why."""


def repack(template: Path, archive: Path) -> None:
    """Replace `archive` by one with bytecode and without what is not needed."""
    runtime = json.loads(template.read_text())["Resources"]["APIHandler"]["Properties"]["Runtime"]
    ours = f"python{sys.version_info.major}.{sys.version_info.minor}"
    if runtime != ours:
        raise RepackError(f"the function runs on {runtime}, but this is {ours}: its bytecode would not fit")
    with tempfile.TemporaryDirectory() as scratch:
        tree = Path(scratch) / "tree"
        with zipfile.ZipFile(archive) as old:
            old.extractall(tree)
        trim(tree)
        compile_tree(tree)
        made = Path(scratch) / "made.zip"
        write(tree, made)
        shutil.move(made, archive)


def trim(tree: Path) -> None:
    """Remove what the function never reads."""
    for name in UNUSED:
        shutil.rmtree(tree / name, ignore_errors=True)
    for folder in (tree / "botocore/data").iterdir():
        if folder.is_dir() and folder.name not in BOTOCORE_SERVICES:
            shutil.rmtree(folder)
    for path in sorted(tree.rglob("*")):
        if path.is_file() and path.suffix in UNUSED_SUFFIXES:
            path.unlink()


def compile_tree(tree: Path) -> None:
    """Add bytecode that is believed without a look at the source, whose time in Lambda is not ours."""
    done = compileall.compile_dir(
        tree,
        quiet=1,
        stripdir=str(tree),
        prependdir=LAMBDA_FOLDER,
        invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
    )
    if not done:
        raise RepackError("a module in the zip can't be compiled")


def write(tree: Path, archive: Path) -> None:
    """Zip a tree, readable by everybody, in a fixed order and with a fixed time."""
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as made:
        for path in sorted(path for path in tree.rglob("*") if path.is_file()):
            entry = zipfile.ZipInfo(path.relative_to(tree).as_posix(), TIME)
            entry.external_attr = 0o100644 << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            made.writestr(entry, path.read_bytes(), compresslevel=9)


def main(arguments: list[str]) -> int:
    """Status 0, or 1 with one line on stderr."""
    if len(arguments) != 2:
        print("usage: repack.py TEMPLATE ZIP", file=sys.stderr)
        return 2
    try:
        repack(Path(arguments[0]), Path(arguments[1]))
    except (RepackError, OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        print(f"repack: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
