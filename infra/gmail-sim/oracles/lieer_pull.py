"""lieer 1.6 keeps a mailbox of the simulator in notmuch: full pull, incremental pull, resync after expiry, push.

After every step its maildir and its database are compared with the simulator's snapshot: the same messages, byte for
byte (with the line ends it writes), under the tags that lieer's own tables make of the labels.
"""

import email
import json
import os
import pathlib
import subprocess
import sys
import tempfile

import notmuch2
from google.oauth2.credentials import Credentials
from lieer.local import Local
from lieer.remote import Remote

from simulator import begin, encode, gmail_at, mail, sample

CORPUS_MESSAGES = 90
OWN_MESSAGES = 120
# More than a page of history has records: lieer has to go on to the next.
LABEL_CHANGES = 110
# A pull of two hundred messages is a matter of seconds.
GMI_BOUND_S = 60
# What notmuch finds out for itself.
NOTMUCH_TAGS = {"attachment", "signed", "encrypted"}
LABELS = ("INBOX,UNREAD", "INBOX", "INBOX,STARRED,UNREAD", "SENT", "work/projects", "SPAM,UNREAD", "TRASH",
          "INBOX,IMPORTANT,CATEGORY_UPDATES", "")
CONFIG = """[database]
path={path}
[user]
name=Alice
primary_email={address}
[new]
tags=
[search]
exclude_tags=
"""


