//! `fields=`: partial responses, as every Google API has them.
//!
//! `a,b` picks keys, `a/b` goes down, `a(b,c)` goes down with several, `*` is every key; lists are entered
//! without notice. An unreadable mask is an error; a key that is not there is not.

use serde_json::{Map, Value};

/// Deepest nest of a mask.
const DEPTH_MAX: usize = 30;

#[derive(Debug, Clone, PartialEq, Eq)]
struct Field {
    name: String,
    /// Empty: the whole value.
    below: Vec<Field>,
}

/// Keeps what the mask names; none when the mask cannot be read.
pub(crate) fn select(mask: &str, value: Value) -> Option<Value> {
    let mut rest = mask;
    let fields = list(&mut rest, DEPTH_MAX)?;
    if rest.is_empty() { Some(pick(&fields, value)) } else { None }
}

fn list(rest: &mut &str, depth: usize) -> Option<Vec<Field>> {
    let depth = depth.checked_sub(1)?;
    let mut fields = vec![field(rest, depth)?];
    while let Some(after) = rest.strip_prefix(',') {
        *rest = after;
        fields.push(field(rest, depth)?);
    }
    Some(fields)
}

fn field(rest: &mut &str, depth: usize) -> Option<Field> {
    let depth = depth.checked_sub(1)?;
    *rest = rest.trim_start();
    let end = rest.find([',', '/', '(', ')']).unwrap_or(rest.len());
    let name = rest[..end].trim();
    let plain = name == "*" || name.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '-'));
    if name.is_empty() || !plain {
        return None;
    }
    *rest = &rest[end..];
    let below = if let Some(after) = rest.strip_prefix('/') {
        *rest = after;
        vec![field(rest, depth)?]
    } else if let Some(after) = rest.strip_prefix('(') {
        *rest = after;
        let inner = list(rest, depth)?;
        *rest = rest.strip_prefix(')')?;
        inner
    } else {
        Vec::new()
    };
    Some(Field { name: name.to_owned(), below })
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
        let check = |mask: &str, expected: Value| assert_eq!(select(mask, whole()), Some(expected), "{mask}");
        check("nextPageToken", json!({"nextPageToken": "x"}));
        check("messages(id),absent", json!({"messages": [{"id": "1"}]}));
        check(
            "messages/id,payload/body/size",
            json!({"messages": [{"id": "1"}], "payload": {"body": {"size": 1}}}),
        );
        check("*", whole());
    }

    #[test]
    fn an_unreadable_mask_is_refused_and_never_panics() {
        for mask in ["", "(", "a(", "a)", "a/", ",a", "a(b", "a b!", &"a(".repeat(5_000), &"a/".repeat(5_000)]
        {
            assert_eq!(select(mask, whole()), None, "{mask}");
        }
    }
}
