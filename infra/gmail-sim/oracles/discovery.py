"""Every answer of the simulator against the discovery document inside google-api-python-client.

Every method that the simulator serves is called, in all formats and on all upload paths, and every JSON answer is
held against the document's schemas: unknown fields, types, formats, enumerations, ids, and lists that should be
absent. What the document has and the simulator does not serve has to be refused as Gmail refuses it.
"""

import email
import email.policy
import json

from document import Api, Document
from simulator import begin, encode, mail, sample, unbase64, unix

SERVED = set(
    """getProfile history.list stop watch settings.sendAs.list
    drafts.create drafts.delete drafts.get drafts.list drafts.send drafts.update
    labels.create labels.delete labels.get labels.list labels.patch labels.update
    messages.attachments.get messages.batchDelete messages.batchModify messages.delete messages.get messages.import
    messages.insert messages.list messages.modify messages.send messages.trash messages.untrash
    threads.delete threads.get threads.list threads.modify threads.trash threads.untrash""".split()
)
UPLOADS = ("messages.insert", "messages.import", "messages.send", "drafts.create", "drafts.update", "drafts.send")
# The formats, and what each adds to the fields that all have.
FORMATS = {"minimal": set(), "metadata": {"payload"}, "full": {"payload"}, "raw": {"raw"}}
# Real messages that are put in, from all over the corpus; each is read in four formats.
CORPUS_MESSAGES = 1_000
# Messages read before the minute's units are spent: a get of each format is 80 of 6,000.
READS_PER_MINUTE = 70
BLOB = bytes(range(256)) * 5


