//! Messages as JSON, in Gmail's four formats.

use base64::Engine as _;
use base64::engine::general_purpose::{URL_SAFE, URL_SAFE_NO_PAD};
use serde_json::{Map, Value, json};

use crate::http::error::ApiError;
use crate::mime::{self, Header, Part};
use crate::model::{Mailbox, Message, MessageId};

/// What of a message is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Format {
    Minimal,
    Metadata(Vec<String>),
    Full,
    Raw,
}

impl Format {
    /// Reads `format` and `metadataHeaders`; `full` when absent.
    pub(crate) fn read(request: &super::Request) -> Result<Self, ApiError> {
        let name = request.parameter("format").unwrap_or("full");
        let format = match name.to_ascii_lowercase().as_str() {
            "minimal" => Self::Minimal,
            "metadata" => {
                Self::Metadata(request.parameters("metadataHeaders").into_iter().map(str::to_owned).collect())
            }
            "full" => Self::Full,
            "raw" => Self::Raw,
            _ => {
                return Err(ApiError::invalid_argument(format!(
                    "Invalid value at 'format' (TYPE_ENUM), \"{name}\""
                )));
            }
        };
        if request.metadata_only && matches!(format, Self::Full | Self::Raw) {
            let message = format!("Metadata scope doesn't allow format {}", name.to_ascii_uppercase());
            return Err(ApiError::forbidden(message));
        }
        Ok(format)
    }
}

/// A message in a format.
pub(crate) fn message(mailbox: &Mailbox, id: MessageId, message: &Message, format: &Format) -> Value {
    let raw = mailbox.raw(message);
    let mut object = Map::new();
    object.insert("id".into(), json!(id.to_string()));
    object.insert("threadId".into(), json!(message.thread.to_string()));
    // Gmail leaves the key out when a message wears nothing.
    if !message.labels.is_empty() {
        object.insert("labelIds".into(), json!(mailbox.label_ids(&message.labels)));
    }
    let part = mime::parse(&raw);
    object.insert("snippet".into(), json!(mime::snippet(&part, &raw)));
    object.insert("sizeEstimate".into(), json!(message.size));
    object.insert("historyId".into(), json!(message.history.to_string()));
    object.insert("internalDate".into(), json!(message.internal_date.to_string()));
    match format {
        Format::Minimal => {}
        Format::Raw => {
            object.insert("raw".into(), json!(URL_SAFE.encode(&*raw)));
        }
        Format::Metadata(names) => {
            object.insert("payload".into(), metadata(&part, names));
        }
        Format::Full => {
            object.insert("payload".into(), tree(&part, &raw, id, "", &mut 0));
        }
    }
    Value::Object(object)
}

/// The three fields that every answer about a changed message has.
pub(crate) fn brief(mailbox: &Mailbox, id: MessageId, message: &Message) -> Value {
    let mut object = json!({"id": id.to_string(), "threadId": message.thread.to_string()});
    if !message.labels.is_empty() {
        object["labelIds"] = json!(mailbox.label_ids(&message.labels));
    }
    object
}

fn metadata(part: &Part, names: &[String]) -> Value {
    let wanted = |h: &&Header| names.is_empty() || names.iter().any(|name| h.name.eq_ignore_ascii_case(name));
    let headers: Vec<Value> = part.headers.iter().filter(wanted).map(header).collect();
    let mut payload = json!({"mimeType": part.mime_type});
    if !headers.is_empty() {
        payload["headers"] = json!(headers);
    }
    payload
}

fn header(header: &Header) -> Value {
    json!({"name": header.name, "value": header.value})
}

fn tree(part: &Part, raw: &[u8], id: MessageId, part_id: &str, ordinal: &mut u32) -> Value {
    let here = *ordinal;
    *ordinal += 1;
    let mut body = Map::new();
    if part.is_multipart() {
        body.insert("size".into(), json!(0));
    } else {
        let decoded = part.decoded(raw);
        body.insert("size".into(), json!(decoded.len()));
        if part.is_attachment() {
            body.insert("attachmentId".into(), json!(attachment_id(id, here)));
        } else if !decoded.is_empty() {
            body.insert("data".into(), json!(URL_SAFE.encode(&decoded)));
        }
    }
    let mut object = json!({
        "partId": part_id,
        "mimeType": part.mime_type,
        "filename": part.filename,
        "headers": part.headers.iter().map(header).collect::<Vec<_>>(),
        "body": body,
    });
    if !part.children.is_empty() {
        let mut children = Vec::with_capacity(part.children.len());
        for (place, child) in part.children.iter().enumerate() {
            let below = if part_id.is_empty() { place.to_string() } else { format!("{part_id}.{place}") };
            children.push(tree(child, raw, id, &below, ordinal));
        }
        object["parts"] = Value::Array(children);
    }
    object
}

const ATTACHMENT_MARK: &str = "ANGjdJ";

fn attachment_id(id: MessageId, ordinal: u32) -> String {
    let mut bytes = id.0.to_be_bytes().to_vec();
    bytes.extend_from_slice(&ordinal.to_be_bytes());
    // As long as Gmail's, which do not fit a narrow column.
    let noise = bytes[7];
    bytes.extend((0..60_u8).map(|place| place.wrapping_mul(37) ^ noise));
    format!("{ATTACHMENT_MARK}{}", URL_SAFE_NO_PAD.encode(bytes))
}

/// The bytes behind an attachment id, when it is one of this message's.
pub(crate) fn attachment(raw: &[u8], id: MessageId, text: &str) -> Option<Vec<u8>> {
    let bytes = URL_SAFE_NO_PAD.decode(text.strip_prefix(ATTACHMENT_MARK)?).ok()?;
    let of: [u8; 8] = bytes.get(..8)?.try_into().ok()?;
    let ordinal: [u8; 4] = bytes.get(8..12)?.try_into().ok()?;
    if u64::from_be_bytes(of) != id.0 {
        return None;
    }
    let part = mime::parse(raw);
    let parts = part.walk();
    let found = parts.get(usize::try_from(u32::from_be_bytes(ordinal)).ok()?)?;
    Some(found.decoded(raw))
}
