"""The plain cookie: what is read out of a header, what is written, what is refused."""

import dataclasses
import logging
import string
from base64 import urlsafe_b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st
from werkzeug.http import parse_cookie

from wsgi_sessions.cookies import SessionCookie
from wsgi_sessions.token import SessionToken

GOOD = SessionToken("GoodGoodGoodGoodGoodGA", "1234567890123456789-_A")
EVIL = SessionToken("EvilEvilEvilEvilEvilEA", "9876543210987654321-_A")
TOKENS = [SessionToken(f"Number{number}AAAAAAAAAAAAAAA", "1234567890123456789-_A") for number in range(8)]

NAME_CHARACTERS = string.ascii_letters + string.digits + "!#$%&'*+-.^_`|~"
PATH_CHARACTERS = "".join(chr(code) for code in range(0x21, 0x7F) if chr(code) not in '",;\\')
DOMAIN_CHARACTERS = string.ascii_letters + string.digits + "-."

FORBIDDEN = [";", ",", "\r", "\n", "\0", "\x7f", "\t", " ", '"', "\\", "\x80", "\xa0", "é", "\u2000", "\x0b", "\x1f"]

labels = st.from_regex(r"[0-9A-Za-z]([0-9A-Za-z-]{0,8}[0-9A-Za-z])?", fullmatch=True)
names = st.text(NAME_CHARACTERS, min_size=1, max_size=30)
paths = st.text(PATH_CHARACTERS, max_size=30).map("/".__add__)
domains = st.lists(labels, min_size=1, max_size=4).map(".".join)
headers = st.text(max_size=300) | st.lists(
    st.sampled_from(["id", "=", ";", " ", "\t", '"', ",", "\xa0", "\\", "id=", GOOD.value, EVIL.value, "$Version"])
).map("".join)


def read_like_a_browser(header):
    """Parse a Set-Cookie value as RFC 6265bis 5.6 has user agents do it; unlike them, refuse what is unknown."""
    pair, *attributes = header.split(";")
    name, _, value = pair.partition("=")
    read = {"name": name.strip(" \t"), "value": value.strip(" \t")}
    for attribute in attributes:
        key, equals, text = attribute.partition("=")
        key = key.strip(" \t").lower()
        assert key in {"httponly", "samesite", "partitioned", "secure", "path", "domain", "max-age", "expires"}
        assert key not in read
        read[key] = text.strip(" \t") if equals else True
    return read


# Reading


def test_reads_the_token_among_other_cookies():
    header = f"_ga=GA1.2.1103848281.1698765432; theme=dark; id={GOOD.value}; other=id"
    assert SessionCookie().candidates(header) == [GOOD]


@pytest.mark.parametrize("form", ["id={}", " id={}", "id = {}", "\tid\t=\t{} \t", ";;id={};", "id={};id"])
def test_strips_spaces_and_tabs(form):
    assert SessionCookie().candidates(form.format(GOOD.value)) == [GOOD]


@pytest.mark.parametrize(
    "header", ["", "theme=dark", "valid=1; _gid=2", "id", "a=id; id; =id", f"ID={GOOD.value}", f"xid={GOOD.value}"]
)
def test_without_our_cookie_there_is_no_candidate_and_no_log_line(header, caplog):
    caplog.set_level(logging.DEBUG)
    assert SessionCookie().candidates(header) == []
    assert caplog.records == []


@pytest.mark.parametrize("header", ["id=", 'id=""', "id", "id=;", "id= ", "=", "=id"])
def test_empty_value_is_no_candidate(header):
    """T-05: an empty credential never opens anything."""
    assert SessionCookie().candidates(header) == []


@pytest.mark.parametrize(
    "value",
    [
        "A",
        "A" * 42,
        "A" * 44,
        "A" * 45,
        "A" * 5000,
        "../../etc/passwd",
        "a/b",
        ".",
        "..",
        "\0",
        "\r",
        "%2e%2e",
        *(chr(code) * 45 for code in range(0x80, 0x100)),
        GOOD.id,
        GOOD.value.replace(".", ""),
        GOOD.value.replace(".", "/"),
        GOOD.value.replace("G", "%47"),
        GOOD.value + "\0",
        GOOD.value + "\n",
        GOOD.value + "\xa0",
        "\x0b" + GOOD.value,
        GOOD.value.replace("1", "\N{ARABIC-INDIC DIGIT ONE}"),
        f"{GOOD.value}.{GOOD.secret}",
    ],
)
def test_malformed_value_is_no_candidate(value):
    """T-06: only what matches the token's pattern gets past the cookie."""
    assert SessionCookie().candidates(f"id={value}") == []


