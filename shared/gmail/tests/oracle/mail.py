#!/usr/bin/env python3
"""What CPython's `email` reads in mail: one JSON object a line, one line a file.

usage: mail.py < PATHS    (one path a line)

The policy is `email.policy.default`. Where CPython knowingly does less than mail in the field needs, its
side is normalised here, and only by rules that hold for all mail; each is named RULE and says why.
"""

import codecs
import datetime
import email
import email.message
import email.parser
import email.policy
import hashlib
import json
import re
import sys
import warnings
from base64 import b64encode
from email.header import decode_header
from html import escape

POLICY = email.policy.default

# RULE charset-labels: mail is labelled as browsers read it (https://encoding.spec.whatwg.org/#names-and-labels):
# these labels mean the larger set that contains the named one.
WHATWG = {
    "iso8859-1": "cp1252", "latin-1": "cp1252", "iso8859-9": "cp1254", "iso8859-11": "cp874", "tis-620": "cp874",
    "gb2312": "gb18030", "gbk": "gb18030", "euc_kr": "cp949", "shift_jis": "cp932", "big5": "big5hkscs",
}
CONTROLS = {code: None for code in (*range(9), 11, 12, *range(14, 32), *range(127, 160))}


def in_unicode(data: bytes) -> str:
    """RULE unlabelled: bytes above 127 without a usable label are UTF-8 when they can be, else a Windows page.

    CPython has U+FFFD for each of them, which shows nobody what was written.
    """
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return windows(data, "cp1252")


def windows(data: bytes, codec: str) -> str:
    # RULE undefined: WHATWG gives a code page's holes the control of that number; CPython has none.
    return "".join(
        character if character != "\ufffd" or byte == 0 else chr(byte)
        for byte, character in ((b, bytes([b]).decode(codec, "replace")) for b in data)
    )


def decode(data: bytes, label: str | None) -> str:
    label = (label or "").strip().strip("'\"").lower()
    try:
        codec = codecs.lookup(label).name
    except (LookupError, ValueError):
        return in_unicode(data)
    if codec == "ascii":
        return in_unicode(data)
    codec = WHATWG.get(codec, codec)
    if codec.startswith("cp125"):
        return windows(data, codec)
    try:
        return data.decode(codec, "replace")
    except (LookupError, ValueError, AssertionError):
        # The label names something that is no charset, base64 say.
        return in_unicode(data)


class Opaque(email.message.EmailMessage):
    """RULE opaque-messages: an attached message is an attachment, byte for byte.

    CPython takes it apart and cannot give back the bytes that were there, so while parsing it is told that
    the part is something else.
    """

    parsing = True

    def get_content_type(self):
        kind = super().get_content_type()
        return "application/x-opaque" if self.parsing and kind.startswith("message/") else kind

    def get_content_maintype(self):
        return self.get_content_type().partition("/")[0]


def raw_values(message, name):
    """The headers of that name as they stand in the mail.

    RULE 8-bit-headers: CPython replaces raw bytes above 127 in headers by design; they are read line by line
    as `in_unicode` reads a body.
    """
    for key, value in message.raw_items():
        if key.lower() == name:
            lines = str(value).encode("utf-8", "surrogateescape")
            yield "\r\n".join(in_unicode(line) for line in re.split(rb"\r\n|\r|\n", lines))


def headers(message, name):
    for value in raw_values(message, name):
        # RULE split-characters: adjacent encoded words of one charset are one text; CPython decodes each for
        # itself, loses a character that a sender's folding has cut in two, and knows fewer labels.
        value = re.sub(r"=\?[^?\s]+\?[bqBQ]\?[^?\r\n]*\?=(?:\s*=\?[^?\s]+\?[bqBQ]\?[^?\r\n]*\?=)*", joined, value)
        yield POLICY.header_factory(name, "".join(re.split(r"[\r\n]+", value)))


def joined(match):
    run = re.sub(r"(?<=\?=)\s+(?==\?)", "", match.group(0))
    parts = []
    for label, encoding, text in re.findall(r"=\?([^?*]+)(?:\*[^?]*)?\?([bqBQ])\?([^?]*)\?=", run):
        data = decode_header(f"=?x?{encoding}?{text}?=")[0][0]
        if parts and parts[-1][0].lower() == label.lower():
            parts[-1][1] += data
        else:
            parts.append([label, data])
    text = "".join(decode(data, label) for label, data in parts)
    return "=?utf-8?b?" + b64encode(text.encode("utf-8", "replace")).decode() + "?="


def subject(message):
    return str(next(headers(message, "subject"), ""))


