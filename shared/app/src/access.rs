//! Access tokens: kept in the credential, refreshed before they lapse.

use sync_core::{Disposition, Failure, MailboxId, Timestamp};
use sync_gmail::{AccessToken, ClientCredentials, GmailClient, RefreshToken};
use sync_store::{Credential, Store};

/// An access token and the version of the grant it came from.
#[derive(Clone)]
pub struct Access {
    /// Sent with every call.
    pub token: AccessToken,
    /// A refusal parks the mailbox only while the grant is still of this version.
    pub version: u64,
}

/// A usable token of the mailbox's: the stored one, or a fresh one when `refused` or about to lapse.
pub async fn access(
    store: &Store,
    gmail: &GmailClient,
    client: &ClientCredentials,
    mailbox: &MailboxId,
    refused: Option<&Access>,
    now: Timestamp,
) -> Result<Access, Failure> {
    let credential = store
        .read_credential(mailbox)
        .await
        .map_err(|error| Failure::new(error.disposition(), error.to_string()))?
        .ok_or_else(|| Failure::new(Disposition::NeedsReauth, "the mailbox has no credential"))?;
    if let Some(token) = stored(&credential) {
        let same_as_refused = refused.is_some_and(|refused| {
            refused.version == credential.version && refused.token.expires_at >= token.expires_at
        });
        if token.is_usable(now) && !same_as_refused {
            return Ok(Access { token, version: credential.version });
        }
    }
    let grant = RefreshToken(credential.refresh_token.clone());
    let token = gmail.refresh(&grant, client, now).await.map_err(|error| error.failure())?;
    // A newer grant wins; whoever lost still holds a token that works.
    let saved = store.save_access_token(mailbox, credential.version, &token.token, token.expires_at).await;
    if let Err(error) = saved {
        tracing::warn!(mailbox.id = %mailbox, %error, "a fresh access token could not be kept");
    }
    Ok(Access { token, version: credential.version })
}

fn stored(credential: &Credential) -> Option<AccessToken> {
    let (token, expires_at) = (credential.access_token.clone()?, credential.expires_at?);
    Some(AccessToken { token, expires_at, scopes: None })
}
