//! One classification of failures, one table. Callers ask what to do, not what happened.

use jiff::SignedDuration;

/// What to do about a failure.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Disposition {
    /// Try again, not before this: something failed.
    Retry(SignedDuration),
    /// Nothing failed: what may be spent is spent. Go on after this.
    Wait(SignedDuration),
    /// This message cannot be had now: it is owed, with the reason.
    Debt,
    /// The grant is gone; nothing works until the owner signs in again.
    NeedsReauth,
    /// Somebody must look: the mailbox is parked.
    NeedsAttention,
    /// Our own mistake: parked like a debt, and an alarm.
    Defect,
}

/// A failure that a decision is to be taken about.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Failure {
    /// What to do.
    pub disposition: Disposition,
    /// One sentence for the status page and the log; no address, subject or token.
    pub message: String,
}

impl Failure {
    /// A failure with its sentence.
    pub fn new(disposition: Disposition, message: impl Into<String>) -> Self {
        Self { disposition, message: message.into() }
    }
}
