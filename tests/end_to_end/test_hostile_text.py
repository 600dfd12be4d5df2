"""Names that want to act: on a terminal, in a page, in a spreadsheet, on a disk. Nowhere do they."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import unicodedata
from collections import Counter
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest
from archives import Zipped, tar_of, zipped
from commands import Done, Run

from leakmatch.locator import Locator

TOKEN = b"hostile-7d1c"  # in every name, so that a file named after one is found

NAMES: dict[str, bytes] = {
    "escape": b"\x1b[2J\x1b]0;owned\x07\x1b[31m",
    "c1": "\u009b31mred\u0085next".encode(),
    "lines": b"a\r\nitems,done,all is well\nb\tc\x0b\x0c",
    "bidi": "invoice\u202egpj.exe\u202c\u2066x\u2069\u200f\u061c".encode(),
    "zero width": "a\u200b\u200d\u2060\ufeffb\u00adc\U000e0041".encode(),
    "separators": "a\u2028b\u2029c".encode(),
    "not utf-8": b"\xff\xfe\x80name\xed\xa0\x80",
    "script": b"<script>alert(1)</script><img src=x onerror=alert(1)>",
    "quotes": b"\"><a href='javascript:alert(1)' x=`y`>&lt;&#60;",
    "comment": b"--><!--[if IE]><![CDATA[ ]]></title></style></table>",
    "formula": b"=cmd|' /C calc'!A0",
    "plus": b"+1+1",
    "minus": b"-2+3+cmd|' /C calc'!A0",
    "at": b"@SUM(1+1)*cmd|' /C calc'!A0",
    "space": b"  =1+1",
    "tab": b"\t=1+1",
    "return": b"\r=1+1",
    "full width": "\uff1d1+1".encode(),
    "other space": "\u3000\u00a0=1+1".encode(),
    "semicolon": b'x;=HYPERLINK("http://example.org";"x")',
    "dde": b'=DDE("cmd";"/C calc";"!A0")',
    "separator": b"inner.zip!/a.jpg",
    "nul": b"a.jpg\0.exe",
    "device": b"CON",
    "device file": b"aux.jpg",
    "up": b"../../../../../../tmp/",
    "absolute": b"/etc/cron.d/",
    "backslash": b"..\\..\\windows\\",
    "drive": b"C:\\autoexec.bat",
    "long": b"n" * 5000,
    "json": b'","outcome":"done"}{',
    "markup": b"[link](javascript:x) [bold red]x[/]",
    "percent": b"%s%n%(x)s{0.__class__}",
}
RAW = [name + TOKEN for name in NAMES.values()]

#: What a page of ours is made of.
ELEMENTS = frozenset(
    [
        "html",
        "head",
        "meta",
        "title",
        "style",
        "body",
        "a",
        "div",
        "header",
        "p",
        "h1",
        "h2",
        "h3",
        "h4",
        "nav",
        "ul",
        "ol",
        "li",
        "main",
        "section",
        "article",
        "figure",
        "figcaption",
        "table",
        "caption",
        "thead",
        "tbody",
        "tr",
        "th",
        "td",
        "dl",
        "dt",
        "dd",
        "strong",
        "em",
        "code",
        "pre",
        "span",
        "small",
        "sup",
        "sub",
        "b",
        "i",
        "img",
        "br",
        "hr",
        "footer",
        "details",
        "summary",
        "svg",
        "path",
        "rect",
        "circle",
        "line",
        "g",
        "text",
    ]
)


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory, sample_photos: Path) -> Path:
    """A folder of archives and files with these names; half of the members are the photo of somebody enrolled."""
    folder = tmp_path_factory.mktemp("material")
    photo = (sample_photos / "obama2.jpg").read_bytes()
    contents = [photo + b"%d" % number if number % 2 else b"\xff\xd8\xff broken" for number in range(len(RAW))]
    members = list(zip(RAW, contents, strict=True))
    for utf8 in (0, 0x800):
        (folder / f"zip {utf8}.zip").write_bytes(zipped([Zipped(name, data, flags=utf8) for name, data in members]))
    plain = [(name, data) for name, data in members if b"\0" not in name]
    (folder / "tar.tar").write_bytes(tar_of([(b"d/" + name.strip(b"/"), data) for name, data in plain]))
    inner = zipped([Zipped(name, b"text") for name in RAW], comment=b"<b>\x1b[31m")
    (folder / "nested.zip").write_bytes(zipped([Zipped(name, inner) for name in RAW[:12]]))
    locked = [Zipped(name, bytes(40), flags=1) for name in RAW]
    (folder / "locked.zip").write_bytes(zipped(locked))
    for name in RAW:
        if len(name) < 200 and b"\0" not in name:
            (folder / os.fsdecode(name.replace(b"/", b"\xe2\x81\x84"))).write_bytes(photo + name)
    return folder


@pytest.fixture(scope="module")
def scanned(
    run: Run, demo: Path, material: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Path, Done, Done]]:
    """A case of it, what the scan said, and what its inventory said. Nothing may appear on the disk meanwhile."""
    folder = tmp_path_factory.mktemp("hostile case")
    room = folder / "tmp"
    room.mkdir()
    before = named_after_members(folder)
    done = run("scan", material, "-g", demo / "demo.gallery", "-c", folder / "a.case", TMPDIR=str(room))
    listed = run("scan", material, "--inventory", TMPDIR=str(room))
    assert done.code == listed.code == 3
    assert named_after_members(folder) == before == []
    assert list(room.iterdir()) == []
    yield folder / "a.case", done, listed


def named_after_members(folder: Path) -> list[Path]:
    """Files with a member's name, near here and where the names point to."""
    near = [folder, Path.cwd(), Path("/tmp"), Path("/"), Path("/etc/cron.d"), Path("/var/tmp"), Path("/dev/shm")]
    found = [path for place in near if place.is_dir() for path in place.iterdir()]
    return [path for path in [*found, *folder.rglob("*")] if TOKEN in os.fsencode(path.name)]


