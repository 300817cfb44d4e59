//! What the store's methods take and give back.

use std::{fmt, str::FromStr};

use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use sync_core::{
    EmailAddress, Generation, HistoryId, JobId, MailboxId, MessageId, ParseError, TenantId, ThreadId,
    Timestamp,
    job::{Counts, JobError, JobKind, JobStatus, RequestOptions, Trigger},
    message::{BodyForm, BodyRef, Envelope, Labels, RowHead, RowState},
    owed::Owed,
    state::{CredentialKind, Status, Sync, WorkKind},
    sync::Happened,
};

/// A mailbox to be connected.
#[derive(Debug, Clone)]
pub struct NewMailbox {
    /// Who owns it.
    pub tenant: TenantId,
    /// Its address, as Gmail's profile names it.
    pub address: EmailAddress,
    /// When.
    pub now: Timestamp,
}

/// What came of connecting a mailbox. There is one mailbox for a tenant and an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Created {
    /// It is new: nothing is due until somebody asks or requests.
    New(MailboxId),
    /// It was there, with its rows and cursor; if it was deactivated it is active again.
    Exists(MailboxId),
}

impl Created {
    /// The mailbox, new or not.
    pub fn mailbox(&self) -> &MailboxId {
        match self {
            Self::New(mailbox) | Self::Exists(mailbox) => mailbox,
        }
    }
}

/// A release, as [`sync_core::sync::Effect::Release`] asks for it.
#[derive(Debug, Clone)]
pub struct Release {
    /// The fence.
    pub generation: Generation,
    /// `asked` as it was before the last look.
    pub asked: u64,
    /// When somebody must look again; never, when `None`.
    pub due_at: Option<Timestamp>,
    /// The status from now on, if it changes.
    pub status: Option<Status>,
    /// If given, the release also requires that the credential is still of this version: a refusal of an
    /// old grant must not park a mailbox that was just connected anew.
    pub credential_version: Option<u64>,
}

/// A page of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T> {
    /// At most as many as were asked for; a page may be short, even empty, and still have a next one.
    pub items: Vec<T>,
    /// Where the next page begins; `None` at the end. Opaque.
    pub next: Option<String>,
}

impl<T> Page<T> {
    /// The same page of something else.
    pub fn map<U>(self, convert: impl FnMut(T) -> U) -> Page<U> {
        Page { items: self.items.into_iter().map(convert).collect(), next: self.next }
    }
}

/// A message's id outside: `{mailbox}.{Gmail's hex id}`, unique across mailboxes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct EmailId {
    /// Whose.
    pub mailbox: MailboxId,
    /// Which.
    pub message: MessageId,
}

impl fmt::Display for EmailId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.mailbox, self.message)
    }
}

impl FromStr for EmailId {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        // A text without a dot has no mailbox: parsing the empty text gives the right complaint.
        let (mailbox, message) = text.split_once('.').unwrap_or(("", text));
        Ok(Self { mailbox: mailbox.parse()?, message: message.parse()? })
    }
}

/// A stored message. A tombstone of a message that was never stored has no thread, date or body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredMessage {
    /// Whose.
    pub mailbox: MailboxId,
    /// Gmail's id.
    pub id: MessageId,
    /// Gmail's thread, unless it was never stored.
    pub thread_id: Option<ThreadId>,
    /// Up to which record the row is current.
    pub history_id: HistoryId,
    /// Gmail's label ids.
    pub labels: Labels,
    /// When Gmail received it, unless it was never stored.
    pub received_at: Option<Timestamp>,
    /// Whether it is a message or a tombstone, and of which kind.
    pub state: RowState,
    /// When it was found deleted or left the scope; `None` while it lives.
    pub deleted_at: Option<Timestamp>,
    /// Gmail's `sizeEstimate`, bytes.
    pub size_estimate: u64,
    /// Gmail's snippet.
    pub snippet: String,
    /// What its headers say. Boxed as in the core.
    pub envelope: Box<Envelope>,
    /// Where its mail lies, in the form in which it was fetched; `None` where only its headers were.
    pub body: Option<BodyRef>,
    /// Where its raw mail lies that somebody asked for: written by others than the worker.
    pub raw: Option<BodyRef>,
    /// What refers to it (tasks, deals): written by others than the worker, never touched by a commit.
    pub references: Vec<String>,
    /// When the row was first written.
    pub created_at: Timestamp,
    /// When the worker last wrote it.
    pub updated_at: Timestamp,
}

