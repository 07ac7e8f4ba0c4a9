"""The reference text that every Python ships, as prose: language topics and standard-library docstrings.

What is markup, code, table, heading or signature is removed, and of the rest only what reads as sentences is kept.
Needs nothing but the standard library: `reference_list` runs this file in other Pythons.
"""

from __future__ import annotations

import ast
import inspect
import json
import re
import sys
import sysconfig
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

# Modules whose docstrings are mostly prose, and that Python 3.11 to 3.13 have in common; folders are read whole.
# The list bounds the time.
_MODULES = (
    "__future__.py _collections_abc.py _pyio.py _strptime.py _threading_local.py abc.py argparse.py asyncio "
    "base64.py bdb.py bisect.py bz2.py calendar.py cmd.py code.py codecs.py codeop.py collections compileall.py "
    "concurrent configparser.py contextlib.py copy.py csv.py ctypes/_aix.py dataclasses.py dbm difflib.py dis.py "
    "doctest.py email filecmp.py fileinput.py fnmatch.py fractions.py ftplib.py functools.py getopt.py getpass.py "
    "gettext.py glob.py graphlib.py gzip.py hashlib.py heapq.py hmac.py html http imaplib.py importlib inspect.py "
    "io.py ipaddress.py json linecache.py locale.py logging lzma.py mimetypes.py multiprocessing netrc.py numbers.py "
    "operator.py optparse.py os.py pathlib.py pdb.py pickle.py pickletools.py pkgutil.py platform.py plistlib.py "
    "poplib.py posixpath.py pprint.py profile.py pstats.py py_compile.py pyclbr.py queue.py quopri.py random.py "
    "re reprlib.py rlcompleter.py runpy.py sched.py secrets.py selectors.py shelve.py shlex.py shutil.py signal.py "
    "site.py smtplib.py socket.py socketserver.py sqlite3 ssl.py stat.py statistics.py string.py stringprep.py "
    "subprocess.py symtable.py sysconfig.py tabnanny.py tarfile.py tempfile.py textwrap.py threading.py timeit.py "
    "tkinter token.py tokenize.py trace.py traceback.py tracemalloc.py turtle.py types.py typing.py unittest urllib "
    "uuid.py venv warnings.py wave.py weakref.py webbrowser.py wsgiref xml xmlrpc zipapp.py zipfile.py zipimport.py"
).split()


def reference_paragraphs() -> Iterator[tuple[str, list[str]]]:
    """Name and prose of every topic and module that has any, in a fixed order; what is repeated is there repeatedly."""
    for name, texts, quoted_code in _reference_sources():
        paragraphs = [p for text in texts for p in _prose_paragraphs(text, quoted_code=quoted_code)]
        if paragraphs:
            yield name, paragraphs


def _reference_sources() -> Iterator[tuple[str, list[str], bool]]:
    """Name, texts and whether double quotes mark code, for every topic and module, in a fixed order."""
    entries: dict[str, str] = {}
    with suppress(ImportError):  # a distribution may package the reference apart from the interpreter
        from pydoc_data.topics import topics

        entries = topics
    for name in sorted(entries):
        yield f"topic {name}", [entries[name]], True
    library = Path(sysconfig.get_path("stdlib"))
    for entry in _MODULES:
        for path in _sources(library / entry):
            yield path.relative_to(library).as_posix(), _docstrings(path), False


def _sources(place: Path) -> list[Path]:
    if place.is_file():
        return [place]
    return sorted(path for path in place.rglob("*.py") if not {"test", "tests"} & set(path.parts))


# A literal alone on its lines, first in a file or after a colon: where a docstring stands. Found by pattern, because
# parsing the same modules with `ast` takes ten times as long; what is found in error fails the test for prose.
_DOCSTRING = re.compile(
    r"""(?:\A|:[ \t]*(?:\#[^\n]*)?\n)(?:[ \t]*(?:\#[^\n]*)?\n)*[ \t]*"""
    r"""(?P<literal>[rRuU]?(?P<quote>\"{3}|'{3})(?P<text>(?:[^\\]|\\.)*?)(?P=quote))[ \t]*$""",
    re.MULTILINE | re.DOTALL,
)


def _docstrings(path: Path) -> list[str]:
    """Docstrings of a source file in the order in which they stand there."""
    try:
        source = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):  # the few sources in other encodings are no loss
        return []
    found = []
    for match in _DOCSTRING.finditer(source):
        text = ast.literal_eval(match["literal"]) if "\\" in match["text"] else match["text"]
        found.append(inspect.cleandoc(text))
    return found


_UNDERLINE = re.compile(r"([=\-~*#^\"'.+_])\1{2,}")
_BULLET = re.compile(r"(?:[*+•o-]|\(?\d{1,2}[.)]|\(?[a-z]\))[ ]+(?=\S)")
_CODE_START = re.compile(r">>>|\.\.\. |\.\. |:\w+[ \w]*:|@\w|\$ |#")
_NOT_PROSE = re.compile(r"::=|://|>>>|==|!=|\\[nrtxuU]|[|{}<>=]{2}|\$\w+")


