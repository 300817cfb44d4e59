//! Items and changes of items: the small language between Rust's types and DynamoDB's.
//!
//! Every attribute name goes through a placeholder, because DynamoDB reserves several hundred words,
//! `status` and `owner` among them.

use std::{collections::HashMap, str::FromStr};

use aws_sdk_dynamodb::types::AttributeValue;
use serde::{Serialize, de::DeserializeOwned};
use sync_core::Timestamp;

use crate::StoreError;

/// An item as the SDK has it.
pub(crate) type Item = HashMap<String, AttributeValue>;

/// Version of the rows' schema, in the attribute `v`.
pub(crate) const SCHEMA_VERSION: u32 = 1;

pub(crate) fn text(value: impl Into<String>) -> AttributeValue {
    AttributeValue::S(value.into())
}

/// A number, as text: DynamoDB's numbers hold 38 digits, so every `u64` survives.
#[expect(
    clippy::needless_pass_by_value,
    reason = "numbers are copied; a reference at every call hides the value"
)]
pub(crate) fn number(value: impl ToString) -> AttributeValue {
    AttributeValue::N(value.to_string())
}

/// Milliseconds since 1970.
pub(crate) fn time(value: Timestamp) -> AttributeValue {
    number(value.as_millisecond())
}

/// Seconds since 1970, as DynamoDB's TTL wants them.
pub(crate) fn ttl(at: Timestamp) -> AttributeValue {
    number(at.as_second())
}

/// Anything serialisable.
pub(crate) fn nested<T: Serialize>(what: &'static str, value: &T) -> Result<AttributeValue, StoreError> {
    serde_dynamo::to_attribute_value(value).map_err(|error| StoreError::corrupt(what, error.to_string()))
}

/// Reads an item's attributes and names the one that is wrong.
#[derive(Clone, Copy)]
pub(crate) struct Fields<'a> {
    what: &'static str,
    item: &'a Item,
}

impl<'a> Fields<'a> {
    pub fn new(what: &'static str, item: &'a Item) -> Self {
        Self { what, item }
    }

    fn wrong(&self, name: &str) -> StoreError {
        StoreError::corrupt(self.what, format!("attribute {name}"))
    }

    pub fn optional_text(&self, name: &str) -> Result<Option<&'a str>, StoreError> {
        match self.item.get(name) {
            None | Some(AttributeValue::Null(_)) => Ok(None),
            Some(AttributeValue::S(value)) => Ok(Some(value)),
            Some(_) => Err(self.wrong(name)),
        }
    }

    pub fn text(&self, name: &str) -> Result<&'a str, StoreError> {
        self.optional_text(name)?.ok_or_else(|| self.wrong(name))
    }

    /// A text of a type of ours.
    pub fn parsed<T: FromStr>(&self, name: &str) -> Result<T, StoreError> {
        self.text(name)?.parse().map_err(|_| self.wrong(name))
    }

    pub fn optional_number<T: FromStr>(&self, name: &str) -> Result<Option<T>, StoreError> {
        match self.item.get(name) {
            None => Ok(None),
            Some(AttributeValue::N(value)) => value.parse().map(Some).map_err(|_| self.wrong(name)),
            Some(_) => Err(self.wrong(name)),
        }
    }

    pub fn number<T: FromStr>(&self, name: &str) -> Result<T, StoreError> {
        self.optional_number(name)?.ok_or_else(|| self.wrong(name))
    }

    /// A flag that is only there when it is true.
    pub fn flag(&self, name: &str) -> Result<bool, StoreError> {
        match self.item.get(name) {
            None => Ok(false),
            Some(AttributeValue::Bool(value)) => Ok(*value),
            Some(_) => Err(self.wrong(name)),
        }
    }

    pub fn optional_time(&self, name: &str) -> Result<Option<Timestamp>, StoreError> {
        self.optional_number(name)?
            .map(|ms| Timestamp::from_millisecond(ms).map_err(|_| self.wrong(name)))
            .transpose()
    }

    pub fn time(&self, name: &str) -> Result<Timestamp, StoreError> {
        self.optional_time(name)?.ok_or_else(|| self.wrong(name))
    }

    pub fn optional_nested<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, StoreError> {
        self.item
            .get(name)
            .map(|value| serde_dynamo::from_attribute_value(value.clone()).map_err(|_| self.wrong(name)))
            .transpose()
    }

    pub fn nested<T: DeserializeOwned>(&self, name: &str) -> Result<T, StoreError> {
        self.optional_nested(name)?.ok_or_else(|| self.wrong(name))
    }
}

