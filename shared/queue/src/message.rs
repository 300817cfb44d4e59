//! The wire shape of a job, versioned.

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};
use sync_core::{
    HistoryId, MailboxId, MessageId, Timestamp,
    job::{Job, Lane, Trigger},
};

/// A job on the wire. A new version is a new variant; old ones are read until no queue can hold them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "v")]
pub enum JobMessage {
    /// The first.
    #[serde(rename = "1")]
    V1 {
        /// Which mailbox.
        mailbox: MailboxId,
        /// What made somebody look.
        trigger: Trigger,
        /// The history id that a push named.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        target: Option<HistoryId>,
        /// For a continuation: the step it was sent at.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        step: Option<u64>,
        /// Correlation id, from the push to the log line.
        trace: String,
        /// When it was sent.
        sent_at: Timestamp,
    },
    /// Upkeep of what is stored, in which Gmail has no part.
    #[serde(rename = "upkeep-1")]
    Upkeep {
        /// Which mailbox.
        mailbox: MailboxId,
        /// What is to be done.
        upkeep: Upkeep,
        /// For a continuation: the last row that was done.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        after: Option<MessageId>,
        /// Correlation id.
        trace: String,
        /// When it was sent.
        sent_at: Timestamp,
    },
}

/// What can be done to a mailbox without Gmail. Each can be repeated at will, and cut short anywhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Upkeep {
    /// What is older than it is to be kept goes, and raw mail that no row names.
    Retention,
    /// Rows are made again from raw mail.
    Rebuild,
    /// A watch that is about to lapse is looked at.
    Watch,
}

impl Upkeep {
    /// The name that rows and logs show.
    pub fn name(self) -> &'static str {
        match self {
            Self::Retention => "retention",
            Self::Rebuild => "rebuild",
            Self::Watch => "watch",
        }
    }
}

/// Why a body is not a job.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// A version that this code does not know: newer code may.
    #[error("unknown version {0:?}")]
    UnknownVersion(String),
    /// Not a job message of any version. Says what is wrong, never what was given.
    #[error("malformed: {0}")]
    Malformed(String),
}

impl JobMessage {
    /// Longest body that is read: a job is a few hundred bytes.
    pub const BYTES_MAX: usize = 16_384;
    /// Longest version that an error repeats.
    const VERSION_CHARS_MAX: usize = 16;

    /// Reads a queue message's body.
    pub fn parse(body: &str) -> Result<Self, MessageError> {
        let malformed = |what: &str| MessageError::Malformed(what.to_owned());
        if body.len() > Self::BYTES_MAX {
            return Err(malformed("longer than 16384 bytes"));
        }
        let value: Value = serde_json::from_str(body).map_err(|_| malformed("not JSON"))?;
        let object = value.as_object().ok_or_else(|| malformed("not a JSON object"))?;
        let version = match object.get("v") {
            Some(Value::String(version)) => version.clone(),
            Some(Value::Number(version)) => version.to_string(),
            Some(_) => return Err(malformed("v: must be text")),
            None => return Err(malformed("v: is missing")),
        };
        match version.as_str() {
            "1" => Ok(Self::V1 {
                mailbox: field(object, "mailbox")?,
                trigger: field(object, "trigger")?,
                target: field(object, "target")?,
                step: field(object, "step")?,
                trace: field(object, "trace")?,
                sent_at: field(object, "sent_at")?,
            }),
            "upkeep-1" => Ok(Self::Upkeep {
                mailbox: field(object, "mailbox")?,
                upkeep: field(object, "upkeep")?,
                after: field(object, "after")?,
                trace: field(object, "trace")?,
                sent_at: field(object, "sent_at")?,
            }),
            // Bounded and without control characters: it goes into a log line.
            unknown => {
                let shown = unknown.chars().filter(|c| !c.is_control()).take(Self::VERSION_CHARS_MAX);
                Err(MessageError::UnknownVersion(shown.collect()))
            }
        }
    }

