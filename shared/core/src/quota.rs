//! What Gmail charges for a call: <https://developers.google.com/workspace/gmail/api/reference/quota>.

use serde::{Deserialize, Serialize};

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
}

/// Quota units of one call.
pub fn units(method: Method, regime: Regime) -> u64 {
    match (method, regime) {
        (Method::GetProfile | Method::LabelsList, _) => 1,
        (Method::HistoryList, _) => 2,
        (Method::MessagesList, _) | (Method::MessagesGet, Regime::Legacy) => 5,
        (Method::MessagesGet, Regime::Current) => 20,
        (Method::Watch, _) => 100,
    }
}
