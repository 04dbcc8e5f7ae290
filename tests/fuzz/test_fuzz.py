import gzip
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from app.framing.tfrecord import frame

pytest.importorskip("atheris")

_SEEDS = (
    b'\x05\x07{"k":1.10,"n":[1],"t":"x"}\n{"k":NaN,"n":[2],"t":""}\n',
    b'\x06\x07{"a":1,"b":[1.5],"c":"x"}\n{"a":[1,2.0]}\n',
    b"\x07\x07a,b\n1,2\r\n\n.5,nan\n1\n",
    b'\x09\x03n,t,b\n1,"a,""\nb",true\n2,x"y,FALSE\n',
    b'\x0a\x05k,n,t,b\n7,1,,true\n8,,x,false\n"9',
    b"\x0b\x05" + frame(b"abc") + frame(b""),
    b"\x0c\x05" + frame(b"\n\x0b\n\t\n\x01k\x12\x04\n\x02\n\x00") + frame(b"x" * 50),
    b"\x0d\x04one\n\ntwo\r\n",
    b"\x0e\x09p1,p0,p2,p3\n1,2,3,4\n1,2,3,z\n",
    b"\x0f\x07,a,b\n0,1,2\nx,3,4\n5,6\n",
    b'\x10\x0bk,n,f,t\n1,8.0,2,x\n2,,nan,\n3,8.5,1,"a,b"\n',
    b"\x11\x05,a,b\n1,2.5,x\n,,nan\n",
    b'\x12\x07{"n":8.0,"f":1,"t":null}\n"x"\n{"inputs":"y"}\n{"n":NaN,"z":[1]}\n{"n":8.5}\n',
    b"\x00\x09" + gzip.compress(b"[1,2]\n[3,4]\n", mtime=0),
    b"\x00\x07[1,2]\n[3.5,4e1]\r\n\n[5]\n",
    b"\x01\x03[[1],[2]]\n[[NaN],[-Infinity]]\n",
    b"\x02\x20127\n-128\n128\n1.0\n",
    b'\x03\x05"a"\n{"b64":"AA=="}\n"\\ud800"\n',
    b'\x04\x09{"n":[1],"t":"x"}\n{"t":"y","n":[9007199254740993]}\n{}\n',
)


@pytest.mark.timeout(300)  # it computes all the time, beside other tests that do
def test_a_bounded_number_of_fuzzed_files_raises_nothing(tmp_path: Path) -> None:
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    for number, seed in enumerate(_SEEDS):
        (corpus / str(number)).write_bytes(seed)
    options = ["-runs=20000", "-seed=1", "-max_len=300", f"-artifact_prefix={tmp_path}/"]
    # A child's peak memory begins with that of the process which has started it: getrusage(2).
    own_peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    options.append(f"-rss_limit_mb={own_peak + 2048}")
    done = subprocess.run(
        [sys.executable, "-m", "tests.fuzz.input_files", *options, str(corpus)],
        cwd=Path(__file__).parent.parent.parent,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "Done 20000 runs" in done.stderr
