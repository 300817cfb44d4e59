//! Access tokens: kept in the credential, refreshed before they lapse, by one caller at a time.
//!
//! Invariant: of all workers and API calls that want a mailbox's token refreshed, one asks Google; the others use the
//! stored token while it works, else read again for a moment, else come back later. A grant that Google has refused is
//! never asked with again. Deliberately absent: deciding what a refusal means for the mailbox, which is the engine's.

use std::time::Duration;

use sync_core::{Disposition, Failure, MailboxId, SignedDuration, Timestamp, state::CredentialKind};
use sync_gmail::{AccessToken, ClientCredentials, GmailClient, GmailError, RefreshToken, ServiceAccount};
use sync_store::{Claimed, Credential, Store, StoreError};
use tokio::time::Instant;

/// A token that lapses sooner is refreshed although it still works: whoever loses the claim has something to use.
const REFRESH_AHEAD: SignedDuration = SignedDuration::from_mins(5);
/// How long a refresh is one caller's. The endpoint answers within a second; a holder that died is not waited for long.
const CLAIM: SignedDuration = SignedDuration::from_secs(10);
/// How long is waited for somebody else's refresh, and how often looked: a worker's time is paid for.
const WAIT_MAX: Duration = Duration::from_secs(3);
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// An access token and the version of the grant it came from.
#[derive(Clone)]
pub struct Access {
    /// Sent with every call.
    pub token: AccessToken,
    /// A refusal parks the mailbox only while the grant is still of this version.
    pub version: u64,
}

/// Which token will do.
#[derive(Clone, Copy)]
pub enum Need<'a> {
    /// One that works.
    Any,
    /// One that works, and not this one: Gmail has refused it.
    Another(&'a Access),
    /// One that was made since then, if it can be had.
    MadeSince(Timestamp),
}

/// No token, and why.
#[derive(Debug)]
pub struct Denied {
    /// What to do about it.
    pub failure: Failure,
    /// The version of the grant that was refused: it parks nothing newer.
    pub version: Option<u64>,
}

/// Where one mailbox's tokens come from.
#[derive(Clone, Copy)]
pub struct Tokens<'a> {
    /// Keeps them.
    pub store: &'a Store,
    /// Makes them.
    pub gmail: &'a GmailClient,
    /// Our registration at Google.
    pub client: &'a ClientCredentials,
    /// Whose they are.
    pub mailbox: &'a MailboxId,
}

impl Tokens<'_> {
    /// A token that will do. Waits a few seconds at the longest, and only for somebody else's refresh.
    pub async fn obtain(&self, need: Need<'_>, now: Timestamp) -> Result<Access, Denied> {
        let began = Instant::now();
        loop {
            let now = now.saturating_add(began.elapsed()).unwrap_or(now);
            let credential = self.read().await?;
            let version = credential.version;
            let stored =
                stored(&credential).filter(|token| token.is_usable(now) && need.takes(token, version));
            if let Some(token) = &stored
                && need.is_met(&credential, token, now)
            {
                return Ok(Access { token: token.clone(), version });
            }
            let claimed = self.store.claim_refresh(self.mailbox, &credential, now + CLAIM, now).await;
            let wait = match claimed.map_err(|error| failed(&error, Some(version)))? {
                Claimed::Ours(claim) => return self.refresh(&credential, &claim, stored, now).await,
                Claimed::Held(until) => until.duration_since(now),
                Claimed::Changed => SignedDuration::ZERO,
            };
            if let Some(token) = stored {
                return Ok(Access { token, version });
            }
            if began.elapsed() >= WAIT_MAX {
                let wait = Disposition::Wait(wait.max(SignedDuration::from_secs(1)));
                let failure = Failure::new(wait, "the access token is being refreshed");
                return Err(Denied { failure, version: Some(version) });
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    async fn read(&self) -> Result<Credential, Denied> {
        let read = self.store.read_credential(self.mailbox).await.map_err(|error| failed(&error, None))?;
        let Some(credential) = read else {
            let failure = Failure::new(Disposition::NeedsReauth, "the mailbox has no credential");
            return Err(Denied { failure, version: None });
        };
        if credential.refused_at.is_some() {
            return Err(Denied {
                failure: gone(credential.kind).failure(),
                version: Some(credential.version),
            });
        }
        Ok(credential)
    }

    /// Asks Google, as the only one. `stored` is what still works, should Google not answer.
    async fn refresh(
        &self,
        credential: &Credential,
        claim: &str,
        stored: Option<AccessToken>,
        now: Timestamp,
    ) -> Result<Access, Denied> {
        let version = credential.version;
        let error = match mint(self.gmail, self.client, credential, now).await {
            Ok(token) => {
                // A newer grant wins; whoever lost still holds a token that works.
                let saved = self
                    .store
                    .save_access_token(self.mailbox, credential, &token.token, token.expires_at, now)
                    .await;
                if let Err(error) = saved {
                    tracing::warn!(mailbox.id = %self.mailbox, %error, "a fresh access token could not be kept");
                }
                return Ok(Access { token, version });
            }
            Err(error) => error,
        };
        let noted = if error == gone(credential.kind) {
            self.store.refuse_credential(self.mailbox, version, now).await.map(drop)
        } else {
            self.store.release_refresh(self.mailbox, claim).await
        };
        if let Err(error) = noted {
            tracing::warn!(mailbox.id = %self.mailbox, %error, "a refused refresh could not be noted");
        }
        let failure = error.failure();
        match (stored, &failure.disposition) {
            // What still works outlives an outage of the token endpoint.
            (Some(token), Disposition::Retry(_)) => Ok(Access { token, version }),
            _ => Err(Denied { failure, version: Some(version) }),
        }
    }
}

impl Need<'_> {
    /// Whether a token that works may be used at all.
    fn takes(self, token: &AccessToken, version: u64) -> bool {
        match self {
            Self::Any | Self::MadeSince(_) => true,
            Self::Another(refused) => {
                refused.version != version || refused.token.expires_at < token.expires_at
            }
        }
    }

    /// Whether it makes a refresh needless.
    fn is_met(self, credential: &Credential, token: &AccessToken, now: Timestamp) -> bool {
        match self {
            Self::Any => token.expires_at.duration_since(now) > REFRESH_AHEAD,
            Self::Another(_) => true,
            Self::MadeSince(time) => credential.refreshed_at.is_some_and(|at| at >= time),
        }
    }
}

/// A fresh access token, kept nowhere.
pub async fn mint(
    gmail: &GmailClient,
    client: &ClientCredentials,
    credential: &Credential,
    now: Timestamp,
) -> Result<AccessToken, GmailError> {
    match credential.kind {
        CredentialKind::Oauth => gmail.refresh(&RefreshToken(credential.secret.clone()), client, now).await,
        CredentialKind::ServiceAccount => {
            let account = ServiceAccount::from_secret(&credential.secret);
            gmail.assert(&account.ok_or(GmailError::Unsendable)?, now).await
        }
    }
}

/// The stored access token, whether it works or not.
pub fn stored(credential: &Credential) -> Option<AccessToken> {
    let (token, expires_at) = (credential.access_token.clone()?, credential.expires_at?);
    Some(AccessToken { token, expires_at, scopes: None })
}

/// How Google says that a grant is gone for good.
fn gone(kind: CredentialKind) -> GmailError {
    match kind {
        CredentialKind::Oauth => GmailError::GrantRevoked,
        CredentialKind::ServiceAccount => GmailError::KeyRefused,
    }
}

fn failed(error: &StoreError, version: Option<u64>) -> Denied {
    Denied { failure: Failure::new(error.disposition(), error.to_string()), version }
}
