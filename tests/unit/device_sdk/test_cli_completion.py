import shutil
import subprocess
from pathlib import Path

import pytest

from device_sdk.cli import main
from device_sdk.cli.completing import SHELLS, Command, Option


@pytest.fixture
def printed(capsys: pytest.CaptureFixture[str]):
    def of(shell: str) -> str:
        assert main(["completion", shell]) == 0
        return capsys.readouterr().out

    return of


def completed(script: str, *words: str) -> list[str]:
    """What bash offers for the last of the words."""
    offers = "printf '%s\\n' \"${COMPREPLY[@]}\""
    ask = f'{script}\nCOMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _sinfonia; {offers}'
    done = subprocess.run(
        ["bash", "--norc", "-c", ask, "bash", "sinfonia", *words],
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    assert done.stderr == ""
    return done.stdout.split()


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (["ex"], {"export"}),
        (["de"], {"deploy"}),
        (["find", "--jit", ""], {"prefer", "only", "off"}),
        (["find", "http://r", "hello"], {"helloworld"}),
        (["run", "--ready"], {"--ready-timeout"}),
        (["find", "--ready"], set()),
        (["find", "--timeout", ""], set()),
        (["completion", "z"], {"zsh"}),
        (["run", "http://r", "helloworld", "--", "--j"], set()),
    ],
)
def test_bash_completes(printed, words: list[str], offered: set[str]) -> None:
    assert set(completed(printed("bash"), *words)) == offered


@pytest.mark.parametrize("shell", SHELLS)
def test_every_shell_takes_its_text(printed, shell: str, tmp_path: Path) -> None:
    text = printed(shell)
    assert "ready-timeout" in text
    if shutil.which(shell) is None:  # bash always is there
        return
    file = tmp_path / "completion"
    file.write_text(text)
    done = subprocess.run([shell, "-n", str(file)], capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


def test_help_with_quotes_and_brackets_harms_no_shell(tmp_path: Path) -> None:
    evil = Option(
        "--x", 'it\'s [a] $(touch evil) `touch evil` "q": 5 %', takes_value=True, choices=("a", "b")
    )
    for shell, text in SHELLS.items():
        script = text([Command("run", "it's $(touch evil)", (evil,))])
        if shutil.which(shell):
            subprocess.run(
                [shell, "-c", f"compdef() {{ :; }}\n{script}" if shell == "zsh" else script],
                cwd=tmp_path,
                timeout=60,
                check=True,
            )
    assert list(tmp_path.iterdir()) == []


def test_a_shell_that_is_none_is_refused() -> None:
    assert main(["completion", "tcsh"]) == 2
