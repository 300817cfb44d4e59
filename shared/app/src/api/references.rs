//! What refers to a mail: tasks, deals. A referenced mail survives its deletion.
//!
//! Invariant: references are written without the lease, on an attribute that no worker touches.

use axum::Json;
use serde::{Deserialize, Serialize};
use sync_core::MailboxId;
use sync_store::{REFERENCE_BYTES_MAX, REFERENCES_MAX, StoreError, StoredMessage};

use super::{
    body::{JsonBody, MaybeJson},
    emails::find,
    order::Order,
    problem::Problem,
    query::Query,
    view::ReferenceView,
};

/// Longest name of a kind of thing, bytes.
const TYPE_BYTES_MAX: usize = 40;
/// Longest id of a thing, bytes: with its type it fits what the store takes.
const ID_BYTES_MAX: usize = REFERENCE_BYTES_MAX - TYPE_BYTES_MAX - 1;

/// A reference as it is given.
#[derive(Default, Deserialize)]
pub struct Reference {
    r#type: Option<String>,
    id: Option<String>,
}

/// A mail's references, after the change.
#[derive(Serialize)]
pub struct Referenced {
    id: String,
    mailbox: MailboxId,
    references: Vec<ReferenceView>,
}

/// `POST /api/emails/{id}/references`: adding one that is there changes nothing.
pub async fn add(
    order: Order,
    mut query: Query,
    JsonBody(body): JsonBody<Reference>,
) -> Result<Json<Referenced>, Problem> {
    let mailbox = query.text_of("mailbox", 400);
    let reference = checked(&mut query, body.r#type, body.id);
    query.finish()?;
    let mail = find(&order.state, &order.caller.tenant, order.part("id"), mailbox.as_deref()).await?;
    let stored: Vec<String> = reference.iter().map(ReferenceView::stored).collect();
    let all = order.state.store.add_references(&mail.mailbox, mail.id, &stored).await.map_err(too_many)?;
    Ok(answer(&mail, &all))
}

/// `DELETE /api/emails/{id}/references`, in the query or in the body: removing one that is not there changes
/// nothing.
pub async fn remove(
    order: Order,
    mut query: Query,
    MaybeJson(body): MaybeJson<Reference>,
) -> Result<Json<Referenced>, Problem> {
    let mailbox = query.text_of("mailbox", 400);
    let r#type = query.once("type", body.r#type, Query::text);
    let id = query.once("id", body.id, Query::text);
    let reference = checked(&mut query, r#type, id);
    query.finish()?;
    let mail = find(&order.state, &order.caller.tenant, order.part("id"), mailbox.as_deref()).await?;
    let stored: Vec<String> = reference.iter().map(ReferenceView::stored).collect();
    let left = order.state.store.remove_references(&mail.mailbox, mail.id, &stored).await?;
    Ok(answer(&mail, &left))
}

fn answer(mail: &StoredMessage, references: &[String]) -> Json<Referenced> {
    Json(Referenced {
        id: mail.email_id().to_string(),
        mailbox: mail.mailbox.clone(),
        references: references.iter().map(|stored| ReferenceView::of(stored)).collect(),
    })
}

fn too_many(error: StoreError) -> Problem {
    match error {
        StoreError::TooLarge { .. } => {
            Problem::conflict(format!("A mail has at most {REFERENCES_MAX} references: remove one first."))
        }
        error => error.into(),
    }
}

/// The reference, unless something is wrong with it.
fn checked(query: &mut Query, r#type: Option<String>, id: Option<String>) -> Option<ReferenceView> {
    let word = |text: &String| {
        (1..=TYPE_BYTES_MAX).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
    };
    let named = |text: &String| {
        (1..=ID_BYTES_MAX).contains(&text.len()) && !text.chars().any(|c| c.is_control() || c.is_whitespace())
    };
    let mut check = |field: &str, value: Option<String>, fits: &dyn Fn(&String) -> bool, expected: String| {
        match &value {
            None => query.refuse(field, format!("is required; {expected}")),
            Some(value) if !fits(value) => query.refuse(field, expected),
            Some(_) => {}
        }
        value
    };
    let expected = format!("must be 1 to {TYPE_BYTES_MAX} letters, digits, - _ or . (task, deal)");
    let r#type = check("type", r#type, &word, expected);
    let id = check("id", id, &named, format!("must be 1 to {ID_BYTES_MAX} bytes without blanks"));
    r#type.zip(id).map(|(r#type, id)| ReferenceView { r#type, id })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(r#type: Option<&str>, id: Option<&str>) -> Vec<String> {
        let mut query = Query::default();
        let _ = checked(&mut query, r#type.map(ToOwned::to_owned), id.map(ToOwned::to_owned));
        let problem = query.finish().expect_err("a refusal");
        problem.errors().iter().map(|error| error.field.clone()).collect()
    }

    #[test]
    fn what_is_wrong_with_a_reference_is_named() {
        assert_eq!(named(None, None), ["type", "id"]);
        assert_eq!(named(Some("a:b"), Some("1")), ["type"], "a colon would move the border");
        assert_eq!(named(Some("task"), Some("")), ["id"]);
        assert_eq!(named(Some("task"), Some("a\nb")), ["id"]);
        assert_eq!(named(Some(&"t".repeat(41)), Some(&"x".repeat(160))), ["type", "id"]);
    }

    #[test]
    fn the_longest_reference_fits_the_store() {
        let longest = ReferenceView { r#type: "t".repeat(TYPE_BYTES_MAX), id: "x".repeat(ID_BYTES_MAX) };
        assert_eq!(longest.stored().len(), REFERENCE_BYTES_MAX);
    }
}