def addresses(message, name):
    found = []
    for value in headers(message, name):
        for address in value.addresses:
            # RULE no-address: an empty address is none. CPython shows it as "<>".
            # The quotes that a local part needs are no part of it; `addr_spec` would put them in.
            if address.username or address.domain:
                found.append(f"{address.username}@{address.domain}" if address.domain else address.username)
    return found


def date(message):
    value = next(headers(message, "date"), None)
    if value is None or value.datetime is None:
        return None
    moment = value.datetime
    if moment.tzinfo is None:
        # RULE no-zone: CPython leaves a time without zone to its caller; here it is UTC.
        moment = moment.replace(tzinfo=datetime.timezone.utc)
    try:
        seconds = int(moment.timestamp())
    except (ValueError, OverflowError):
        return None
    # RULE before-mail: mailers of 2002 wrote the year 0102. What lies before 1970 is no time of a mail.
    return seconds if seconds >= 0 else None


def leaves(message, alternative=False):
    if message.is_multipart():
        alternative |= message.get_content_subtype() == "alternative"
        for part in message.get_payload():
            yield from leaves(part, alternative)
    else:
        yield message, alternative


def payload(part):
    """The decoded bytes."""
    return part.get_payload(decode=True) or b""


def kind_of(part):
    kind = part.get_content_type()
    # RULE unclosed: a multipart whose boundary never came holds what stands there; CPython keeps the label
    # of a container and the defect.
    return "text/plain" if kind.startswith("multipart/") else kind


def unflowed(text, delete_space):
    """RFC 3676, which CPython leaves to its caller."""
    lines, open_depth = [], None
    for line in text.split("\n"):
        quoted = len(line) - len(line.lstrip(">"))
        content = line[quoted:]
        content = content[1:] if content.startswith(" ") else content
        flows = content.endswith(" ") and content != "-- "
        if flows and delete_space:
            content = content[:-1]
        if open_depth == quoted and content != "-- ":
            lines[-1] += content
        else:
            lines.append(">" * quoted + (" " if quoted and content else "") + content)
        open_depth = quoted if flows else None
    return "\n".join(lines)


def text_of(part):
    text = decode(payload(part), part.get_param("charset", None) if isinstance(part.get_param("charset", None), str)
                  else part.get_content_charset())
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    if kind_of(part) == "text/plain" and str(part.get_param("format", "")).lower() == "flowed":
        text = unflowed(text, str(part.get_param("delsp", "")).lower() == "yes")
    return text.translate(CONTROLS)


def mail_filename(data):
    """An attached mail without a name is called by its subject: our rule, CPython has none."""
    inner = email.parser.BytesHeaderParser(policy=POLICY).parsebytes(data)
    stem = re.sub(r"[/\\\\]", "_", " ".join(subject(inner).split())).translate(CONTROLS)
    return (stem or "message") + ".eml"


def read(data):
    parser = email.parser.BytesParser(_class=Opaque, policy=POLICY)
    Opaque.parsing = True
    message = parser.parsebytes(data)
    plain, html, has_html, files = [], [], False, []
    for part, alternative in leaves(message):
        Opaque.parsing = False
        name, kind = part.get_filename(), kind_of(part)
        disposition = part.get_content_disposition()
        body = kind in ("text/plain", "text/html") and not name and disposition in (None, "inline")
        if not body:
            data = payload(part)
            # A name may be used as a path, so it holds none.
            name = name and re.sub(r"[/\\]", "_", name)
            if kind == "message/rfc822" and not name:
                name = mail_filename(data)
            files.append([name, hashlib.sha256(data).hexdigest(), len(data), kind])
        elif kind == "text/html":
            has_html = True
            html.append(text_of(part))
        else:
            plain.append(text_of(part))
            if not alternative:
                html.append(f"<pre>{escape(plain[-1], quote=False)}</pre>")
        Opaque.parsing = True
    return {
        "subject": subject(message),
        # The envelope keeps the first sender and a hundred recipients of each kind.
        "from": addresses(message, "from")[:1],
        "to": addresses(message, "to")[:100],
        "cc": addresses(message, "cc")[:100],
        "date": date(message),
        # CPython makes no text of HTML: where there is only that, it alone is compared.
        "text": "\n".join(plain) if plain else None,
        "html": "\n".join(html) if has_html else None,
        "files": files,
    }


def main():
    warnings.simplefilter("ignore")
    for path in sys.stdin.read().splitlines():
        with open(path, "rb") as file:
            data = file.read()
        try:
            seen = read(data)
        except Exception as error:  # CPython has read nothing: that is a difference, with its reason.
            seen = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(seen))


main()