@pytest.mark.parametrize("part", ["id", "secret"])
def test_other_spelling_of_the_same_bytes_is_no_candidate(part):
    """T-07: of the sixteen last characters that decode alike, one is accepted."""
    accepted = []
    for last in "ABCDEFGHIJKLMNOP":
        values = {"id": GOOD.id, "secret": GOOD.secret}
        values[part] = values[part][:-1] + last
        if SessionCookie().candidates("id={id}.{secret}".format(**values)):
            accepted.append(last)
    assert accepted == ["A"]


@pytest.mark.parametrize(
    "junk",
    [
        "a b=1",
        'x={"d":"e"}',
        '{"j":1}=1',
        "path=/",
        "expires=1",
        "secure",
        "$Version=1",
        '"',
        'a="x',
        'a="\\',
        "=",
        ";;",
        "x:y(=1",
        "," * 50,
        "id",
        "garbage!" * 512,
        bytes(range(0x80, 0x100)).decode("latin-1"),
        "".join(chr(code) for code in range(0x20)),
    ],
)
def test_junk_cookies_do_not_hide_ours(junk):
    """T-25: a bad pair costs that pair only, on either side."""
    assert SessionCookie().candidates(f"{junk}; id={GOOD.value}") == [GOOD]
    assert SessionCookie().candidates(f"id={GOOD.value}; {junk}") == [GOOD]


@pytest.mark.parametrize("name", ["id", "__Host-session"])
def test_nameless_cookie_does_not_pass_for_ours(name):
    """T-26 (CVE-2023-23934): a cookie without a name, whose value looks like our pair."""
    assert SessionCookie(name).candidates(f"={name}={EVIL.value}") == []
    assert SessionCookie(name).candidates(f"={name}={EVIL.value}; {name}={GOOD.value}") == [GOOD]


@pytest.mark.parametrize(
    "prefix",
    ["\x0b", "\x0c", "\x1c", "\x1d", "\x1e", "\x1f", "\x85", "\xa0", "\xe2\x80\x80", "\u2000", "\ufeff", "\0", "\r"],
)
def test_other_whitespace_before_the_name_is_part_of_it(prefix):
    """T-27: a browser keeps the __Host- prefix from foreign hosts only as long as nobody strips more than it does."""
    cookie = SessionCookie("__Host-session")
    evil = f"{prefix}__Host-session={EVIL.value}"
    good = f"__Host-session={GOOD.value}"
    assert cookie.candidates(evil) == []
    assert cookie.candidates(f"__Host-session{prefix}={EVIL.value}") == []
    assert cookie.candidates(f"{good}; {evil}") == [GOOD]
    assert cookie.candidates(f"{evil}; {good}") == [GOOD]


def test_cookie_sandwich_gives_nothing_away():
    """T-28: quotes neither join pairs nor wrap a value."""
    assert SessionCookie().candidates('$Version=1; id="a"; x=";id=evil;"') == []
    assert SessionCookie().candidates(f'$Version=1; id="a; x=b; id={GOOD.value}; y="') == [GOOD]


@pytest.mark.parametrize(
    "value", [f'"{GOOD.value}"', f'"{GOOD.value}', f'{GOOD.value}"', GOOD.value.replace("G", "\\107")]
)
def test_quotes_and_escapes_are_not_decoded(value):
    """T-28: our values never need them."""
    assert SessionCookie().candidates(f"id={value}") == []


def test_duplicates_are_all_returned_in_order_of_the_header():
    """T-29: which of them is ours is for the store to say."""
    cookie = SessionCookie()
    assert cookie.candidates(f"id={GOOD.value}; a=b; id={EVIL.value}") == [GOOD, EVIL]
    assert cookie.candidates(f"id={EVIL.value}; id={GOOD.value}") == [EVIL, GOOD]


def test_equal_duplicates_are_one_candidate():
    """T-29: the same token twice is no ambiguity."""
    assert SessionCookie().candidates(f"id={GOOD.value}; id={EVIL.value}; id={GOOD.value}") == [GOOD, EVIL]


def test_same_id_with_another_secret_is_another_candidate():
    """T-29: the secret is part of what tells tokens apart."""
    other = SessionToken(GOOD.id, EVIL.secret)
    assert SessionCookie().candidates(f"id={GOOD.value}; id={other.value}") == [GOOD, other]


