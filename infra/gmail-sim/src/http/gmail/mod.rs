//! The methods of the Gmail API: one table of route, price, scope and handler.
//!
//! Invariant: a handler only sees a caller who may call it, for a mailbox that exists. Quota, faults and
//! `fields` are the business of [`super::serve`].

mod drafts;
mod labels;
mod mailbox;
mod messages;
mod render;
mod threads;

pub(crate) use messages::{author, header_date};

use std::sync::Arc;

use http::Method;
use serde_json::Value;

use super::error::ApiError;
use super::faults::Fault;
use super::quota::Cost;
use super::state::{Account, Shared};
use super::upload::Media;
use crate::model::{MessageId, Millis, ThreadId};

/// One authorised call.
pub(crate) struct Request {
    pub(crate) shared: Arc<Shared>,
    pub(crate) account: Arc<Account>,
    /// What stood where the route has a placeholder.
    pub(crate) ids: Vec<String>,
    pub(crate) query: Vec<(String, String)>,
    /// The JSON body; null when there is none.
    pub(crate) body: Value,
    /// The uploaded message, on the upload paths.
    pub(crate) media: Option<Media>,
    /// The caller may see headers only.
    pub(crate) metadata_only: bool,
    /// A fault that changes what is answered, not whether.
    pub(crate) fault: Option<Fault>,
    pub(crate) now: Millis,
}

/// What a handler answers; null is an empty 204.
pub(crate) type Answer = Result<Value, ApiError>;

impl Request {
    /// The last value of a parameter; empty counts as absent.
    pub(crate) fn parameter(&self, name: &str) -> Option<&str> {
        self.query.iter().rev().find(|(key, value)| key == name && !value.is_empty()).map(|(_, v)| v.as_str())
    }

    /// Every value of a repeated parameter.
    pub(crate) fn parameters(&self, name: &str) -> Vec<&str> {
        self.query
            .iter()
            .filter(|(key, value)| key == name && !value.is_empty())
            .map(|(_, v)| v.as_str())
            .collect()
    }

    /// A boolean parameter, false when absent.
    pub(crate) fn flag(&self, name: &str) -> Result<bool, ApiError> {
        match self.parameter(name) {
            None | Some("false" | "False" | "0") => Ok(false),
            Some("true" | "True" | "1") => Ok(true),
            Some(other) => {
                Err(ApiError::invalid_argument(format!("Invalid value at '{name}' (TYPE_BOOL), \"{other}\"")))
            }
        }
    }

    /// `maxResults`: 100 when absent or 0, never more than 500.
    pub(crate) fn page_size(&self) -> Result<usize, ApiError> {
        let Some(text) = self.parameter("maxResults") else { return Ok(100) };
        let wrong = || {
            ApiError::invalid_argument(format!("Invalid value at 'max_results' (TYPE_UINT32), \"{text}\""))
        };
        let size: u32 = text.parse().map_err(|_| wrong())?;
        Ok(if size == 0 { 100 } else { size.min(500) as usize })
    }

    pub(crate) fn id(&self, place: usize) -> &str {
        self.ids.get(place).map_or("", String::as_str)
    }

    pub(crate) fn message_id(&self) -> Result<MessageId, ApiError> {
        MessageId::parse(self.id(0)).ok_or_else(ApiError::invalid_id)
    }

    pub(crate) fn thread_id(&self) -> Result<ThreadId, ApiError> {
        ThreadId::parse(self.id(0)).ok_or_else(ApiError::invalid_id)
    }

    /// A list of texts in the body; absent is empty.
    pub(crate) fn texts(&self, key: &str) -> Result<Vec<String>, ApiError> {
        texts(&self.body, key)
    }
}

/// A list of texts in an object; absent is empty.
pub(crate) fn texts(object: &Value, key: &str) -> Result<Vec<String>, ApiError> {
    let wrong = || ApiError::invalid_argument(format!("Invalid value at '{key}' (TYPE_STRING)"));
    match object.get(key) {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::Array(items)) => {
            items.iter().map(|item| item.as_str().map(str::to_owned).ok_or_else(wrong)).collect()
        }
        Some(_) => Err(wrong()),
    }
}

/// Which scopes open a method, by the last part of their names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Access {
    Metadata,
    Read,
    Modify,
    Delete,
    Send,
    Insert,
    LabelsRead,
    Labels,
    DraftsRead,
    Drafts,
    Settings,
}

impl Access {
    fn scopes(self) -> &'static [&'static str] {
        match self {
            Self::Metadata => &["gmail.modify", "gmail.readonly", "gmail.metadata"],
            Self::Read => &["gmail.modify", "gmail.readonly"],
            Self::Modify => &["gmail.modify"],
            Self::Delete => &[],
            Self::Send => &["gmail.modify", "gmail.compose", "gmail.send"],
            Self::Insert => &["gmail.modify", "gmail.insert"],
            Self::LabelsRead => &["gmail.modify", "gmail.readonly", "gmail.metadata", "gmail.labels"],
            Self::Labels => &["gmail.modify", "gmail.labels"],
            Self::DraftsRead => &["gmail.modify", "gmail.readonly", "gmail.compose"],
            Self::Drafts => &["gmail.modify", "gmail.compose"],
            Self::Settings => &["gmail.modify", "gmail.readonly", "gmail.settings.basic"],
        }
    }
}

