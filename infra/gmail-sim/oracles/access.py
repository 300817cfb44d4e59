"""Google's own libraries at the doors: credentials, consent, refusals as the client understands them, and pushes.

google-auth refreshes an expired token, google-auth-oauthlib runs the consent with PKCE, a service account acts for a
user, google-api-python-client reads the refusals and decides which of them to try again, and google-auth verifies
what is pushed.
"""

import base64
import http.server
import json
import os
import queue
import threading
import time
import urllib.parse

import google.auth.exceptions
import google.auth.transport.requests
import google_auth_httplib2
from google.oauth2 import id_token, service_account
from google.oauth2.credentials import Credentials
from google_auth_oauthlib.flow import Flow
from googleapiclient.errors import HttpError
from googleapiclient.http import build_http

from simulator import TIMEOUT_S, begin, gmail_at, mail

# The simulator speaks plain HTTP, which the OAuth library takes only when told.
os.environ["OAUTHLIB_INSECURE_TRANSPORT"] = "1"
MODIFY = "https://www.googleapis.com/auth/gmail.modify"
FULL = "https://mail.google.com/"
METADATA = "https://www.googleapis.com/auth/gmail.metadata"
REDIRECT = "http://127.0.0.1:1/callback"
PUSH_BOUND_S = 20


