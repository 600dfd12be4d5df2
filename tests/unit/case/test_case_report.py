"""The report: complete, inert, the same figures as the exports."""

from __future__ import annotations

import base64
import hashlib
import re
import sqlite3
from collections import Counter
from html.parser import HTMLParser

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leakmatch.case import sections
from leakmatch.case.coverage import ADVICE, IN_WORDS, coverage, unread_items
from leakmatch.case.decisions import Judge
from leakmatch.case.markup import Html, count, figure, join, plural, safe, shorten, size, table, tag
from leakmatch.case.report import report
from leakmatch.case.rows import Key
from leakmatch.case.store import Case
from leakmatch.case.summary import copies, summarise
from leakmatch.case.tables import rows
from leakmatch.errors import IntegrityError, UsageError
from leakmatch.locator import Locator
from leakmatch.records import LOOKED_AT, Decision, Evidence, ItemKind, Outcome

VOID = {"meta", "img"}
TAGS = set(
    re.findall(
        r"\S+",
        "html head meta title style body a div header p h1 h2 h3 nav ul li main section dl dt dd table caption thead "
        "tbody tr th td span code img svg rect em strong ol sup pre footer",
    )
)


class Page(HTMLParser):
    """Reads a report, and fails on anything that could act or that is not closed."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.stack: list[str] = []
        self.text: list[str] = []
        self.images: list[str] = []
        self.style = ""
        self.csp = ""
        self.ids: set[str] = set()
        self.targets: set[str] = set()
        self.feed(text)
        self.close()
        assert not self.stack
        assert self.targets <= self.ids

    def handle_starttag(self, tag, attrs):
        told = dict(attrs)
        assert tag in TAGS, tag
        assert not any(name.startswith("on") or name == "style" for name in told)
        if "href" in told:
            assert told["href"].startswith("#")
            self.targets.add(told["href"][1:])
        if "src" in told:
            assert tag == "img"
            assert told["src"].startswith("data:image/jpeg;base64,")
            self.images.append(told["src"])
            assert told["alt"]
        if told.get("http-equiv") == "Content-Security-Policy":
            self.csp = told["content"]
        if "id" in told:
            assert told["id"] not in self.ids
            self.ids.add(told["id"])
        if tag == "th":
            assert told["scope"] in ("row", "col")
        if tag not in VOID:
            self.stack.append(tag)

    def handle_startendtag(self, tag, attrs):
        raise AssertionError(f"a self-closing {tag}")

    def handle_endtag(self, tag):
        assert self.stack.pop() == tag

    def handle_data(self, data):
        if self.stack and self.stack[-1] == "style":
            self.style += data
        else:
            self.text.append(data)

    @property
    def words(self) -> str:
        return re.sub(r"\s+", " ", "".join(self.text))


@pytest.fixture
def page(case):
    return Page(report(case))


def test_the_page_allows_nothing_but_itself(page):
    digest = base64.b64encode(hashlib.sha256(page.style.encode()).digest()).decode()
    allowed = {part.strip() for part in page.csp.split(";")}
    assert allowed == {
        "default-src 'none'",
        "img-src data:",
        f"style-src 'sha256-{digest}'",
        "base-uri 'none'",
        "form-action 'none'",
    }
    assert "url(" not in page.style
    assert "@import" not in page.style


def test_hostile_names_are_text(page, kit):
    assert '<script>alert("x")</script>\\u202egnp.\\x1b[31m\\x0a.jpg' in page.words
    assert "=cmd|'/c calc'!A1" in page.words
    assert "\u202e" not in page.words
    assert "\x1b" not in page.words


def test_the_headline_counts_people_and_files(page):
    assert "2 of 4 protected people are decided match, in 4 files." in page.words
    assert "1 more is to review, and no match." in page.words
    assert "Files with nothing stronger than a candidate to review: 1 file." in page.words


def test_everything_a_court_asks_for_is_there(page, case, kit):
    for part in (
        "2 items could not be read in full.",
        "duplicate",
        "no picture in it",
        "a password is needed",
        "5 faces × 4 people = 20 comparisons",
        "4 pictures × 4 enrolled photos = 16 comparisons",
        "MIT AND Apache-2.0",
        kit.RUN["pack"]["embedder_sha256"],
        kit.RUN["pack"]["detector_sha256"],
        kit.RUN["gallery"]["digest"],
        case.digest,
        "2026-03-01 12:34:56 UTC",
        "A candidate is a lead, not an identification.",
        "identical copy:",
        "SHA-256",
        "budget.depth",
        "leakmatch verify sample.case",
    ):
        assert part in page.words, part


def test_a_figure_is_worked_through(page):
    """ada: 5 faces x 4 people x 1e-9."""
    assert "has the score 0.6123." in page.words
    assert "on a test set (100 people, 300 photos, 44,000 pairs of different people)" in page.words
    assert "5 faces × 4 people = 20 comparisons" in page.words
    assert (
        "Expected by chance: 20 × 1 × 10−9 = 2 × 10−8 (95 % interval: 1 × 10−8 to 6 × 10−8). So it is decided match."
        in page.words.replace("\xa0", " ")
    )


def test_the_figures_are_those_of_the_export(case):
    summary = summarise(case, Judge.of(case), limit=100)
    exported = list(rows(case, "candidates"))
    assert {person.subject_id for person in summary.people} == {row["subject_id"] for row in exported}
    for person in summary.people:
        own = [row for row in exported if row["subject_id"] == person.subject_id]
        assert person.files == len({(row["source"], row["path"].split("!/frame")[0]) for row in own})
        assert person.pictures == len({row["sha256"] for row in own})
        assert person.expected_false == min(row["expected_false"] for row in own)
        assert person.score == max((row["score"] for row in own if row["score"]), default=None) or person.score > 0.6
        assert str(person.decision) == ("match" if any(row["decision"] == "match" for row in own) else "review")
    assert summary.candidates == {Decision.MATCH: 3, Decision.REVIEW: 2, Decision.WEAK: 1}
    assert [f.candidate.subject_id for f in summary.strongest] == ["bob", "ada", "ada", "=cmd|'/c calc'!A1", "bob"]
    assert summarise(case, Judge.of(case), limit=2).strongest == summary.strongest[:2]


def test_copies_are_counted_and_the_first_few_named(tmp_path, kit):
    w = kit.Writer(tmp_path / "c.case", ["x.zip"], [(0, "/x.zip")])
    picture = w.picture(0, w.roots[0].child("zip", "a", b"a"), [{"subject_id": "ada"}])
    for i in range(7):
        w.duplicate(0, w.roots[0].child("zip", f"copy{i}", b"%d" % i), picture)
    w.close()
    with Case.open(tmp_path / "c.case") as case:
        assert copies(case, {(0, 1)}) == {(0, 1): (7, [("x.zip", "copy0"), ("x.zip", "copy1"), ("x.zip", "copy2")])}
        assert copies(case, {(0, 5)}) == {}
        words = Page(report(case)).words
        assert "identical copies: copy0; copy1; copy2 and 4 more" in words
        assert "1 of 4 protected people is decided match, in 8 files." in words


def test_each_candidate_shows_its_own_face(case, page):
    crops = [case.crop(f.candidate.key, f.candidate.face) for f in summarise(case, Judge.of(case), 9).strongest
             if f.candidate.face is not None]  # fmt: skip
    assert [base64.b64decode(image.partition(",")[2]) for image in page.images] == crops
    assert "whole picture" in page.words


@pytest.mark.parametrize("value", [b"<svg onload=alert(1)>", b"\xff\xd8\xff" + b"x" * 70000])
def test_a_crop_that_is_no_small_jpeg_is_not_shown(sample, value):
    with Case.resume(sample) as case, case._database.transaction():
        keys = [row[:4] for row in case._database.delete("crops", "1")]
        case._database.insert("crops", [(*key, value) for key in keys])
    with Case.open(sample) as case:
        page = Page(report(case))
    assert not page.images
    assert "no crop stored" in page.words


def test_long_names_are_shortened(tmp_path, kit):
    name = "A" * 100_000 + ".jpg"
    w = kit.Writer(tmp_path / "l.case", ["x.zip"], [(0, "/x.zip")])
    locator = w.roots[0].child("zip", name, name.encode())
    w.picture(0, locator, [{"subject_id": "B" * 100_000}])
    w.plain(0, locator.child("zip", name, name.encode(), 1), Outcome.UNREADABLE, detail="C" * 100_000)
    w.incident(0, locator, "corrupt", "D" * 100_000)
    w.close()
    with Case.open(tmp_path / "l.case") as case:
        text = report(case)
        assert len(text) < 100_000
        assert "characters…]" in Page(text).words
        assert next(iter(rows(case, "candidates")))["path"] == name


@pytest.mark.parametrize(
    ("changes", "warning"),
    [
        ({"isolation": False}, "read without process isolation"),
        ({"pack": {"name": "own"}}, "The model has no calibration."),
        ({"threshold": 0.5}, "the same face with a score of 0.5 or more is decided match"),
    ],
)
def test_what_weakens_the_result_is_said(tmp_path, kit, changes, warning):
    with Case.open(kit.write_sample(tmp_path / "w.case", **changes)) as case:
        words = Page(report(case)).words
    assert warning in words
    assert "characters…]" not in words  # the report's own sentences are not shortened


def test_the_score_from_which_a_face_matches_is_said(tmp_path, kit):
    told = {"dataset": "own photos", "people": 7}
    w = kit.Writer(
        tmp_path / "s.case", ["x"], [(0, "x.jpg")], pack=kit.RUN["pack"] | {"calibration": None}, calibration=told
    )
    w.picture(0, w.roots[0], [{"subject_id": "ada"}])
    w.close()
    with Case.resume(tmp_path / "s.case") as case:
        case.finish({"finished": "2026-03-01T12:34:56Z", "searches": 1, "threshold": 0.43211})
    with Case.open(tmp_path / "s.case") as case:
        words = Page(report(case)).words
        assert "the same face is decided match from a score of 0.4321 upwards." in words
        assert "on own photos (7 people)" in words
        assert "from a score of" not in Page(report(case, 0.5)).words


@pytest.mark.parametrize(
    ("planned", "ended", "expected"),
    [
        ((90, 0.4), 0.43211, ("from a score of 0.4000 upwards", "With it, that score is 0.4321.")),
        ((90, 0.4), None, ("from a score of 0.4000 upwards", "With it, no face alone is.")),
        ((90, None), 0.4, ("planned for about 90 faces; with so many, no face alone would be", "is 0.4000.")),
        (None, 0.4, ("computed anew from the final number, 1 face.",)),
    ],
)
def test_the_plan_and_what_came_of_it_are_said(tmp_path, kit, planned, ended, expected):
    changes = {"planned": dict(zip(("searches", "threshold"), planned, strict=True))} if planned else {}
    w = kit.Writer(tmp_path / "p.case", ["x"], [(0, "x.jpg")], **changes)
    w.picture(0, w.roots[0], [{"subject_id": "ada"}])
    w.close()
    with Case.resume(tmp_path / "p.case") as case:
        case.finish({"finished": "2026-03-01T12:34:56Z", "threshold": ended})
    with Case.open(tmp_path / "p.case") as case:
        words = Page(report(case)).words
    for part in expected:
        assert part in words


def test_an_unfinished_scan_is_said_loudly(tmp_path, kit):
    with Case.open(kit.write_sample(tmp_path / "u.case", finished=False)) as case:
        words = Page(report(case)).words
    assert "This scan has not finished. 0 of 3 source files were read to the end." in words
    assert "not read to its end" in words


def test_a_complete_case_without_candidates(tmp_path, kit):
    w = kit.Writer(tmp_path / "e.case", ["x"], [(0, "x.jpg")])
    w.plain(0, w.roots[0], Outcome.NO_FACE)
    w.close()
    with Case.open(tmp_path / "e.case") as case:
        words = Page(report(case)).words
    assert "None of 4 protected people has a candidate in what was read." in words
    assert "could not be read in full" not in words
    assert "There are no candidates decided match or review." in words


def test_an_empty_case_has_a_report(tmp_path, kit):
    w = kit.Writer(tmp_path / "e.case", [], [])
    w.close()
    with Case.open(tmp_path / "e.case") as case:
        assert "The ledger is empty" in Page(report(case)).words


def test_missing_parts_are_left_open(tmp_path, kit):
    w = kit.Writer(tmp_path / "m.case", ["x"], [(0, "x.jpg")])
    w.picture(0, w.roots[0], [{"subject_id": "ada"}])
    with w.case._database.transaction():
        w.case._database.put("run", {"gallery": {"enrolled": 1, "pictures": 1}, "sources": ["x"]})
    w.close()
    with Case.open(tmp_path / "m.case") as case:
        words = Page(report(case)).words
    assert "1 of the protected people is decided match, in 1 file." in words
    assert "not told" in words


def test_deciding_anew_is_said_and_done(case):
    words = Page(report(case, accepted=1e-9)).words
    assert "Decided anew with 1e-09 accepted false candidates; the scan was told 1." in words
    assert "1 of 4 protected people is decided match, in 2 files." in words
    with pytest.raises(UsageError):
        report(case, accepted=1000.0)


def test_the_same_case_gives_the_same_report(case):
    assert report(case) == report(case)


def test_a_changed_case_gives_no_report(sample):
    connection = sqlite3.connect(sample)
    with connection:
        connection.execute("UPDATE candidates SET subject_id = 'eve' WHERE subject_id = 'ada'")
    connection.close()
    with Case.open(sample) as case, pytest.raises(IntegrityError):
        report(case)


def test_long_lists_are_bounded_and_counted(case, monkeypatch):
    for name in ("PEOPLE", "UNREAD", "SOURCES"):
        monkeypatch.setattr(sections, name, 1)
    monkeypatch.setattr(sections, "INCIDENTS", 0)
    words = Page(report(case)).words
    for part in ("2 more people", "1 more items", "2 more files", "1 more incidents"):
        assert f"{part} are not shown here. All of them: leakmatch export CASE" in words


def test_sources_of_one_name_are_told_apart(tmp_path, kit):
    w = kit.Writer(tmp_path / "s.case", ["a/photos", "b/photos"], [(0, "x.jpg"), (1, "x.jpg")])
    w.picture(0, w.roots[0], [{"subject_id": "ada"}])
    w.picture(1, w.roots[1], [{"subject_id": "ada"}])
    w.close()
    with Case.open(tmp_path / "s.case") as case:
        words = Page(report(case)).words
    assert "a/photos x.jpg" in words
    assert "b/photos x.jpg" in words


class TestCoverage:
    """The one-pass counts against a slow reference."""

    def test_every_outcome_has_words(self):
        assert set(IN_WORDS) == set(Outcome)

    def test_counts_equal_a_slow_reference(self, tmp_path, kit):
        rng = np.random.default_rng(11)
        w = kit.Writer(tmp_path / "t.case", ["a.zip", "b"], [(0, "/a.zip"), (1, "x.zip"), (1, "y.jpg")])
        outcomes = list(Outcome)

        def fill(file, locator, depth):
            w.plain(file, locator, Outcome.WALKED, ItemKind.CONTAINER)
            for i in range(rng.integers(2, 7)):
                name = f'{i},["a' if rng.random() < 0.3 else f"{i}"  # what ends a link in the JSON of a locator
                member = locator.child("zip", name, name.encode() if rng.random() < 0.7 else b"\xff", i)
                if depth < 3 and rng.random() < 0.4:
                    fill(file, member, depth + 1)
                else:
                    w.plain(file, member, outcomes[rng.choice([0, 0, 0, 3, 4])])

        fill(0, w.roots[0], 0)
        fill(1, w.roots[1], 0)
        w.plain(2, w.roots[2], Outcome.UNREADABLE)
        w.close()
        with Case.open(tmp_path / "t.case") as case:
            found = coverage(case, limit=1000)
            items = list(rows(case, "items"))
            containers: dict[tuple[str, str], Counter] = {}
            sources: dict[str, Counter] = {}
            for row in items:
                outcome = Outcome(row["outcome"])
                sources.setdefault(row["source"], Counter())[outcome] += 1
                parent = Locator.from_json(row["locator"]).parent
                if parent is not None:
                    containers.setdefault((row["source"], parent.to_json()), Counter())[outcome] += 1
            unread = {place: counts for place, counts in containers.items() if any(o not in LOOKED_AT for o in counts)}
            assert {(s.source, s.prefix + "]"): s.outcomes for s in found.worst} == unread
            assert found.affected == len(unread) > 3
            assert {share.source: share.outcomes for share in found.sources} == sources
            assert found.whole.outcomes == case.outcomes()
            numbers = [share.unread for share in found.worst]
            assert numbers == sorted(numbers, reverse=True)
            few = coverage(case, limit=2)
            assert [s.prefix for s in few.worst] == [s.prefix for s in found.worst[:2]]
            assert few.affected == found.affected
            listed = list(unread_items(case, 10_000))
            assert len(listed) == found.whole.unread
            assert len(list(unread_items(case, 3))) == 3


class TestMarkup:
    """Safe by construction."""

    @settings(max_examples=80, deadline=None)
    @given(st.text(max_size=60))
    def test_text_never_becomes_markup(self, text):
        for html in (safe(text), tag("p", text), tag("p", class_=text)):
            inner = html.removeprefix("<p>").removesuffix("</p>") if "class" not in html else ""
            assert "<" not in inner
            assert not re.search(r"[\x00-\x1f\u202a-\u202e\u2066-\u2069\ud800-\udfff]", html)
        assert tag("p", class_=text).count('"') == 2

    def test_only_html_is_taken_as_it_is(self):
        assert tag("p", Html("<b>"), "<b>", 3) == "<p><b>&lt;b&gt;3</p>"
        assert join(["<", Html("<i>")], " & ") == "&lt; &amp; <i>"

    def test_long_text_keeps_both_ends(self):
        assert shorten("x" * 400) == "x" * 400
        short = shorten("a" * 5000 + "b" * 5000)
        assert short.startswith("aaa")
        assert short.endswith("bbb")
        assert "[…9,620 characters…]" in short

    def test_a_table_heads_its_rows_and_columns(self):
        html = table("All.", ("Name", count(1)), [("a", count(2000))])
        assert '<caption>All.</caption>' in html  # fmt: skip
        assert '<th scope="row">a</th><td class="n">2,000</td>' in html

    @pytest.mark.parametrize(
        ("value", "words"),
        [
            (None, "unknown"),
            (0.0, "0"),
            (0.01, "0.01"),
            (31.8, "31.8"),
            (12345.6, "12,346"),
            (1.6e-8, "1.6\xa0×\xa010<sup>−8</sup>"),
            (9.999e-10, "1\xa0×\xa010<sup>−9</sup>"),
            (2.5e7, "2.5\xa0×\xa010<sup>7</sup>"),
        ],
    )
    def test_figures(self, value, words):
        assert figure(value) == words

    def test_words(self):
        assert plural(1, "file") == "1 file"
        assert plural(2000, "person", "people") == "2,000 people"
        assert [size(v) for v in (5, 2048, 5 << 30)] == ["5 bytes", "2.0 KiB", "5.0 GiB"]


def test_evidence_of_a_picture_alone_has_no_box(case):
    (finding,) = (f for f in summarise(case, Judge.of(case), 9).strongest if f.candidate.face is None)
    assert finding.candidate.key == Key(0, 1)
    assert finding.candidate.evidence is Evidence.SAME_PICTURE


def test_sources_come_worst_first_with_a_total_and_what_to_do(tmp_path, kit):
    w = kit.Writer(tmp_path / "w.case", ["good", "bad.zip"], [(0, "a.jpg"), (1, "/bad.zip")])
    w.picture(0, w.roots[0])
    locked = w.roots[1].child("zip", "l.jpg", b"l.jpg")
    w.plain(1, locked, Outcome.NEEDS_PASSWORD, detail="locked with a password")
    rows = w.roots[1].child("zip", "r.parquet", b"r.parquet", 1)
    w.plain(1, rows, Outcome.NEEDS_EXTRA, detail="Parquet files need: pip install 'leakmatch[datasets]'")
    w.close()
    with Case.open(tmp_path / "w.case") as case:
        assert [share.source for share in coverage(case, 9).sources] == ["bad.zip", "good"]
        words = Page(report(case)).words
    assert words.index("bad.zip") < words.index("All sources")
    assert "scan into a new case with --passwords FILE" in words
    assert "pip install 'leakmatch[datasets]'" in words
    assert ADVICE.keys() == set(Outcome) - LOOKED_AT
