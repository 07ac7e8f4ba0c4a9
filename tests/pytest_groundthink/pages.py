"""Reads the HTML of a report as a browser or a screen reader would, and says what is wrong with it."""

from __future__ import annotations

from html.parser import HTMLParser

VOID = {"meta", "br", "img", "path", "rect", "circle", "text"}
LOADS = {"src", "href", "xlink:href", "srcset", "data", "poster", "action"}


class Outline(HTMLParser):
    """What a page is made of. `problems` has tags that do not nest; `text` all that is read."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.headings: list[tuple[int, str]] = []
        self.problems: list[str] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(html)
        self.close()
        self.problems += [f"<{tag}> is never closed" for tag in self._open]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in ("meta", "br", "img"):
            self._open.append(tag)
        if tag in ("h1", "h2", "h3", "h4"):
            self.headings.append((int(tag[1]), ""))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        if not self._open or self._open[-1] != tag:
            self.problems.append(f"</{tag}> closes {self._open[-1:] or 'nothing'}")
            return
        self._open.pop()
        if tag in ("td", "th", "p", "li"):
            self.text += " "

    def handle_data(self, data: str) -> None:
        if "style" in self._open:
            return
        self.text += data
        if {"h1", "h2", "h3", "h4"} & set(self._open):
            level, title = self.headings[-1]
            self.headings[-1] = (level, title + data)

    def all(self, tag: str) -> list[dict[str, str]]:
        """The attributes of every element of that name."""
        return [attributes for name, attributes in self.tags if name == tag]

    def ids(self) -> list[str]:
        """Every id on the page."""
        return [attributes["id"] for _, attributes in self.tags if "id" in attributes]

    def loaded(self) -> list[str]:
        """Every address that an element names, but for those within the page."""
        found = [attributes[name] for _, attributes in self.tags for name in LOADS & attributes.keys()]
        return [address for address in found if not address.startswith("#")]


def contrast(first: str, second: str) -> float:
    """The contrast of two colours #rrggbb, 1 to 21 (WCAG 2.2, "contrast ratio" and "relative luminance")."""

    def luminance(colour: str) -> float:
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    bright, dark = sorted((luminance(first), luminance(second)), reverse=True)
    return (bright + 0.05) / (dark + 0.05)