def inert(text: str) -> None:
    """Nothing in it but what is printed, and ends of lines."""
    acting = {character for character in text if character != "\n" and unicodedata.category(character)[0] in "CZ"} - {
        " "
    }
    assert not {hex(ord(character)) for character in acting if character not in "\u00a0\u3000"}
    assert not any(line.startswith(("items,done,all is well", "next")) for line in text.splitlines())


def rows(done: Done) -> list[dict]:
    assert done.err == ""
    return [json.loads(line) for line in done.out.split("\n")[:-1]]


def test_on_a_terminal(run: Run, scanned: tuple[Path, Done, Done], demo: Path, material: Path) -> None:
    case, done, listed = scanned
    verified = run("verify", case)
    assert verified.code == 3
    searched = run("search", material, "-g", demo / "demo.gallery")
    assert len(searched.out.splitlines()) > len(RAW)
    verbose = run("scan", material, "--inventory", "--no-isolation", "-v")
    for one in (done, listed, verified, searched, verbose):
        inert(one.out)
        inert(one.err)
    for name in ("zip 2048.zip", "locked.zip"):
        assert name in listed.out


def test_errors_that_repeat_a_name(run: Run, demo: Path, material: Path, tmp_path: Path) -> None:
    text = "-".join(os.fsdecode(NAMES[name]) for name in ("escape", "c1", "lines", "bidi", "not utf-8"))
    for arguments in (
        ("scan", tmp_path / text, "-g", demo / "demo.gallery", "-c", tmp_path / "a.case"),
        ("scan", "--" + text),
        ("gallery", "show", demo / "demo.gallery", "x" + text),
        ("scan", material, "-g", demo / "demo.gallery", "-c", tmp_path / "none" / text),
        ("enroll", tmp_path / "a.gallery", tmp_path / f"{text}.csv"),
    ):
        done = run(*arguments)
        assert done.code in (2, 3), done.err  # 3: the scan, whose case may be called anything
        assert len(done.err) > 30
        inert(done.err)


def test_in_json_lines(run: Run, scanned: tuple[Path, Done, Done], material: Path) -> None:
    case, _, listed = scanned
    for what in ("items", "incidents", "candidates", "subjects", "faces", "run"):
        done = run("export", case, what)
        inert(done.out)
        for row in rows(done):
            if "path" in row:
                inert(row["path"])
                assert "\n" not in row["path"]
                Locator.from_json(row["locator"])
    items = rows(run("export", case, "items"))
    assert len({row["locator"] for row in items}) == len(items)
    raws = Counter(Locator.from_json(row["locator"]).raw for row in items)
    for name in RAW:
        assert raws[name[:4096]] >= 3, name
    found = json.loads(run("scan", material, "--inventory", "--json").out)
    assert found["items"] == len(items)
    inert(json.dumps(found, ensure_ascii=False))
    assert listed.out


def test_a_separator_in_a_name_is_told_apart(run: Run, scanned: tuple[Path, Done, Done]) -> None:
    for row in rows(run("export", scanned[0], "items")):
        links = list(Locator.from_json(row["locator"]).chain())
        assert len(row["path"].split("!/")) == len(links)


def test_in_a_spreadsheet(run: Run, scanned: tuple[Path, Done, Done]) -> None:
    for what in ("items", "incidents", "candidates", "faces", "subjects"):
        done = run("export", scanned[0], what, "--format", "csv")
        table = list(csv.DictReader(io.StringIO(done.out.replace("\r\n", "\n"))))
        assert len(table) == len(rows(run("export", scanned[0], what)))
        inert(done.out.replace("\r\n", "\n"))
        for row in table:
            for column in ("source", "path", "detail", "message", "folder", "subject_id"):
                for cell in row.get(column, "").split(";"):
                    start = unicodedata.normalize("NFKC", cell).strip().lstrip('"')
                    assert not start.startswith(("=", "+", "-", "@")), cell


