"""Every link and picture inside the built book leads to a file of it, and every anchor to an element.

The test of the sources (tests/house/pages.rs) knows the rules by which anchors are made; this looks at what was made.
"""

import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit


class Page(HTMLParser):
    def __init__(self, path: Path):
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        for name, value in attrs:
            if name == "id":
                self.anchors.add(value)
            elif name in ("href", "src") and value:
                self.links.append(value)


def main() -> None:
    book = Path(sys.argv[1]).resolve()
    # The page for a wrong address and that for print have links of their own kind.
    paths = [path for path in book.rglob("*.html") if path.name not in ("404.html", "print.html", "toc.html")]
    pages = {path: Page(path) for path in paths}
    followed, wrong = 0, []
    for path, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            followed += 1
            if not target.is_file() or book not in target.parents:
                wrong.append(f"{path.relative_to(book)}: {link}: no such file in the book")
            elif parts.fragment and target in pages and unquote(parts.fragment) not in pages[target].anchors:
                wrong.append(f"{path.relative_to(book)}: {link}: no such heading")
    if wrong or followed < 1000:
        sys.exit("\n".join([*wrong, f"{len(wrong)} of {followed} links are wrong"]))
    print(f"{len(pages)} pages, {followed} links")


main()