def test_at_most_five_candidates():
    """T-29: fifty cookies of our name cost five reads; malformed ones and repetitions do not count."""
    header = "id=junk; " * 50 + "; ".join(f"id={token.value}; id={token.value}" for token in TOKENS)
    assert SessionCookie().candidates(header) == TOKENS[:5]


def test_fields_that_a_server_joined_with_commas_are_not_split():
    """T-39: splitting at commas would let a value smuggle in a cookie."""
    assert SessionCookie().candidates(f"id={GOOD.value},other=1") == []
    assert SessionCookie().candidates(f"other=1,id={GOOD.value}") == []


def test_header_of_16_kib_is_read_and_one_character_more_is_not(caplog):
    """T-75: the cap is exact, and what is over it is logged."""
    caplog.set_level(logging.INFO, "wsgi_sessions.security")
    pair = f"; id={GOOD.value}"
    assert SessionCookie().candidates("x" * (16 * 1024 - len(pair)) + pair) == [GOOD]
    assert caplog.messages == []
    assert SessionCookie().candidates("x" * (16 * 1024 - len(pair) + 1) + pair) == []
    assert caplog.messages == ["cookie header over 16384 characters ignored"]


class Unread(str):
    """A header that may be measured, not looked at."""

    def split(self, *arguments):
        raise AssertionError("split")

    def __contains__(self, part):
        raise AssertionError("searched")


