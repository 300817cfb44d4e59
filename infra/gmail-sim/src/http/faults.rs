//! Faults that a test orders: what goes wrong, where, how often.
//!
//! A fault without a count stays until it is cleared; one with a count is spent by the calls it hits. The
//! probability is drawn from the simulator's seed. An order that could never hit anything is refused.

use serde::Deserialize;
use serde_json::{Value, json};

use super::gmail;
use crate::model::Random;

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultKind {
    /// An HTTP status, 400 to 599, with Gmail's body for it and for the fault's reason.
    Status(u16),
    /// 429 whose text names a deadline; `seconds` ahead, 900 unless said.
    RetryAfter,
    /// No answer for ten minutes, then the connection breaks.
    Timeout,
    /// The connection breaks before a byte of the answer is out.
    Reset,
    /// The answer comes later; `milliseconds`, 2,000 unless said.
    Slow,
    /// A batch's answer leaves out a part.
    MissingPart,
    /// `history.list` is behind by `seconds`, 5 unless said.
    HistoryLag,
    /// A get of a message or thread that exists answers 404.
    NotVisible,
    /// A get answers the message as it was before its last change.
    StaleGet,
    /// Page tokens of listings are offsets, which shift while mail moves.
    ShiftingPages,
    /// A push is delivered twice.
    DuplicatePush,
    /// A push never comes.
    DropPush,
    /// A push comes `milliseconds` later, 2,000 unless said, behind those that were sent after it.
    LatePush,
    /// The token endpoint answers `invalid_grant`.
    InvalidGrant,
}

/// A fault as it is ordered. The one of [`Fault::new`] befalls every call its kind can befall, for ever.
#[derive(Debug, Clone)]
pub struct Fault {
    /// What goes wrong.
    pub kind: FaultKind,
    /// Only this method: `messages.get`, or `batch`, `token`, `push`.
    pub method: Option<String>,
    /// Only this mailbox.
    pub mailbox: Option<String>,
    /// How many calls it hits before it is spent.
    pub count: Option<u64>,
    /// How likely it hits a call that it could hit: 0 to 1.
    pub probability: Option<f64>,
    /// Gmail's reason in the body of a status, when another than the usual is wanted.
    pub reason: Option<String>,
    /// For the kinds that say so.
    pub seconds: Option<i64>,
    /// For the kinds that say so.
    pub milliseconds: Option<u64>,
}

impl Fault {
    /// A fault that befalls everything.
    pub fn new(kind: FaultKind) -> Self {
        Self {
            kind,
            method: None,
            mailbox: None,
            count: None,
            probability: None,
            reason: None,
            seconds: None,
            milliseconds: None,
        }
    }

    /// Only calls of this method.
    #[must_use]
    pub fn method(self, method: impl Into<String>) -> Self {
        Self { method: Some(method.into()), ..self }
    }

    /// Only calls for this mailbox.
    #[must_use]
    pub fn mailbox(self, email: impl Into<String>) -> Self {
        Self { mailbox: Some(email.into()), ..self }
    }

    /// Only the next so many.
    #[must_use]
    pub fn times(self, count: u64) -> Self {
        Self { count: Some(count), ..self }
    }
}

/// A fault as JSON has it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FaultOrder {
    method: Option<String>,
    kind: Value,
    count: Option<u64>,
    probability: Option<f64>,
    mailbox: Option<String>,
    reason: Option<String>,
    #[serde(alias = "retry_after_s")]
    seconds: Option<i64>,
    #[serde(alias = "delay_ms")]
    milliseconds: Option<u64>,
}

impl FaultOrder {
    pub(crate) fn fault(self) -> Result<Fault, String> {
        let (kind, reason) = parse_kind(&self.kind).ok_or_else(|| {
            let names: Vec<&str> = KINDS.iter().map(|(name, ..)| *name).collect();
            format!("kind: {} is no status from 400 to 599 and none of {}", self.kind, names.join(", "))
        })?;
        Ok(Fault {
            kind,
            method: self.method,
            mailbox: self.mailbox,
            count: self.count,
            probability: self.probability,
            reason: self.reason.or(reason.map(str::to_owned)),
            seconds: self.seconds,
            milliseconds: self.milliseconds,
        })
    }
}

struct Active {
    fault: Fault,
    hits: u64,
}

