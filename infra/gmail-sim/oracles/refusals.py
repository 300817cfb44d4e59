"""Every refusal of the simulator against Gmail's own error bodies, field for field.

Real refusals where a client can bring them about (bad ids, scopes, tokens, spent units, too many calls at once,
expired history), ordered faults for the rest. Needs a simulator whose quota is on.
"""

import datetime
import re

from document import Api, Document, refusal_complaints
from simulator import TIMEOUT_S, begin, encode, mail

LOGIN = re.escape("Expected OAuth 2 access token, login cookie or other valid authentication credential. See "
                  "https://developers.google.com/identity/sign-in/web/devconsole-project.")
SPENT = re.escape("Quota exceeded for quota metric 'Queries' and limit 'Queries per minute per user' of service "
                  "'gmail.googleapis.com' for consumer 'project_number:")
DEADLINE = r"User-rate limit exceeded\.  Retry after (\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z)"
# HTTP status, reason, domain, status, and the message as a regular expression.
INVALID = (400, "invalidArgument", "global", "INVALID_ARGUMENT", r".+")
INVALID_ID = (400, "invalidArgument", "global", "INVALID_ARGUMENT", r"Invalid id value")
PRECONDITION = (400, "failedPrecondition", "global", "FAILED_PRECONDITION", r"Precondition check failed\.")
CREDENTIALS = (401, "authError", "global", "UNAUTHENTICATED",
               r"Request had invalid authentication credentials\. " + LOGIN)
NO_CREDENTIALS = (401, "required", "global", "UNAUTHENTICATED",
                  r"Request is missing required authentication credential\. " + LOGIN)
USER_SPENT = (403, "userRateLimitExceeded", "usageLimits", "PERMISSION_DENIED", SPENT + r"\d+'\.")
PROJECT_SPENT = (403, "rateLimitExceeded", "usageLimits", "PERMISSION_DENIED", r"Quota exceeded for quota metric .+")
DAY_SPENT = (403, "dailyLimitExceeded", "usageLimits", "PERMISSION_DENIED", r"Daily Limit Exceeded")
POLICY = (403, "domainPolicy", "global", "PERMISSION_DENIED",
          r"The domain administrators have disabled Gmail apps\.")
SCOPES = (403, "insufficientPermissions", "global", "PERMISSION_DENIED", r".+")
FORBIDDEN = (403, "forbidden", "global", "PERMISSION_DENIED", r".+")
NOT_FOUND = (404, "notFound", "global", "NOT_FOUND", r"Requested entity was not found\.")
CONCURRENT = (429, "rateLimitExceeded", "usageLimits", "RESOURCE_EXHAUSTED",
              r"Too many concurrent requests for user\.")
RETRY_AFTER = (429, "rateLimitExceeded", "usageLimits", "RESOURCE_EXHAUSTED", DEADLINE)
BACKEND = {status: (status, "backendError", "global", canonical, r"Backend Error") for status, canonical in
           {500: "INTERNAL", 502: "INTERNAL", 503: "UNAVAILABLE", 504: "DEADLINE_EXCEEDED"}.items()}
METADATA = "https://www.googleapis.com/auth/gmail.metadata"


