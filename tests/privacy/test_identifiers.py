"""Identifiers in texts: found where they stand, near misses left, places in code points of the original."""

import importlib
import pkgutil
import subprocess
import sys

import pytest

from veriward.core.errors import SettingsError
from veriward.privacy import identifiers
from veriward.privacy.identifiers import KINDS, Identifier, Patterns, Recogniser, keyed_hash, scan, scan_texts
from veriward.privacy.identifiers.fold import fold
from veriward.privacy.identifiers.patterns import resolve

ID, CARD, USCC = "110101199003078881", "4111111111111111", "91110000600037341L"
IBAN = "DE89370400440532013000"


def kinds(text: str, hint: str = "") -> list[str]:
    return [one.kind for one in scan(text, hint=hint)]


def spans(text: str) -> list[tuple[str, str]]:
    return [(one.kind, text[one.start : one.end]) for one in scan(text)]


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        (f"身份证{ID}号", "cn_id", ID),
        ("号码11010519491231002X。", "cn_id", "11010519491231002X"),
        ("号码11010519491231002x", "cn_id", "11010519491231002x"),
        ("身份证110101 19900307 8881号", "cn_id", "110101 19900307 8881"),
        ("身份证110101-19900307-888-1", "cn_id", "110101-19900307-888-1"),
        ("老证110101900307888号", "cn_id_15", "110101900307888"),
        ("港澳居住证810000199003078885", "cn_id", "810000199003078885"),
        ("请打13812345678联系", "cn_mobile", "13812345678"),
        ("tel13812345678", "cn_mobile", "13812345678"),
        ("请打+86 138-1234-5678", "cn_mobile", "+86 138-1234-5678"),
        ("请打(+86)13812345678", "cn_mobile", "(+86)13812345678"),
        ("请打008613812345678。", "cn_mobile", "008613812345678"),
        ("13812345678.0", "cn_mobile", "13812345678"),
        ("卡4111 1111 1111 1111。", "bank_card", "4111 1111 1111 1111"),
        ("卡378282246310005。", "bank_card", "378282246310005"),
        (f"税号{USCC}", "uscc", USCC),
        (f"税号{USCC.lower()}", "uscc", USCC.lower()),
        ("账户DE89 3704 0044 0532 0130 00，", "iban", "DE89 3704 0044 0532 0130 00"),
        (f"IBAN{IBAN}", "iban", IBAN),
        ("邮箱li.lei+a@mail.example.com.cn谢谢", "email", "li.lei+a@mail.example.com.cn"),
        ("13812345678@163.com", "email", "13812345678@163.com"),
        ("护照E12345678，", "passport", "E12345678"),
        ("护照号码：EA1234567", "passport", "EA1234567"),
        ("passport no. 123456789", "passport", "123456789"),
        ("港澳通行证C12345678", "travel_permit", "C12345678"),
        ("台胞证12345678", "travel_permit", "12345678"),
        ("车牌京A12345停", "plate", "京A12345"),
        ("一辆粤B·D12345", "plate", "粤B·D12345"),
        ("一辆沪A12345D车", "plate", "沪A12345D"),
        ("挂车鲁H1234挂", "plate", "鲁H1234挂"),
        ("登录IP48.212.95.135，", "ipv4", "48.212.95.135"),
        ("IP：8.8.8.8", "ipv4", "8.8.8.8"),
        ("地址2001:db8::7。", "ipv6", "2001:db8::7"),
        ("IP:2001:db8::8a2e:370:7334:", "ipv6", "2001:db8::8a2e:370:7334"),
        ("SSN 536-90-4399.", "us_ssn", "536-90-4399"),
        ("social security 536904399", "us_ssn", "536904399"),
        ("call (415) 555-2671 now", "us_phone", "(415) 555-2671"),
        ("+14155552671", "us_phone", "+14155552671"),
        ("phone 4155552671", "us_phone", "4155552671"),
    ],
)
def test_what_is_found_and_where(text: str, kind: str, value: str) -> None:
    assert spans(text) == [(kind, value)]


