"""Made-up identifiers and near misses, and the sentences that they are put into a review with.

Numbers with check digits come from python-stdnum, the rest from the rules that the standards state: none of it shares code
with the recognisers, so this benchmark can fail.
"""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from stdnum import iban, luhn, numdb
from stdnum.cn import ric, uscc

Make = Callable[[Random], str]
CHECKSUMMED = ("cn_id", "bank_card", "uscc", "iban")
WIDE = {code: code + 0xFEE0 for code in [*range(0x30, 0x3A), *range(0x41, 0x5B), *range(0x61, 0x7B)]}
WIDE_SHARE, SPACED_SHARE = 0.25, 0.15
LETTERS = "ABCDEFGHJKLMNPQRSTUVWXYZ"
PROVINCES = "京津沪渝冀豫云辽黑湘皖鲁新苏浙赣鄂桂甘晋蒙陕吉闽贵粤青藏川宁琼"
SEGMENTS = [
    "130",
    "131",
    "132",
    "133",
    "135",
    "136",
    "137",
    "138",
    "139",
    "145",
    "147",
    "149",
    "150",
    "151",
    "152",
    "155",
    "157",
    "158",
    "159",
    "162",
    "165",
    "166",
    "167",
    "170",
    "171",
    "172",
    "173",
    "175",
    "176",
    "177",
    "178",
    "180",
    "181",
    "182",
    "183",
    "185",
    "186",
    "187",
    "188",
    "189",
    "190",
    "191",
    "192",
    "193",
    "195",
    "196",
    "197",
    "198",
    "199",
]
CARDS = (("622202", 19), ("622848", 19), ("621700", 19), ("622588", 16), ("625910", 16), ("456351", 16), ("524094", 16))


@dataclass(frozen=True)
class Planted:
    """A review with something in it. `kind` is None for a near miss; [start, end) is where it stands."""

    review: int
    kind: str | None
    flavour: str
    start: int
    end: int


def digits(draw: Random, count: int) -> str:
    """Random digits."""
    return "".join(draw.choices("0123456789", k=count))


def _regions() -> list[str]:
    """All counties of python-stdnum's list, as six digits."""
    provinces = numdb.get("cn/loc").prefixes
    return [first + low for _, first, _, _, below in provinces for _, low, *_ in below if not low.endswith("00")]


REGIONS = _regions()


def identity(draw: Random) -> str:
    """An identity number that python-stdnum calls valid."""
    while True:
        day = f"{draw.randint(1940, 2010)}{draw.randint(1, 12):02}{draw.randint(1, 28):02}"
        head = f"{draw.choice(REGIONS)}{day}{digits(draw, 3)}"
        number = head + ric.calc_check_digit(head + "0")
        if ric.is_valid(number):
            return number


def old_identity(draw: Random) -> str:
    """Fifteen digits: the number without its century and check digit."""
    number = identity(draw)
    while number[6:8] != "19":
        number = identity(draw)
    return number[:6] + number[8:17]


def card(draw: Random) -> str:
    """A bank card."""
    first, length = draw.choice(CARDS)
    head = first + digits(draw, length - 7)
    return head + luhn.calc_check_digit(head)


def code(draw: Random) -> str:
    """A unified social credit code."""
    body = "".join(draw.choices("0123456789ABCDEFGHJKLMNPQRTUWXY", k=9))
    head = f"{draw.choice(['91', '92', '51', '12'])}{draw.choice(REGIONS)}{body}"
    return head + uscc.calc_check_digit(head + "0")


def account(draw: Random) -> str:
    """An IBAN of five countries."""
    country = draw.choice(["DE", "FR", "NL", "GB", "AE"])
    bban = {"DE": digits(draw, 18), "FR": digits(draw, 23), "NL": "ABNA" + digits(draw, 10)}
    bban |= {"GB": "NWBK" + digits(draw, 14), "AE": digits(draw, 19)}
    return country + iban.calc_check_digits(f"{country}00{bban[country]}") + bban[country]


def mobile(draw: Random) -> str:
    """A Chinese mobile number, with the country's code or without."""
    return draw.choice(["", "", "", "", "+86", "86", "+86 ", "0086-"]) + draw.choice(SEGMENTS) + digits(draw, 8)


def social(draw: Random) -> str:
    """A social security number with its dashes."""
    area = draw.choice([n for n in range(1, 900) if n != 666])
    return f"{area:03}-{draw.randint(1, 99):02}-{draw.randint(1, 9999):04}"