/// A conditional change of one item, in DynamoDB's expression language.
#[derive(Debug, Clone, Default)]
pub(crate) struct Change {
    sets: Vec<String>,
    removes: Vec<String>,
    adds: Vec<String>,
    deletes: Vec<String>,
    conditions: Vec<String>,
    pub names: HashMap<String, String>,
    pub values: HashMap<String, AttributeValue>,
}

impl Change {
    fn name(&mut self, attribute: &str) -> String {
        let placeholder = format!("#{attribute}");
        self.names.insert(placeholder.clone(), attribute.to_owned());
        placeholder
    }

    pub fn set(mut self, attribute: &str, value: AttributeValue) -> Self {
        let name = self.name(attribute);
        self.sets.push(format!("{name} = :{attribute}"));
        self.values.insert(format!(":{attribute}"), value);
        self
    }

    /// Sets it, or removes it when there is no value.
    pub fn set_or_remove(self, attribute: &str, value: Option<AttributeValue>) -> Self {
        match value {
            Some(value) => self.set(attribute, value),
            None => self.remove(attribute),
        }
    }

    /// Keeps what is there.
    pub fn set_if_absent(mut self, attribute: &str, value: AttributeValue) -> Self {
        let name = self.name(attribute);
        self.sets.push(format!("{name} = if_not_exists({name}, :{attribute})"));
        self.values.insert(format!(":{attribute}"), value);
        self
    }

    /// Adds to a number that may not be there yet.
    pub fn add(mut self, attribute: &str, amount: impl ToString) -> Self {
        let name = self.name(attribute);
        self.sets.push(format!("{name} = if_not_exists({name}, :zero) + :{attribute}"));
        self.values.insert(":zero".to_owned(), number(0));
        self.values.insert(format!(":{attribute}"), number(amount));
        self
    }

    /// Adds to numbers whose names may hold any character; they begin at 0. The placeholders are short,
    /// because an expression has at most 4 KB.
    pub fn add_each<'a>(mut self, amounts: impl IntoIterator<Item = (&'a str, i64)>) -> Self {
        for (index, (attribute, amount)) in amounts.into_iter().enumerate() {
            self.adds.push(format!("#{index} :{index}"));
            self.names.insert(format!("#{index}"), attribute.to_owned());
            self.values.insert(format!(":{index}"), number(amount));
        }
        self
    }

    /// Adds texts to a set that may not be there yet.
    pub fn add_to_set(mut self, attribute: &str, texts: Vec<String>) -> Self {
        let name = self.name(attribute);
        self.adds.push(format!("{name} :{attribute}"));
        self.values.insert(format!(":{attribute}"), AttributeValue::Ss(texts));
        self
    }

    /// Takes texts out of a set; it goes with the last.
    pub fn take_from_set(mut self, attribute: &str, texts: Vec<String>) -> Self {
        let name = self.name(attribute);
        self.deletes.push(format!("{name} :{attribute}"));
        self.values.insert(format!(":{attribute}"), AttributeValue::Ss(texts));
        self
    }

    pub fn remove(mut self, attribute: &str) -> Self {
        let name = self.name(attribute);
        self.removes.push(name);
        self
    }

    /// A condition such as `#asked = :seen`; all must hold. Its `#names` need no declaration, its
    /// `:values` come by [`Change::value`] or a set.
    pub fn when(mut self, condition: &str) -> Self {
        for part in condition.split('#').skip(1) {
            let attribute: String =
                part.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
            self.name(&attribute);
        }
        self.conditions.push(format!("({condition})"));
        self
    }

    pub fn value(mut self, placeholder: &str, value: AttributeValue) -> Self {
        self.values.insert(placeholder.to_owned(), value);
        self
    }

    pub fn update_expression(&self) -> Option<String> {
        let mut parts = Vec::new();
        if !self.sets.is_empty() {
            parts.push(format!("SET {}", self.sets.join(", ")));
        }
        if !self.removes.is_empty() {
            parts.push(format!("REMOVE {}", self.removes.join(", ")));
        }
        if !self.adds.is_empty() {
            parts.push(format!("ADD {}", self.adds.join(", ")));
        }
        if !self.deletes.is_empty() {
            parts.push(format!("DELETE {}", self.deletes.join(", ")));
        }
        (!parts.is_empty()).then(|| parts.join(" "))
    }

    pub fn condition_expression(&self) -> Option<String> {
        (!self.conditions.is_empty()).then(|| self.conditions.join(" AND "))
    }

    /// The names, unless there are none: DynamoDB refuses an empty map.
    pub fn names(&self) -> Option<HashMap<String, String>> {
        (!self.names.is_empty()).then(|| self.names.clone())
    }

    /// The values, unless there are none.
    pub fn values(&self) -> Option<Item> {
        (!self.values.is_empty()).then(|| self.values.clone())
    }

    /// About how many bytes it sends.
    pub fn bytes(&self) -> usize {
        self.names.iter().map(|(placeholder, name)| placeholder.len() + name.len()).sum::<usize>()
            + self.values.iter().map(|(name, value)| name.len() + bytes_of(value)).sum::<usize>()
    }
}

