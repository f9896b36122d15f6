#!/usr/bin/env python3
"""Draws what the daemons of a soak used: python3 tests/e2e/soak/plot.py target/tmp/soak/samples.csv docs/design/soak.svg"""

import csv
import sys

WIDTH, HEIGHT, LEFT, TOP, GAP = 760, 120, 70, 34, 44
COLOURS = ["#1f6feb", "#d9730d"]
PANELS = [
    ("rss_kib", "memory, MiB", 1024),
    ("descriptors", "file descriptors", 1),
    ("threads", "threads", 1),
    ("disk_kib", "disk of the machine, MiB", 1024),
]


def main(source, target):
    with open(source, newline="", encoding="utf-8") as file:
        rows = [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]
    longest = max(row["seconds"] for row in rows)
    lives = {}
    for row in rows:
        lives.setdefault((int(row["machine"]), int(row["life"])), []).append(row)
    total = TOP + len(PANELS) * (HEIGHT + GAP)
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {LEFT + WIDTH + 20} {total}" '
        'font-family="sans-serif" font-size="12">',
        f'<rect width="100%" height="100%" fill="white"/><text x="{LEFT}" y="18">'
        "Two daemons in bad weather; a line is the life of one, a colour is a machine</text>",
    ]
    for number, (name, title, unit) in enumerate(PANELS):
        top = TOP + number * (HEIGHT + GAP) + 14
        highest = max(row[name] for row in rows) / unit * 1.05 or 1
        out.append(f'<text x="{LEFT}" y="{top - 4}" fill="#444">{title}</text>')
        for part in (0, 0.5, 1):
            y = top + HEIGHT * (1 - part)
            out.append(f'<line x1="{LEFT}" x2="{LEFT + WIDTH}" y1="{y:.1f}" y2="{y:.1f}" stroke="#ddd"/>')
            out.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end" fill="#444">{highest * part:.0f}</text>')
        for (machine, _), samples in sorted(lives.items()):
            # A point is the mean of ten samples: twenty seconds.
            groups = [samples[at : at + 10] for at in range(0, len(samples), 10)]
            points = []
            for group in groups:
                x = LEFT + WIDTH * group[len(group) // 2]["seconds"] / longest
                mean = sum(row[name] for row in group) / len(group) / unit
                points.append(f"{x:.1f},{top + HEIGHT * (1 - mean / highest):.1f}")
            out.append(f'<polyline fill="none" stroke="{COLOURS[machine]}" points="{" ".join(points)}"/>')
        out.append(
            f'<text x="{LEFT + WIDTH}" y="{top + HEIGHT + 14}" text-anchor="end" fill="#444">'
            f"{longest / 60:.0f} minutes</text>"
        )
    out.append("</svg>\n")
    with open(target, "w", encoding="utf-8") as file:
        file.write("\n".join(out))


main(*sys.argv[1:])