def phone(draw: Random) -> str:
    """A telephone number of the United States."""
    area = f"{draw.choice('23456789')}{draw.randint(0, 8)}{draw.randint(2, 9)}"
    exchange = f"{draw.randint(2, 9)}{draw.randint(20, 99)}"
    form = draw.choice(["({}) {}-{}", "{}-{}-{}", "+1 {} {} {}", "+1{}{}{}", "{}.{}.{}"])
    return form.format(area, exchange, digits(draw, 4))


def mail(draw: Random) -> str:
    """An e-mail address."""
    name = "".join(draw.choices("abcdefghijklmnopqrstuvwxyz", k=draw.randint(3, 9)))
    domain = draw.choice(["qq.com", "163.com", "126.com", "gmail.com", "sina.com.cn", "mail.example.org"])
    return f"{name}{draw.choice(['', '.', '_', ''])}{digits(draw, draw.randint(1, 4))}@{domain}"


def four(draw: Random) -> str:
    """An IPv4 address of a host."""
    first = draw.choice([n for n in range(1, 224) if n != 127])
    return f"{first}.{draw.randint(0, 255)}.{draw.randint(10, 255)}.{draw.randint(0, 255)}"


def six(draw: Random) -> str:
    """An IPv6 address."""
    group = lambda: f"{draw.randint(1, 0xFFFF):x}"  # noqa: E731 -- local word
    return draw.choice(["2001:db8::{}:{}", "fe80::{}:{}:1", "240e:{}:{}:1:2:3:4:5"]).format(group(), group())


def passport(draw: Random) -> str:
    """A Chinese passport."""
    first = draw.choice(["E", "G", f"E{draw.choice(LETTERS)}"])
    return first + digits(draw, 9 - len(first))


def permit(draw: Random) -> str:
    """A permit to Hong Kong and Macau, or a home-return permit."""
    return draw.choice(["C", "W", "H", "M"]) + digits(draw, 8)


def plate(draw: Random) -> str:
    """A vehicle plate, of an electric car in one of three."""
    head = draw.choice(PROVINCES) + draw.choice("ABCDEFGH") + draw.choice(["", "", "·"])
    if draw.random() < 1 / 3:
        return head + draw.choice("DF") + digits(draw, 5)
    tail = list(digits(draw, 5))
    for place in draw.sample(range(5), draw.randint(0, 2)):
        tail[place] = draw.choice(LETTERS)
    return head + "".join(tail)


KINDS: dict[str, tuple[Make, tuple[str, ...]]] = {
    "cn_id": (identity, ("身份证{}号", "我的身份证号是{}，", "（{}）", "ID{}已登记")),
    "cn_id_15": (old_identity, ("老身份证{}，", "证号：{}。", "户主{}登记")),
    "cn_mobile": (mobile, ("请打{}联系", "我电话{}，", "手机：{}。", "微信同号{}谢谢")),
    "bank_card": (card, ("卡号{}，", "退款到{}这张卡", "银行卡：{}。")),
    "uscc": (code, ("税号{}，", "统一社会信用代码{}。", "开票{}谢谢")),
    "iban": (account, ("账户{}，", "IBAN：{}。", "汇到 {} 即可")),
    "email": (mail, ("邮箱{}谢谢", "发到{}，", "我的邮件是{}。")),
    "us_ssn": (social, ("社会安全号{}，", "SSN：{}。", "号码{}填错了")),
    "us_phone": (phone, ("美国电话{}，", "致电{}。", "客户留的是 {} 这个")),
    "ipv4": (four, ("登录IP{}，", "地址{}。", "服务器：{}，")),
    "ipv6": (six, ("地址 {}，", "IPv6：{}。")),
    "passport": (passport, ("护照{}，", "护照号码：{}。", "我拿护照{}登记的")),
    "travel_permit": (permit, ("通行证{}，", "港澳通行证号：{}。", "回乡证{}过期了")),
    "plate": (plate, ("车牌{}，", "停着一辆{}。", "送货的车是{}的")),
}


def one_off(draw: Random, value: str) -> str:
    """The value with one digit that is another: no check digit of ours lets that pass."""
    place = draw.choice([n for n, sign in enumerate(value) if sign.isdigit() and n >= 4])
    return value[:place] + draw.choice([d for d in "0123456789" if d != value[place]]) + value[place + 1 :]


def glued(draw: Random, value: str) -> str:
    """The value with digits glued to it."""
    more = digits(draw, draw.randint(1, 3))
    return value + more if draw.random() < 0.5 or not value[0].isdigit() else more + value


