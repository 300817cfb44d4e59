//! What of a message a mailbox's owner has fetched: `raw`, `full` or `metadata`.
//!
//! Invariant: nothing is chosen that the grant cannot show. A grant for headers only (`gmail.metadata`) opens neither
//! bodies nor searches, so its mailbox's content is `metadata`, and no stretch of time and no contact's mail is
//! asked for. Google does not always say what was granted; then nothing is refused here, and Gmail refuses.

use jiff::Timestamp;
use sync_core::{
    EmailAddress, TenantId,
    quota::Method,
    state::{Content, Sync},
};
use sync_gmail::AccessToken;

use super::{ApiState, problem::Problem};
use crate::aliases::aliases_of;

/// What a wrong name is answered with.
pub(super) const EXPECTED: &str = "must be raw, full or metadata";

/// The content of that name.
pub(super) fn named(name: &str) -> Option<Content> {
    [Content::Raw, Content::Full, Content::Metadata].into_iter().find(|content| content.name() == name)
}

/// Refuses to connect a mailbox whose grant does not show what is chosen, or what was chosen before.
pub(super) async fn refuse_at_connect(
    state: &ApiState,
    (tenant, address): (&TenantId, &EmailAddress),
    chosen: Option<Content>,
    access: &AccessToken,
) -> Result<(), Problem> {
    if !access.scopes.as_deref().is_some_and(shows_headers_only) {
        return Ok(());
    }
    let before = match state.store.mailbox_of_address(tenant, address).await? {
        Some(mailbox) => state.store.read_sync(&mailbox).await?.map(|sync| sync.content),
        None => None,
    };
    if chosen.or(before) == Some(Content::Metadata) {
        return Ok(());
    }
    Err(Problem::field("content", "must be metadata: the grant shows headers only"))
}

/// Before the first copy begins: what its owner chose, and which addresses are the owner's. That an alias is not known
/// yet is no reason to fail.
pub(super) async fn prepare(
    state: &ApiState,
    sync: &Sync,
    chosen: Option<Content>,
    access: &AccessToken,
) -> Result<(), Problem> {
    if let Some(content) = chosen {
        state.store.set_content(&sync.mailbox, content).await?;
    }
    let answer = match state.pay(&sync.address, Method::SendAsList).await {
        Ok(()) => state.gmail.list_send_as(access).await,
        Err(error) => Err(error),
    };
    match aliases_of(answer, sync, Timestamp::now()) {
        Ok(aliases) => state.store.set_aliases(&sync.mailbox, &aliases).await?,
        Err(error) => {
            tracing::warn!(mailbox.id = %sync.mailbox, %error, "the aliases were not read; the next sync does");
        }
    }
    Ok(())
}

/// Refuses what needs more than headers while the mailbox's grant shows no more.
pub(super) async fn refuse_headers_only(state: &ApiState, sync: &Sync) -> Result<(), Problem> {
    let credential = state.store.read_credential(&sync.mailbox).await?;
    match credential {
        Some(credential) if shows_headers_only(&credential.scopes) => Err(Problem::conflict(
            "The mailbox's grant shows headers only, which has neither bodies nor searches: connect it again with the \
             scope gmail.readonly and without gmail.metadata first.",
        )),
        Some(_) | None => Ok(()),
    }
}

/// The narrowest scope binds, whatever stands beside it: that is how Google has it.
pub(super) fn shows_headers_only(scopes: &[String]) -> bool {
    scopes.iter().any(|scope| scope == "https://www.googleapis.com/auth/gmail.metadata")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grant_for_headers_shows_no_bodies_and_an_unknown_one_is_tried() {
        let scopes = |names: &[&str]| -> Vec<String> {
            names.iter().map(|name| format!("https://www.googleapis.com/auth/{name}")).collect()
        };
        assert!(shows_headers_only(&scopes(&["gmail.metadata"])));
        assert!(shows_headers_only(&scopes(&["gmail.metadata", "gmail.readonly"])), "the narrowest binds");
        assert!(!shows_headers_only(&scopes(&["gmail.readonly"])));
        assert!(!shows_headers_only(&[]));
    }

    #[test]
    fn each_content_goes_by_its_name() {
        for content in [Content::Raw, Content::Full, Content::Metadata] {
            assert_eq!(named(content.name()), Some(content));
        }
        for wrong in ["", "RAW", "minimal"] {
            assert_eq!(named(wrong), None, "{wrong}");
        }
    }
}
