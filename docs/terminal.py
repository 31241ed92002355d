"""Draws what a terminal shows as an SVG.

    bytes of a program on a terminal ──► screen: characters and how they are set off ──► SVG

Usage: terminal.py COLUMNS [REGEX] < BYTES > PICTURE. With a regex, the first whole drawing that it is found in; else, the end.
It knows what `wsp` sends: colours, a line or a screen cleared from the cursor on, and so many lines up.
"""

import re
import sys
from html import escape

FOREGROUND, BACKGROUND = "#d6deeb", "#0f1720"
COLOURS = ["#5c6773", "#f07178", "#7fd88f", "#ffcb6b", "#82aaff", "#c792ea", "#7fdbca", "#d6deeb"]
WIDE, HIGH = 8.4, 19
TOKEN = re.compile(r"\x1b\[([0-9;?]*)([A-Za-z])|(.)", re.S)


class Screen:
    def __init__(self, columns):
        self.columns, self.rows = columns, [[]]
        self.row = self.column = 0
        self.style = ()

    def put(self, char):
        if self.column == self.columns:
            self.column, self.row = 0, self.row + 1
        while self.row >= len(self.rows):
            self.rows.append([])
        line = self.rows[self.row]
        line.extend([(" ", ())] * (self.column + 1 - len(line)))
        line[self.column] = (char, self.style)
        self.column += 1

    def feed(self, argument, letter, char):
        if char == "\n":
            self.row += 1
            while self.row >= len(self.rows):
                self.rows.append([])
        elif char == "\r":
            self.column = 0
        elif char is not None and char >= " ":
            self.put(char)
        elif letter == "A":
            self.row = max(0, self.row - int(argument or 1))
        elif letter == "K":
            del self.rows[self.row][self.column :]
        elif letter == "J":
            del self.rows[self.row][self.column :]
            del self.rows[self.row + 1 :]
        elif letter == "m":
            for code in (argument or "0").split(";"):
                self.style = () if code in ("", "0") else (*self.style, int(code))

    def text(self):
        return "\n".join("".join(char for char, _ in row) for row in self.rows).rstrip()


def attributes(style):
    out = []
    fill = FOREGROUND
    for code in style:
        if 30 <= code <= 37:
            fill = COLOURS[code - 30]
        elif 90 <= code <= 97:
            fill = COLOURS[code - 90]
    out.append(f'fill="{fill}"')
    if 1 in style:
        out.append('font-weight="bold"')
    if 2 in style:
        out.append('opacity="0.65"')
    if 3 in style:
        out.append('font-style="italic"')
    return " ".join(out)


def runs(row):
    """Neighbours of one style, each with the column it begins at."""
    start = 0
    for column in range(1, len(row) + 1):
        if column == len(row) or row[column][1] != row[start][1]:
            text = "".join(char for char, _ in row[start:column])
            if text.strip():
                yield start, text, row[start][1]
            start = column


def picture(screen):
    rows = screen.rows[: len(screen.text().split("\n"))]
    width, height = round(screen.columns * WIDE + 32), len(rows) * HIGH + 32
    yield f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}"'
    yield ' font-family="ui-monospace, DejaVu Sans Mono, Menlo, Consolas, monospace" font-size="14">'
    yield f'<rect width="{width}" height="{height}" rx="8" fill="{BACKGROUND}"/>'
    for line, row in enumerate(rows):
        for column, text, style in runs(row):
            left, bottom = 16 + column * WIDE, 16 + line * HIGH + 14
            wide = f'textLength="{len(text) * WIDE:.1f}" lengthAdjust="spacingAndGlyphs"'
            place = f'x="{left:.1f}" y="{bottom}" {wide} xml:space="preserve"'
            yield f"<text {place} {attributes(style)}>{escape(text)}</text>"
    yield "</svg>"


def main():
    screen = Screen(int(sys.argv[1]))
    wanted = re.compile(sys.argv[2]) if len(sys.argv) > 2 else None
    for argument, letter, char in TOKEN.findall(sys.stdin.buffer.read().decode()):
        # A drawing is whole when the next one goes up to its first line.
        if letter == "A" and wanted and wanted.search(screen.text()):
            break
        screen.feed(argument, letter, char if not letter else None)
    else:
        if wanted:
            sys.exit(f"{wanted.pattern!r} was never drawn; in the end there was\n{screen.text()}")
    print("\n".join(picture(screen)))


if __name__ == "__main__":
    main()
