import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("atheris")

_SEEDS = (
    b"\x00\x07[1,2]\n[3.5,4e1]\r\n\n[5]\n",
    b"\x01\x03[[1],[2]]\n[[NaN],[-Infinity]]\n",
    b"\x02\x20127\n-128\n128\n1.0\n",
    b'\x03\x05"a"\n{"b64":"AA=="}\n"\\ud800"\n',
    b'\x04\x09{"n":[1],"t":"x"}\n{"t":"y","n":[9007199254740993]}\n{}\n',
)


def test_a_bounded_number_of_fuzzed_files_raises_nothing(tmp_path: Path) -> None:
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    for number, seed in enumerate(_SEEDS):
        (corpus / str(number)).write_bytes(seed)
    options = ["-runs=20000", "-seed=1", "-max_len=300", f"-artifact_prefix={tmp_path}/"]
    done = subprocess.run(
        [sys.executable, "-m", "tests.fuzz.lines_and_instances", *options, str(corpus)],
        cwd=Path(__file__).parent.parent.parent,
        capture_output=True,
        text=True,
        timeout=55,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "Done 20000 runs" in done.stderr