@pytest.mark.parametrize("unit", ["\\", '"\\', ";", "id=;", f"id={EVIL.value};", "id;", "="])
def test_hostile_mebibyte_is_not_even_looked_at(unit):
    """T-75 (CVE-2024-7592): the cost of a huge header is that of asking for its length."""
    header = Unread((unit * (1024 * 1024 // len(unit) + 1)) + f";id={GOOD.value}")
    assert SessionCookie().candidates(header) == []


def test_malformed_cookie_is_logged_once_and_without_its_value(caplog):
    caplog.set_level(logging.INFO)
    assert SessionCookie().candidates(f"id=hunter2; id={GOOD.value}; id=hunter3") == [GOOD]
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("wsgi_sessions.security", logging.INFO)
    assert record.getMessage() == "malformed session cookie 'id'"
    assert GOOD.secret not in repr(vars(record))


def test_a_cookie_of_another_library_under_the_same_name_is_not_logged_as_malformed(caplog):
    caplog.set_level(logging.INFO)
    seen = []
    header = f"id=theirs; id={GOOD.value}"
    assert SessionCookie().candidates(header, lambda text: not seen.append(text)) == [GOOD]
    assert seen == ["theirs"]
    assert caplog.messages == []
    SessionCookie().candidates("id = theirs ; id=hunter2; id=hunter3", lambda text: text == "theirs")
    assert caplog.messages == ["malformed session cookie 'id'"]


def test_asking_whether_it_is_ours_logs_nothing(caplog):
    caplog.set_level(logging.INFO)
    cookie = SessionCookie()
    assert cookie.is_ours(GOOD.value) and not cookie.is_ours("hunter2")
    assert cookie.is_in(f"id=hunter2; id={GOOD.value}") and not cookie.is_in("id=hunter2")
    assert caplog.records == []


def test_well_formed_cookies_are_not_logged(caplog):
    caplog.set_level(logging.DEBUG)
    SessionCookie().candidates(f"id={GOOD.value}; id={EVIL.value}; bad pair; other=x")
    assert caplog.records == []


@pytest.mark.parametrize("first", ["", "a=b; "])
@pytest.mark.parametrize("name", ["id ", "id\t", " id \t", "id"])
def test_a_second_cookie_is_seen_however_it_is_written(first, name):
    """T-25: of two sessions, none is used; a sibling domain could otherwise place its own before ours."""
    assert SessionCookie().candidates(f"{first}id={EVIL.value}; {name}={GOOD.value}") == [EVIL, GOOD]


@given(headers)
def test_any_header_gives_well_formed_tokens_only(header):
    """T-06: whatever the text, no exception, and nothing but distinct tokens that are in it."""
    tokens = SessionCookie().candidates(header)
    assert len(tokens) <= 5
    assert len({token.value for token in tokens}) == len(tokens)
    for token in tokens:
        assert SessionToken.parse(token.value) == token
        assert token.value in header


pairs = st.sampled_from(
    [f"id={GOOD.value}", f" id = {EVIL.value}\t", "id=", "id", "=id=x", "xid=1", "a=id", "", "id=a=b"]
)


@given(st.lists(pairs | st.text(st.characters(exclude_characters=";"), max_size=20), max_size=10))
def test_each_pair_counts_for_itself(parts):
    """T-25: the tokens of a header are those of its pairs, each read as if it were alone."""
    cookie = SessionCookie()
    alone = [token for part in parts for token in cookie.candidates(part)]
    assert cookie.candidates(";".join(parts)) == list(dict.fromkeys(alone))


# Writing


def test_default_header():
    name, value = SessionCookie().header(GOOD)
    assert name == "Set-Cookie"
    assert value == f"id={GOOD.value}; HttpOnly; SameSite=Lax; Secure; Path=/"


def test_header_with_everything():
    cookie = SessionCookie("s", path="/app", domain="example.com", same_site="None", partitioned=True)
    assert cookie.header(GOOD, 3600)[1] == (
        f"s={GOOD.value}; HttpOnly; SameSite=None; Partitioned; Secure; Path=/app; Domain=example.com; Max-Age=3600"
    )


def test_header_with_as_little_as_possible():
    cookie = SessionCookie(secure=False, http_only=False, same_site="Strict")
    assert cookie.header(GOOD)[1] == f"id={GOOD.value}; SameSite=Strict; Path=/"


@pytest.mark.parametrize(
    ("max_age", "written"),
    [(0, 0), (1, 1), (-1, 0), (-(10**20), 0), (34_560_000, 34_560_000), (34_560_001, 34_560_000), (10**20, 34_560_000)],
)
def test_max_age_is_kept_between_zero_and_400_days(max_age, written):
    """T-22: what is longer is cut by browsers too, and what is negative is over."""
    assert SessionCookie().header(GOOD, max_age)[1].endswith(f"; Max-Age={written}")


def test_fraction_of_a_second_is_refused():
    """T-22: browsers ignore a Max-Age that is no integer."""
    with pytest.raises(ValueError):
        SessionCookie().header(GOOD, 1.5)


def test_expires_is_never_written_when_setting():
    assert "expires" not in SessionCookie().header(GOOD, 60)[1].lower()


@pytest.mark.parametrize(
    "cookie",
    [
        SessionCookie(),
        SessionCookie("__Host-id", same_site="None", partitioned=True),
        SessionCookie("s", path="/app", domain="example.com", secure=False, http_only=False, same_site="Strict"),
    ],
)
def test_removal_repeats_every_attribute(cookie):
    """T-23: a browser removes only what it would have let this header set."""
    expected = read_like_a_browser(cookie.header(GOOD)[1]) | {
        "value": "",
        "max-age": "0",
        "expires": "Thu, 01 Jan 1970 00:00:00 GMT",
    }
    name, value = cookie.header(None)
    assert name == "Set-Cookie"
    assert read_like_a_browser(value) == expected
    assert cookie.header(None, 3600) == (name, value)


@given(
    name=names,
    path=paths,
    domain=st.none() | domains,
    http_only=st.booleans(),
    secure=st.booleans(),
    same_site=st.sampled_from(["Strict", "Lax", "None", "strict", "LAX", "none"]),
    partitioned=st.booleans(),
    max_age=st.none() | st.integers(),
)
def test_emitted_header_reads_as_configured(name, path, domain, http_only, secure, same_site, partitioned, max_age):
    """T-35: every configuration that is accepted arrives as it was meant."""
    options = {"path": path, "domain": domain, "http_only": http_only, "partitioned": partitioned}
    try:
        cookie = SessionCookie(name, secure=secure, same_site=same_site, **options)
    except ValueError:
        # Only a contradiction is a reason: without prefix, cross-site use and partitions there is none.
        assert name.startswith("__") or not secure
        cookie = SessionCookie("x" + name, secure=secure, **options | {"partitioned": False})
    written = cookie.header(GOOD, max_age)[1]
    expected = {"name": cookie.name, "value": GOOD.value, "samesite": cookie.same_site, "path": path}
    for key, present in (("httponly", http_only), ("secure", secure), ("partitioned", cookie.partitioned)):
        if present:
            expected[key] = True
    if domain is not None:
        expected["domain"] = domain
    if max_age is not None:
        expected["max-age"] = str(min(max(max_age, 0), 34_560_000))
    assert read_like_a_browser(written) == expected
    assert cookie.candidates(written.partition(";")[0]) == [GOOD]
    # Other parsers read it the same.
    assert parse_cookie(written.partition(";")[0]).get(cookie.name) == GOOD.value


# Construction


@pytest.mark.parametrize("character", [*FORBIDDEN, "=", "(", ")", "<", ">", "@", ":", "/", "[", "]", "?", "{", "}"])
@pytest.mark.parametrize("form", ["{}", "a{}", "{}a", "a{}b"])
def test_name_must_be_a_token(character, form):
    """T-35: RFC 6265bis 4.1.1, RFC 9110 5.6.2."""
    with pytest.raises(ValueError, match=r"cookie name .* write 'id'"):
        SessionCookie(form.format(character))


@pytest.mark.parametrize("character", FORBIDDEN)
@pytest.mark.parametrize("form", ["/{}", "/a{}", "/{}a", "/a{}b"])
def test_path_must_not_end_the_attribute(character, form):
    """T-35: a path cannot add attributes or header lines."""
    with pytest.raises(ValueError, match="percent-encoded"):
        SessionCookie(path=form.format(character))


@pytest.mark.parametrize("character", [*FORBIDDEN, "=", "/", ":", "_", "@", "*", "%"])
@pytest.mark.parametrize("form", ["{}", "a{}", "{}a", "a.com{}b"])
def test_domain_must_be_letters_digits_and_hyphens(character, form):
    """T-35: a domain cannot add attributes or header lines."""
    with pytest.raises(ValueError, match=r"write 'example\.com' without scheme or port"):
        SessionCookie(domain=form.format(character))


@given(st.text(min_size=1).filter(lambda text: not set(text) <= set(NAME_CHARACTERS)))
def test_any_other_character_in_a_name_is_refused(name):
    """T-35."""
    with pytest.raises(ValueError):
        SessionCookie(name)


@given(st.text(min_size=1).filter(lambda text: not set(text) <= set(PATH_CHARACTERS)))
def test_any_other_character_in_a_path_is_refused(text):
    """T-35."""
    with pytest.raises(ValueError):
        SessionCookie(path="/" + text)


@given(st.text(min_size=1).filter(lambda text: not set(text) <= set(DOMAIN_CHARACTERS)))
def test_any_other_character_in_a_domain_is_refused(domain):
    """T-35."""
    with pytest.raises(ValueError):
        SessionCookie(domain=domain)


@pytest.mark.parametrize(
    "domain", ["", "a..b", "-a.com", "a-.com", "a.com.", "a.com; SameSite=None", "a" * 64 + ".com", "a." * 127 + "aa"]
)
def test_domain_must_be_a_host_name(domain):
    """T-35."""
    with pytest.raises(ValueError):
        SessionCookie(domain=domain)


@pytest.mark.parametrize(
    "domain", ["localhost", "example.com", "a-b.example.co.uk", "127.0.0.1", "xn--bcher-kva.example"]
)
def test_host_names_are_accepted(domain):
    assert SessionCookie(domain=domain).header(GOOD)[1].endswith(f"; Domain={domain}")


def test_longest_domain_is_253_characters():
    """T-37: as in the DNS."""
    assert SessionCookie(domain="a." * 126 + "a").domain
    with pytest.raises(ValueError):
        SessionCookie(domain="a." * 126 + "aa")


def test_leading_dot_is_refused_with_the_domain_to_write():
    with pytest.raises(ValueError, match=r"write 'example\.com'"):
        SessionCookie(domain=".example.com")


@pytest.mark.parametrize("path", ["", "app", "./", "app/"])
def test_path_must_start_with_a_slash(path):
    """T-35."""
    with pytest.raises(ValueError, match="write '/'"):
        SessionCookie(path=path)


@pytest.mark.parametrize(
    "same_site", ["", "Lax; Secure", "lax ", "default", "\N{FULLWIDTH LATIN CAPITAL LETTER L}ax", "Lax\r\n"]
)
def test_unknown_same_site_is_refused(same_site):
    """T-35."""
    with pytest.raises(ValueError, match="'Strict', 'Lax' or 'None'"):
        SessionCookie(same_site=same_site)


def test_same_site_none_must_be_written_as_text():
    with pytest.raises(TypeError, match='write the text "None"'):
        SessionCookie(same_site=None)


@pytest.mark.parametrize(("given_as", "kept"), [("strict", "Strict"), ("LAX", "Lax"), ("none", "None")])
def test_same_site_is_normalised(given_as, kept):
    assert SessionCookie(same_site=given_as).same_site == kept


@pytest.mark.parametrize(
    "options",
    [
        {"name": b"id"},
        {"name": None},
        {"path": None},
        {"path": b"/"},
        {"domain": b"a.com"},
        {"domain": False},
        {"secure": "false"},
        {"secure": None},
        {"http_only": 1},
        {"partitioned": "no"},
    ],
)
def test_wrong_type_is_refused(options):
    """T-35: the text "false" of a configuration file is not taken for true."""
    (name,) = options
    with pytest.raises(TypeError, match=f"^{name} must be"):
        SessionCookie(**options)


@pytest.mark.parametrize(
    "options",
    [
        {"name": "__Host-id", "domain": "example.com"},
        {"name": "__Host-id", "path": "/app"},
        {"name": "__Host-id", "secure": False},
        {"name": "__HOST-id", "secure": False},
        {"name": "__host-id", "domain": "example.com"},
        {"name": "__hOsT-id", "path": "/app"},
        {"name": "__Secure-id", "secure": False},
        {"name": "__sECURE-id", "secure": False},
        {"name": "__Http-id", "secure": False},
        {"name": "__Http-id", "http_only": False},
        {"name": "__Host-Http-id", "http_only": False},
        {"name": "__Host-Http-id", "path": "/app"},
        {"same_site": "None", "secure": False},
        {"same_site": "none", "secure": False},
        {"partitioned": True, "secure": False},
    ],
)
def test_what_browsers_would_drop_is_refused(options):
    """T-36: prefixes in any case, SameSite=None and Partitioned."""
    with pytest.raises(ValueError, match=r"leave .* out|leave both out"):
        SessionCookie(**options)


@pytest.mark.parametrize(
    "options",
    [
        {"name": "__Host-id"},
        {"name": "__Host-id", "http_only": False},
        {"name": "__Secure-id", "domain": "example.com", "path": "/app"},
        {"name": "__Http-id", "domain": "example.com", "path": "/app"},
        {"name": "__Host-Http-id"},
        {"name": "x__Host-id", "secure": False},
        {"name": "__Hostid", "secure": False},
        {"same_site": "None"},
        {"partitioned": True},
    ],
)
def test_what_browsers_keep_is_accepted(options):
    """T-36: the twin of the refusals."""
    cookie = SessionCookie(**options)
    assert {name: getattr(cookie, name) for name in options} == options


def test_longest_name_makes_4096_characters_and_a_longer_one_is_refused():
    """T-37: browsers drop a longer cookie without a word."""
    longest = "n" * (4096 - len(GOOD.value))
    written = read_like_a_browser(SessionCookie(longest).header(GOOD)[1])
    assert len(written["name"]) + len(written["value"]) == 4096
    with pytest.raises(ValueError, match="write at most 4051"):
        SessionCookie(longest + "n")


def test_longest_path_is_1024_characters():
    """T-37: browsers ignore a longer attribute."""
    longest = "/" + "p" * 1023
    assert f"; Path={longest}" in SessionCookie(path=longest).header(GOOD)[1]
    with pytest.raises(ValueError, match="1024"):
        SessionCookie(path=longest + "p")


# The object


def test_attributes_are_read_only():
    cookie = SessionCookie("s", path="/app", domain="a.com", same_site="Strict")
    assert (cookie.name, cookie.path, cookie.domain, cookie.same_site) == ("s", "/app", "a.com", "Strict")
    assert (cookie.secure, cookie.http_only, cookie.partitioned) == (True, True, False)
    with pytest.raises(dataclasses.FrozenInstanceError):
        cookie.name = "other"


def test_everything_but_the_name_is_keyword_only():
    with pytest.raises(TypeError):
        SessionCookie("id", "/")


def test_equal_attributes_make_equal_cookies():
    assert SessionCookie("s", same_site="lax") == SessionCookie("s")
    assert hash(SessionCookie("s", same_site="lax")) == hash(SessionCookie("s"))
    assert SessionCookie("s") != SessionCookie("t")
    assert SessionCookie("s") != SessionCookie("s", path="/app")


def test_repr_shows_the_attributes():
    assert repr(SessionCookie("s", path="/app")) == (
        "SessionCookie(name='s', path='/app', domain=None, secure=True, http_only=True,"
        " same_site='Lax', partitioned=False)"
    )


@given(st.binary(min_size=16, max_size=16), st.binary(min_size=16, max_size=16))
def test_what_is_written_is_read_back(id, secret):
    token = SessionToken(*(urlsafe_b64encode(part).rstrip(b"=").decode() for part in (id, secret)))
    written = SessionCookie().header(token)[1]
    assert SessionCookie().candidates(written.partition(";")[0]) == [token]