def _prose_paragraphs(text: str, *, quoted_code: bool = False) -> Iterator[str]:
    """Paragraphs of a reference text that are sentences, each on one line and without markup."""
    for block in _blocks(text):
        paragraph = " ".join(block)
        if paragraph.count(" ") < 5:  # spares most of the work
            continue
        paragraph = _without_markup(paragraph, quoted_code)
        if _is_prose(paragraph):
            yield paragraph


def _blocks(text: str) -> Iterator[list[str]]:
    """Divide a text where paragraphs, list items, headings and changes of indentation divide it; drop code."""
    block: list[str] = []
    indent: int | None = None
    is_code = False
    for line in [*text.expandtabs().splitlines(), ""]:
        content = line.strip()
        bullet = _BULLET.match(content)
        column = len(line) - len(line.lstrip())
        underline = bool(_UNDERLINE.fullmatch(content))
        if underline and block:
            block.pop()  # its heading
        if not content or underline or bullet or (block and indent not in (None, column)):
            if block and not is_code:
                yield block
            if not content or underline or column != indent:
                is_code = False
            block, indent = [], None
        if not content or underline:
            continue
        if _CODE_START.match(content):
            is_code = True
        block.append(content[bullet.end() :] if bullet else content)
        # The second line of a list item says where its text stands.
        indent = None if bullet else column


# What must be in a paragraph for the pattern to be worth trying, the pattern, and what takes its place.
_MARKUP: tuple[tuple[str, re.Pattern[str], str | Callable[[re.Match[str]], str]], ...] = (
    (":`", re.compile(r":\w+(?::\w+)?:`~?([^`]+)`"), r"\1"),
    ("`", re.compile(r"``([^`]+?)``|`([^`']+)[`']"), lambda m: m[1] or m[2]),
    ("**", re.compile(r"\*\*(\S(?:[^*]*\S)?)\*\*"), r"\1"),
    ("*", re.compile(r"(?<![\w*])\*([^\s*](?:[^*]*[^\s*])?)\*(?![\w*])"), r"\1"),
    ("[", re.compile(r"\s*\[\d{1,2}\]_?"), ""),  # footnote marks
    (" version ", re.compile(r"^(?:Changed in|New in|Added in|Deprecated since) version [\d.]+(?:, [^:]*)?: "), ""),
    (" ", re.compile(r"^(?:CPython implementation detail|Notes?|NOTES?|NB|Warning|WARNING|Tip):? +(?=[A-Z])"), ""),
)
_QUOTED_NAME = re.compile(r'"((?:\w|\.(?=\w))+(?:\(\))?)"')


def _without_markup(paragraph: str, quoted_code: bool) -> str:
    for sign, pattern, replacement in _MARKUP:
        if sign in paragraph:
            paragraph = pattern.sub(replacement, paragraph)
    if quoted_code:
        paragraph = _QUOTED_NAME.sub(r"\1", paragraph)
    paragraph = " ".join(paragraph.split())
    if paragraph.endswith(":"):  # what it announced was code: keep the sentences before it
        paragraph = paragraph[: max(paragraph.rfind(mark) for mark in (". ", "! ", "? ")) + 1]
    return paragraph


_OPENING = "[(\"'\u201c\u2018]"
_CLOSING = "[)\"'\u201d\u2019]"
_PLAIN_WORD = re.compile(
    rf"{_OPENING}*(?:[A-Za-z][a-z]*|[A-Z]+s?)(?:['\u2019/-][A-Za-z]+)*{_CLOSING}*[.,;:!?]*{_CLOSING}*"
)
_SENTENCE_START = re.compile(rf"{_OPENING}?(?:[A-Z]|[a-z_]\w*(?:\(\))? (?:is|are|can|must|may|will|has|should)\b)")
_SENTENCE_END = re.compile(rf"[.!?]{_CLOSING}*$")
_FUNCTION_WORDS = frozenset(
    "a an the of to in is are be and or not if that this it its by for with as on from which will can may at when "
    "all any than then was were has have been but no one only must should into there their they you your such".split()
)


def _is_prose(paragraph: str) -> bool:
    words = paragraph.split()
    if (
        len(words) < 6
        or not _SENTENCE_START.match(paragraph)
        or not _SENTENCE_END.search(paragraph, len(paragraph) - 4)
    ):
        return False
    if _NOT_PROSE.search(paragraph):
        return False
    plain = sum(1 for word in words if _PLAIN_WORD.fullmatch(word))
    function_words = sum(1 for word in words if word.lower() in _FUNCTION_WORDS)
    return plain >= 0.8 * len(words) and function_words >= 0.2 * len(words)


if __name__ == "__main__":
    json.dump(list(reference_paragraphs()), sys.stdout)