@pytest.mark.parametrize(
    "text",
    [
        "身份证110101199003078882号",  # one digit off
        "身份证110101199002308881号",  # no such day
        "身份证110101209903078889号",  # not born yet
        "身份证990101199003078881号",  # no such region
        f"身份证1{ID}号",  # glued to digits
        f"身份证{ID}7号",
        f"身份证{ID}X",
        "老证110101901307888号",
        "老证110101900307888.5",
        "请打12012345678",  # no such segment
        "请打113812345678",
        "请打138123456789",
        "请打1381234567",
        "比值0.13812345678",
        "订单号：13812345678",
        "代码19892330824E5CRQ36",
        "卡4111111111111112",
        "条码4901234567894",  # EAN-13: nobody prints cards of this length any more
        "税号91110000600037341M",
        f"税号{USCC}A",
        "税号97110000600037341L",  # an authority that registers no such kind
        "账户DE89370400440532013001",
        f"账户{IBAN}1",
        "user@home",
        "图标icon@2x.png",
        "型号E12345678",  # a passport needs its word
        "车牌京O12345",
        "配了新E52680处理器",
        "升级到v1.2.3.40",
        "固件版本1.2.3.40",
        "价格1.8.8.8",
        "地址256.1.1.10",
        "OID 1.3.6.1.4.1",
        "掩码255.255.255.0",
        "本机127.0.0.1",
        "时间12:30:45",
        "std::ab::cd",
        "号码666-12-3456",
        "号码078-05-1120",
        "编号536904399",  # nine digits are anything
        "客服400-820-8820",
        "call 411-555-2671",
        "",
        "好评",
        "😀" * 9,
    ],
)
def test_what_is_left(text: str) -> None:
    assert spans(text) == []


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("电话１３８１２３４５６７８。", "１３８１２３４５６７８"),
        ("电话١٣٨١٢٣٤٥٦٧٨", "١٣٨١٢٣٤٥٦٧٨"),
        ("电话138\u200b1234\u200b5678！", "138\u200b1234\u200b5678"),
        ("😀👨‍👩‍👧电话13812345678😀", "13812345678"),
        ("电话1️⃣3️⃣8️⃣12345678谢谢", "1️⃣3️⃣8️⃣12345678"),
        ("电话138—1234—5678", "138—1234—5678"),
        ("电话138\u30001234\u30005678", "138\u30001234\u30005678"),
        ("名单①13812345678②", "13812345678"),
        ("\ufeff13812345678", "13812345678"),
    ],
)
def test_digits_as_people_write_them(text: str, value: str) -> None:
    assert spans(text) == [("cn_mobile", value)]


def test_full_width_letters_and_signs() -> None:
    assert kinds("邮箱ｌｉ＠ｑｑ．ｃｏｍ") == ["email"]
    assert kinds("税号９１１１００００６０００３７３４１Ｌ") == ["uscc"]
    assert kinds("身份证１１０１０５１９４９１２３１００２Ｘ") == ["cn_id"]


def test_folding_maps_every_place_back() -> None:
    text = "a\u200b\u200b１\ufe0f２b\u200d"
    folded = fold(text)
    assert folded.text == "a12b"
    back = [text[slice(*folded.span(n, n + 1))] for n in range(len(folded.text))]
    assert back == ["a", "１", "２", "b"]


def test_texts_are_kept_apart() -> None:
    texts = ["手机138", "12345678", f"身份证{ID}", "", "护照", "E12345678", "a\x00b13812345678"]
    assert [(n, one.kind) for n, one in Patterns().find(texts)] == [(2, "cn_id"), (6, "cn_mobile")]
    alone = [(n, one) for n, text in enumerate(texts) for one in scan(text)]
    assert list(scan_texts(texts)) == alone


def test_the_hint_stands_for_a_word_beside_the_number() -> None:
    assert kinds("E12345678", hint="护照号") == ["passport"]
    assert kinds("536904399", hint="ssn") == ["us_ssn"]
    assert kinds("4155552671", hint="phone") == ["us_phone"]


def test_the_stronger_kind_wins_where_two_overlap() -> None:
    assert (
        resolve([Identifier("bank_card", 0, 18, "checksum"), Identifier("cn_id", 0, 18, "checksum")])[0].kind == "cn_id"
    )
    assert kinds("342501770506123") == ["cn_id_15"]  # Anhui, and the head of an American Express card
    long, short = Identifier("person", 0, 9, "context"), Identifier("place", 3, 5, "context")
    assert resolve([short, long]) == [long]
    assert resolve([]) == []


def test_confidence_says_what_speaks_for_it() -> None:
    found = scan(f"身份证{ID}，手机13812345678，护照E12345678")
    assert [one.confidence for one in found] == ["checksum", "format", "context"]


HOSTILE = [
    "1",
    "1 ",
    "1-",
    "a@",
    "a.",
    "a@b.",
    "@a-",
    "1:",
    "a:",
    "1\u200b",
    "１",
    "1.",
    "DE89 ",
    "京A",
    "9A",
    "(",
    "86",
]