class Oracle:
    def __init__(self, simulator, report, corpus):
        self.simulator, self.report, self.corpus = simulator, report, corpus
        self.address = simulator.mailbox("discovery")
        self.document = Document(simulator.url)
        self.api = Api(simulator, self.document, report, self.address)
        self.call = self.api.call
        self.number = 0

    def mail(self, subject="subject", **headers):
        self.number += 1
        return mail(subject, self.number, to=self.address, **headers)

    def raw(self, *arguments, **headers):
        return {"raw": encode(self.mail(*arguments, **headers))}

    def profile(self):
        for user in ("me", self.address, self.address.upper()):
            profile = self.call("getProfile", userId=user)
            self.report.equal(profile["emailAddress"], self.address, "emailAddress")
        self.call("settings.sendAs.list")

    def labels(self):
        name = {"name": "work/projects", "labelListVisibility": "labelShowIfUnread", "messageListVisibility": "hide"}
        color = {"textColor": "#ffffff", "backgroundColor": "#16a766"}
        made = self.call("labels.create", {**name, "color": color})
        self.report.equal({k: made.get(k) for k in name}, name, "a label is made as it was asked for")
        self.report.equal((made.get("type"), made.get("color")), ("user", color), "its type and colour")
        listed = self.call("labels.list")["labels"]
        self.report.check(made["id"] in [label["id"] for label in listed], "a new label is listed")
        for label in listed:
            counted = self.call("labels.get", id=label["id"])
            counts = {"messagesTotal", "messagesUnread", "threadsTotal", "threadsUnread"}
            self.report.check(counts <= set(counted), "a label that is read has its counts", counted)
        patched = self.call("labels.patch", {"name": "work"}, id=made["id"])
        self.report.equal((patched["name"], patched["color"]), ("work", color), "a patch leaves the rest")
        self.call("labels.update", {"id": made["id"], **name}, id=made["id"])
        self.label = self.call("labels.create", {"name": "kept"})["id"]
        self.call("labels.delete", id=made["id"])
        self.call("labels.get", id=made["id"], status=404)

    def formats(self):
        raw = self.mail("formats", attachment=BLOB)
        id = self.call("messages.insert", {"raw": encode(raw), "labelIds": ["INBOX", self.label]})["id"]
        brief = {"id", "threadId", "labelIds", "snippet", "historyId", "internalDate", "sizeEstimate"}
        answers = {}
        for form, more in FORMATS.items():
            answers[form] = self.call("messages.get", id=id, format=form)
            self.report.equal(set(answers[form]), brief | more, f"fields of format {form}")
        self.report.equal(self.call("messages.get", id=id), answers["full"], "full is what is given unasked")
        self.report.equal(unbase64(answers["raw"]["raw"]), raw, "raw is what was put in")
        self.report.equal(answers["raw"]["sizeEstimate"], len(raw), "sizeEstimate")
        some = self.call("messages.get", id=id, format="metadata", metadataHeaders=["subject", "From", "X-Absent"])
        names = [header["name"] for header in some["payload"]["headers"]]
        self.report.equal(names, ["From", "Subject"], "metadataHeaders selects")
        parts = [part for part in leaves(answers["full"]["payload"]) if part["filename"]]
        self.report.equal([part["filename"] for part in parts], ["a file.bin"], "file names")
        body = parts[0]["body"]
        self.report.equal((body["size"], "data" in body), (len(BLOB), False), "an attachment is given by id")
        attachment = self.call("messages.attachments.get", messageId=id, id=body["attachmentId"])
        self.report.equal(unbase64(attachment["data"]), BLOB, "an attachment's bytes")
        self.report.equal(attachment["size"], len(BLOB), "an attachment's size")
        texts = [unbase64(part["body"]["data"]).decode() for part in leaves(answers["full"]["payload"])[:2]]
        parsed = email.message_from_bytes(raw, policy=email.policy.default)
        bodies = [parsed.get_body([kind]).get_content() for kind in ("plain", "html")]
        self.report.equal([unix(t) for t in texts], [unix(b) for b in bodies], "bodies, as Python reads them")

    def messages(self):
        dated = self.call("messages.insert", self.raw("dated"), internalDateSource="dateHeader")
        self.report.equal(self.call("messages.get", id=dated["id"])["internalDate"], "1772446272000", "dateHeader")
        ids = [self.call("messages.import", self.raw(f"imported {n}"), neverMarkSpam=True)["id"] for n in range(7)]
        self.call("messages.send", self.raw("sent"))
        self.call("messages.modify", {"addLabelIds": ["STARRED", self.label]}, id=ids[0])
        self.call("messages.modify", {"removeLabelIds": [self.label]}, id=ids[0])
        self.call("messages.batchModify", {"ids": ids[:3], "addLabelIds": ["IMPORTANT"]})
        self.call("messages.trash", id=ids[1])
        self.call("messages.untrash", id=ids[1])
        self.call("messages.trash", id=ids[2])
        self.call("messages.delete", id=ids[3])
        self.call("messages.batchDelete", {"ids": ids[4:5]})
        truth = self.simulator.snapshot(self.address)
        everything = self.pages("messages.list", "messages", includeSpamTrash=True, maxResults=3)
        self.report.equal({entry["id"] for entry in everything}, set(truth), "pages of three list every message")
        of_label = self.pages("messages.list", "messages", labelIds=["STARRED"])
        starred = {id for id, entry in truth.items() if "STARRED" in entry["labelIds"]}
        self.report.equal({entry["id"] for entry in of_label}, starred, "labelIds lists who wears it")
        found = self.pages("messages.list", "messages", q='subject:"imported 5"')
        self.report.equal([entry["id"] for entry in found], [ids[5]], "q finds one subject")
        nothing = self.call("messages.list", q="subject:nowhere")
        self.report.equal(nothing, {"resultSizeEstimate": 0}, "a search that finds nothing has no messages key")

    def pages(self, method, key, **parameters):
        entries, token = [], {}
        for _ in range(200):
            page = self.call(method, **parameters, **token)
            entries += page.get(key, [])
            if "nextPageToken" not in page:
                return self.report.once(entries, f"{method} {parameters}")
            token = {"pageToken": page["nextPageToken"]}
        raise RuntimeError(f"{method} has no last page")

    def uploads(self):
        for method in UPLOADS:
            protocols = self.document.methods[method]["mediaUpload"]["protocols"]
            for form in ("media", "multipart", "resumable"):
                parameters, metadata = {}, {"labelIds": ["INBOX"]} if method.startswith("messages") else {}
                if method in ("drafts.update", "drafts.send"):
                    draft = self.call("drafts.create", {"message": self.raw("draft")})["id"]
                    parameters = {"id": draft} if method == "drafts.update" else {}
                    metadata = {"id": draft}
                    if form == "media" and method == "drafts.send":
                        continue  # Without metadata no draft is named.
                raw = self.mail(f"{method} as {form}")
                path = protocols["resumable" if form == "resumable" else "simple"]["path"]
                target = self.api.target(method, {**parameters, "uploadType": form}, path)
                verb = self.document.methods[method]["httpMethod"]
                answer = self.api.judge(method, self.upload(verb, target, form, metadata, raw))
                message = answer.get("message", answer)
                kept = self.call("messages.get", id=message["id"], format="raw")
                self.report.check(unbase64(kept["raw"]).endswith(raw), f"{method} as {form} keeps every byte")

    def upload(self, verb, target, form, metadata, raw):
        if form == "media":
            return self.api.send(verb, target, raw, {"Content-Type": "message/rfc822"})
        described = json.dumps(metadata)
        if form == "resumable":
            kind = {"Content-Type": "application/json; charset=UTF-8", "X-Upload-Content-Type": "message/rfc822"}
            begun = self.api.send(verb, target, described, kind)
            self.report.equal(begun.status, 200, "a resumable upload is announced")
            return self.api.send("PUT", begun.headers["Location"], raw, {"Content-Type": "message/rfc822"})
        body = f"--related\r\nContent-Type: application/json\r\n\r\n{described}\r\n--related\r\n".encode()
        body += b"Content-Type: message/rfc822\r\n\r\n" + raw + b"\r\n--related--\r\n"
        return self.api.send(verb, target, body, {"Content-Type": "multipart/related; boundary=related"})

    def threads(self):
        first = self.call("messages.insert", self.raw("a talk"))
        parent = f"<{self.number}@elsewhere.example>"
        reply = self.call("messages.insert", self.raw("Re: a talk", In_Reply_To=parent, References=parent))
        self.report.equal(reply["threadId"], first["threadId"], "a reply joins its thread")
        id = first["threadId"]
        for form in ("full", "metadata", "minimal"):
            members = self.call("threads.get", id=id, format=form)["messages"]
            self.report.equal([m["id"] for m in members], [first["id"], reply["id"]], f"a thread as {form}")
        self.call("threads.modify", {"addLabelIds": ["STARRED"]}, id=id)
        self.call("threads.trash", id=id)
        self.call("threads.untrash", id=id)
        listed = self.pages("threads.list", "threads", maxResults=4, includeSpamTrash=True)
        truth = {entry["threadId"] for entry in self.simulator.snapshot(self.address).values()}
        self.report.equal({entry["id"] for entry in listed}, truth, "pages of four list every thread")
        self.call("threads.delete", id=id)
        self.call("threads.get", id=id, status=404)

    def drafts(self):
        made = self.call("drafts.create", {"message": self.raw("first")})
        saved = self.call("drafts.update", {"message": self.raw("second")}, id=made["id"])
        self.report.equal(saved["id"], made["id"], "a draft that is saved keeps its id")
        self.report.check(saved["message"]["id"] != made["message"]["id"], "its message has another id")
        for form in FORMATS:
            self.call("drafts.get", id=made["id"], format=form)
        others = [self.call("drafts.create", {"message": self.raw(f"more {n}")})["id"] for n in range(4)]
        listed = {draft["id"] for draft in self.pages("drafts.list", "drafts", maxResults=2)}
        self.report.check({made["id"], *others} <= listed, "pages of two list every draft", listed)
        sent = self.call("drafts.send", {"id": made["id"]})
        self.report.check("SENT" in sent["labelIds"], "a sent draft is sent mail", sent)
        self.call("drafts.delete", id=others[0])
        self.call("drafts.get", id=others[0], status=404)

    def history(self):
        start = self.call("getProfile")["historyId"]
        self.report.equal(self.call("history.list", startHistoryId=start), {"historyId": start}, "nothing happened")
        id = self.call("messages.insert", self.raw("history"))["id"]
        self.call("messages.modify", {"addLabelIds": ["STARRED"]}, id=id)
        self.call("messages.modify", {"removeLabelIds": ["STARRED"]}, id=id)
        self.call("messages.delete", id=id)
        kinds = ("messageAdded", "labelAdded", "labelRemoved", "messageDeleted")
        keys = [{"messagesAdded"}, {"labelsAdded"}, {"labelsRemoved"}, {"messagesDeleted"}]
        seen = [set(r) - {"id", "messages"} for r in self.pages("history.list", "history", startHistoryId=start)]
        self.report.equal(seen, keys, "four changes are four records of four kinds")
        single = self.pages("history.list", "history", startHistoryId=start, maxResults=1)
        self.report.equal([set(r) - {"id", "messages"} for r in single], keys, "record by record")
        for kind, key in zip(kinds, keys):
            only = self.pages("history.list", "history", startHistoryId=start, historyTypes=[kind])
            self.report.equal([set(r) - {"id", "messages"} for r in only], [key], f"historyTypes={kind}")

    def watch(self):
        watch = self.call("watch", {"topicName": "projects/p/topics/t", "labelIds": ["INBOX"]})
        self.report.equal(watch["historyId"], self.call("getProfile")["historyId"], "a watch names the present")
        self.call("watch", {"topicName": "projects/p/topics/t", "labelFilterBehavior": "exclude", "labelIds": ["SPAM"]})
        self.call("stop")

    def fields(self):
        id = self.call("messages.insert", self.raw("fields", attachment=BLOB))["id"]
        whole = self.call("messages.get", id=id)
        headers = whole["payload"]["headers"]
        for mask, expected in {
            "id": {"id": id},
            "id,historyId": {"id": id, "historyId": whole["historyId"]},
            "payload/mimeType": {"payload": {"mimeType": "multipart/mixed"}},
            "payload(mimeType,headers/name)":
                {"payload": {"mimeType": "multipart/mixed", "headers": [{"name": h["name"]} for h in headers]}},
            "payload/parts/body(size)": {"payload": {"parts": [{"body": {"size": 0}}, {"body": {"size": len(BLOB)}}]}},
            "*": whole,
        }.items():
            self.report.equal(self.call("messages.get", id=id, fields=mask), expected, f"fields={mask}")
        page = self.call("messages.list", fields="messages(id),nextPageToken", maxResults=2)
        self.report.check(all(set(entry) == {"id"} for entry in page["messages"]), "fields of a listing", page)
        self.call("messages.get", id=id, fields="payload(", status=400)

    def batch(self):
        id = self.call("messages.insert", self.raw("batch"))["id"]
        calls = {"a": ("messages.get", {"id": id}), "b+c": ("messages.get", {"id": "12"}), "d": ("getProfile", {})}
        calls["<e>"] = ("history.list", {"startHistoryId": "0"})
        targets = {name: self.api.target(method, parameters) for name, (method, parameters) in calls.items()}
        for path in ("/batch", "/batch/gmail/v1"):
            found = self.api.batch(path, targets)
            self.report.equal(set(found), {f"<response-{name}>" for name in calls}, f"the parts of {path}")
            expected = {"a": 200, "b+c": 404, "d": 200, "<e>": 400}
            for name, (method, _) in calls.items():
                self.api.judge(method, found[f"<response-{name}>"], expected[name])

    def real_mail(self):
        files = sample(self.corpus, CORPUS_MESSAGES)
        for place, file in enumerate(files):
            if place % READS_PER_MINUTE == 0:
                self.simulator.refill()
            raw = file.read_bytes()
            id = self.simulator.deliver(self.address, raw)
            answers = {form: self.call("messages.get", id=id, format=form) for form in FORMATS}
            self.report.check(unbase64(answers["raw"]["raw"]) == raw, "raw is what was delivered", file.name)
            self.report.equal(answers["full"]["payload"]["headers"], answers["metadata"]["payload"].get("headers", []),
                              f"headers of {file.name} in metadata and full")
        return f"{len(files)} messages in four formats" if files else "none: --corpus names no folder"

    def coverage(self):
        self.report.equal(self.api.called & set(self.document.methods), self.api.called, "methods of the document")
        called, others = set(self.api.called), sorted(set(self.document.methods) - SERVED)
        self.report.equal(called, SERVED, "methods called are those served")
        for method in others:
            parameters = self.document.methods[method]["parameters"].items()
            placeholders = {name: "1" for name, described in parameters if described["location"] == "path"}
            refused = self.call(method, **{**placeholders, "userId": "me"}, status=404)
            self.report.equal(refused["error"]["message"], "Method not found.", f"{method} is not served")
        print(f"  revision {self.document.raw['revision']} of the document has {len(self.document.methods)} methods")
        print(f"  methods called: {len(called & SERVED)} of the {len(SERVED)} served")
        print(f"  methods not served, each refused: {', '.join(others)}")


def leaves(part):
    return [leaf for below in part["parts"] for leaf in leaves(below)] if "parts" in part else [part]


def main():
    simulator, report, arguments = begin("the discovery document of google-api-python-client", __doc__, corpus=True)
    oracle = Oracle(simulator, report, arguments.corpus)
    sections = "profile labels formats messages uploads threads drafts history watch fields batch real_mail coverage"
    for name in sections.split():
        report.section(name.replace("_", " "), getattr(oracle, name))
    report.finish()


if __name__ == "__main__":
    main()