impl StoredMessage {
    /// Its id outside.
    pub fn email_id(&self) -> EmailId {
        EmailId { mailbox: self.mailbox.clone(), message: self.id }
    }

    /// Where its raw mail lies, if it was ever fetched.
    pub fn raw_body(&self) -> Option<&BodyRef> {
        self.body.as_ref().filter(|body| body.form == BodyForm::Raw).or(self.raw.as_ref())
    }

    /// Whether it is a tombstone.
    pub fn is_deleted(&self) -> bool {
        self.state != RowState::Live
    }
}

/// Which mail to list, newest first.
///
/// Mailbox, thread, date and deletion are indexed; the others read a bounded stretch a page, so a page
/// may be short and still have a next one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MailQuery {
    /// Whose mail, at most [`MailQuery::MAILBOXES_MAX`]. Merged newest first; none gives an empty page.
    pub mailboxes: Vec<MailboxId>,
    /// With this label id.
    pub label: Option<String>,
    /// Of this thread.
    pub thread: Option<ThreadId>,
    /// Written by the owner (`true`) or by others (`false`).
    pub outbound: Option<bool>,
    /// With (`true`) or without the label `UNREAD`.
    pub unread: Option<bool>,
    /// Tombstones instead of live rows. [`None`] gives both; without a thread that is live rows only.
    pub deleted: Option<bool>,
    /// Received at or after this.
    pub after: Option<Timestamp>,
    /// Received before this.
    pub before: Option<Timestamp>,
    /// Its subject contains this, whatever the case.
    pub subject: Option<String>,
    /// The sender's name or address contains this, whatever the case.
    pub sender: Option<String>,
    /// Most items, 1 to [`MailQuery::LIMIT_MAX`].
    pub limit: u32,
    /// From the page before, of the same query (the limit may differ).
    pub cursor: Option<String>,
}

impl MailQuery {
    /// Most items of a page.
    pub const LIMIT_MAX: u32 = 500;
    /// Most mailboxes merged into one list: each is a query of its own.
    pub const MAILBOXES_MAX: usize = 50;
    /// Most rows read for one page and mailbox: about 2 MB and a fraction of a second.
    pub const STRETCH_ROWS_MAX: usize = 2_000;
}

/// One job, as the history shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobRow {
    /// Its id: sorts by time.
    pub id: JobId,
    /// What it does.
    pub kind: JobKind,
    /// What made somebody look.
    pub trigger: Trigger,
    /// How far it is.
    pub status: JobStatus,
    /// When it was written.
    pub created_at: Timestamp,
    /// When a worker began it.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// What it did.
    pub counts: Counts,
    /// Gmail quota units spent.
    pub quota_units: u64,
    /// What went wrong, at most [`sync_core::job::JOB_ERRORS_MAX`].
    pub errors: Vec<JobError>,
    /// What more was said with the request.
    pub options: RequestOptions,
}

/// Something that is asked of a mailbox.
#[derive(Debug, Clone)]
pub struct NewRequest {
    /// What it asks for.
    pub kind: JobKind,
    /// Who asks.
    pub trigger: Trigger,
    /// What more is said.
    pub options: RequestOptions,
    /// Makes a repeated request the same one.
    pub key: Option<IdempotencyKey>,
    /// A mailbox that needs attention becomes active with the request, in one transaction: a worker between the
    /// two would close it, or stop again. Refused as busy for a mailbox in any other status than these two.
    pub reactivate: bool,
}

