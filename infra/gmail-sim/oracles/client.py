"""Google's own Python client at work in a mailbox, unchanged but for the address in its discovery document.

What it lists, reads, changes and uploads is compared with the simulator's truth; a storm is replayed from what the
client read of the history, and has to end in the same mailbox.
"""

import email
import email.policy
import io
import time

from google.oauth2.credentials import Credentials
from googleapiclient.discovery import build
from googleapiclient.errors import HttpError
from googleapiclient.http import MediaInMemoryUpload, MediaIoBaseUpload

from simulator import begin, encode, gmail_at, mail, unbase64, unix

MESSAGES = 130
STORM = {"per_second": 2_000, "seconds": 0.3, "mix": {"deliver": 40, "label": 30, "trash": 10, "purge": 15, "draft": 5}}
# Half of a storm of a third of a second is over long before.
STORM_BOUND_S = 20
# The client sends a chunk of at least 256 KiB at a time.
CHUNK = 256 * 1024


class Oracle:
    def __init__(self, simulator, report):
        self.simulator, self.report = simulator, report
        self.address = simulator.mailbox("client")
        self.gmail = gmail_at(simulator.url, Credentials(f"sim:{self.address}"))
        self.users = self.gmail.users()
        self.messages, self.threads = self.users.messages(), self.users.threads()
        self.ids = [
            simulator.deliver(self.address, self.mail(n), "INBOX,UNREAD" if n % 3 else "Label A")
            for n in range(MESSAGES)
        ]

    def mail(self, number, **headers):
        # Every fifth message answers the one before it.
        if number % 5 == 4:
            parent = f"<{number - 1}@elsewhere.example>"
            return mail(f"Re: topic {number - 1}", number, to=self.address, In_Reply_To=parent, References=parent)
        return mail(f"topic {number}", number, to=self.address, **headers)

    def truth(self):
        return self.simulator.snapshot(self.address)

    def every(self, collection, key, **parameters):
        """All pages, as the client itself goes from one to the next."""
        request, entries, pages = collection.list(userId="me", **parameters), [], 0
        while request is not None:
            page = request.execute()
            entries += page.get(key, [])
            pages += 1
            if pages > 2_000:
                raise RuntimeError("there is no last page")
            request = collection.list_next(request, page)
        return self.report.once(entries, f"{key} {parameters}")

    def by_option(self):
        """The README's example: only a client option names the address."""
        option = {"api_endpoint": self.simulator.url}
        gmail = build("gmail", "v1", credentials=Credentials(f"sim:{self.address}"), static_discovery=True,
                      client_options=option)
        profile = gmail.users().getProfile(userId="me").execute()
        self.report.equal(profile["messagesTotal"], len(self.truth()), "messagesTotal")
        threads = {entry["threadId"] for entry in self.truth().values()}
        self.report.equal(profile["threadsTotal"], len(threads), "threadsTotal")

    def paging(self):
        truth = self.truth()
        for size in (1, 7, 100, 500):
            listed = self.every(self.messages, "messages", maxResults=size, includeSpamTrash=True)
            pairs = {(entry["id"], entry["threadId"]) for entry in listed}
            self.report.equal(pairs, {(e["id"], e["threadId"]) for e in truth.values()}, f"pages of {size}")
        listed = self.every(self.threads, "threads", maxResults=9)
        self.report.equal({entry["id"] for entry in listed}, {e["threadId"] for e in truth.values()}, "threads")
        for label in ("INBOX", "UNREAD", "SENT"):
            listed = {entry["id"] for entry in self.every(self.messages, "messages", labelIds=[label], maxResults=30)}
            self.report.equal(listed, wearing(truth, label), f"messages of {label}")

    def formats(self):
        truth, reads = self.truth(), 0
        for number, id in list(enumerate(self.ids))[::3]:
            if (reads := reads + 4) % 200 == 0:
                self.simulator.refill()
            given = {form: self.messages.get(userId="me", id=id, format=form).execute()
                     for form in ("minimal", "metadata", "full", "raw")}
            raw = unbase64(given["raw"]["raw"])
            self.report.check(raw == self.mail(number), "raw is what was delivered", id)
            for form, message in given.items():
                self.report.equal({k: message[k] for k in ("id", "threadId", "historyId", "sizeEstimate")},
                                  {k: truth[id][k] for k in ("id", "threadId", "historyId", "sizeEstimate")}, form)
                self.report.equal(set(message.get("labelIds", [])), set(truth[id]["labelIds"]), f"labels in {form}")
            parsed = email.message_from_bytes(raw, policy=email.policy.default)
            headers = [(header["name"], header["value"]) for header in given["full"]["payload"]["headers"]]
            self.report.equal(headers, [(k, str(v)) for k, v in parsed.items()], "headers, as Python reads them")
            text = unbase64(given["full"]["payload"]["body"]["data"]).decode()
            self.report.equal(unix(text), unix(parsed.get_content()), "the text, as Python reads it")

    def batch(self):
        answers, errors = {}, {}

        def received(request_id, response, exception):
            if exception is None:
                answers[request_id] = response
            else:
                errors[request_id] = exception

        batch = self.gmail.new_batch_http_request(callback=received)
        wanted = [*self.ids[:12], "123456789abcdef", *self.ids[12:24]]
        for id in wanted:
            batch.add(self.messages.get(userId="me", id=id, format="minimal"), request_id=id)
        batch.execute()
        self.report.equal({id: answer["id"] for id, answer in answers.items()}, {id: id for id in self.ids[:24]},
                          "24 of 25 parts are answered, each by its own answer")
        self.report.equal({id: error.resp.status for id, error in errors.items()}, {"123456789abcdef": 404},
                          "the missing one is refused")
        for error in errors.values():
            self.report.check(isinstance(error, HttpError), "as the client's own error", error)
            self.report.equal(error.reason, "Requested entity was not found.", "with its reason")

    def changes(self):
        a, b, c, d, e, f = self.ids[:6]

        def labels(id):
            return set(self.truth()[id]["labelIds"])

        before = labels(a)
        body = {"addLabelIds": ["STARRED"], "removeLabelIds": ["UNREAD"]}
        answer = self.messages.modify(userId="me", id=a, body=body).execute()
        self.report.equal(set(answer["labelIds"]), before - {"UNREAD"} | {"STARRED"}, "modify answers the new labels")
        self.report.equal(labels(a), set(answer["labelIds"]), "modify")
        self.messages.batchModify(userId="me", body={"ids": [a, b], "addLabelIds": ["IMPORTANT"]}).execute()
        self.report.check(all("IMPORTANT" in labels(id) for id in (a, b)), "batchModify")
        self.messages.trash(userId="me", id=c).execute()
        self.report.check("TRASH" in labels(c) and "INBOX" not in labels(c), "trash", labels(c))
        listed = {entry["id"] for entry in self.every(self.messages, "messages")}
        self.report.equal(listed, set(self.truth()) - {c}, "the bin is listed only when asked for")
        self.messages.untrash(userId="me", id=c).execute()
        self.report.check("TRASH" not in labels(c), "untrash", labels(c))
        self.messages.delete(userId="me", id=d).execute()
        self.messages.batchDelete(userId="me", body={"ids": [e, f]}).execute()
        self.report.equal(set(self.ids) - set(self.truth()), {d, e, f}, "delete and batchDelete")
        self.ids = [id for id in self.ids if id not in (d, e, f)]

    def history(self):
        start = self.users.getProfile(userId="me").execute()["historyId"]
        ids = [self.simulator.deliver(self.address, mail(f"new {n}", f"h{n}")) for n in range(3)]
        self.messages.batchModify(userId="me", body={"ids": ids[:2], "addLabelIds": ["STARRED"]}).execute()
        self.messages.modify(userId="me", id=ids[0], body={"removeLabelIds": ["UNREAD"]}).execute()
        self.messages.delete(userId="me", id=ids[2]).execute()
        expected = {"messagesAdded": ids, "labelsAdded": ids[:2], "labelsRemoved": ids[:1], "messagesDeleted": ids[2:]}
        kinds = dict(zip(expected, ("messageAdded", "labelAdded", "labelRemoved", "messageDeleted")))
        for parameters in ({}, {"maxResults": 1}, {"historyTypes": list(kinds.values())}):
            records = self.every(self.users.history(), "history", startHistoryId=start, **parameters)
            for key, wanted in expected.items():
                found = [entry["message"]["id"] for record in records for entry in record.get(key, [])]
                self.report.equal(found, wanted, f"{key} with {parameters}")
            numbers = [int(record["id"]) for record in records]
            self.report.check(numbers == sorted(set(numbers)) and numbers[0] > int(start), "ids grow", numbers)
        for key, kind in kinds.items():
            records = self.every(self.users.history(), "history", startHistoryId=start, historyTypes=kind, maxResults=1)
            found = [entry["message"]["id"] for record in records for entry in record.get(key, [])]
            self.report.equal(found, expected[key], f"historyTypes={kind}")
            others = {other for record in records for other in record} & (set(expected) - {key})
            self.report.equal(others, set(), f"nothing else with historyTypes={kind}")

    def storm(self):
        start = self.users.getProfile(userId="me").execute()["historyId"]
        wears = {id: set(entry["labelIds"]) for id, entry in self.truth().items()}
        planned = self.simulator.control("POST", f"mailboxes/{self.address}/storm", STORM).json()["operations"]
        bound = time.monotonic() + STORM_BOUND_S
        while time.monotonic() < bound:
            # A snapshot between two equal presents is that present's, whether or not the storm goes on.
            present = self.users.getProfile(userId="me").execute()["historyId"]
            truth = {id: set(entry["labelIds"]) for id, entry in self.truth().items()}
            still = present == self.users.getProfile(userId="me").execute()["historyId"]
            records = self.every(self.users.history(), "history", startHistoryId=start, maxResults=50)
            if still and len(records) > planned // 2:
                break
            time.sleep(0.1)
        self.report.check(still and len(records) > planned // 2, "most operations are records", len(records))
        records = [record for record in records if int(record["id"]) <= int(present)]
        for record in records:
            for entry in record.get("messagesAdded", []):
                wears[entry["message"]["id"]] = set(entry["message"].get("labelIds", []))
            for entry in record.get("labelsAdded", []):
                wears[entry["message"]["id"]] |= set(entry["labelIds"])
            for entry in record.get("labelsRemoved", []):
                wears[entry["message"]["id"]] -= set(entry["labelIds"])
            for entry in record.get("messagesDeleted", []):
                del wears[entry["message"]["id"]]
        self.report.equal(wears, truth, "replayed history ends in the same mailbox")
        return f"{len(records)} records of {planned} operations replayed"

    def uploads(self):
        body = "long lines of text, many of them\r\n" * 25_000
        raw = mail("uploaded", "upload", to=self.address, body=body)
        self.report.check(len(raw) > 3 * CHUNK, "the upload has several chunks", len(raw))
        simple = MediaInMemoryUpload(raw, mimetype="message/rfc822")
        chunked = MediaIoBaseUpload(io.BytesIO(raw), mimetype="message/rfc822", chunksize=CHUNK, resumable=True)
        whole = MediaIoBaseUpload(io.BytesIO(raw), mimetype="message/rfc822", chunksize=-1, resumable=True)
        for name, media in (("simple", simple), ("in one chunk", whole), ("in chunks", chunked)):
            for method in ("insert", "import_", "send"):
                metadata = {} if method == "send" else {"labelIds": ["INBOX", "STARRED"]}
                upload = getattr(self.messages, method)(userId="me", body=metadata, media_body=media)
                id = upload.execute()["id"]
                what = f"{method} of {len(raw)} bytes, {name}"
                kept = unbase64(self.messages.get(userId="me", id=id, format="raw").execute()["raw"])
                self.report.check(kept == raw, what, f"{len(kept)} bytes, equal in the first {common(kept, raw)}")
                self.report.check(set(metadata.get("labelIds", [])) <= set(self.truth()[id]["labelIds"]), what)
        inserted = self.messages.insert(userId="me", body={"raw": encode(raw)}).execute()["id"]
        self.report.equal(self.truth()[inserted]["sizeEstimate"], len(raw), "insert of raw")

    def drafts(self):
        drafts = self.users.drafts()
        made = [drafts.create(userId="me", body={"message": {"raw": encode(mail(f"draft {n}", f"d{n}"))}}).execute()
                for n in range(5)]
        present = {draft["id"] for draft in self.every(drafts, "drafts", maxResults=2)}
        self.report.check({draft["id"] for draft in made} <= present, "drafts in pages of two", present)
        id = made[0]["id"]
        # The client cannot put bytes beyond ASCII beside metadata.
        text = mail("saved again", "again", to="carol@elsewhere.example", body="plain\n")
        media = MediaInMemoryUpload(text, mimetype="message/rfc822")
        saved = drafts.update(userId="me", id=id, body={"id": id}, media_body=media).execute()
        self.report.check(saved["message"]["id"] != made[0]["message"]["id"], "a save makes another message")
        kept = drafts.get(userId="me", id=id, format="raw").execute()["message"]["raw"]
        self.report.equal(unbase64(kept), text, "a draft's text")
        sent = drafts.send(userId="me", body={"id": id}).execute()
        self.report.equal(self.truth()[sent["id"]]["labelIds"], ["SENT"], "a sent draft is sent mail and no draft")
        drafts.delete(userId="me", id=made[1]["id"]).execute()
        self.report.check(made[1]["message"]["id"] not in self.truth(), "a deleted draft's message is gone")

    def labels(self):
        labels = self.users.labels()
        label = labels.create(userId="me", body={"name": "from the client"}).execute()["id"]
        for id in self.ids[:10]:
            self.messages.modify(userId="me", id=id, body={"addLabelIds": [label]}).execute()
        truth, counted = self.truth(), labels.get(userId="me", id=label).execute()
        worn = wearing(truth, label)
        expected = {"messagesTotal": 10, "messagesUnread": len(worn & wearing(truth, "UNREAD")),
                    "threadsTotal": len({truth[id]["threadId"] for id in worn}),
                    "threadsUnread": len({truth[id]["threadId"] for id in worn & wearing(truth, "UNREAD")})}
        self.report.equal({key: counted[key] for key in expected}, expected, "a label's counts")
        labels.patch(userId="me", id=label, body={"name": "renamed"}).execute()
        names = {entry["id"]: entry["name"] for entry in labels.list(userId="me").execute()["labels"]}
        self.report.equal(names.get(label), "renamed", "a patched label")
        labels.delete(userId="me", id=label).execute()
        self.report.equal(wearing(self.truth(), label), set(), "a deleted label is taken off")

    def attachments(self):
        blob = bytes(range(256)) * 4_000
        id = self.simulator.deliver(self.address, mail("attached", "attached", attachment=blob))
        parts = self.messages.get(userId="me", id=id).execute()["payload"]["parts"]
        found = [part for part in parts if part["filename"]]
        self.attached = id
        self.report.equal([part["filename"] for part in found], ["a file.bin"], "file names")
        attachment = self.messages.attachments().get(userId="me", messageId=id, id=found[0]["body"]["attachmentId"])
        self.report.check(unbase64(attachment.execute()["data"]) == blob, "a megabyte of attachment")

    def search(self):
        truth = self.truth()
        seen = set(truth) - wearing(truth, "TRASH") - wearing(truth, "SPAM")
        inbox = wearing(truth, "INBOX") & seen
        for query, expected in {
            "in:inbox": inbox, "is:unread in:inbox": inbox & wearing(truth, "UNREAD"), "-in:inbox": seen - inbox,
            "is:starred": wearing(truth, "STARRED") & seen,
            "-in:chats": seen, "in:trash": wearing(truth, "TRASH"), "in:anywhere": set(truth),
            "{is:starred in:sent}": (wearing(truth, "STARRED") | wearing(truth, "SENT")) & seen,
            'subject:"topic 17"': {self.ids[14]}, "rfc822msgid:20@elsewhere.example": {self.ids[17]},
            "has:attachment": {self.attached}, "from:nobody": set(), "after:2147483647": set(),
        }.items():
            listed = self.every(self.messages, "messages", q=query, maxResults=40)
            self.report.equal({entry["id"] for entry in listed}, expected, f"q={query}")


def wearing(truth, label):
    return {id for id, entry in truth.items() if label in entry["labelIds"]}


def common(left, right):
    return next((place for place, (a, b) in enumerate(zip(left, right)) if a != b), min(len(left), len(right)))


def main():
    simulator, report, _ = begin("google-api-python-client at work", __doc__)
    oracle = Oracle(simulator, report)
    sections = "by_option paging formats batch changes history uploads drafts labels attachments search storm"
    for name in sections.split():
        report.section(name.replace("_", " "), getattr(oracle, name))
    report.finish()


if __name__ == "__main__":
    main()
