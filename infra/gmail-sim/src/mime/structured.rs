//! Header fields with parameters: `Content-Type`, `Content-Disposition`.

use mail_parser::MimeHeaders as _;

/// A value and its parameters.
pub(super) struct Structured {
    /// Lower case; empty when it cannot be read.
    pub(super) main: String,
    attributes: Vec<(String, String)>,
}

impl Structured {
    /// A parameter by name, compared without case.
    pub(super) fn attribute(&self, name: &str) -> Option<String> {
        self.attributes.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.clone())
    }
}

/// Reads a field's value as it stands in the message.
pub(super) fn structured(value: &[u8]) -> Structured {
    // The parser knows RFC 2231 and the usual mistakes; it is only asked for one field.
    let field = [b"Content-Type: ", value, b"\r\n\r\n"].concat();
    let message = mail_parser::MessageParser::new().with_mime_headers().parse_headers(&field);
    let Some(content) = message.as_ref().and_then(|m| m.content_type()) else {
        return Structured { main: String::new(), attributes: Vec::new() };
    };
    let kind = content.c_type.to_ascii_lowercase();
    let main =
        content.c_subtype.as_ref().map_or(kind.clone(), |sub| format!("{kind}/{}", sub.to_ascii_lowercase()));
    let attributes = content
        .attributes
        .iter()
        .flatten()
        .map(|attribute| (attribute.name.to_string(), attribute.value.to_string()))
        .collect();
    Structured { main, attributes }
}