def test_in_parquet(run: Run, scanned: tuple[Path, Done, Done], tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    done = run("export", scanned[0], "items", "--format", "parquet", "-o", tmp_path / "items.parquet")
    assert done.code == 0
    table = parquet.read_table(tmp_path / "items.parquet").to_pylist()
    assert [row["locator"] for row in table] == [row["locator"] for row in rows(run("export", scanned[0], "items"))]
    for row in table:
        inert(row["path"])


class Page(HTMLParser):
    """What a browser would make of a page, and what it would run."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: Counter[str] = Counter()
        self.attributes: set[str] = set()
        self.links: list[str] = []
        self.policy = ""
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements[tag] += 1
        given = dict(attrs)
        self.attributes |= given.keys()
        self.links += [given[name] or "" for name in ("href", "src", "action") if name in given]
        if given.get("http-equiv") == "Content-Security-Policy":
            self.policy = given["content"] or ""

    def handle_data(self, data: str) -> None:
        self.text.append(data)

    def handle_comment(self, data: str) -> None:
        raise AssertionError(f"a comment: {data}")

    def handle_pi(self, data: str) -> None:
        raise AssertionError(f"an instruction: {data}")


def test_in_the_report(run: Run, scanned: tuple[Path, Done, Done], tmp_path: Path) -> None:
    done = run("report", scanned[0], "-o", tmp_path / "r.html")
    assert done.code == 0
    page = Page()
    source = (tmp_path / "r.html").read_text(encoding="utf-8")
    page.feed(source)
    page.close()
    assert page.elements.keys() <= ELEMENTS
    assert not any(name.startswith("on") for name in page.attributes)
    assert all(link.startswith(("#", "data:image/")) for link in page.links)
    assert page.policy.startswith("default-src 'none'")
    assert "script" not in page.policy
    shown = "".join(page.text)
    assert TOKEN.decode() in shown
    assert "<script>alert(1)</script>" in shown, "names are shown, as text"
    inert(shown.replace("\u00a0", " "))


# Who is enrolled


@pytest.fixture
def people(sample_photos: Path, tmp_path: Path) -> Path:
    """A CSV whose subjects, names and paths are hostile, and folders that are."""
    shutil.copy(sample_photos / "obama.jpg", tmp_path / "p.jpg")
    with (tmp_path / "people.csv").open("w", newline="", encoding="utf-8") as stream:
        table = csv.writer(stream)
        table.writerow(["subject_id", "path", "name"])
        for number, name in enumerate(NAMES.values()):
            text = name.replace(b"\0", b"").decode("utf-8", "replace")
            table.writerow([f"{text}{number}", "p.jpg" if number == 0 else f"missing {text[:100]}", text])
    for name in (NAMES["not utf-8"], NAMES["escape"], NAMES["formula"], NAMES["bidi"]):
        folder = tmp_path / "people" / os.fsdecode(name)
        folder.mkdir(parents=True)
        shutil.copy(sample_photos / "biden.jpg", folder / "b.jpg")
        (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    return tmp_path


def test_enrolment(run: Run, people: Path, sample_photos: Path) -> None:
    gallery = people / "a.gallery"
    by_table = run("enroll", gallery, people / "people.csv")
    by_folder = run("enroll", gallery, people / "people")
    assert by_table.code == by_folder.code == 3
    listed = run("gallery", "list", gallery)
    subjects = [json.loads(line) for line in run("gallery", "list", gallery, "--json").out.splitlines()]
    said = [by_table, by_folder, listed, run("gallery", "info", gallery), run("gallery", "verify", gallery)]
    said += [run("gallery", "show", "--", gallery, row["subject_id"]) for row in subjects[::4]]
    said += [run("gallery", "doubts", gallery), run("search", sample_photos / "obama.jpg", "-g", gallery)]
    case = people / "b.case"
    said.append(run("scan", sample_photos / "obama2.jpg", "-g", gallery, "-c", case))
    said += [run("export", case, what) for what in ("candidates", "subjects", "run")]
    for done in said:
        assert done.code in (0, 3), done.err
        inert(done.out)
        inert(done.err)
    assert run("report", case, "-o", people / "r.html").code == 0
    page = Page()
    page.feed((people / "r.html").read_text(encoding="utf-8"))
    assert page.elements.keys() <= ELEMENTS
    inert("".join(page.text).replace("\u00a0", " "))


def test_passwords_are_in_no_message(run: Run, material: Path, tmp_path: Path, demo: Path) -> None:
    secret = b"\x1b[31m=cmd|secret<script>"
    (tmp_path / "passwords").write_bytes(b"first\n" + secret + b"\n")
    case = tmp_path / "c.case"
    done = run(
        "scan", material / "locked.zip", "-g", demo / "demo.gallery", "-c", case, "--passwords", tmp_path / "passwords"
    )
    exported = run("export", case, "run").out + run("export", case, "items").out + run("export", case, "incidents").out
    assert b"secret" not in case.read_bytes()
    assert "secret" not in exported + done.err + done.out
    inert(exported + done.err)
