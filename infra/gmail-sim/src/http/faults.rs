//! Faults that a test orders: what goes wrong, where, how often.
//!
//! A fault without a count stays until it is cleared; one with a count is spent by the calls it hits. The
//! probability is drawn from the simulator's seed.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::model::Random;

/// What goes wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum FaultKind {
    Status(u16, Option<&'static str>),
    RetryAfter,
    Timeout,
    Reset,
    Slow,
    MissingPart,
    HistoryLag,
    NotVisible,
    StaleGet,
    ShiftingPages,
    DuplicatePush,
    DropPush,
    InvalidGrant,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FaultOrder {
    pub(crate) method: Option<String>,
    pub(crate) kind: Value,
    pub(crate) count: Option<u64>,
    pub(crate) probability: Option<f64>,
    pub(crate) mailbox: Option<String>,
    /// Overrides the reason of a status.
    pub(crate) reason: Option<String>,
    /// The wait named by `retry_after`; default 900.
    #[serde(alias = "retry_after_s")]
    pub(crate) seconds: Option<i64>,
    /// How long `slow` waits; default 2,000.
    #[serde(alias = "delay_ms")]
    pub(crate) milliseconds: Option<u64>,
}

/// A fault as a call meets it.
#[derive(Debug, Clone)]
pub(crate) struct Fault {
    pub(crate) kind: FaultKind,
    pub(crate) reason: Option<String>,
    pub(crate) seconds: Option<i64>,
    pub(crate) milliseconds: Option<u64>,
}

struct Active {
    order: FaultOrder,
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

    pub(crate) fn add(&mut self, order: FaultOrder) -> Result<(), String> {
        let kind = parse_kind(&order.kind).ok_or_else(|| {
            format!("kind: {} is none of {}", order.kind, KINDS.map(|(name, _)| name).join(", "))
        })?;
        if order.probability.is_some_and(|p| !(0.0..=1.0).contains(&p)) {
            return Err("probability: must be 0 to 1".to_owned());
        }
        let fault = Fault {
            kind,
            reason: order.reason.clone(),
            seconds: order.seconds,
            milliseconds: order.milliseconds,
        };
        self.active.push(Active { order, fault, hits: 0 });
        Ok(())
    }

    pub(crate) fn clear(&mut self) {
        self.active.clear();
    }

    /// The first fault of these kinds that hits the call, and one hit of it spent.
    pub(crate) fn take(
        &mut self,
        method: &str,
        mailbox: &str,
        wanted: impl Fn(&FaultKind) -> bool,
    ) -> Option<Fault> {
        for active in &mut self.active {
            let order = &active.order;
            let spent = order.count.is_some_and(|count| active.hits >= count);
            let here = order.method.as_deref().is_none_or(|named| names_method(named, method))
                && order.mailbox.as_deref().is_none_or(|named| named.eq_ignore_ascii_case(mailbox));
            if spent || !here || !wanted(&active.fault.kind) {
                continue;
            }
            // Parts per million are as fine as a test needs, and exact at both ends.
            #[expect(clippy::cast_precision_loss, reason = "a draw below a million is exact")]
            let draw = self.random.below(1_000_000) as f64 / 1e6;
            if order.probability.is_none_or(|probability| draw < probability) {
                active.hits += 1;
                return Some(active.fault.clone());
            }
        }
        None
    }

    pub(crate) fn json(&self) -> Value {
        let one = |active: &Active| {
            json!({
                "method": active.order.method, "kind": active.order.kind, "count": active.order.count,
                "probability": active.order.probability, "mailbox": active.order.mailbox, "hits": active.hits,
            })
        };
        json!({"faults": self.active.iter().map(one).collect::<Vec<_>>()})
    }
}

fn names_method(named: &str, method: &str) -> bool {
    let short = named.trim_start_matches("gmail.").trim_start_matches("users.");
    short == "*" || short == method || (short == "profile" && method == "getProfile")
}

const KINDS: [(&str, FaultKind); 33] = [
    ("retry_after", FaultKind::RetryAfter),
    ("timeout", FaultKind::Timeout),
    ("reset", FaultKind::Reset),
    ("slow", FaultKind::Slow),
    ("missing_part", FaultKind::MissingPart),
    ("missing_batch_part", FaultKind::MissingPart),
    ("history_lag", FaultKind::HistoryLag),
    ("not_visible", FaultKind::NotVisible),
    ("not_visible_yet", FaultKind::NotVisible),
    ("stale_get", FaultKind::StaleGet),
    ("old_get", FaultKind::StaleGet),
    ("get_older_than_history", FaultKind::StaleGet),
    ("a_get_older_than_its_history_id", FaultKind::StaleGet),
    ("get_older_than_its_history_id", FaultKind::StaleGet),
    ("shifting_pages", FaultKind::ShiftingPages),
    ("duplicate_push", FaultKind::DuplicatePush),
    ("drop_push", FaultKind::DropPush),
    ("invalid_grant", FaultKind::InvalidGrant),
    ("invalidargument", FaultKind::Status(400, Some("invalidArgument"))),
    ("failedprecondition", FaultKind::Status(400, Some("failedPrecondition"))),
    ("autherror", FaultKind::Status(401, Some("authError"))),
    ("userratelimitexceeded", FaultKind::Status(403, Some("userRateLimitExceeded"))),
    ("quotaexceeded", FaultKind::Status(403, Some("userRateLimitExceeded"))),
    ("quota", FaultKind::Status(403, Some("userRateLimitExceeded"))),
    ("dailylimitexceeded", FaultKind::Status(403, Some("dailyLimitExceeded"))),
    ("domainpolicy", FaultKind::Status(403, Some("domainPolicy"))),
    ("insufficientpermissions", FaultKind::Status(403, Some("insufficientPermissions"))),
    ("notfound", FaultKind::Status(404, Some("notFound"))),
    ("ratelimitexceeded", FaultKind::Status(429, Some("rateLimitExceeded"))),
    ("concurrency", FaultKind::Status(429, Some("rateLimitExceeded"))),
    ("concurrent", FaultKind::Status(429, Some("rateLimitExceeded"))),
    ("backenderror", FaultKind::Status(500, Some("backendError"))),
    ("unavailable", FaultKind::Status(503, Some("backendError"))),
];

fn parse_kind(kind: &Value) -> Option<FaultKind> {
    let text = match kind {
        Value::Number(number) => number.to_string(),
        Value::String(text) => text.trim().to_ascii_lowercase().replace([' ', '-'], "_"),
        _ => return None,
    };
    let digits = text.trim_start_matches("status_").trim_start_matches("http_");
    if let Ok(status) = digits.parse::<u16>() {
        return (400..=599).contains(&status).then_some(FaultKind::Status(status, None));
    }
    // `userRateLimitExceeded` and `user_rate_limit_exceeded` are the same.
    let joined = text.replace('_', "");
    KINDS
        .iter()
        .find(|(name, _)| *name == text || name.replace('_', "") == joined)
        .map(|(_, kind)| kind.clone())
}
