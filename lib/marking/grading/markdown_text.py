"""A student's markdown, made safe to show to a marker: HTML as text, nothing fetched or run."""

import re

# What a browser may take for a tag: `$i<j$` is none.
_TAG = re.compile(r"<(?=[/!?]|[A-Za-z][\w:.-]*(?:[\s/>]|$))")
_REMOTE_PICTURE = re.compile(r"!\[(?![^\[\]\n]{0,200}\]\(attachment:)")
_SCRIPT_LINK = re.compile(
    r"(\]\(|\]:)[\s<]{0,9}[\w&#;\s]{0,60}?(?:script|data)\s{0,9}(?::|&colon;|&#)", re.I
)
_BADGE = re.compile(r"colab\.research\.google\.com/(?:assets/colab-badge|github)", re.I)


def harmless(source: str) -> tuple[str, bool]:
    """The text with tags shown as they were typed, pictures from elsewhere as links, and no links
    that run; and whether anything changed."""
    text = _TAG.sub("&lt;", source)
    text = _REMOTE_PICTURE.sub("picture: [", text)
    text = _SCRIPT_LINK.sub(r"\1#", text)
    return text, text != source


def is_badge(source: str) -> bool:
    """Whether it is the "Open in Colab" button that Colab puts into a notebook, alone."""
    return len(source) < 600 and "\n\n" not in source and bool(_BADGE.search(source))


def without_fence(source: str) -> str:
    """The code of a text that is one fenced block of code."""
    fenced = re.fullmatch(r"\s*```\w*\n(.*?)\n?```\s*", source, re.DOTALL)
    return fenced[1] if fenced else source