impl NewRequest {
    /// A request of which no more is said.
    pub fn new(kind: JobKind, trigger: Trigger) -> Self {
        Self { kind, trigger, options: RequestOptions::default(), key: None, reactivate: false }
    }
}

/// What came of pausing or resuming.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StatusChange {
    /// It is so now, or was before.
    Done,
    /// Not from this status.
    Refused(Status),
}

/// Something that happened, as readers of the feed see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventRow {
    /// Whose.
    pub mailbox: MailboxId,
    /// Its place in the mailbox's sequence, from 1.
    pub seq: u64,
    /// When it became true.
    pub at: Timestamp,
    /// What happened.
    pub what: Happened,
}

impl EventRow {
    /// Its one id, whoever reads it and however often.
    pub fn id(&self) -> String {
        format!("evt_{}_{}", self.mailbox, self.seq)
    }
}

/// A stretch of a mailbox's events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Events {
    /// In order and without a hole, from the one after that was asked for.
    pub events: Vec<EventRow>,
    /// Number of the mailbox's last event: higher than the last of `events` when there is more to read.
    pub seq: u64,
}

/// Everything that is stored about one message of a mailbox, found or not.
#[derive(Debug, Clone, PartialEq)]
pub struct WhyFacts {
    /// The mailbox.
    pub sync: Sync,
    /// What decisions know of the row.
    pub row: Option<RowHead>,
    /// The row.
    pub message: Option<StoredMessage>,
    /// What is owed of it.
    pub owed: Option<Owed>,
    /// Where it waits in the fetch lists of the work that is open.
    pub lists: Vec<ListPlace>,
}

/// A message's place in a fetch list that has not reached it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListPlace {
    /// What the list is for.
    pub kind: WorkKind,
    /// The list.
    pub key: String,
    /// Its place in it, from 0.
    pub position: u64,
    /// How many come before it still.
    pub ahead: u64,
    /// It is stored and a listing missed it: its get decides.
    pub verify: bool,
}

/// A key that makes a repeated request the same request, for 24 hours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdempotencyKey {
    /// Whose key.
    pub tenant: TenantId,
    /// The key: 1 to 255 printable ASCII characters, checked by the caller.
    pub key: String,
    /// What is asked for with it, in the caller's words: tells a repetition from another request. At most 500
    /// bytes.
    pub request: String,
}

/// What came of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Requested {
    /// The job that answers it.
    pub job: JobId,
    /// The mailbox of that job: the earlier request's, if it is repeated.
    pub mailbox: MailboxId,
    /// Whether the idempotency key had been used: nothing new was written.
    pub repeated: bool,
    /// Whether it had been used for the same; true for a key that had not been used.
    pub matches: bool,
}

/// Who may use the system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TenantRow {
    /// Its id.
    pub id: TenantId,
    /// Its name, for people.
    pub name: String,
    /// When it was made.
    pub created_at: Timestamp,
}

/// What a token allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// Read mail and status.
    Read,
    /// Start syncs, connect mailboxes.
    Sync,
    /// Send mail.
    Send,
    /// Everything of the tenant.
    Admin,
    /// Everything of every tenant.
    Platform,
}

/// What a token is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TokenKind {
    /// A program's.
    Api,
    /// A signed-in browser's.
    Session,
    /// A link that signs a browser in, once.
    SigninCode,
}

/// A token's row. The token itself is not stored, only its SHA-256.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenRow {
    /// Whose.
    pub tenant: TenantId,
    /// What it allows.
    pub scopes: Vec<Scope>,
    /// For people.
    pub name: String,
    /// What it is for.
    pub kind: TokenKind,
    /// When it lapses; never, when `None`.
    pub expires_at: Option<Timestamp>,
}

