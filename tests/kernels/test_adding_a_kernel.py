"""What CONTRIBUTING.md says about adding a kernel, done: one file, and nothing else."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from native_build import run

# Enough of the tree for linear products of one format; the rest would only cost minutes.
KEPT = (
    *("CMakeLists.txt", "csrc/CMakeLists.txt", "csrc/base/*", "csrc/quant/*.h", "csrc/kernels/*.*"),
    *("csrc/kernels/cpu/*.h", "csrc/kernels/cpu/linear_q4_0_*.cpp", "csrc/kernels/cpu/*_q8_32_*.cpp"),
    *("csrc/kernels/cpu/kv_store_*_scalar.cpp", "csrc/kernels/cpu/peak_read_scalar.cpp"),
    *(f"csrc/quant/{name}.cpp" for name in ("dequantize_blocks", "format_table", "grids")),
    *(f"tests/cpp/{name}" for name in ("harness.*", "random_weights.*", "test_linear_kernels.cpp")),
    "csrc/sampling/dry.cpp",  # not compiled: what serves a model must have a source to be configured
)
# The registry alone: what it lists, and what it chooses under LLMCORE_KERNEL.
PROBE = r"""
#include <cstdio>
#include "kernels/registry.h"
int main() {
    using namespace llmcore;
    for (const Kernel* kernel : all_kernels()) std::printf("%s\n", kernel->name);
    const KernelChoice choice = KernelSelector::from_environment().choose(
        Op::linear, Format::Q4_0, Layout::gguf, Layout::f32, {.m = 1, .n = 64, .k = 256});
    std::printf("%s %s\n", reason_name(choice.reason), choice.kernel->name);
}
"""


class Tree:
    """A copy of the part of the tree that is kept."""

    def __init__(self, repository: Path, root: Path) -> None:
        self.root = root
        for pattern in KEPT:
            for path in repository.glob(pattern):
                target = root / path.relative_to(repository)
                target.parent.mkdir(parents=True, exist_ok=True)
                if path.is_file():
                    shutil.copy2(path, target)
        (root / "probe.cpp").write_text(PROBE)

    def build(self) -> list[str]:
        """Configures and builds the library; the files that were compiled."""
        command = ["cmake", "-S", str(self.root), "-B", str(self.root / "build"), "-G", "Ninja"]
        command += ["-DLLMCORE_CUDA=OFF", "-DLLMCORE_WERROR=ON", "-DCMAKE_CXX_FLAGS_RELEASE=-O1"]
        if shutil.which("ccache"):
            command.append("-DCMAKE_CXX_COMPILER_LAUNCHER=ccache")
        # Equal files in another folder are found again.
        environment = {"CCACHE_BASEDIR": str(self.root), "CCACHE_NOHASHDIR": "1"}
        if not (self.root / "build").exists():
            run(command, **environment)
        output = run(
            ["cmake", "--build", str(self.root / "build"), "--target", "llmcore_model"], **environment
        )
        return re.findall(r"Building CXX object \S+/(\S+\.cpp)\.o", output)

    def program(self, *sources: str) -> Path:
        """A program of these sources, each compiled once, and the library as it is now."""
        made = self.root / Path(sources[0]).stem
        objects = [self.root / f"{Path(source).stem}.o" for source in sources]
        for source, compiled in zip(sources, objects, strict=True):
            if not compiled.exists():
                includes = [f"-I{self.root}/csrc", f"-I{self.root}/tests/cpp"]
                file = str(self.root / source)
                run(["c++", "-std=c++20", "-O1", *includes, "-c", file, "-o", str(compiled)])
        library = self.root / "build" / "csrc" / "libllmcore_model.a"
        run(["c++", *map(str, objects), str(library), "-lpthread", "-o", str(made)])
        return made


def example(repository: Path) -> tuple[str, str]:
    """The file's name and its text, as CONTRIBUTING.md has them."""
    text = (repository / "CONTRIBUTING.md").read_text(encoding="utf-8")
    section = text.split("## Add a kernel", 1)[1].split("\n## ", 1)[0]
    found = re.search(r"`(\w+\.cpp)`:\n\n( *)```cpp\n(.*?)\n *```", section, re.DOTALL)
    assert found is not None
    name, indent, code = found.groups()
    return name, re.sub(rf"^{indent}", "", code, flags=re.MULTILINE) + "\n"


@pytest.fixture(scope="module")
def tree(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Tree:
    tree = Tree(repository, tmp_path_factory.mktemp("kernel") / "llmcore")
    assert "registry.cpp" in tree.build()
    return tree


def test_the_walk(tree: Tree, repository: Path) -> None:
    name, code = example(repository)
    kernel = Path(name).stem
    file = tree.root / "csrc" / "kernels" / "cpu" / name
    assert kernel not in run([str(tree.program("probe.cpp"))])

    file.write_text(code, encoding="utf-8")
    compiled = tree.build()
    assert sorted(Path(path).name for path in compiled) == sorted([name, "registry.cpp"])
    probe = tree.program("probe.cpp")
    listed = run([str(probe)]).splitlines()
    assert kernel in listed
    assert kernel not in listed[-1]  # its cost keeps it from being chosen
    assert run([str(probe)], LLMCORE_KERNEL=kernel).splitlines()[-1] == f"forced {kernel}"

    sweep = ["tests/cpp/test_linear_kernels.cpp", "tests/cpp/harness.cpp", "tests/cpp/random_weights.cpp"]
    swept = run([str(tree.program(*sweep)), "linear_kernels"])
    assert "ok   linear_kernels_match_float64" in swept
    assert ", 0 failed," in swept

    # The sweep is no formality: it names the kernel once that is a little wrong.
    wrong = code.replace("static_cast<float>(sum);", "static_cast<float>(sum) * 1.001F;")
    assert wrong != code
    file.write_text(wrong, encoding="utf-8")
    assert [Path(path).name for path in tree.build()] == [name]
    result = subprocess.run(
        [tree.program(*sweep), "linear_kernels"],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ.copy(),
    )
    assert result.returncode != 0
    assert kernel in result.stdout


def test_a_name_without_an_instruction_set_stops_the_configuration(tree: Tree) -> None:
    stray = tree.root / "csrc" / "kernels" / "cpu" / "linear_q4_0_plain.cpp"
    stray.write_text("")
    try:
        with pytest.raises(AssertionError, match="no known instruction set"):
            tree.build()
    finally:
        stray.unlink()
