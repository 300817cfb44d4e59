//! `fields=`: partial responses, as every Google API has them.
//!
//! `a,b` picks keys, `a/b` goes down, `a(b,c)` goes down with several, `*` is every key; lists are entered
//! without notice. A mask that cannot be read, or that names what no answer ever has, is an error; a key that is
//! not there this time is not.

use serde_json::{Map, Value};

/// Deepest nest of a mask.
const DEPTH_MAX: usize = 30;
/// Most names of a mask.
const NAMES_MAX: usize = 500;

/// Every key of the answers served here, as the discovery document names them.
#[rustfmt::skip]
const NAMES: [&str; 64] = [
    "attachmentId", "backgroundColor", "body", "classificationLabelValues", "color", "data", "displayName",
    "drafts", "emailAddress", "expiration", "fieldId", "fields", "filename", "headers", "history", "historyId",
    "host", "id", "internalDate", "isDefault", "isPrimary", "labelId", "labelIds", "labelListVisibility",
    "labels", "labelsAdded", "labelsRemoved", "message", "messageListVisibility", "messages", "messagesAdded",
    "messagesDeleted", "messagesTotal", "messagesUnread", "mimeType", "name", "nextPageToken", "partId", "parts",
    "password", "payload", "port", "raw", "replyToAddress", "resultSizeEstimate", "securityMode", "selection",
    "sendAs", "sendAsEmail", "signature", "size", "sizeEstimate", "smtpMsa", "snippet", "textColor", "threadId",
    "threads", "threadsTotal", "threadsUnread", "treatAsAlias", "type", "username", "value",
    "verificationStatus",
];

#[derive(Debug, Clone, PartialEq, Eq)]
struct Field {
    name: String,
    /// Empty: the whole value.
    below: Vec<Field>,
}

/// A mask that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mask(Vec<Field>);

impl Mask {
    /// None when it cannot be read.
    pub(crate) fn parse(mask: &str) -> Option<Self> {
        let mut reader = Reader { rest: mask, names: 0 };
        let fields = reader.list(DEPTH_MAX)?;
        reader.rest.is_empty().then_some(Self(fields))
    }

    /// Keeps what the mask names.
    pub(crate) fn select(&self, value: Value) -> Value {
        pick(&self.0, value)
    }
}

struct Reader<'a> {
    rest: &'a str,
    names: usize,
}

impl Reader<'_> {
    fn skip(&mut self, mark: char) -> Option<()> {
        self.rest = self.rest.strip_prefix(mark)?;
        Some(())
    }

    fn list(&mut self, depth: usize) -> Option<Vec<Field>> {
        let depth = depth.checked_sub(1)?;
        let mut fields = vec![self.field(depth)?];
        while self.skip(',').is_some() {
            fields.push(self.field(depth)?);
        }
        Some(fields)
    }

    fn field(&mut self, depth: usize) -> Option<Field> {
        let depth = depth.checked_sub(1)?;
        let end = self.rest.find([',', '/', '(', ')']).unwrap_or(self.rest.len());
        let (name, rest) = self.rest.split_at(end);
        let name = name.trim();
        self.names += 1;
        if (name != "*" && !NAMES.contains(&name)) || self.names > NAMES_MAX {
            return None;
        }
        self.rest = rest;
        let below = if self.skip('/').is_some() {
            vec![self.field(depth)?]
        } else if self.skip('(').is_some() {
            let inner = self.list(depth)?;
            self.skip(')')?;
            inner
        } else {
            Vec::new()
        };
        Some(Field { name: name.to_owned(), below })
    }
}

fn pick(fields: &[Field], value: Value) -> Value {
    match value {
        Value::Array(items) => items.into_iter().map(|item| pick(fields, item)).collect(),
        Value::Object(object) => {
            let mut kept = Map::new();
            for (key, value) in object {
                let named: Vec<&Field> = fields.iter().filter(|f| f.name == key || f.name == "*").collect();
                if named.is_empty() {
                    continue;
                }
                // Naming a key whole anywhere outweighs naming parts of it.
                let whole = named.iter().any(|f| f.below.is_empty());
                let below: Vec<Field> = named.iter().flat_map(|f| f.below.iter().cloned()).collect();
                kept.insert(key, if whole { value } else { pick(&below, value) });
            }
            Value::Object(kept)
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn whole() -> Value {
        json!({"messages": [{"id": "1", "threadId": "2"}], "nextPageToken": "x", "payload": {"body": {"size": 1}}})
    }

    #[test]
    fn a_mask_keeps_what_it_names_and_enters_lists() {
        let check = |mask: &str, expected: Value| {
            assert_eq!(Mask::parse(mask).unwrap().select(whole()), expected, "{mask}");
        };
        check("nextPageToken", json!({"nextPageToken": "x"}));
        check("messages(id),labels", json!({"messages": [{"id": "1"}]}));
        check(
            "messages/id, payload/body/size",
            json!({"messages": [{"id": "1"}], "payload": {"body": {"size": 1}}}),
        );
        check("*", whole());
        check("*/id", json!({"messages": [{"id": "1"}], "nextPageToken": "x", "payload": {}}));
    }

    #[test]
    fn an_unreadable_mask_is_refused_and_never_panics() {
        for mask in
            ["", "(", "id(", "id)", "id/", ",id", "id(raw", "id b!", "ids", "messages(id,absent)", "id,"]
        {
            assert_eq!(Mask::parse(mask), None, "{mask}");
        }
        for endless in ["id(", "id/", "id,", "id,*/"] {
            assert_eq!(Mask::parse(&endless.repeat(5_000)), None, "{endless}");
        }
    }

    #[test]
    fn the_names_are_sorted_and_unique() {
        assert!(NAMES.is_sorted_by(|left, right| left < right));
    }
}
