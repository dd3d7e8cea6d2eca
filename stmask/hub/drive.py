"""Files that are shared by Google Drive, which asks before it hands out a large one."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from urllib.parse import parse_qsl, urlencode, urljoin, urlsplit

HOST = "https://drive.google.com"
_SHARED = re.compile(r"/(?:file/d/([\w-]{10,})|(?:open|uc)\?(?:[^#]*&)?id=([\w-]{10,}))")
_FORM = "download-form"
PAGE = "a web page came in place of the file"
# what Drive's other pages say, and what that means
_REFUSALS = {
    r"quota|too many users": "too many people fetched it lately: Google Drive hands it out again within a day",
    r"sign in|signin|need access|request access": "its owner does not share it with everyone any more",
}


def direct(address: str) -> str:
    """The address of the file itself, for the link that people share; any other address as it is."""
    if not address.startswith(f"{HOST}/"):
        return address
    found = _SHARED.search(address)
    return address if found is None else f"{HOST}/uc?export=download&id={found[1] or found[2]}"


def is_drive(address: str) -> bool:
    """Whether an address is one of Google Drive."""
    return address.startswith(f"{HOST}/")


def confirmed(page: str, base: str) -> str | None:
    """The address behind the button of the page that says that a file is too large for the scan for viruses.

    Args:
        page: HTML that came in place of a file.
        base: the address that it came from.

    Returns:
        None for another page.
    """
    form = _Form()
    form.feed(page)
    if form.action is None:
        return None
    address = urljoin(base, form.action)
    if urlsplit(address).scheme != urlsplit(base).scheme:
        return None
    return f"{address.partition('?')[0]}?{urlencode({**dict(parse_qsl(urlsplit(address).query)), **form.fields})}"


def refusal(page: str) -> str:
    """What a page that came in place of a file says, in words."""
    for pattern, meaning in _REFUSALS.items():
        if re.search(pattern, page, re.IGNORECASE):
            return meaning
    return PAGE


class _Form(HTMLParser):
    """The form of the page that asks: where it leads, and its hidden fields."""

    def __init__(self) -> None:
        super().__init__()
        self.action: str | None = None
        self.fields: dict[str, str] = {}
        self._inside = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        if tag == "form" and values.get("id") == _FORM:
            self.action, self._inside = values.get("action"), True
        elif tag == "input" and self._inside and values.get("name"):
            self.fields[values["name"]] = values.get("value", "")

    def handle_endtag(self, tag: str) -> None:
        if tag == "form":
            self._inside = False
