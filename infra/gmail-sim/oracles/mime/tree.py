#!/usr/bin/env python3
"""What CPython's email package, under its modern policy, reads in mail: the oracle of the simulator's MIME side.

usage: tree.py < PATHS

For every path on standard input one line of JSON: the parts in document order, each with partId, mimeType,
filename, headers, body (length and SHA-256; text as UTF-8), raw (the same before the charset is undone) and the
defects that CPython itself found.
"""

import email
import email.headerregistry
import email.policy
import hashlib
import json
import sys
import warnings

# Every field as text: blanks as they stand, encoded words decoded. The classes of the default registry write
# dates and addresses anew, which Gmail does not.
TEXTS = email.policy.default.clone(header_factory=email.headerregistry.HeaderRegistry(use_default_map=False))


def text(value):
    """Text that JSON can carry: bytes that are no UTF-8 become the replacement character, as on the wire."""
    return value.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def headers(part):
    return [[name, text(str(TEXTS.header_fetch_parse(name, value.strip())))] for name, value in part.raw_items()]


def body(part):
    """A leaf's bytes as Gmail gives them: text that is no file as UTF-8, all else untouched."""
    data = part.get_payload(decode=True)
    if part.get_content_maintype() != "text" or part.get_filename():
        return data
    try:
        return part.get_content(errors="replace").encode("utf-8", "replace")
    except LookupError:
        # CPython does not know the charset.
        return data.decode("ascii", "replace").encode("utf-8")


def digest(data):
    return [len(data), hashlib.sha256(data).hexdigest()]


def walk(part, part_id, found):
    entry = {
        "partId": part_id,
        "mimeType": part.get_content_type(),
        "filename": text(part.get_filename() or ""),
        "headers": headers(part),
    }
    found.append(entry)
    if part.is_multipart():
        for place, child in enumerate(part.get_payload()):
            walk(child, f"{part_id}.{place}" if part_id else str(place), found)
    else:
        entry["body"] = digest(body(part))
        entry["raw"] = digest(part.get_payload(decode=True))
    entry["defects"] = [type(defect).__name__ for defect in part.defects]


def main():
    warnings.simplefilter("ignore")
    for line in sys.stdin:
        with open(line.rstrip("\n"), "rb") as file:
            raw = file.read()
        try:
            parts = []
            walk(email.message_from_bytes(raw, policy=email.policy.default), "", parts)
            print(json.dumps({"parts": parts}))
        except Exception as error:  # CPython's own failure is a difference like any other, and is told.
            print(json.dumps({"error": f"{type(error).__name__}: {error}"}))


if __name__ == "__main__":
    main()