/// One method of the API.
pub(crate) struct Route {
    verb: Method,
    path: &'static str,
    pub(crate) cost: Cost,
    access: Access,
    pub(crate) handle: fn(&Request) -> Answer,
}

impl Route {
    /// Whether a token of these scopes may call it, and if so, whether it may see headers only.
    pub(crate) fn admits(&self, scopes: &[String]) -> Option<bool> {
        let has = |name: &str| scopes.iter().any(|scope| scope.rsplit('/').next() == Some(name));
        let full = scopes.iter().any(|scope| scope.trim_end_matches('/') == "https://mail.google.com");
        if full || self.access.scopes().iter().any(|name| has(name)) {
            // The narrowest scope binds, whatever stands beside it: Google calls that "will not fix".
            return Some(has("gmail.metadata"));
        }
        None
    }
}

macro_rules! routes {
    ($($verb:ident $path:literal $method:literal $legacy:literal $current:literal $access:ident $handle:path;)+) => {
        &[$(Route {
            verb: Method::$verb,
            path: $path,
            cost: Cost { method: $method, legacy: $legacy, current: $current },
            access: Access::$access,
            handle: $handle,
        }),+]
    };
}

/// Fixed paths stand before those with placeholders. Prices: units in the legacy and in the current regime.
static ROUTES: &[Route] = routes! {
    GET "profile" "getProfile" 1 1 Metadata mailbox::profile;
    GET "history" "history.list" 2 2 Metadata mailbox::history;
    POST "watch" "watch" 100 100 Metadata mailbox::watch;
    POST "stop" "stop" 50 50 Metadata mailbox::stop;
    GET "settings/sendAs" "settings.sendAs.list" 1 1 Settings mailbox::send_as;
    GET "messages" "messages.list" 5 5 Metadata messages::list;
    POST "messages" "messages.insert" 25 25 Insert messages::insert;
    POST "messages/import" "messages.import" 25 25 Insert messages::import;
    POST "messages/send" "messages.send" 100 100 Send messages::send;
    POST "messages/batchModify" "messages.batchModify" 50 50 Modify messages::batch_modify;
    POST "messages/batchDelete" "messages.batchDelete" 50 50 Delete messages::batch_delete;
    GET "messages/{}" "messages.get" 5 20 Metadata messages::get;
    DELETE "messages/{}" "messages.delete" 10 10 Delete messages::delete;
    POST "messages/{}/modify" "messages.modify" 5 5 Modify messages::modify;
    POST "messages/{}/trash" "messages.trash" 5 20 Modify messages::trash;
    POST "messages/{}/untrash" "messages.untrash" 5 5 Modify messages::untrash;
    GET "messages/{}/attachments/{}" "messages.attachments.get" 5 20 Read messages::attachment;
    GET "threads" "threads.list" 10 10 Metadata threads::list;
    GET "threads/{}" "threads.get" 10 40 Metadata threads::get;
    DELETE "threads/{}" "threads.delete" 20 20 Delete threads::delete;
    POST "threads/{}/modify" "threads.modify" 10 10 Modify threads::modify;
    POST "threads/{}/trash" "threads.trash" 10 10 Modify threads::trash;
    POST "threads/{}/untrash" "threads.untrash" 10 10 Modify threads::untrash;
    GET "labels" "labels.list" 1 1 LabelsRead labels::list;
    POST "labels" "labels.create" 5 5 Labels labels::create;
    GET "labels/{}" "labels.get" 1 1 LabelsRead labels::get;
    PUT "labels/{}" "labels.update" 5 5 Labels labels::update;
    PATCH "labels/{}" "labels.patch" 5 5 Labels labels::patch;
    DELETE "labels/{}" "labels.delete" 5 5 Labels labels::delete;
    GET "drafts" "drafts.list" 5 5 DraftsRead drafts::list;
    POST "drafts" "drafts.create" 10 10 Drafts drafts::create;
    POST "drafts/send" "drafts.send" 100 100 Drafts drafts::send;
    GET "drafts/{}" "drafts.get" 5 20 DraftsRead drafts::get;
    PUT "drafts/{}" "drafts.update" 15 15 Drafts drafts::update;
    DELETE "drafts/{}" "drafts.delete" 10 10 Drafts drafts::delete;
};

/// Every method's name, as counters and faults have it.
pub(crate) fn methods() -> impl Iterator<Item = &'static str> {
    ROUTES.iter().map(|route| route.cost.method)
}

/// The methods that take an upload.
const UPLOADS: [&str; 6] =
    ["messages.insert", "messages.import", "messages.send", "drafts.create", "drafts.update", "drafts.send"];

/// Finds the method of a path below `users/{userId}/`, and what stood in its placeholders.
pub(crate) fn route(
    verb: &Method,
    segments: &[String],
    upload: bool,
) -> Option<(&'static Route, Vec<String>)> {
    ROUTES.iter().filter(|route| route.verb == *verb).find_map(|route| {
        let pattern: Vec<&str> = route.path.split('/').collect();
        if pattern.len() != segments.len() || (upload && !UPLOADS.contains(&route.cost.method)) {
            return None;
        }
        let mut ids = Vec::new();
        for (wanted, segment) in pattern.iter().zip(segments) {
            if *wanted == "{}" {
                ids.push(segment.clone());
            } else if wanted != segment {
                return None;
            }
        }
        Some((route, ids))
    })
}
