//! Messages on their way from "wanted" to a commit: fetched together, settled one by one.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use crate::{
    failure::Failure,
    ids::MessageId,
    owed::{Owed, OwedReason},
    state::Content,
    sync::{
        commit::{OwedWrite, RowWrite},
        effect::{Effect, Fetched},
        engine::earlier,
        guards::Guard,
        settle::{Context, Settled, Wanted, settle},
        writes::{Change, Known, Told},
    },
};

/// What is to be fetched, and what was decided without a get.
#[derive(Debug, Default, Clone, PartialEq, Eq, Hash)]
pub(super) struct Batch {
    pub known: Known,
    pub changes: Vec<Change>,
    pub wanted: Vec<Wanted>,
    /// Earliest time at which one of the changes makes something due.
    pub owed_due_at: Option<Timestamp>,
}

/// A batch whose answers are in.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Resolved {
    pub batch: Batch,
    /// Not answered for lack of quota or because Gmail is down.
    pub later: Vec<Wanted>,
    pub wait: SignedDuration,
}

/// A message without an answer is asked for again this soon.
const MISSING_RETRY: SignedDuration = SignedDuration::from_secs(1);

impl Batch {
    pub fn fetch(&self, content: Content) -> Effect {
        Effect::Fetch { content, messages: self.wanted.iter().map(Wanted::message).collect() }
    }

    /// Remembers that a message is owed.
    pub fn owe(&mut self, owed: Owed) {
        self.change(owed.id, None, Some(OwedWrite::Put(owed)), Told::Updated);
    }

    /// Remembers a change.
    pub fn change(&mut self, id: MessageId, row: Option<RowWrite>, owed: Option<OwedWrite>, told: Told) {
        self.add(Change::new(id, row, owed, &self.known, told));
    }

    /// Remembers a change that is decided already.
    pub fn add(&mut self, change: Change) {
        self.owed_due_at = earlier(self.owed_due_at, change.owed_due_at());
        self.changes.push(change);
    }

    /// Remembers that a message waits its turn.
    pub fn wait(&mut self, wanted: &Wanted, due_at: Timestamp, context: &Context) {
        // What is a debt already stays one, with its reason and its tries.
        let (reason, tries) = match &wanted.owed {
            Some(owed) => (owed.reason.clone(), owed.tries),
            None => (OwedReason::Waiting, 0),
        };
        // No answer is no news of a message that is missing.
        let missing_since = wanted.owed.as_ref().and_then(|owed| owed.missing_since);
        self.owe(Owed { missing_since, ..wanted.owed(reason, tries, Some(due_at), context) });
    }

    /// Settles every wanted message. An answer that is missing counts as not given, never as done.
    pub fn resolve(
        mut self,
        fetched: Vec<(MessageId, Fetched)>,
        context: &Context,
    ) -> Result<Resolved, Failure> {
        let mut answers: BTreeMap<MessageId, Fetched> = fetched.into_iter().collect();
        let mut later = Vec::new();
        let mut wait = SignedDuration::ZERO;
        for wanted in std::mem::take(&mut self.wanted) {
            let id = wanted.id;
            let settled = match answers.remove(&id) {
                Some(answer) => settle(&wanted, self.known.rows.get(&id), answer, context),
                None if !context.settings.keeps(Guard::OweUnanswered) => {
                    Settled::Write(None, Some(OwedWrite::Clear(id)), Told::Updated)
                }
                None => Settled::Later(MISSING_RETRY),
            };
            match settled {
                Settled::Park(failure) => return Err(failure),
                Settled::Later(after) => {
                    wait = wait.max(after);
                    later.push(wanted);
                }
                Settled::Write(row, owed, told) => {
                    self.change(id, row, owed, told);
                }
            }
        }
        Ok(Resolved { batch: self, later, wait })
    }
}

impl Resolved {
    /// The batch, with what was not answered remembered as owed.
    pub fn with_later_owed(mut self, context: &Context) -> Batch {
        for wanted in &self.later {
            self.batch.wait(wanted, context.now + self.wait, context);
        }
        self.batch
    }
}
