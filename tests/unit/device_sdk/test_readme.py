"""The guide's snippets: Python fits the API, and commands exist."""

from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path

import pytest

import device_sdk
from device_sdk.cli.arguments import parse

GUIDE = (Path(device_sdk.__file__).parent / "README.md").read_text()
SNIPPETS = re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)
COMMANDS = re.findall(r"^    sinfonia ([^#\n]*)", GUIDE, re.MULTILINE)
CLASSES = {"tunnel": device_sdk.Tunnel, "association": device_sdk.Association}


@pytest.mark.parametrize("snippet", SNIPPETS)
def test_the_python_in_the_guide_fits_the_api(snippet: str) -> None:
    calls = [node for node in ast.walk(ast.parse(snippet)) if isinstance(node, ast.Call)]
    assert calls
    for call in calls:
        if isinstance(call.func, ast.Name):
            function, own = getattr(device_sdk, call.func.id), []
        else:
            assert isinstance(call.func, ast.Attribute)
            assert isinstance(call.func.value, ast.Name)
            function, own = getattr(CLASSES[call.func.value.id], call.func.attr), [None]
        words = {keyword.arg: None for keyword in call.keywords if keyword.arg}
        inspect.signature(function).bind(*own, *call.args, **words)


@pytest.mark.parametrize("command", COMMANDS)
def test_the_commands_in_the_guide_are_ones(command: str) -> None:
    assert parse(command.split())
