"""Draws docs/demo.svg, what the demo shows on a terminal: `python3 tests/manual/demo_picture.py PROGRAM`. Needs tmux.

The demo runs under a real terminal, tmux's, and what is on its screen becomes text of the picture, with its colours. The
background is dark, so that it looks the same on a light page and on a dark one. A test compares it with what the demo says.
"""

import html
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

PICTURE = Path(__file__).resolve().parents[2] / "docs" / "demo.svg"
COLUMNS, ROWS = 92, 60
# Of a character, in pixels; fonts that are wider or narrower are fitted.
WIDTH, HEIGHT, SIZE = 8.4, 18, 14
MARGIN = 16
BACKGROUND, BORDER, TEXT, DIM = "#0d1117", "#57606a", "#e6edf3", "#9aa4af"
COLOURS = {31: "#ff7b72", 32: "#7ee787", 33: "#f2cc60", 34: "#79c0ff", 35: "#d2a8ff", 36: "#76e3ea"}
FONTS = "ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace"


def tmux(*words: str) -> str:
    command = ["tmux", "-L", f"fleetlogs-{os.getpid()}", "-f", "/dev/null", *words]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def screen(program: Path) -> list[str]:
    """The lines on the screen once the demo has ended, with their codes."""
    with tempfile.TemporaryDirectory() as directory:
        # As it is called by somebody who has installed it.
        (Path(directory) / "bin").mkdir()
        (Path(directory) / "bin" / "fleetlogs").symlink_to(program.resolve())
        tmux(
            "new-session", "-d", "-s", "demo", "-x", str(COLUMNS), "-y", str(ROWS), "-c", directory,
            f"env PATH='{directory}/bin:/usr/bin:/bin' TERM=xterm-256color fleetlogs demo; tmux wait-for -S ended; read",
        )  # fmt: skip
        try:
            tmux("wait-for", "ended")
            return tmux("capture-pane", "-t", "demo", "-e", "-p").rstrip().split("\n")
        finally:
            tmux("kill-server")


def spans(lines: list[str]) -> list[list[tuple[str, str]]]:
    """Each line as texts with their styles. A style lasts until it is changed, also over the end of a line."""
    drawn = []
    colour, bold, dim = TEXT, False, False
    for line in lines:
        texts = []
        for part in re.split(r"(\x1b\[[0-9;]*m)", line):
            if not part.startswith("\x1b"):
                style = f' fill="{DIM if dim else colour}"' + ' font-weight="bold"' * bold
                texts.append((part, style))
                continue
            for code in map(int, part[2:-1].split(";") if part[2:-1] else [0]):
                if code == 0:
                    colour, bold, dim = TEXT, False, False
                elif code in (1, 2):
                    bold, dim = bold or code == 1, dim or code == 2
                elif code == 22:
                    bold = dim = False
                elif code == 39:
                    colour = TEXT
                elif code in COLOURS:
                    colour = COLOURS[code]
                elif code != 49:
                    raise ValueError(f"what is the code {code}?")
        drawn.append([(text, style) for text, style in texts if text])
    return drawn


def excerpt(lines: list[str]) -> list[str]:
    """From the verdict to the reports: what came before has scrolled away for whoever looks at the end."""
    plain = [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in lines]
    first = next(number for number, line in enumerate(plain) if line.startswith("! PARTIAL"))
    last = next(number for number, line in enumerate(plain) if line.startswith("This fleet is simulated"))
    if "601 of 621" not in plain[first] or not any("gone" in line for line in plain):
        sys.exit(f"the machine was too busy for a picture of the whole fleet: {plain[first]}")
    return ["\x1b[0m$ \x1b[1mfleetlogs demo\x1b[0m", *lines[first - 4 : last - 1]]


def svg(lines: list[str]) -> str:
    width, height = 2 * MARGIN + COLUMNS * WIDTH, 2 * MARGIN + len(lines) * HEIGHT
    drawn = []
    for row, texts in enumerate(spans(lines)):
        column = 0
        for text, style in texts:
            shown = text.strip(" ")
            if shown:
                x = MARGIN + (column + len(text) - len(text.lstrip(" "))) * WIDTH
                y = MARGIN + row * HEIGHT + SIZE
                length = len(shown) * WIDTH
                drawn.append(
                    f'<text x="{x:.1f}" y="{y}" textLength="{length:.1f}" lengthAdjust="spacingAndGlyphs"{style}>'
                    f"{html.escape(shown)}</text>"
                )
            column += len(text)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height}" width="{width:.0f}" height="{height}" '
        f'role="img" aria-label="The end of a run of fleetlogs demo: 601 of 621 nodes collected, and why 20 are missing">\n'
        f'<rect x="0.5" y="0.5" width="{width - 1:.0f}" height="{height - 1}" rx="8" fill="{BACKGROUND}" stroke="{BORDER}"/>\n'
        f'<g font-family="{FONTS}" font-size="{SIZE}" xml:space="preserve">\n' + "\n".join(drawn) + "\n</g>\n</svg>\n"
    )


if __name__ == "__main__":
    PICTURE.write_text(svg(excerpt(screen(Path(sys.argv[1])))))
