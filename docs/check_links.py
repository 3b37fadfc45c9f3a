"""Name the internal links of a built site that lead nowhere: ``check_links.py docs/_build/html``.

Looks at every page, offline: the file that a link or a picture names has to exist, and so has the
element that it points to. Links to other sites are not followed. Exits with status 1 if one is
broken.
"""

import sys
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit


class _Page(HTMLParser):
    """The links of a page, and the names of its elements."""

    def __init__(self):
        super().__init__()
        self.links, self.names = set(), set()

    def handle_starttag(self, tag, attrs):
        for name, value in attrs:
            if name in ("href", "src"):
                self.links.add(value or "")
            elif name == "id" or (name, tag) == ("name", "a"):
                self.names.add(value)


@cache
def read(path):
    """A page, parsed."""
    page = _Page()
    page.feed(path.read_text(encoding="utf-8"))
    return page


def is_broken(path, link):
    """Whether a link of a page names a file or an element that does not exist."""
    parts = urlsplit(link)
    if parts.scheme or parts.netloc:
        return False
    target = path.parent / unquote(parts.path) if parts.path else path
    if not target.exists():
        return True
    name = unquote(parts.fragment)
    return bool(name) and target.suffix == ".html" and name not in read(target.resolve()).names


def broken_links(site):
    """Pairs of a page and a link on it that leads nowhere, for all pages of a folder."""
    for path in sorted(Path(site).rglob("*.html")):
        if "_static" not in path.relative_to(site).parts:  # templates of the theme
            yield from ((path, link) for link in sorted(read(path).links) if is_broken(path, link))


if __name__ == "__main__":
    (site,) = sys.argv[1:]
    broken = [f"{path.relative_to(site)}: {link}" for path, link in broken_links(site)]
    print("\n".join([*broken, f"{len(broken)} broken links"]))
    sys.exit(bool(broken))
