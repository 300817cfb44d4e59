"""Google's discovery document as a judge: what a method's answer must look like, and how a refusal does.

Requests are put together from the document alone (verb, path, parameters, upload paths), so a call that the
document does not know cannot be made.
"""

import email
import json
import re
import urllib.parse

from simulator import TIMEOUT_S, document_at, quoted, unbase64

INT_RANGES = {"int32": (-(2**31), 2**31 - 1), "uint32": (0, 2**32 - 1)}
TEXT_RANGES = {"int64": (-(2**63), 2**63 - 1), "uint64": (0, 2**64 - 1)}
JSON_TYPES = {"boolean": bool, "string": str, "object": dict, "array": list}

# What the document says in prose only: ids are hexadecimal, drafts have their own form.
FORMS = {
    "Message.id": r"[0-9a-f]{1,16}",
    "Message.threadId": r"[0-9a-f]{1,16}",
    "Thread.id": r"[0-9a-f]{1,16}",
    "Draft.id": r"r-?[0-9]+",
    "MessagePart.mimeType": r"[^/\s]+/[^\s]+",
    "MessagePart.partId": r"([0-9]+(\.[0-9]+)*)?",
    "Profile.emailAddress": r"[^@\s]+@[^@\s]+",
}
# Google's servers leave an empty list out; of a part without headers nobody knows.
EMPTY_LISTS_MAY_BE = {"MessagePart.headers"}

STATUSES = {
    400: {"INVALID_ARGUMENT", "FAILED_PRECONDITION"}, 401: {"UNAUTHENTICATED"}, 403: {"PERMISSION_DENIED"},
    404: {"NOT_FOUND"}, 409: {"ABORTED", "ALREADY_EXISTS"}, 413: {"INVALID_ARGUMENT"}, 429: {"RESOURCE_EXHAUSTED"},
    500: {"INTERNAL"}, 502: {"INTERNAL"}, 503: {"UNAVAILABLE"}, 504: {"DEADLINE_EXCEEDED"},
}


class Document:
    """The methods and schemas of `gmail.v1.json`."""

    def __init__(self, url):
        self.raw = document_at(url)
        self.schemas = self.raw["schemas"]
        self.methods = {}
        self._collect(self.raw)

    def _collect(self, resource):
        for method in resource.get("methods", {}).values():
            self.methods[method["id"].removeprefix("gmail.users.")] = method
        for below in resource.get("resources", {}).values():
            self._collect(below)

    def complaints(self, value, reference):
        """Everything about a value that its schema does not allow."""
        yield from self._walk(value, {"$ref": reference}, "$", reference)

    def _walk(self, value, schema, path, name):
        if "$ref" in schema:
            name = schema["$ref"]
            schema = self.schemas[name]
        kind = schema.get("type", "any")
        if value is None:
            yield f"{path} is null"
        elif kind == "object":
            yield from self._object(value, schema, path, name)
        elif kind == "array":
            if not isinstance(value, list):
                yield f"{path} should be a list, is {value!r}"
            elif not value and name not in EMPTY_LISTS_MAY_BE:
                yield f"{path} is an empty list, which has to be absent"
            else:
                for place, item in enumerate(value):
                    yield from self._walk(item, schema["items"], f"{path}[{place}]", name)
        else:
            yield from scalar(value, schema, path, name)

    def _object(self, value, schema, path, name):
        if not isinstance(value, dict):
            yield f"{path} should be an object, is {value!r}"
            return
        properties, others = schema.get("properties", {}), schema.get("additionalProperties")
        for key, item in value.items():
            below = properties.get(key, others)
            if below is None:
                yield f"{path}.{key} is no field of {name}"
            else:
                yield from self._walk(item, below, f"{path}.{key}", f"{name}.{key}")


def scalar(value, schema, path, name):
    """What is wrong with a value that has no parts."""
    kind, form = schema.get("type", "any"), schema.get("format")
    if kind in ("integer", "number"):
        whole = isinstance(value, int) and not isinstance(value, bool)
        if not (whole or (kind == "number" and isinstance(value, float))):
            yield f"{path} should be a {form or kind} number, is {value!r}"
        elif form in INT_RANGES and not INT_RANGES[form][0] <= value <= INT_RANGES[form][1]:
            yield f"{path} is no {form}: {value}"
    elif kind in JSON_TYPES and not isinstance(value, JSON_TYPES[kind]):
        yield f"{path} should be a {form or kind} in a {kind}, is {value!r}"
    elif kind == "string":
        if form in TEXT_RANGES:
            low, high = TEXT_RANGES[form]
            if not re.fullmatch(r"0|-?[1-9][0-9]*", value) or not low <= int(value) <= high:
                yield f"{path} is no decimal {form}: {value!r}"
        elif form == "byte" and not is_base64url(value):
            yield f"{path} is not base64url: {value[:40]!r}"
        if "enum" in schema and value not in schema["enum"]:
            yield f"{path} is {value!r}, none of {schema['enum']}"
        if name in FORMS and not re.fullmatch(FORMS[name], value):
            yield f"{path} is {value!r}, which is no {name}"


def is_base64url(text):
    if not re.fullmatch(r"[A-Za-z0-9_-]*={0,2}", text):
        return False
    try:
        unbase64(text)
    except ValueError:
        return False
    return True


