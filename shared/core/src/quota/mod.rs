//! What Gmail charges for a call: <https://developers.google.com/workspace/gmail/api/reference/quota>.

mod window;

use serde::{Deserialize, Serialize};

pub use window::{CALL_MAX, Limit, Priority, Reservation, Window};

/// Which price list holds: it depends on when the project first used the API.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Regime {
    /// Projects since May 2026: a get costs four times as much.
    #[default]
    Current,
    /// Projects before.
    Legacy,
}

/// A method that the sync calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Method {
    /// `users.getProfile`.
    GetProfile,
    /// `users.history.list`.
    HistoryList,
    /// `users.labels.list`.
    LabelsList,
    /// `users.messages.list`.
    MessagesList,
    /// `users.watch`.
    Watch,
    /// `users.messages.get`, alone or as a part of a batch.
    MessagesGet,
    /// `users.messages.attachments.get`.
    AttachmentsGet,
    /// `users.threads.get`.
    ThreadsGet,
    /// `users.labels.get`.
    LabelsGet,
    /// `users.stop`.
    Stop,
    /// `users.messages.send`.
    MessagesSend,
    /// `users.settings.sendAs.list`.
    SendAsList,
}

/// Quota units of one call.
pub fn units(method: Method, regime: Regime) -> u64 {
    match (method, regime) {
        (Method::GetProfile | Method::LabelsList | Method::LabelsGet | Method::SendAsList, _) => 1,
        (Method::HistoryList, _) => 2,
        (Method::MessagesList, _) | (Method::MessagesGet | Method::AttachmentsGet, Regime::Legacy) => 5,
        (Method::MessagesGet | Method::AttachmentsGet, Regime::Current) => 20,
        (Method::ThreadsGet, Regime::Legacy) => 10,
        (Method::ThreadsGet, Regime::Current) => 40,
        (Method::Stop, _) => 50,
        (Method::Watch | Method::MessagesSend, _) => 100,
    }
}

impl Regime {
    /// Units in any sixty seconds of one address.
    pub fn units_a_minute(self) -> u32 {
        match self {
            Self::Current => 6_000,
            Self::Legacy => 15_000,
        }
    }
}
