"""Names in encodings that nobody wrote down."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leakmatch.locator import Locator, printable
from leakmatch.sources.names import decode_name

CHINESE = (
    "照片.jpg 身份证正面.jpg 张伟/身份证.jpg 李娜_手持.jpg 人脸数据集/训练/00001.jpg 新建文件夹/图片1.png 龙婷婷.jpg"
)
JAPANESE = "写真.jpg 猫の写真.jpg 顔画像/田中.jpg 東京.jpg テスト.jpg 新しいフォルダ/画像.jpg 山田太郎.jpg 証明写真.png"
WESTERN = "café.jpg Müller.jpg niño.jpg Zürich/photo.jpg à/été.jpg"
CASES = [
    (encoding, name)
    for encoding, names in (
        ("gbk", CHINESE),
        ("cp932", JAPANESE),
        ("cp437", WESTERN),
        ("utf-8", CHINESE + " " + WESTERN),
    )
    for name in names.split()
]


@pytest.mark.parametrize(("encoding", "name"), CASES)
def test_names_as_they_are_in_real_archives(encoding, name):
    assert decode_name(name.encode(encoding)) == name


def test_declared_utf8_that_is_none_keeps_its_bytes():
    name = decode_name(b"a\xff.jpg", utf8=True)
    assert name == "a\udcff.jpg"
    assert name.encode("utf-8", "surrogateescape") == b"a\xff.jpg"


def test_ascii_and_nothing():
    assert decode_name(b"IMG_0001.JPG") == "IMG_0001.JPG"
    assert decode_name(b"") == ""


@given(st.binary(max_size=60), st.booleans())
def test_never_fails_and_always_has_a_printable_form(raw, utf8):
    name = decode_name(raw, utf8=utf8)
    assert name == decode_name(raw, utf8=utf8)
    locator = Locator(None, "zip", name, raw)
    assert Locator.from_json(locator.to_json()) == locator
    assert "\n" not in printable(name)
