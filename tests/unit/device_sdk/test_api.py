"""What `import device_sdk` gives: all of the API, nothing but the API, and hardly any import."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import device_sdk

SOURCE = ast.parse(Path(device_sdk.__file__).read_text())


def checked_imports() -> dict[str, str]:
    """What type checkers see: the imports under `if TYPE_CHECKING`."""
    (block,) = (node for node in SOURCE.body if isinstance(node, ast.If))
    found = [node for node in block.body if isinstance(node, ast.ImportFrom)]
    own = [node for node in found if str(node.module).startswith("device_sdk.")]
    return {one.asname or one.name: str(node.module) for node in own for one in node.names}


def test_checkers_programs_and_people_see_the_same_names() -> None:
    assert checked_imports() == device_sdk._WHERE
    assert set(device_sdk.__all__) == {*device_sdk._WHERE, "__version__"}
    assert set(device_sdk.__all__) <= set(dir(device_sdk))


@pytest.mark.parametrize("name", sorted(device_sdk._WHERE))
def test_every_name_is_what_its_module_has(name: str) -> None:
    assert getattr(device_sdk, name) is getattr(importlib.import_module(device_sdk._WHERE[name]), name)


def test_other_names_are_none() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        getattr(device_sdk, "nonsense")  # noqa: B009 - mypy would see it


def loaded_by(code: str) -> set[str]:
    """The modules that a fresh interpreter has after `code`."""
    run = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys; print(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return set(run.stdout.split())


def test_importing_it_imports_nothing_else() -> None:
    own = {name for name in loaded_by("import device_sdk") if name.startswith("device_sdk")}
    assert own == {"device_sdk"}


def test_no_extra_and_no_http_library_is_loaded_before_it_is_used() -> None:
    loaded = loaded_by("from device_sdk import *")
    assert "device_sdk.calls.deploy" in loaded
    assert loaded.isdisjoint({"requests", "urllib3", "zeroconf", "spake2", "cryptography"})