class Oracle:
    def __init__(self, simulator, report):
        self.simulator, self.report = simulator, report
        self.address = simulator.mailbox("refusals")
        self.api = Api(simulator, Document(simulator.url), report, self.address)
        self.id = simulator.deliver(self.address, mail("refused", 1))
        self.label = self.api.call("labels.create", {"name": "taken"})["id"]

    def refused(self, expected, method, body=None, **parameters):
        """A call that has to be refused in exactly this way."""
        answer = self.api.call(method, body, status=expected[0], **parameters)
        return self.is_refusal(answer, expected, f"{method} {parameters or ''}")

    def is_refusal(self, body, expected, what):
        error = body.get("error") if isinstance(body, dict) else None
        if not self.report.check(isinstance(error, dict), f"{what} is refused", body):
            return {}
        inner = error["errors"][0]
        found = (error["code"], inner["reason"], inner["domain"], error["status"])
        self.report.equal(found, expected[:4], what)
        self.report.check(re.fullmatch(expected[4], error["message"]), f"{what}: the message", error["message"])
        return error

    def arguments(self):
        for id in ("not-hex", "zz", "1" * 17, "%00"):
            self.refused(INVALID_ID, "messages.get", id=id)
        self.refused(INVALID_ID, "threads.get", id="not-hex")
        self.refused(INVALID_ID, "messages.trash", id="-1")
        self.refused(INVALID_ID, "messages.batchModify", {"ids": ["xyz"]})
        for start in ("0", "-1", "abc", "99999999999999999999999"):
            self.refused(INVALID, "history.list", startHistoryId=start)
        self.refused(INVALID, "history.list", startHistoryId="100000", historyTypes=["odd"])
        self.refused(INVALID, "history.list")
        self.refused(INVALID, "messages.get", id=self.id, format="odd")
        for parameters in ({"pageToken": "odd"}, {"maxResults": "many"}, {"labelIds": ["NO_LABEL"]}):
            self.refused(INVALID, "messages.list", **parameters)
        self.refused(INVALID, "messages.modify", {"addLabelIds": ["NO_LABEL"]}, id=self.id)
        self.refused(INVALID, "messages.modify", {"addLabelIds": "INBOX"}, id=self.id)
        self.refused(INVALID, "messages.modify", {"addLabelIds": ["SENT"]}, id=self.id)
        self.refused(INVALID, "messages.insert", {"raw": "%%%"})
        self.refused(INVALID, "messages.insert", {})
        self.refused(INVALID, "messages.send", {"raw": encode(b"Subject: to nobody\r\n\r\nx\r\n")})
        self.refused(INVALID, "messages.attachments.get", messageId=self.id, id="odd")
        self.refused(INVALID, "watch", {"topicName": "odd"})
        self.refused(INVALID, "labels.create", {"name": ""})
        self.refused(INVALID, "labels.delete", id="INBOX")
        for verb, path, body in (("POST", f"messages/{self.id}/modify", "{"), ("POST", "messages", "[]")):
            answer = self.api.send(verb, f"/gmail/v1/users/me/{path}", body, {"Content-Type": "application/json"})
            self.is_refusal(answer.body, INVALID, f"a body of {body}")
        self.api.call("labels.create", {"name": "taken"}, status=409)

    def missing(self):
        self.refused(NOT_FOUND, "messages.get", id="12")
        self.refused(NOT_FOUND, "messages.delete", id="12")
        self.refused(NOT_FOUND, "messages.modify", {"addLabelIds": ["INBOX"]}, id="12")
        self.refused(NOT_FOUND, "threads.get", id="12")
        self.refused(NOT_FOUND, "drafts.get", id="r12")
        self.refused(NOT_FOUND, "labels.get", id="Label_999")
        before = self.api.call("getProfile")["historyId"]
        self.api.call("history.list", startHistoryId=before)
        self.simulator.control("POST", f"mailboxes/{self.address}/expire-history")
        self.refused(NOT_FOUND, "history.list", startHistoryId=before)
        present = self.api.call("getProfile")["historyId"]
        self.api.call("history.list", startHistoryId=present)

    def credentials(self):
        for token, expected in (("ya29.nobody", CREDENTIALS), ("sim:nobody@oracle.example", CREDENTIALS),
                                ("", NO_CREDENTIALS)):
            answer = self.api.send("GET", "/gmail/v1/users/me/profile", token=token)
            self.report.equal(answer.status, 401, f"the bearer {token!r}")
            self.is_refusal(answer.body, expected, f"the bearer {token!r}")
            self.report.check("Bearer" in answer.headers.get("WWW-Authenticate", ""), "WWW-Authenticate is sent")
            for complaint in refusal_complaints(401, answer.body):
                self.report.differ("401", complaint)
        self.refused(FORBIDDEN, "getProfile", userId="somebody.else@oracle.example")

    def scopes(self):
        token = self.token(scope=METADATA)["access_token"]
        read = {"id": self.id, "token": token}
        self.api.call("messages.get", **read, format="metadata")
        self.api.call("messages.list", token=token)
        self.api.call("history.list", token=token, startHistoryId=self.api.call("getProfile")["historyId"])
        self.refused(FORBIDDEN, "messages.get", **read, format="full")
        self.refused(FORBIDDEN, "messages.get", **read, format="raw")
        self.refused(FORBIDDEN, "messages.list", token=token, q="x")
        error = self.refused(SCOPES, "messages.modify", {"addLabelIds": ["STARRED"]}, **read)
        reasons = [detail["reason"] for detail in error.get("details", [])]
        self.report.equal(reasons, ["ACCESS_TOKEN_SCOPE_INSUFFICIENT"], "details of insufficient scopes")

    def token(self, address=None, **form):
        """The token endpoint's answer."""
        form = {"grant_type": "refresh_token", "refresh_token": f"sim:{address or self.address}", **form}
        return self.simulator.session.post(f"{self.simulator.url}/token", data=form, timeout=TIMEOUT_S).json()

    def grants(self):
        other = self.simulator.mailbox("refused-grants")
        alive = self.token(other)["access_token"]
        self.simulator.control("POST", f"mailboxes/{other}/revoke")
        gone = {"error": "invalid_grant", "error_description": "Token has been expired or revoked."}
        self.report.equal(self.token(other), gone, "a withdrawn grant")
        answer = self.api.send("GET", "/gmail/v1/users/me/profile", token=alive)
        self.is_refusal(answer.body, CREDENTIALS, "an access token whose grant is withdrawn")
        self.simulator.control("DELETE", f"mailboxes/{other}/revoke")
        homeless = self.token(other)["access_token"]
        self.simulator.control("DELETE", f"mailboxes/{other}")
        answer = self.api.send("GET", "/gmail/v1/users/me/profile", token=homeless)
        self.is_refusal(answer.body, PRECONDITION, "an account without Gmail")

    def quota(self):
        watch = {"topicName": "projects/p/topics/t"}
        limit = 150  # 100 units each: 60 spend the current regime's minute, 150 the legacy one's.
        for spent in range(limit + 1):
            answer = self.api.send("POST", "/gmail/v1/users/me/watch", str(watch).replace("'", '"'))
            if answer.status != 200:
                break
        self.report.check(spent in (60, 150), "a minute's units are spent by 60 calls, or by 150", spent)
        error = self.refused(USER_SPENT, "getProfile") if spent <= limit else {}
        detail = (error.get("details") or [{}])[0]
        self.report.equal(detail.get("reason"), "RATE_LIMIT_EXCEEDED", "details of a spent minute")
        limits = {"quota_limit", "quota_metric", "quota_limit_value", "service", "consumer"}
        self.report.check(limits <= set(detail.get("metadata", {})), "metadata of a spent minute", detail)
        self.simulator.refill()
        self.api.call("getProfile")
        return f"{spent} calls of watch until the refusal"

    def concurrency(self):
        calls = 100
        target = self.api.target("getProfile", {})
        answers = self.api.batch("/batch/gmail/v1", dict.fromkeys(range(calls), target)).values()
        good = [answer for answer in answers if answer.status == 200]
        self.report.equal(len(answers), calls, "every call of a batch is answered")
        self.report.check(25 <= len(good) < calls, "of 100 calls at once some pass and some do not", len(good))
        for answer in answers:
            if answer.status != 200:
                self.api.judge("getProfile", answer, 429)
                self.is_refusal(answer.body, CONCURRENT, "a call too many at once")
        return f"{len(good)} of {calls} calls at once passed"

    def faults(self):
        for order, expected in (
            ({"kind": "failedPrecondition"}, PRECONDITION), ({"kind": 400}, INVALID_ID), ({"kind": 401}, CREDENTIALS),
            ({"kind": "userRateLimitExceeded"}, USER_SPENT),
            ({"kind": 403, "reason": "rateLimitExceeded"}, PROJECT_SPENT),
            ({"kind": "dailyLimitExceeded"}, DAY_SPENT), ({"kind": "domainPolicy"}, POLICY), ({"kind": 404}, NOT_FOUND),
            ({"kind": "insufficientPermissions"}, SCOPES), ({"kind": 429}, CONCURRENT),
            *(({"kind": status}, refusal) for status, refusal in BACKEND.items()),
        ):
            self.simulator.fault(**order, count=1, mailbox=self.address)
            self.refused(expected, "messages.get", id=self.id)
            self.api.call("messages.get", id=self.id)
        self.simulator.fault(kind="retry_after", seconds=900, count=1, mailbox=self.address)
        answer = self.api.send("GET", f"/gmail/v1/users/me/messages/{self.id}")
        error = self.is_refusal(self.api.judge("messages.get", answer, 429), RETRY_AFTER, "a deadline")
        now = self.simulator.control("GET", "clock").json()["now_ms"] / 1000
        written = re.fullmatch(DEADLINE, error["message"]).group(1)
        deadline = datetime.datetime.fromisoformat(written.replace("Z", "+00:00")).timestamp()
        self.report.check(abs(deadline - now - 900) < 60, "the deadline in the message is 15 minutes off", written)
        self.report.equal(answer.headers.get("Retry-After"), "900", "the header of the same deadline")


def main():
    simulator, report, _ = begin("refusals, against Gmail's own error bodies", __doc__)
    oracle = Oracle(simulator, report)
    for name in "arguments missing credentials scopes grants quota concurrency faults".split():
        report.section(name, getattr(oracle, name))
    report.finish()


if __name__ == "__main__":
    main()
