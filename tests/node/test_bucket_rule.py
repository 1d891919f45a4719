"""The programs on the page of the bucket rule that need more than Python: Node, and a C compiler."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from bucket_rule import program, questions

# Lines of hexadecimal digits, each a text, on standard input; a line with its bucket for each on standard output.
DRIVER = """
#include <stdio.h>

int main(void) {
    unsigned char text[1024];
    size_t n = 0;
    unsigned int byte;
    int next;
    while ((next = getchar()) != EOF) {
        if (next == '\\n') {
            printf("%u\\n", (unsigned)bucket(text, n));
            n = 0;
            continue;
        }
        ungetc(next, stdin);
        if (scanf("%2x", &byte) != 1) return 1;
        text[n++] = (unsigned char)byte;
    }
    return 0;
}
"""


def test_the_javascript_program_gives_every_bucket(tmp_path: Path) -> None:
    script = tmp_path / "page.js"
    script.write_text(program("javascript"), encoding="utf-8")
    asked = json.dumps([[salt, unit] for salt, unit, _ in questions()])
    command = ["node", str(Path(__file__).with_name("bucket_rule.mjs")), str(script)]
    done = subprocess.run(command, input=asked, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [at for _, _, at in questions()]


def test_the_c_program_gives_every_bucket(tmp_path: Path) -> None:
    source, compiled = tmp_path / "page.c", tmp_path / "page"
    source.write_text(program("c") + DRIVER, encoding="utf-8")
    command = ["cc", "-std=c99", "-Wall", "-Wextra", "-Werror", "-O2", "-o", str(compiled), str(source)]
    made = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert made.returncode == 0, made.stderr
    asked = "".join(f"{salt}:{unit}".encode().hex() + "\n" for salt, unit, _ in questions())
    done = subprocess.run([compiled], input=asked, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0
    assert [int(line) for line in done.stdout.splitlines()] == [at for _, _, at in questions()]