/// About how large a value is, counted as DynamoDB does.
pub(crate) fn bytes_of(value: &AttributeValue) -> usize {
    match value {
        AttributeValue::S(text) | AttributeValue::N(text) => text.len(),
        AttributeValue::B(bytes) => bytes.as_ref().len(),
        AttributeValue::L(values) => 3 + values.iter().map(|value| 1 + bytes_of(value)).sum::<usize>(),
        AttributeValue::M(map) => {
            3 + map.iter().map(|(name, value)| 1 + name.len() + bytes_of(value)).sum::<usize>()
        }
        AttributeValue::Ss(texts) | AttributeValue::Ns(texts) => texts.iter().map(String::len).sum(),
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_declares_every_name_and_value_it_uses() {
        let change = Change::default()
            .set("status", text("active"))
            .add("asked", 1)
            .remove("owner")
            .when("attribute_not_exists(#lease_until) OR #lease_until < :now")
            .value(":now", number(5));
        assert_eq!(
            change.update_expression().as_deref(),
            Some("SET #status = :status, #asked = if_not_exists(#asked, :zero) + :asked REMOVE #owner")
        );
        assert_eq!(
            change.condition_expression().as_deref(),
            Some("(attribute_not_exists(#lease_until) OR #lease_until < :now)")
        );
        let mut names: Vec<&str> = change.names.values().map(String::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["asked", "lease_until", "owner", "status"]);
        assert_eq!(change.values.len(), 4);
    }

    #[test]
    fn names_of_any_kind_are_added_to_through_placeholders() {
        let change = Change::default().set("v", number(1)).add_each([("label:a b#:", 2), ("label:ä", -1)]);
        assert_eq!(change.update_expression().as_deref(), Some("SET #v = :v ADD #0 :0, #1 :1"));
        assert_eq!(change.names["#0"], "label:a b#:");
        assert_eq!(change.values[":1"], number(-1));
        let change = Change::default().take_from_set("refs", vec!["deal:1".to_owned()]);
        assert_eq!(change.update_expression().as_deref(), Some("DELETE #refs :refs"));
    }

    #[test]
    fn a_wrong_attribute_is_named_and_its_value_is_not() {
        let item = Item::from([("history_id".to_owned(), text("alice@example.com"))]);
        let error = Fields::new("message", &item).number::<u64>("history_id").expect_err("not a number");
        assert_eq!(error.to_string(), "stored message cannot be read: attribute history_id");
    }
}