def no_day(draw: Random) -> str:
    """An identity number of a day that does not exist, its check digit right."""
    head = identity(draw)[:10] + draw.choice(["0230", "1301", "0431", "0000", "1132"]) + digits(draw, 3)
    return head + ric.calc_check_digit(head + "0")


def no_day_15(draw: Random) -> str:
    """The same in fifteen digits."""
    number = no_day(draw)
    return number[:6] + number[8:17]


def _void_social(draw: Random) -> str:
    areas = ["000-12-3456", f"666-{draw.randint(10, 99)}-1234", f"9{digits(draw, 2)}-45-6789"]
    return draw.choice([*areas, "123-00-4567", "123-45-0000"])


def _no_host(draw: Random) -> str:
    large = draw.randint(256, 999)
    return draw.choice([f"{large}.{draw.randint(1, 99)}.3.4", f"192.168.1.{large}", f"10.{digits(draw, 2)}.3.4.5"])


NEAR: dict[str, tuple[Make, str]] = {
    "cn_id, one digit off": (lambda d: one_off(d, identity(d)), "cn_id"),
    "cn_id, impossible date": (no_day, "cn_id"),
    "cn_id, glued to digits": (lambda d: glued(d, identity(d)), "cn_id"),
    "cn_id_15, impossible date": (no_day_15, "cn_id_15"),
    "cn_mobile, unknown segment": (lambda d: d.choice(["120", "154", "179", "194", "161"]) + digits(d, 8), "cn_mobile"),
    "cn_mobile, glued to digits": (lambda d: glued(d, d.choice(SEGMENTS) + digits(d, 8)), "cn_mobile"),
    "bank_card, one digit off": (lambda d: one_off(d, card(d)), "bank_card"),
    "bank_card, glued to digits": (lambda d: card(d) + digits(d, 4), "bank_card"),
    "uscc, one digit off": (lambda d: one_off(d, code(d)), "uscc"),
    "uscc, glued to digits": (lambda d: glued(d, code(d)), "uscc"),
    "iban, one digit off": (lambda d: one_off(d, account(d)), "iban"),
    "iban, glued to digits": (lambda d: account(d) + digits(d, 2), "iban"),
    "us_ssn, void": (_void_social, "us_ssn"),
    "ipv4, no host": (_no_host, "ipv4"),
    "ipv4, a version": (lambda d: f"{d.choice(['v', 'V', '版本', '固件'])}{four(d)}", ""),
    "passport, no word": (passport, ""),
    "plate, letter I or O": (lambda d: f"粤B{d.choice('IO')}{digits(d, 4)}", "plate"),
    "email, no domain": (lambda d: f"{mail(d).split('@')[0]}@{d.choice(['qq', 'home', '163'])}", "email"),
}


def dressed(draw: Random, kind: str, value: str) -> tuple[str, str]:
    """The value as people type it: (text, flavour)."""
    if draw.random() < WIDE_SHARE and kind not in {"email", "ipv6", "ipv4"}:
        return value.translate(WIDE), "full-width"
    if kind in {"bank_card", "iban"} and draw.random() < SPACED_SHARE:
        return " ".join(value[at : at + 4] for at in range(0, len(value), 4)), "in groups"
    if kind == "cn_mobile" and value.isdigit() and len(value) == 11 and draw.random() < SPACED_SHARE:
        return draw.choice("- ").join((value[:3], value[3:7], value[7:])), "in groups"
    if kind == "cn_id" and draw.random() < SPACED_SHARE:
        return f"{value[:6]} {value[6:14]} {value[14:]}", "in groups"
    return value, "plain"


def put(draw: Random, review: str, sentence: str, value: str) -> tuple[str, int]:
    """The review with the sentence at its start, its end, or between two Chinese characters; and where the value begins."""
    seams = [at for at in range(1, len(review)) if not (review[at - 1].isascii() or review[at].isascii())]
    at = draw.choice([0, len(review), *draw.choices(seams, k=6)]) if seams else draw.choice([0, len(review)])
    before, _, after = sentence.partition("{}")
    left = draw.choice(["", "😀", "！"]) if review[at - 1 : at].isascii() or at == 0 else ""
    left = left or ("，" if review[at - 1 : at].isascii() and at else "")
    right = "，" if review[at : at + 1].isascii() and at < len(review) else ""
    head = review[:at] + left + before
    return head + value + after + right + review[at:], len(head)