/// The faults in force.
pub(crate) struct Faults {
    active: Vec<Active>,
    random: Random,
}

impl Faults {
    pub(crate) fn new(seed: u64) -> Self {
        Self { active: Vec::new(), random: Random::new(seed ^ 0xFA17) }
    }

    /// Puts a fault in force; a sentence says what is wrong with one that makes no sense.
    pub(crate) fn add(&mut self, fault: Fault) -> Result<(), String> {
        if let FaultKind::Status(status) = fault.kind
            && !(400..=599).contains(&status)
        {
            return Err(format!("kind: a status must be 400 to 599, is {status}"));
        }
        if fault.probability.is_some_and(|p| !(0.0..=1.0).contains(&p)) {
            return Err("probability: must be 0 to 1".to_owned());
        }
        if fault.seconds.is_some_and(|s| !(0..=SECONDS_MAX).contains(&s)) {
            return Err(format!("seconds: must be 0 to {SECONDS_MAX}"));
        }
        let method = match &fault.method {
            None => None,
            Some(named) => Some(canonical(named).ok_or_else(|| {
                format!("method: {named:?} is none of {}", known_methods().collect::<Vec<_>>().join(", "))
            })?),
        };
        if let (Some(method), Some(places)) = (method, places(fault.kind))
            && !places.contains(&method)
        {
            return Err(format!("method: this kind befalls {} only", places.join(", ")));
        }
        let fault = Fault { method: method.map(str::to_owned), ..fault };
        self.active.push(Active { fault, hits: 0 });
        Ok(())
    }

    pub(crate) fn clear(&mut self) {
        self.active.clear();
    }

    /// The first fault that is wanted and hits a call of these names for a mailbox, and one hit of it spent.
    pub(crate) fn take(
        &mut self,
        methods: &[&str],
        mailbox: &str,
        wanted: impl Fn(&Fault) -> bool,
    ) -> Option<Fault> {
        for active in &mut self.active {
            let fault = &active.fault;
            let spent = fault.count.is_some_and(|count| active.hits >= count);
            let here = fault.method.as_deref().is_none_or(|named| methods.contains(&named))
                && fault.mailbox.as_deref().is_none_or(|named| named.eq_ignore_ascii_case(mailbox));
            if spent || !here || !wanted(fault) {
                continue;
            }
            // Parts per million are as fine as a test needs, and exact at both ends.
            #[expect(clippy::cast_precision_loss, reason = "a draw below a million is exact")]
            let draw = self.random.below(1_000_000) as f64 / 1e6;
            if fault.probability.is_none_or(|probability| draw < probability) {
                active.hits += 1;
                return Some(active.fault.clone());
            }
        }
        None
    }

    pub(crate) fn json(&self) -> Value {
        let one = |active: &Active| {
            let fault = &active.fault;
            let kind = match fault.kind {
                FaultKind::Status(status) => json!(status),
                kind => json!(KINDS.iter().find(|(_, known, _)| *known == kind).map(|(name, ..)| *name)),
            };
            json!({
                "method": fault.method, "kind": kind, "count": fault.count, "reason": fault.reason,
                "probability": fault.probability, "mailbox": fault.mailbox, "hits": active.hits,
                "seconds": fault.seconds, "milliseconds": fault.milliseconds,
            })
        };
        json!({"faults": self.active.iter().map(one).collect::<Vec<_>>()})
    }
}

/// Longest lag or wait: ten years, so that no date overflows.
const SECONDS_MAX: i64 = 10 * 366 * 24 * 3600;

/// What is no method of the API and can be befallen all the same.
const OTHER_PLACES: [&str; 3] = ["batch", "token", "push"];

fn known_methods() -> impl Iterator<Item = &'static str> {
    gmail::methods().chain(OTHER_PLACES)
}

/// The method as the counters name it; none when there is no such method.
fn canonical(named: &str) -> Option<&'static str> {
    let short = named.trim_start_matches("gmail.").trim_start_matches("users.");
    let short = match short {
        "profile" => "getProfile",
        "history" => "history.list",
        "attachments.get" => "messages.attachments.get",
        other => other,
    };
    known_methods().find(|known| *known == short)
}

