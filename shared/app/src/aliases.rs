//! The addresses that a mailbox's owner sends from: what tells mail that went out from mail that came in.
//!
//! Read when a mailbox is connected and about once a day. Deliberately absent: rows that are stored already. Their
//! direction is as it was known when they came.

use sync_core::{
    EmailAddress, Timestamp,
    state::{Aliases, Sync},
};
use sync_gmail::GmailError;

/// What an answer says of them. A grant that does not show them keeps those that are known, and is asked again in a day.
pub fn aliases_of(
    answer: Result<Vec<EmailAddress>, GmailError>,
    sync: &Sync,
    now: Timestamp,
) -> Result<Aliases, GmailError> {
    match answer {
        Ok(answered) => Ok(Aliases::read(answered, &sync.address, now)),
        Err(GmailError::InsufficientScope | GmailError::Forbidden { .. }) => {
            Ok(Aliases { read_at: Some(now), ..sync.aliases.clone() })
        }
        Err(error) => Err(error),
    }
}