class Oracle:
    def __init__(self, simulator, report, corpus, home):
        self.simulator, self.report, self.home = simulator, report, pathlib.Path(home)
        self.address = simulator.mailbox("lieer")
        self.users = gmail_at(simulator.url, Credentials(f"sim:{self.address}")).users()
        self.messages, self.raws, self.number = self.users.messages(), {}, 0
        for raw in self.distinct(sample(corpus, CORPUS_MESSAGES)):
            self.deliver(raw)
        for _ in range(OWN_MESSAGES):
            self.deliver()
        self.report.check(len(self.raws) > 180 or not corpus, "the mailbox is filled", len(self.raws))
        self.prepare()

    def distinct(self, files):
        """Messages of different Message-IDs: notmuch takes two of the same for one."""
        seen = set()
        for file in files:
            raw = file.read_bytes()
            if (id := email.message_from_bytes(raw)["Message-ID"]) not in seen:
                seen.add(id)
                yield raw

    def deliver(self, raw=None, labels=None):
        self.number += 1
        raw = raw or mail(f"lieer {self.number}", f"lieer-{self.number}", to=self.address)
        labels = LABELS[self.number % len(LABELS)] if labels is None else labels
        # An empty list of labels is archived mail.
        id = self.simulator.deliver(self.address, raw, labels or ",")
        self.raws[id] = raw
        return id

    def prepare(self):
        """A notmuch database and a repository of lieer's, with a token that it has to refresh."""
        os.environ["NOTMUCH_CONFIG"], os.environ["HOME"] = str(self.home / "config"), str(self.home)
        database = self.home / "mail"
        database.mkdir()
        (self.home / "config").write_text(CONFIG.format(path=database, address=self.address))
        subprocess.run(["notmuch", "new", "--quiet"], check=True, timeout=GMI_BOUND_S)
        self.repository = database / "gmail"
        self.gmi("init", "--no-auth", self.address)
        stored = {"token": "ya29.expired", "refresh_token": f"sim:{self.address}", "expiry": "2026-01-01T00:00:00Z",
                  "client_id": "lieer", "client_secret": "secret"}
        (self.repository / ".credentials.gmailieer.json").write_text(json.dumps(stored))

    def gmi(self, action, *arguments):
        """Runs lieer; answers what it printed."""
        program = pathlib.Path(__file__).with_name("gmi_at.py")
        command = [sys.executable, program, self.simulator.url, action, "-s", "-C", self.repository, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=GMI_BOUND_S)
        if done.returncode != 0:
            said = (done.stdout + done.stderr).strip()[-250:]
            raise RuntimeError(f"gmi {action} ended with {done.returncode}: {said}")
        return done.stdout

    def pull(self, expected, *arguments):
        """A pull that has to say what kind it is, after which everything has to be the same on both sides."""
        self.simulator.refill()
        self.simulator.control("DELETE", "stats")
        said = self.gmi("pull", *arguments)
        self.report.check(expected in said, f"lieer says {expected!r}", said[-400:])
        calls = self.simulator.control("GET", "stats").json()["mailboxes"][self.address]["methods"]
        return {method: counts["calls"] for method, counts in calls.items()}, self.compare()

    def compare(self):
        """Holds lieer's files and notmuch's tags against the simulator's truth."""
        truth = self.simulator.snapshot(self.address)
        names = {label["id"]: label["name"] for label in self.users.labels().list(userId="me").execute()["labels"]}
        here, tags = {}, {}
        with notmuch2.Database(mode=notmuch2.Database.MODE.READ_ONLY) as database:
            for message in database.messages("*"):
                for path in message.filenames():
                    id = path.name.partition(":2,")[0]
                    here[id], tags[id] = path.read_bytes(), set(message.tags) - NOTMUCH_TAGS
        self.report.equal(set(here), set(truth), "messages")
        wrong = [id for id in here if id in self.raws and here[id] != self.raws[id].replace(b"\r\n", b"\n")]
        self.report.equal(wrong, [], "messages whose content differs")
        for id in set(here) & set(truth):
            labels = {names[label] for label in truth[id]["labelIds"]} - set(Remote.DEFAULT_IGNORE_LABELS)
            expected = {Local.translate_labels_default.get(label, label) for label in labels}
            self.report.equal(tags[id], expected, f"tags of {id}")
        return f"{len(here)} messages, {sum(map(len, tags.values()))} tags, {sum(map(len, here.values()))} bytes"

    def change(self, label_changes=10):
        """New mail, labels that move, drafts that are saved again, and mail that goes for good."""
        ids = [id for id in self.raws if id in self.simulator.snapshot(self.address)]
        self.simulator.refill()
        new = [self.deliver(labels="INBOX,UNREAD") for _ in range(10)]
        for place, id in enumerate(ids[:label_changes]):
            add, remove = ("STARRED", "UNREAD") if place % 2 else ("UNREAD", "STARRED")
            body = {"addLabelIds": [add], "removeLabelIds": [remove]}
            self.messages.modify(userId="me", id=id, body=body).execute()
        label = self.users.labels().create(userId="me", body={"name": f"made at {self.number}"}).execute()["id"]
        self.messages.batchModify(userId="me", body={"ids": [*ids[3:9], new[0]], "addLabelIds": [label]}).execute()
        self.messages.trash(userId="me", id=ids[20]).execute()
        self.messages.trash(userId="me", id=new[1]).execute()
        self.messages.untrash(userId="me", id=ids[20]).execute()
        self.messages.delete(userId="me", id=ids[30]).execute()
        self.messages.delete(userId="me", id=new[2]).execute()
        self.messages.batchDelete(userId="me", body={"ids": ids[40:44]}).execute()
        body = {"message": {"raw": encode(mail("draft", f"draft-{self.number}"))}}
        draft = self.users.drafts().create(userId="me", body=body).execute()["id"]
        body = {"message": {"raw": encode(mail("draft", f"saved-{self.number}"))}}
        self.users.drafts().update(userId="me", id=draft, body=body).execute()

    def full(self):
        return self.pull("pull: full synchronization (no previous synchronization state)")[1]

    def incremental(self):
        # lieer begins with the last change of the newest message: it reads what came after that once more.
        self.change(LABEL_CHANGES)
        calls, compared = self.pull("pull: partial synchronization")
        self.report.equal(calls.get("messages.list", 0), 0, "an incremental pull lists nothing")
        self.report.check(calls.get("history.list", 0) > 2, "it reads more than one page of history", calls)
        return compared

    def nothing_new(self):
        return self.pull("pull: everything is up-to-date.")[1]

    def expired(self):
        self.change()
        self.simulator.control("POST", f"mailboxes/{self.address}/expire-history")
        calls, compared = self.pull("pull: historyId is too old, full sync required.")
        self.report.check(calls.get("messages.list", 0) >= 2, "a resync lists everything", calls)
        return compared

    def after_expiry(self):
        self.deliver()
        # The cursor of a full pull is the newest message's last change, which may have expired: once more.
        self.gmi("pull")
        self.simulator.refill()
        self.change()
        calls, compared = self.pull("pull: partial synchronization")
        self.report.equal(calls.get("messages.list", 0), 0, "incremental pulls go on after a resync")
        return compared

    def forced(self):
        self.change()
        calls, compared = self.pull("pull: full synchronization (forced)", "--force")
        self.report.check(calls.get("messages.list", 0) >= 2, "a forced resync lists everything", calls)
        return compared

    def push(self):
        """Tags that are changed in notmuch become labels in the simulator."""
        truth = self.simulator.snapshot(self.address)
        plain = [id for id in self.raws if truth.get(id, {}).get("labelIds") == ["INBOX"]][:5]
        self.report.check(plain, "there is mail to tag")
        self.gmi("push")
        with notmuch2.Database(mode=notmuch2.Database.MODE.READ_WRITE) as database:
            for message in database.messages("*"):
                if any(path.name.partition(":2,")[0] in plain for path in message.filenames()):
                    with message.frozen():
                        message.tags.add("flagged")
                        message.tags.discard("inbox")
                        message.tags.add("tagged here")
        self.simulator.refill()
        self.gmi("push")
        names = {label["name"]: label["id"] for label in self.users.labels().list(userId="me").execute()["labels"]}
        truth = self.simulator.snapshot(self.address)
        for id in plain:
            self.report.equal(truth[id]["labelIds"], sorted(["STARRED", names["tagged here"]]), "labels after a push")
        return self.compare()


def main():
    simulator, report, arguments = begin("lieer 1.6 with notmuch", __doc__, corpus=True)
    with tempfile.TemporaryDirectory(prefix="oracle-lieer-") as home:
        oracle = Oracle(simulator, report, arguments.corpus, home)
        for name in "full incremental nothing_new expired after_expiry forced push".split():
            report.section(name.replace("_", " "), getattr(oracle, name))
    report.finish()


if __name__ == "__main__":
    main()
