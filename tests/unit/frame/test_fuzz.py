# SPDX-License-Identifier: GPL-2.0
"""The corpus, the coverage that it reaches, and a fuzzer that finds what is planted."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from tests.unit.frame.framekit import check
from tests.unit.frame.guard import Guarded
from toolkit.errors import ToolError
from toolkit.frame import fuzz
from toolkit.frame.library import SOURCES, build, parse
from toolkit.paths import ROOT

needs_clang = pytest.mark.skipif(
    not (shutil.which("clang") and shutil.which("llvm-cov")),
    reason=f"clang and llvm-cov are missing ({fuzz.PACKAGES})",
)


def test_corpus_is_small() -> None:
    frames = fuzz.load()
    assert 100 < len(frames) < 300
    assert max(map(len, frames)) <= fuzz.MAX_LEN


def test_corpus_keeps_the_promises() -> None:
    memory = Guarded(fuzz.MAX_LEN)
    for data in fuzz.load():
        assert memory.parse(data, len(data)) == check(data)


def test_corpus_is_written_reproducibly(tmp_path: Path) -> None:
    fuzz.save(reversed(fuzz.load()), tmp_path / "again.pcap")
    assert (tmp_path / "again.pcap").read_bytes() == fuzz.CORPUS.read_bytes()


@needs_clang
def test_corpus_reaches_every_line_and_branch() -> None:
    lines, branches = fuzz.coverage(fuzz.load())
    assert (lines.covered, branches.covered) == (lines.total, branches.total)
    assert lines.total > 300 and branches.total > 200


@needs_clang
def test_coverage_counts() -> None:
    lines, branches = fuzz.coverage([bytes(13)])
    assert 0 < lines.covered < lines.total / 4
    assert 0 < branches.covered < branches.total / 4


# What is planted: the text of the source, what it becomes, what the fuzzer is to say
PLANTED = {
    "a header is not checked": (
        "return n > rest(w) ? wrong(w) : readable(w, n);",
        "return true;",
        "ERROR: AddressSanitizer: heap-buffer-overflow",
    ),
    "only the frame's length is checked": (
        "if (w->pos + n > w->avail)",
        "if (w->pos + n > w->len)",
        "ERROR: AddressSanitizer: heap-buffer-overflow",
    ),
    "the length counts padding": (
        "return value ? opaque(w) : ends_after(w, 0);",
        "return value ? opaque(w) : ends_after(w, rest(w));",
        "broken promise: same(answer, whole)",
    ),
    "the length exceeds the frame": (
        "n > rest(w) ? L2WG_MALFORMED : L2WG_LENGTH",
        "L2WG_LENGTH",
        "broken promise: whole.len >= 14 && whole.len <= len",
    ),
    "a request without progress": (
        "return answer(w, L2WG_SHORT, w->pos + n);",
        "return answer(w, L2WG_SHORT, w->avail);",
        "broken promise: answer.len > avail && answer.len <= len",
    ),
    "an index out of a type's range": (
        "header = (here(w)[0] & 0xfU) * 4;\n\ttotal",
        "header = 4 * (1 << (here(w)[0] + 20));\n\ttotal",
        "runtime error: shift exponent",
    ),
}


@needs_clang
@pytest.mark.parametrize("name", PLANTED)
def test_fuzzer_finds(name: str, tmp_path: Path) -> None:
    text, planted, says = PLANTED[name]
    source = SOURCES[0].read_text()
    assert source.count(text) == 1
    (tmp_path / "l2wg_frame.c").write_text(source.replace(text, planted))
    fuzz.unpack(fuzz.load(), tmp_path / "corpus")
    with pytest.raises(ToolError) as caught:
        fuzz.fuzz(20, tmp_path / "corpus", tmp_path / "l2wg_frame.c")
    assert "the length function is broken: " in str(caught.value)
    assert says in str(caught.value)
    assert re.search(rf"\(replay: \S+ {tmp_path}/crash-\w+\)$", str(caught.value))
    assert "\n" not in str(caught.value)


@needs_clang
def test_run(capsys: pytest.CaptureFixture[str]) -> None:
    result = fuzz.run(2)
    assert result.seconds == 2
    assert result.executions > 10000
    assert result.lines.covered == result.lines.total
    assert result.branches.covered == result.branches.total
    assert capsys.readouterr().out == (
        f"{result.executions} executions in 2 s, no promise broken\n"
        f"kernel/l2wg_frame.c: {result.lines} lines, {result.branches} branches\n"
    )


def test_seconds() -> None:
    with pytest.raises(ToolError, match=r"^seconds is not 1 or more: 0$"):
        fuzz.run(0)


def test_no_corpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fuzz, "CORPUS", ROOT / "tests" / "corpus" / "none.pcap")
    with pytest.raises(ToolError) as caught:
        fuzz.run(1)
    assert str(caught.value) == "no corpus tests/corpus/none.pcap (git checkout it)"


def test_no_clang(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(ToolError) as caught:
        fuzz.run(1)
    assert str(caught.value) == ("no clang (apt-get install clang llvm libclang-rt-14-dev)")


def test_no_compiler(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("toolkit.frame.library.BUILD", tmp_path)
    monkeypatch.setenv("CC", "no-such-cc")
    with pytest.raises(ToolError) as caught:
        build()
    assert str(caught.value) == "no C compiler 'no-such-cc' (apt-get install gcc clang)"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.program("cc")
def test_compiler_refuses(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "broken.c").write_text("int x = ;\n")
    monkeypatch.setattr("toolkit.frame.library.BUILD", tmp_path / "build")
    monkeypatch.setattr("toolkit.frame.library.SOURCES", (tmp_path / "broken.c",))
    with pytest.raises(ToolError) as caught:
        build()
    assert re.fullmatch(
        r"cc can't build l2wg_frame: \S+broken\.c:1:\d+: error: expected expression before .*",
        str(caught.value),
    )
    assert list((tmp_path / "build").iterdir()) == []


def test_library_is_built_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("toolkit.frame.library.BUILD", tmp_path)
    first = build()
    monkeypatch.setenv("PATH", "/nonexistent")
    assert build() == first


@pytest.mark.parametrize("avail", [-1, 15])
def test_avail_is_in_range(avail: int) -> None:
    with pytest.raises(ValueError, match=rf"^avail is not in 0\.\.14: {avail}$"):
        parse(bytes(14), avail)


@pytest.mark.parametrize("wire", [13, 1 << 31])
def test_wire_length_is_in_range(wire: int) -> None:
    with pytest.raises(ValueError, match=rf"^wire is not in 14\.\.2\^31-1: {wire}$"):
        parse(bytes(14), wire=wire)
