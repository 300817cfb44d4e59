"""What every oracle shares: the control face, mail to put in, Google's client pointed here, and the report.

An oracle is a program `oracle.py URL`: it makes a mailbox of its own in the simulator that listens there, lets
somebody else's code judge the answers, prints what it compared, and ends with 1 when anything differs.
"""

import argparse
import base64
import email.message
import email.policy
import faulthandler
import json
import pathlib
import sys
import traceback
import urllib.parse

import googleapiclient.discovery
import googleapiclient.discovery_cache
import requests

# Differences printed in full; the rest is counted.
DIFFERENCES_SHOWN = 12
# Longest text of one value in a difference.
VALUE_CHARS = 300
# An oracle that hangs says where, and ends: a matter of seconds takes no minutes.
BOUND_S = 100
# No call of an oracle takes longer, a search through all of a mailbox included.
TIMEOUT_S = 30


class Simulator:
    """The control face of a running simulator."""

    def __init__(self, url):
        self.url = url.rstrip("/")
        self.session = requests.Session()

    def control(self, verb, path, body=None, **options):
        """A call below /sim, which has to succeed."""
        options.setdefault("json", body)
        answer = self.session.request(verb, f"{self.url}/sim/{path}", timeout=TIMEOUT_S, **options)
        if not answer.ok:
            raise RuntimeError(f"{verb} /sim/{path}: {answer.status_code} {answer.text[:VALUE_CHARS]}")
        return answer

    def mailbox(self, name):
        """A mailbox that is empty, whatever an earlier run has left."""
        address = f"{name}@oracle.example"
        self.session.delete(f"{self.url}/sim/mailboxes/{address}", timeout=TIMEOUT_S)
        self.control("POST", f"mailboxes/{address}")
        # A grant that an earlier run withdrew outlives the mailbox.
        self.control("DELETE", f"mailboxes/{address}/revoke")
        return address

    def deliver(self, address, raw, labels="INBOX,UNREAD", **parameters):
        """Delivers a message; answers its id."""
        answer = self.control(
            "POST", f"mailboxes/{address}/messages", data=raw, params={"labels": labels, **parameters}, json=None
        )
        return answer.json()["id"]

    def snapshot(self, address):
        """The truth: every message by id."""
        lines = self.control("GET", f"mailboxes/{address}/snapshot").text.splitlines()
        return {entry["id"]: entry for entry in map(json.loads, lines)}

    def fault(self, **order):
        self.control("POST", "faults", order)

    def clear_faults(self):
        self.control("DELETE", "faults")

    def advance(self, seconds):
        self.control("POST", "clock", {"advance_s": seconds})

    def refill(self):
        """A minute later every mailbox has its units again."""
        self.advance(61)


class Report:
    """What was compared, section by section, and what differed."""

    def __init__(self, title, simulator):
        self.simulator = simulator
        self.compared_in_all = 0
        self.differences = []
        self.current = "?"
        self.compared = 0

        print(title, flush=True)

    def section(self, name, run):
        """Runs a part of the oracle; an exception in it is a difference and ends only this part."""
        self.current, self.compared, before = name, 0, len(self.differences)
        self.simulator.clear_faults()
        self.simulator.refill()
        note = None
        try:
            note = run()
        except Exception as failure:  # noqa: BLE001 - whatever the judge throws is its verdict
            frame = traceback.extract_tb(failure.__traceback__)
            own = [f for f in frame if pathlib.Path(f.filename).parent == pathlib.Path(__file__).parent]
            place = f"{pathlib.Path(own[-1].filename).name}:{own[-1].lineno}" if own else "?"
            self.differ(f"{type(failure).__name__} at {place}", short(failure))
        self.compared_in_all += self.compared
        # At once and not at the end: of an oracle that hangs it has to be known how far it came.
        self.row(name, self.compared, len(self.differences) - before, note or "")

    def row(self, name, compared, differ, note=""):
        print(f"  {name:<14}  {compared:>6} compared  {differ:>3} differ  {note}".rstrip(), flush=True)

    def differ(self, what, detail=""):
        self.differences.append(f"{self.current}: {what}" + (f": {detail}" if detail else ""))

    def once(self, entries, what):
        """No page shows again what another has shown."""
        ids = [entry["id"] for entry in entries]
        self.equal(len(ids), len(set(ids)), f"{what}, each once")
        return entries

    def check(self, holds, what, detail=""):
        """One claim; the detail is only read when it fails."""
        self.compared += 1
        if not holds:
            self.differ(what, short(detail) if detail != "" else "")
        return holds

    def equal(self, actual, expected, what):
        """Two values; of two sets or two objects only what differs is shown."""
        detail = ""
        if actual != expected:
            detail = f"is {short(actual)}, expected {short(expected)}"
            if isinstance(actual, set) and isinstance(expected, set):
                extra, missing = sorted(actual - expected), sorted(expected - actual)
                detail = f"only here {short(extra)}, missing {short(missing)}"
            elif isinstance(actual, dict) and isinstance(expected, dict):
                keys = [key for key in {**actual, **expected} if actual.get(key) != expected.get(key)]
                both = ({key: side.get(key) for key in keys[:5]} for side in (actual, expected))
                detail = "{} of {} keys: is {}, expected {}".format(len(keys), len(expected), *map(short, both))
        return self.check(actual == expected, what, detail)

    def finish(self):
        """Prints the total and the first differences, and ends the program."""
        if not self.compared_in_all:
            self.differences.append("nothing was compared")
        self.row("total", self.compared_in_all, len(self.differences))
        for difference in self.differences[:DIFFERENCES_SHOWN]:
            print(f"DIFFERS {difference}")
        if len(self.differences) > DIFFERENCES_SHOWN:
            print(f"DIFFERS and {len(self.differences) - DIFFERENCES_SHOWN} more")
        sys.exit(1 if self.differences else 0)


