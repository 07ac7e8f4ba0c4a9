r"""Draws what a command shows on a terminal as an SVG file.

    python docs/terminal_picture.py --out docs/summary.svg --start "= groundthink: " --stop "scorecard: " -- \
        pytest -m graduation --model GF-MH --ckpt fixtures/checkpoints/gf-mh-3.5m --scorecard out.json

The command runs in a pseudo-terminal, so that it colours its output and rewrites its progress line as it would for a
person; the picture shows the lines that are left in the end. POSIX only.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import pty
import re
import struct
import sys
import termios
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import MONOKAI
from rich.text import Text

COLUMNS = 100
_SEQUENCE = re.compile(r"\x1b\[([0-9;?]*)([A-Za-z])|\x1b[^\[]|[\r\n\b\t]|[^\x1b\r\n\b\t]+")

# Rich's own template loads a font from the network, which a picture in a README may not do.
SVG = """<svg class="rich-terminal" viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg" role="img">
<style>
.{unique_id}-matrix {{
font-family: ui-monospace, "SFMono-Regular", Menlo, Consolas, "DejaVu Sans Mono", "Liberation Mono", monospace;
font-size: {char_height}px;
line-height: {line_height}px;
font-variant-east-asian: full-width;
}}
.{unique_id}-title {{
font-family: system-ui, sans-serif;
font-size: 18px;
}}
{styles}
</style>
<defs>
<clipPath id="{unique_id}-clip-terminal">
<rect x="0" y="0" width="{terminal_width}" height="{terminal_height}" />
</clipPath>
{lines}
</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g>
</g>
</svg>
"""


def main() -> None:
    """Run the command, draw what it showed, and say how it ended."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="the SVG file")
    parser.add_argument("--start", default="", help="first line of the picture: the first that contains this")
    parser.add_argument("--stop", default="", help="line after the picture: the first, after that, that contains this")
    parser.add_argument("--title", help="title of the window (default: the command)")
    parser.add_argument("command", nargs="+")
    chosen = parser.parse_args()
    output, status = run(chosen.command)
    lines = cut(screen(output), chosen.start, chosen.stop)
    if not lines:
        sys.exit(f"the command (exit status {status}) showed no line with {chosen.start!r}")
    chosen.out.write_text(draw(lines, chosen.title or " ".join(chosen.command)), encoding="utf-8")
    print(f"{chosen.out}: {len(lines)} lines; the command ended with exit status {status}")


def run(command: list[str]) -> tuple[str, int]:
    """Run a command in a pseudo-terminal of 100 columns; what it wrote and its exit status."""
    pid, master = pty.fork()
    if pid == 0:
        # Rich and pytest ask these before they ask the terminal.
        for name in ("NO_COLOR", "FORCE_COLOR", "PY_COLORS", "LINES"):
            os.environ.pop(name, None)
        os.environ |= {"TERM": "xterm-256color", "COLUMNS": str(COLUMNS)}
        try:
            os.execvp(command[0], command)
        except OSError as error:
            print(f"{command[0]}: {error}", file=sys.stderr)
            os._exit(127)
    fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", 50, COLUMNS, 0, 0))
    chunks = []
    while True:
        try:
            chunk = os.read(master, 65536)
        except OSError:  # how Linux says that the other end is closed
            break
        if not chunk:
            break
        chunks.append(chunk)
        sys.stderr.buffer.write(chunk)
        sys.stderr.flush()
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return b"".join(chunks).decode(errors="replace"), status


def screen(output: str) -> list[str]:
    """The lines that a terminal shows after this output, each with its colours.

    Knows what pytest and rich use: colours, carriage return, line feed, cursor up, and erasing to the end of a line.
    """
    rows: list[list[tuple[str, str]]] = [[]]
    row = column = 0
    colour = ""
    for match in _SEQUENCE.finditer(output):
        text, parameters, final = match.group(), match.group(1), match.group(2)
        if final == "m":
            colour = "" if parameters in ("", "0") else f"{colour}{text}"
        elif final == "A":
            row = max(row - int(parameters or 1), 0)
        elif final == "K":
            del rows[row][column:]
        elif text == "\r":
            column = 0
        elif text == "\n":
            row += 1
            if row == len(rows):
                rows.append([])
        elif not text.startswith(("\x1b", "\b")):
            cells = rows[row]
            cells.extend([(" ", "")] * (column - len(cells)))
            printed = [(character, colour) for character in text.expandtabs()]
            cells[column : column + len(printed)] = printed
            column += len(printed)
    return [_line(cells) for cells in rows]


def cut(lines: list[str], start: str, stop: str) -> list[str]:
    """The lines from the first that contains `start` to before the next that contains `stop`, without blank ends."""
    first = next((n for n, line in enumerate(lines) if start in line), len(lines))
    last = next((n for n, line in enumerate(lines) if n > first and stop and stop in line), len(lines))
    chosen = lines[first:last]
    while chosen and not chosen[-1].strip():
        chosen.pop()
    return chosen


def draw(lines: list[str], title: str) -> str:
    """The lines, with colours as ANSI sequences, as an SVG document."""
    with Path(os.devnull).open("w", encoding="utf-8") as nowhere:
        console = Console(record=True, width=COLUMNS, file=nowhere, force_terminal=True, color_system="truecolor")
        console.print(Text.from_ansi("\n".join(lines)), soft_wrap=True)
    return console.export_svg(title=title, theme=MONOKAI, code_format=SVG, unique_id="groundthink")


def _line(cells: list[tuple[str, str]]) -> str:
    parts, current = [], ""
    for character, colour in cells:
        if colour != current:
            parts.append(f"\x1b[0m{colour}")
            current = colour
        parts.append(character)
    return "".join(parts).rstrip() + ("\x1b[0m" if current else "")


if __name__ == "__main__":
    main()