/// The only methods that a kind can befall; none when it can befall any.
fn places(kind: FaultKind) -> Option<&'static [&'static str]> {
    match kind {
        FaultKind::HistoryLag => Some(&["history.list"]),
        FaultKind::NotVisible => Some(&["messages.get", "threads.get"]),
        FaultKind::StaleGet => Some(&["messages.get"]),
        FaultKind::ShiftingPages => Some(&["messages.list", "threads.list"]),
        FaultKind::DuplicatePush | FaultKind::DropPush | FaultKind::LatePush => Some(&["push"]),
        FaultKind::InvalidGrant => Some(&["token"]),
        FaultKind::Status(_)
        | FaultKind::RetryAfter
        | FaultKind::Timeout
        | FaultKind::Reset
        | FaultKind::Slow
        | FaultKind::MissingPart => None,
    }
}

/// Every name of a kind; the first name of each is the one that is shown.
const KINDS: [(&str, FaultKind, Option<&str>); 36] = [
    ("retry_after", FaultKind::RetryAfter, None),
    ("timeout", FaultKind::Timeout, None),
    ("reset", FaultKind::Reset, None),
    ("slow", FaultKind::Slow, None),
    ("missing_part", FaultKind::MissingPart, None),
    ("missing_batch_part", FaultKind::MissingPart, None),
    ("history_lag", FaultKind::HistoryLag, None),
    ("not_visible", FaultKind::NotVisible, None),
    ("not_visible_yet", FaultKind::NotVisible, None),
    ("stale_get", FaultKind::StaleGet, None),
    ("old_get", FaultKind::StaleGet, None),
    ("get_older_than_history", FaultKind::StaleGet, None),
    ("a_get_older_than_its_history_id", FaultKind::StaleGet, None),
    ("get_older_than_its_history_id", FaultKind::StaleGet, None),
    ("shifting_pages", FaultKind::ShiftingPages, None),
    ("duplicate_push", FaultKind::DuplicatePush, None),
    ("drop_push", FaultKind::DropPush, None),
    ("late_push", FaultKind::LatePush, None),
    ("out_of_order_push", FaultKind::LatePush, None),
    ("invalid_grant", FaultKind::InvalidGrant, None),
    ("invalidargument", FaultKind::Status(400), Some("invalidArgument")),
    ("failedprecondition", FaultKind::Status(400), Some("failedPrecondition")),
    ("autherror", FaultKind::Status(401), Some("authError")),
    ("userratelimitexceeded", FaultKind::Status(403), Some("userRateLimitExceeded")),
    ("quotaexceeded", FaultKind::Status(403), Some("userRateLimitExceeded")),
    ("quota", FaultKind::Status(403), Some("userRateLimitExceeded")),
    ("dailylimitexceeded", FaultKind::Status(403), Some("dailyLimitExceeded")),
    ("domainpolicy", FaultKind::Status(403), Some("domainPolicy")),
    ("insufficientpermissions", FaultKind::Status(403), Some("insufficientPermissions")),
    ("forbidden", FaultKind::Status(403), Some("forbidden")),
    ("notfound", FaultKind::Status(404), Some("notFound")),
    ("ratelimitexceeded", FaultKind::Status(429), Some("rateLimitExceeded")),
    ("concurrency", FaultKind::Status(429), Some("rateLimitExceeded")),
    ("concurrent", FaultKind::Status(429), Some("rateLimitExceeded")),
    ("backenderror", FaultKind::Status(500), Some("backendError")),
    ("unavailable", FaultKind::Status(503), Some("backendError")),
];

fn parse_kind(kind: &Value) -> Option<(FaultKind, Option<&'static str>)> {
    let text = match kind {
        Value::Number(number) => number.to_string(),
        Value::String(text) => text.trim().to_ascii_lowercase().replace([' ', '-'], "_"),
        _ => return None,
    };
    let digits = text.trim_start_matches("status_").trim_start_matches("http_");
    if let Ok(status) = digits.parse::<u16>() {
        return (400..=599).contains(&status).then_some((FaultKind::Status(status), None));
    }
    // `userRateLimitExceeded` and `user_rate_limit_exceeded` are the same.
    let joined = text.replace('_', "");
    let known = KINDS.iter().find(|(name, ..)| *name == text || name.replace('_', "") == joined);
    known.map(|(_, kind, reason)| (*kind, *reason))
}