def short(value):
    text = value if isinstance(value, str) else repr(value) if not isinstance(value, Exception) else str(value)
    return text if len(text) <= VALUE_CHARS else f"{text[:VALUE_CHARS]}… ({len(text)} characters)"


def begin(title, description, corpus=False):
    """Reads the command line; answers simulator, report and the arguments."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url", help="where gmail-sim listens, such as http://127.0.0.1:4100")
    if corpus:
        parser.add_argument("--corpus", type=pathlib.Path, help="a folder of real messages, one a file")
    arguments = parser.parse_args()
    faulthandler.dump_traceback_later(BOUND_S, exit=True)
    simulator = Simulator(arguments.url)
    return simulator, Report(title, simulator), arguments


def sample(folder, count):
    """That many files of a folder, spread evenly over it, in the same order every time."""
    files = sorted(path for path in folder.iterdir() if path.is_file()) if folder else []
    step = max(1, len(files) // count)
    return files[::step][:count]


def mail(subject, number, to="somebody@oracle.example", body=None, attachment=None, **headers):
    """A message of the standard library's making, with CRLF line ends."""
    message = email.message.EmailMessage(policy=email.policy.SMTP)
    message["From"] = "Bob <bob@elsewhere.example>"
    message["To"] = to
    message["Subject"] = subject
    message["Date"] = "Mon, 02 Mar 2026 10:11:12 +0000"
    message["Message-ID"] = f"<{number}@elsewhere.example>"
    for name, value in headers.items():
        message[name.replace("_", "-")] = value
    message.set_content(body or f"Text of message {number}: grüße & <tags>.\n")
    if attachment:
        message.add_alternative("<p>as <b>html</b></p>", subtype="html")
        message.add_attachment(attachment, maintype="application", subtype="octet-stream", filename="a file.bin")
    return message.as_bytes()


def document_at(url):
    """Google's discovery document with this address in place of its own, and nothing else changed."""
    document = json.loads(googleapiclient.discovery_cache.get_static_doc("gmail", "v1"))
    # Uploads and batches are addressed by the root, whatever client options say.
    for key in ("rootUrl", "baseUrl", "mtlsRootUrl"):
        document[key] = url.rstrip("/") + "/"
    return document


def gmail_at(url, credentials=None, http=None):
    """Google's Python client for the simulator."""
    return googleapiclient.discovery.build_from_document(document_at(url), credentials=credentials, http=http)


def quoted(text):
    return urllib.parse.quote(text, safe="")


def encode(raw):
    """A message as `raw` carries it."""
    return base64.urlsafe_b64encode(raw).decode()


def unbase64(text):
    """What `raw` or `data` carries, padded or not."""
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def unix(text):
    return text.replace("\r\n", "\n")