/// A credential to be saved: a new grant of a mailbox.
#[derive(Clone)]
pub struct NewCredential {
    /// How it signs in.
    pub kind: CredentialKind,
    /// The long-lived secret: a refresh token, or a service account's key with whom it acts for.
    pub secret: SecretString,
    /// The short-lived one, if there is one already.
    pub access_token: Option<SecretString>,
    /// When the access token lapses.
    pub expires_at: Option<Timestamp>,
    /// What was granted.
    pub scopes: Vec<String>,
}

/// A mailbox's credential, decrypted. Has no `Debug`.
#[derive(Clone)]
pub struct Credential {
    /// How it signs in.
    pub kind: CredentialKind,
    /// The long-lived secret: a refresh token, or a service account's key with whom it acts for.
    pub secret: SecretString,
    /// The short-lived one.
    pub access_token: Option<SecretString>,
    /// When the access token lapses.
    pub expires_at: Option<Timestamp>,
    /// What was granted.
    pub scopes: Vec<String>,
    /// Grows with every new grant; equals `SYNC.credential_version` of its time.
    pub version: u64,
    /// How often this grant's access token has been refreshed.
    pub refreshes: u64,
    /// When it was refreshed last, or granted.
    pub refreshed_at: Option<Timestamp>,
    /// When Google said that the grant is gone, if it did: nobody asks again.
    pub refused_at: Option<Timestamp>,
}

/// What came of the wish to refresh a mailbox's access token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claimed {
    /// Ours to do, and nobody else's for a few seconds; the text names the claim.
    Ours(String),
    /// Somebody is at it, at the longest until then.
    Held(Timestamp),
    /// It is not the credential that was read any more: read it again.
    Changed,
}

/// A consent under way: what its beginning tells its end.
#[derive(Clone)]
pub struct PendingConsent {
    /// Whose mailbox it is to be.
    pub tenant: TenantId,
    /// SHA-256 of the token or session that asked: it must be good still when the browser comes back.
    pub asked_with: String,
    /// Whether a person asked in the dashboard: it is where the browser goes back to.
    pub from_dashboard: bool,
    /// PKCE's verifier.
    pub verifier: SecretString,
    /// Where Google sends the browser back to.
    pub redirect_uri: String,
    /// Where the browser goes then, a path of our own.
    pub return_to: Option<String>,
    /// The mailbox that is connected again: no other account's grant will do.
    pub mailbox: Option<MailboxId>,
    /// When it lapses.
    pub expires_at: Timestamp,
}

/// What came of spending a consent's state.
pub enum ConsentSpent {
    /// Of all who tried, this one has it.
    Taken(Box<PendingConsent>),
    /// Ten minutes are over.
    Lapsed,
    /// It was begun in another browser; it is not spent.
    AnotherBrowser,
    /// Used, or never ours.
    Unknown,
}

/// Whether erasing a mailbox is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Erased {
    /// Call again: what remains is more than one step.
    More,
    /// Nothing of the mailbox is left.
    Done,
}

/// One part of the store, checked.
#[derive(Debug)]
pub struct HealthCheck {
    /// `table`, `bucket` or `secrets`.
    pub name: &'static str,
    /// How long it took.
    pub latency: std::time::Duration,
    /// What is wrong, if something is.
    pub result: Result<(), crate::StoreError>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_email_id_is_read_back_as_it_was_written() {
        let id = EmailId { mailbox: "mbx_1".parse().expect("an id"), message: MessageId(0x18c2_f00d) };
        assert_eq!(id.to_string(), "mbx_1.18c2f00d");
        assert_eq!(id.to_string().parse(), Ok(id));
        for bad in ["", "mbx_1", "mbx_1.", ".18c2", "mbx_1.xyz", "mbx_1.1.2", "18c2f00d"] {
            assert!(bad.parse::<EmailId>().is_err(), "{bad:?} is not an e-mail's id");
        }
    }
}