@pytest.mark.parametrize("part", [*HOSTILE, "13812345678.0", "4111 ", "护照E", "\x001", "\U0001d7d8"])
def test_a_megabyte_of_anything_is_read(part: str) -> None:
    text = part * (1_000_000 // len(part)) + "身份证" + ID
    assert kinds(text)[-1] == "cn_id"


def test_lone_surrogates_and_odd_texts_are_read() -> None:
    assert kinds("\ud800身份证110101199003078881\udfff") == ["cn_id"]
    assert list(Patterns().find([])) == []


class TestPlugins:
    """Recognisers of others."""

    class Names:
        """Knows one name."""

        name = "names"

        def find(self, texts, hint=""):
            for number, text in enumerate(texts):
                at = text.find("王小明")
                if at >= 0:
                    yield number, Identifier("person", at, at + 3, "context")

    def test_it_joins_ours(self) -> None:
        assert isinstance(self.Names(), Recogniser)
        found = scan("王小明13812345678", recognisers=(Patterns(), self.Names()))
        assert [one.kind for one in found] == ["person", "cn_mobile"]

    def test_one_that_raises_is_named_and_the_others_go_on(self) -> None:
        class Broken(self.Names):
            name = "broken"

            def find(self, texts, hint=""):
                raise RuntimeError("no model")
                yield

        failures = []
        found = scan_texts(
            ["13812345678"], recognisers=(Broken(), Patterns()), failed=lambda name, error: failures.append(name)
        )
        assert [one.kind for _, one in found] == ["cn_mobile"]
        assert failures == ["broken"]
        with pytest.raises(RuntimeError, match="no model"):
            scan("x", recognisers=(Broken(),))

    def test_places_outside_of_the_text_are_refused(self) -> None:
        class Wild(self.Names):
            def find(self, texts, hint=""):
                yield 0, Identifier("person", 0, 99, "context")

        with pytest.raises(SettingsError, match=r"names.*99 of 1"):
            scan("x", recognisers=(Wild(),))

    def test_entry_points_are_loaded_and_doubles_refused(self, monkeypatch: pytest.MonkeyPatch) -> None:
        class Point:
            name, value = "names", "package:Names"

            def load(self):
                return TestPlugins.Names

        monkeypatch.setattr("veriward.privacy.identifiers.plugins.entry_points", lambda group: [Point()])
        assert [one.name for one in identifiers.installed()] == ["patterns", "names"]
        monkeypatch.setattr("veriward.privacy.identifiers.plugins.entry_points", lambda group: [Point(), Point()])
        with pytest.raises(SettingsError, match="twice"):
            identifiers.installed()
        monkeypatch.setattr(Point, "load", lambda self: object)
        with pytest.raises(SettingsError, match=r"docs/identifiers.md"):
            identifiers.installed()


class TestHash:
    """Equal values are equal under one key, and under no other."""

    KEY = bytes(range(32))

    def test_spellings_of_one_value_are_one(self) -> None:
        spellings = [
            "13812345678",
            "+86 138-1234-5678",
            "１３８１２３４５６７８",
            "138\u200b12345678",
            "008613812345678",
        ]
        assert len({keyed_hash("cn_mobile", text, self.KEY) for text in spellings}) == 1
        assert keyed_hash("cn_id", "11010519491231002x", self.KEY) == keyed_hash(
            "cn_id", "110105 19491231 002X", self.KEY
        )
        assert keyed_hash("email", "Li@QQ.com", self.KEY) == keyed_hash("email", "li@qq.com", self.KEY)
        phones = ["+1 (415) 555-2671", "415.555.2671", "4155552671"]
        assert len({keyed_hash("us_phone", text, self.KEY) for text in phones}) == 1

    def test_other_keys_and_kinds_give_other_hashes(self) -> None:
        hashes = {
            keyed_hash(kind, "536904399", key) for kind in ("us_ssn", "passport") for key in (self.KEY, b"k" * 32)
        }
        assert len(hashes) == 4
        assert all(len(text) == 16 and int(text, 16) >= 0 for text in hashes)

    def test_a_short_key_is_refused(self) -> None:
        with pytest.raises(ValueError, match="16"):
            keyed_hash("cn_id", ID, b"short")


def test_nothing_heavy_is_imported() -> None:
    heavy = "{'numpy', 'torch', 'pandas', 'scipy'}"
    code = f"import sys, veriward.privacy.identifiers as p; p.scan('13812345678'); print({heavy} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_the_room_knows_nothing_of_checks() -> None:
    for module in pkgutil.iter_modules(identifiers.__path__):
        source = importlib.import_module(f"{identifiers.__name__}.{module.name}").__dict__
        assert not any(str(getattr(value, "__module__", "")).startswith("veriward.checks") for value in source.values())


def test_every_kind_has_a_word_in_both_languages() -> None:
    from veriward.reports.catalogue import Catalogue

    for language in ("en", "zh"):
        assert set(Catalogue.load(language).terms["pii_kind"]) == set(KINDS)