class Oracle:
    def __init__(self, simulator, report):
        self.simulator, self.report = simulator, report
        self.address = simulator.mailbox("access")
        self.id = simulator.deliver(self.address, mail("access", 1))
        self.transport = google.auth.transport.requests.Request()

    def credentials(self, **options):
        endpoint = {"token_uri": f"{self.simulator.url}/token", "client_id": "client", "client_secret": "secret"}
        return Credentials(None, refresh_token=f"sim:{self.address}", **endpoint, **options)

    def profile(self, credentials):
        return gmail_at(self.simulator.url, credentials).users().getProfile(userId="me").execute()["emailAddress"]

    def refresh(self):
        credentials = self.credentials()
        self.report.equal(self.profile(credentials), self.address, "no access token yet: the first call fetches one")
        first = credentials.token
        self.report.check(credentials.valid and credentials.expiry, "the token has an end", credentials.expiry)
        self.simulator.advance(3_600)
        self.report.equal(self.profile(credentials), self.address, "a token refused with 401 is refreshed on the way")
        self.report.check(credentials.token != first, "the access token is another one")

    def revocation(self):
        credentials = self.credentials()
        self.profile(credentials)
        self.simulator.control("POST", f"mailboxes/{self.address}/revoke")
        try:
            self.profile(credentials)
            self.report.differ("a withdrawn grant still opens the mailbox")
        except google.auth.exceptions.RefreshError as error:
            message, body = error.args
            self.report.equal(message, "invalid_grant: Token has been expired or revoked.", "what google-auth reads")
            self.report.equal(error.retryable, False, "google-auth does not try again")
        self.simulator.control("DELETE", f"mailboxes/{self.address}/revoke")
        self.report.equal(self.profile(credentials), self.address, "a grant that is given back")

    def flow(self, **options):
        """The consent as far as the code; answers the flow and the address the browser is sent to."""
        endpoints = {"auth_uri": f"{self.simulator.url}/o/oauth2/v2/auth", "token_uri": f"{self.simulator.url}/token"}
        config = {"web": {"client_id": "client", "client_secret": "secret", **endpoints}}
        scopes = ["openid", MODIFY]
        flow = Flow.from_client_config(config, scopes, redirect_uri=REDIRECT, autogenerate_code_verifier=True)
        url, state = flow.authorization_url(access_type="offline", login_hint=self.address, **options)
        self.report.check("code_challenge_method=S256" in url, "the library sends a PKCE challenge", url)
        answer = self.simulator.session.get(url, allow_redirects=False, timeout=TIMEOUT_S)
        self.report.equal(answer.status_code, 302, "consent sends the browser back")
        back = answer.headers["Location"]
        self.report.equal(dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(back).query)).get("state"), state, "state")
        return flow, back

    def consent(self):
        flow, back = self.flow(sim_approve="1")
        flow.fetch_token(authorization_response=back)
        credentials = flow.credentials
        self.report.equal(self.profile(credentials), self.address, "the access token of a code")
        claims = self.verified(credentials.id_token, "client")
        self.report.equal((claims["email"], claims["email_verified"]), (self.address, True), "the id token's claims")
        credentials.refresh(self.transport)
        self.report.equal(self.profile(credentials), self.address, "the refresh token of a code")
        flow, back = self.flow(sim_approve="1")
        flow.code_verifier = "x" * 64
        self.refused_grant(flow, back, "another verifier")
        flow, back = self.flow(sim_approve="1")
        flow.fetch_token(authorization_response=back)
        self.refused_grant(flow, back, "a code that was redeemed")
        flow, back = self.flow(sim_deny="1")
        self.report.check("error=access_denied" in back, "no consent", back)

    def refused_grant(self, flow, back, what):
        try:
            flow.fetch_token(authorization_response=back)
            self.report.differ(f"{what} is taken")
        except Exception as error:  # noqa: BLE001 - the library makes a class of each OAuth error
            self.report.equal(getattr(error, "error", error), "invalid_grant", what)

    def verified(self, token, audience):
        """A token's claims, when google-auth finds it signed by the simulator's published keys."""
        certificates = f"{self.simulator.url}/oauth2/v3/certs"
        return id_token.verify_token(token, self.transport, audience=audience, certs_url=certificates)

    def delegation(self):
        name = "service-accounts/oracle@project.iam.gserviceaccount.com"
        file = self.simulator.control("POST", name, {"scopes": [MODIFY]}).json()
        other = self.simulator.control("POST", "service-accounts/other@project.iam.gserviceaccount.com", {}).json()

        def robot(file, scope=MODIFY, user=self.address):
            read = service_account.Credentials.from_service_account_info
            return read(file, scopes=[scope]).with_subject(user)

        self.report.equal(self.profile(robot(file)), self.address, "a service account for a user, by its key file")
        forged = {**file, "private_key": other["private_key"], "private_key_id": other["private_key_id"]}
        for what, credentials, expected in (
            ("a scope that is not delegated", robot(file, FULL), "unauthorized_client"),
            ("a key of somebody else's", robot(forged), "invalid_grant"),
            ("a user who is not there", robot(file, user="nobody@oracle.example"), "invalid_grant"),
        ):
            self.refused_refresh(credentials, expected, what)
        self.simulator.control("POST", f"mailboxes/{self.address}/revoke")
        self.refused_refresh(robot(file), "unauthorized_client", "a user who withdrew the grant")
        self.simulator.control("DELETE", f"mailboxes/{self.address}/revoke")
        for made in (name, "service-accounts/other@project.iam.gserviceaccount.com"):
            self.simulator.control("DELETE", made)

    def refused_refresh(self, credentials, expected, what):
        try:
            credentials.refresh(self.transport)
            self.report.differ(f"{what} is taken")
        except google.auth.exceptions.RefreshError as error:
            self.report.equal(error.args[1].get("error"), expected, what)

    def get(self, credentials, id=None):
        """A read as a request of the client that waits for nothing."""
        # Without a refresh the client hands a 401 through instead of curing it.
        authorized = google_auth_httplib2.AuthorizedHttp(credentials, http=build_http(), refresh_status_codes=())
        messages = gmail_at(self.simulator.url, http=authorized).users().messages()
        request = messages.get(userId="me", id=id or self.id, format="minimal")
        request._sleep = lambda seconds: None
        return request

    def errors(self):
        owner = Credentials(f"sim:{self.address}")
        narrow = self.credentials(scopes=[METADATA])
        narrow.refresh(self.transport)
        self.understood(self.get(owner, "not-hex"), 400, "Invalid id value", "invalidArgument")
        self.understood(self.get(Credentials("ya29.expired")), 401, "Request had invalid authentication", "authError")
        self.understood(self.get(owner, "12"), 404, "Requested entity was not found.", "notFound")
        modify = gmail_at(self.simulator.url, narrow).users().messages().modify(userId="me", id=self.id, body={})
        self.understood(modify, 403, "Request had insufficient", "ACCESS_TOKEN_SCOPE_INSUFFICIENT")
        for order, status, message, reason in (
            ({"kind": "userRateLimitExceeded"}, 403, "Quota exceeded for quota metric", "RATE_LIMIT_EXCEEDED"),
            ({"kind": "dailyLimitExceeded"}, 403, "Daily Limit Exceeded", "dailyLimitExceeded"),
            ({"kind": "domainPolicy"}, 403, "The domain administrators", "domainPolicy"),
            ({"kind": 429}, 429, "Too many concurrent requests for user.", "rateLimitExceeded"),
            ({"kind": "retry_after"}, 429, "User-rate limit exceeded.  Retry after ", "rateLimitExceeded"),
            ({"kind": 503}, 503, "Backend Error", "backendError"),
        ):
            self.simulator.fault(**order, count=1, mailbox=self.address)
            self.understood(self.get(owner), status, message, reason)

    def understood(self, request, status, message, reason):
        """The client raises its own error, with the message and the details it found in the body."""
        try:
            request.execute()
            self.report.differ(f"no {status} {reason}")
        except HttpError as error:
            self.report.equal(error.status_code, status, reason)
            self.report.check(error.reason.startswith(message), f"{status}: reason {message!r}", error.reason)
            details = error.error_details
            found = details[0].get("reason") if isinstance(details, list) else details
            self.report.equal(found, reason, f"{status}: the first of error_details")

    def retries(self):
        owner = Credentials(f"sim:{self.address}")
        for kind, again in {"userRateLimitExceeded": True, 429: True, "retry_after": True, 500: True, 503: True,
                            "domainPolicy": False, "dailyLimitExceeded": False, "insufficientPermissions": False,
                            404: False, 400: False}.items():
            self.simulator.clear_faults()
            self.simulator.fault(kind=kind, count=1, mailbox=self.address)
            try:
                outcome = self.get(owner).execute(num_retries=1)["id"] == self.id
            except HttpError:
                outcome = False
            self.report.equal(outcome, again, f"the client tries again after {kind}")

    def push(self):
        pushes = queue.Queue()

        class Endpoint(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                pushes.put((self.headers["Authorization"], json.loads(body)))
                self.send_response(204)
                self.end_headers()

            def log_message(self, *_):
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Endpoint)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        robot, users = "push@project.iam.gserviceaccount.com", gmail_at(self.simulator.url, self.credentials()).users()
        self.simulator.control("POST", "subscription", {
            "push_endpoint": f"http://127.0.0.1:{server.server_port}/push", "audience": "https://audience.example",
            "service_account_email": robot,
        })
        topic = {"topicName": "projects/project/topics/topic"}
        before = time.time()
        watch = users.watch(userId="me", body=topic).execute()
        week = int(watch["expiration"]) / 1000 - self.simulator.control("GET", "clock").json()["now_ms"] / 1000
        self.report.check(abs(week - 7 * 86_400) < 60, "a watch lasts seven days", week)
        authorization, push = pushes.get(timeout=PUSH_BOUND_S)
        claims = self.verified(authorization.removeprefix("Bearer "), "https://audience.example")
        expected = {"iss": "https://accounts.google.com", "email": robot, "email_verified": True}
        self.report.equal({key: claims.get(key) for key in expected}, expected, "what google-auth verified")
        now = abs(claims["iat"] - before) < 60
        self.report.check(now and claims["exp"] - claims["iat"] == 3_600, "it holds for an hour from now", claims)
        self.report.equal(set(push), {"message", "subscription"}, "fields of a push")
        data = json.loads(base64.b64decode(push["message"]["data"]))
        expected = {"emailAddress": self.address, "historyId": int(watch["historyId"])}
        self.report.equal(data, expected, "a watch pushes at once")
        self.report.equal(users.stop(userId="me").execute(), "", "stop has no answer")
        self.simulator.advance(10)  # At most one push a second.
        self.simulator.deliver(self.address, mail("nobody watches", 2))
        users.watch(userId="me", body=topic).execute()
        self.report.check(pushes.get(timeout=PUSH_BOUND_S)[1]["message"]["messageId"] != push["message"]["messageId"],
                          "another push is another message")
        self.report.check(pushes.empty(), "nothing is pushed after stop")
        self.simulator.control("DELETE", "subscription")
        server.shutdown()


def main():
    simulator, report, _ = begin("google-auth, google-auth-oauthlib and the client's errors", __doc__)
    oracle = Oracle(simulator, report)
    for name in "refresh revocation consent delegation errors retries push".split():
        report.section(name, getattr(oracle, name))
    report.finish()


if __name__ == "__main__":
    main()