    /// The body to send.
    pub fn body(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Which mailbox.
    pub fn mailbox(&self) -> &MailboxId {
        match self {
            Self::V1 { mailbox, .. } | Self::Upkeep { mailbox, .. } => mailbox,
        }
    }

    /// Correlation id.
    pub fn trace(&self) -> &str {
        match self {
            Self::V1 { trace, .. } | Self::Upkeep { trace, .. } => trace,
        }
    }

    /// When it was sent.
    pub fn sent_at(&self) -> Timestamp {
        match self {
            Self::V1 { sent_at, .. } | Self::Upkeep { sent_at, .. } => *sent_at,
        }
    }

    /// The hint as the engine takes it; `None` for what the engine has no part in.
    pub fn job(&self, lane: Lane) -> Option<Job> {
        match self {
            Self::V1 { mailbox, trigger, target, step, .. } => {
                Some(Job { mailbox: mailbox.clone(), trigger: *trigger, target: *target, step: *step, lane })
            }
            Self::Upkeep { .. } => None,
        }
    }
}

/// One field, read by itself: an error of the whole object could not name its field. A missing field is
/// `null`, which only the optional ones take. The value stays out of the error.
fn field<T: DeserializeOwned>(object: &Map<String, Value>, name: &str) -> Result<T, MessageError> {
    let value = object.get(name).unwrap_or(&Value::Null);
    T::deserialize(value.clone()).map_err(|_| {
        let what = if value.is_null() { "is missing" } else { "is not what it should be" };
        MessageError::Malformed(format!("{name}: {what}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message() -> JobMessage {
        JobMessage::V1 {
            mailbox: "mbx_1".parse().expect("an id"),
            trigger: Trigger::Push,
            target: Some(HistoryId(u64::MAX)),
            step: None,
            trace: "t-1".to_owned(),
            sent_at: Timestamp::UNIX_EPOCH,
        }
    }

    #[test]
    fn a_job_is_read_back_as_it_was_sent() {
        let body = message().body();
        assert_eq!(JobMessage::parse(&body), Ok(message()));
        let target = message().job(Lane::Sync).and_then(|job| job.target);
        assert_eq!(target, Some(HistoryId(u64::MAX)), "no digit is lost");
        let upkeep = JobMessage::Upkeep {
            mailbox: "mbx_1".parse().expect("an id"),
            upkeep: Upkeep::Rebuild,
            after: Some(MessageId(u64::MAX)),
            trace: "t-1".to_owned(),
            sent_at: Timestamp::UNIX_EPOCH,
        };
        assert_eq!(JobMessage::parse(&upkeep.body()), Ok(upkeep.clone()));
        assert_eq!(upkeep.job(Lane::Backfill), None, "the engine has no part in it");
    }

    #[test]
    fn the_wire_shape_stays_as_old_messages_have_it() {
        assert_eq!(
            message().body(),
            r#"{"v":"1","mailbox":"mbx_1","trigger":"push","target":"18446744073709551615","trace":"t-1","sent_at":"1970-01-01T00:00:00Z"}"#
        );
    }

    #[test]
    fn an_unknown_version_is_told_from_nonsense() {
        let version = |body: &str| JobMessage::parse(body).expect_err("not a job");
        assert_eq!(version(r#"{"v":"2","new":true}"#), MessageError::UnknownVersion("2".to_owned()));
        assert_eq!(version(r#"{"v":99}"#), MessageError::UnknownVersion("99".to_owned()));
        for body in ["", "{", "[]", "null", "{}", r#"{"v":null}"#, "\u{0}", &"x".repeat(20_000)] {
            assert!(matches!(version(body), MessageError::Malformed(_)), "{body:?}");
        }
    }

    #[test]
    fn a_malformed_field_is_named_and_its_value_is_not_shown() {
        let complain = |from: &str, to: &str| {
            JobMessage::parse(&message().body().replace(from, to)).expect_err("not a job").to_string()
        };
        assert_eq!(complain("mbx_1", "alice@example.com"), "malformed: mailbox: is not what it should be");
        assert_eq!(complain("\"push\"", "7"), "malformed: trigger: is not what it should be");
        assert_eq!(complain("\"18446744073709551615\"", "-1"), "malformed: target: is not what it should be");
        assert_eq!(complain("trace", "trance"), "malformed: trace: is missing");
    }
}