def refusal_complaints(status, body):
    """Everything about a refusal that is not Gmail's form, to the letter."""
    if not isinstance(body, dict) or set(body) != {"error"} or not isinstance(body["error"], dict):
        yield f"a refusal is {{'error': {{…}}}}, this is {body!r}"
        return
    error = body["error"]
    if not {"code", "message", "errors", "status"} <= set(error) <= {"code", "message", "errors", "status", "details"}:
        yield f"the fields of error are {sorted(error)}"
        return
    if error["code"] != status or isinstance(error["code"], bool):
        yield f"code is {error['code']!r} under HTTP status {status}"
    if not isinstance(error["message"], str) or not error["message"]:
        yield f"message is {error['message']!r}"
    if error["status"] not in STATUSES.get(status, set()):
        yield f"status is {error['status']!r} under HTTP status {status}"
    inner = error["errors"]
    if not isinstance(inner, list) or len(inner) != 1 or not isinstance(inner[0], dict):
        yield f"errors is {inner!r}"
        return
    keys = {"message", "domain", "reason"} | ({"location", "locationType"} if status == 401 else set())
    if set(inner[0]) != keys or not all(isinstance(text, str) and text for text in inner[0].values()):
        yield f"errors[0] is {inner[0]!r}, its fields should be {sorted(keys)}"
    elif inner[0]["message"] != error["message"]:
        yield f"errors[0].message {inner[0]['message']!r} is not message {error['message']!r}"
    if status == 401 and (inner[0].get("location"), inner[0].get("locationType")) != ("Authorization", "header"):
        yield f"errors[0] names {inner[0].get('location')!r}, {inner[0].get('locationType')!r}"
    for detail in error.get("details", []):
        if detail.get("@type") != "type.googleapis.com/google.rpc.ErrorInfo":
            yield f"a detail is {detail!r}"
        elif not {"reason", "domain"} <= set(detail) <= {"@type", "reason", "domain", "metadata"}:
            yield f"the fields of a detail are {sorted(detail)}"
        elif not all(isinstance(text, str) for text in detail.get("metadata", {}).values()):
            yield f"the metadata of a detail is {detail['metadata']!r}"


class Answer:
    """What came back, as far as it could be read."""

    def __init__(self, status, headers, content):
        self.status, self.headers, self.content = status, headers, content
        try:
            self.body = json.loads(content) if content else None
        except ValueError:
            self.body = content


class Api:
    """Calls of one caller, each judged by the document."""

    def __init__(self, simulator, document, report, address):
        self.simulator, self.document, self.report = simulator, document, report
        self.address, self.token = address, f"sim:{address}"
        self.called = set()

    def target(self, method, parameters, path=None):
        """The path and query of a call; a parameter that the document does not know is a mistake here."""
        described = self.document.methods[method]
        known = {**described["parameters"], **self.document.raw["parameters"]}
        path, query = path or described["path"], []
        for key, value in {"userId": "me", **parameters}.items():
            if known[key]["location"] == "path":
                path = path.replace("{%s}" % key, quoted(value))
            else:
                query += [(key, item) for item in (value if isinstance(value, list) else [value])]
        query = urllib.parse.urlencode([(k, str(v).lower() if isinstance(v, bool) else v) for k, v in query])
        return "/" + path.lstrip("/") + (f"?{query}" if query else "")

    def send(self, verb, target, data=None, headers=None, token=None):
        """Any request at all, unjudged; an empty token sends none."""
        token = self.token if token is None else token
        authorization = {"Authorization": f"Bearer {token}"} if token else {}
        answer = self.simulator.session.request(
            verb, self.simulator.url + target if target.startswith("/") else target, data=data,
            headers={**authorization, **(headers or {})}, timeout=TIMEOUT_S, allow_redirects=False,
        )
        return Answer(answer.status_code, answer.headers, answer.content)

    def call(self, method, body=None, token=None, status=None, **parameters):
        """A call whose answer is judged; answers its JSON. Any success is expected unless a status is named."""
        data = None if body is None else json.dumps(body)
        headers = {} if body is None else {"Content-Type": "application/json"}
        verb = self.document.methods[method]["httpMethod"]
        answer = self.send(verb, self.target(method, parameters), data, headers, token)
        return self.judge(method, answer, status)

    def batch(self, path, calls):
        """The answers to GET calls in one request, by Content-ID; the standard library takes it apart."""
        body = "".join(
            f"--part\r\nContent-Type: application/http\r\nContent-ID: <{name}>\r\n\r\n"
            f"GET {target} HTTP/1.1\r\nAccept: application/json\r\n\r\n\r\n"
            for name, target in calls.items()
        )
        kind = {"Content-Type": "multipart/mixed; boundary=part"}
        answer = self.send("POST", path, f"{body}--part--\r\n", kind)
        head = f"Content-Type: {answer.headers.get('Content-Type')}\r\n\r\n".encode()
        answers = {}
        for part in email.message_from_bytes(head + answer.content).get_payload():
            head, _, content = part.get_payload(decode=True).partition(b"\r\n\r\n")
            line, _, fields = head.partition(b"\r\n")
            headers = email.message_from_bytes(fields + b"\r\n\r\n")
            answers[part["Content-ID"]] = Answer(int(line.split()[1]), headers, content)
        return answers

    def judge(self, method, answer, status=None):
        """Counts the call and holds its answer against the method's schema, or against a refusal's form."""
        self.called.add(method)
        what = f"{method} answered {answer.status}"
        good = answer.status == status if status else 200 <= answer.status < 300
        self.report.check(good, what, answer.body if not good else "")
        if answer.status >= 400:
            found = list(refusal_complaints(answer.status, answer.body))
        elif "response" not in self.document.methods[method]:
            found = [f"should have no body, has {answer.content[:60]!r}"] if answer.content else []
        else:
            if not str(answer.headers.get("Content-Type", "")).startswith("application/json"):
                self.report.differ(what, f"as {answer.headers.get('Content-Type')}")
            reference = self.document.methods[method]["response"]["$ref"]
            found = list(self.document.complaints(answer.body, reference))
        for complaint in found:
            self.report.differ(what, complaint)
        return answer.body
