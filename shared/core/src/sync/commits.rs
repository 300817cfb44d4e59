//! Chains of commits: each chunk one transaction, only the last moves the progress.

use std::collections::VecDeque;

use jiff::{SignedDuration, Timestamp};

use crate::{
    ids::MessageId,
    job::{Counts, JobError, JobStatus, Request},
    state::Progress,
    sync::{
        commit::{Commit, Event, JobClose},
        effect::{Committed, Effect, Outcome},
        ends::Release,
        engine::{Engine, Held, Next, Reread, Step, earlier, finish},
        guards::Guard,
        look::Page,
        writes::Chunk,
    },
};

/// A chain of commits and what comes after the last.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Committing {
    chunks: VecDeque<Chunk>,
    current: Chunk,
    progress: Progress,
    after: After,
}

/// What follows a chain of commits.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum After {
    /// The next page of history.
    NextPage(Page),
    /// History is read to its end.
    DeltaDone,
    /// What is owed and due, again.
    Owed,
    /// The next slice, after a look at `SYNC`.
    Slices,
    /// The next page of rows to compare with a listing, after this one.
    Compared(Option<MessageId>),
    /// Writing down what a comparison found missing.
    AllCompared,
    /// Start looking anew.
    Look,
    /// Nothing more in this run.
    Release(Release),
}

impl Engine {
    /// Applies chunks one after the other; only the last moves the progress.
    pub(super) fn commit(
        &mut self,
        held: &mut Held,
        chunks: Vec<Chunk>,
        progress: Progress,
        after: After,
        now: Timestamp,
    ) -> Next {
        let mut chunks: VecDeque<Chunk> = chunks.into();
        let current = chunks.pop_front().unwrap_or_default();
        self.commit_current(held, Box::new(Committing { chunks, current, progress, after }), now)
    }

    pub(super) fn commit_current(
        &mut self,
        held: &mut Held,
        committing: Box<Committing>,
        now: Timestamp,
    ) -> Next {
        let mut progress = committing.progress.clone();
        if !committing.chunks.is_empty() && self.settings.keeps(Guard::CursorAfterData) {
            // What is owed is due at once, whatever becomes of the chunks after this one.
            let owed_due_at = earlier(held.sync.progress.owed_due_at, progress.owed_due_at);
            progress = Progress { owed_due_at, ..held.sync.progress.clone() };
        }
        let (seq, current) = (held.sync.seq, &committing.current);
        let numbered = (seq + 1..).zip(&current.happened);
        let commit = Commit {
            mailbox: held.sync.mailbox.clone(),
            generation: held.sync.generation,
            after: held.sync.commit,
            rows: current.rows.clone(),
            owed: current.owed.clone(),
            closed: current.closed.clone(),
            progress,
            totals: current.totals,
            labels: current.labels.clone(),
            seq,
            events: numbered.map(|(seq, what)| Event { seq, what: what.clone() }).collect(),
            now,
        };
        (Step::Committing(committing), Effect::Commit(Box::new(commit)))
    }

    pub(super) fn committed(
        &mut self,
        held: &mut Held,
        mut done: Box<Committing>,
        committed: &Committed,
        now: Timestamp,
    ) -> Next {
        match committed {
            Committed::Fenced => return finish(Outcome::Fenced),
            // Rows are read again too: the decision was about rows that may have changed.
            Committed::Conflict => return (Step::Rereading(Reread::Look), Effect::ReadSync),
            Committed::Applied => {}
        }
        held.sync.commit += 1;
        held.sync.seq += done.current.happened.len() as u64;
        held.sync.totals.add(&done.current.totals);
        self.counts.add(&done.current.counts);
        held.look_counts.add(&done.current.counts);
        let closed = std::mem::take(&mut done.current.closed);
        held.requests.retain(|request| closed.iter().all(|close| close.id != request.id));
        if let Some(next) = done.chunks.pop_front() {
            held.sync.progress.owed_due_at =
                earlier(held.sync.progress.owed_due_at, done.progress.owed_due_at);
            done.current = next;
            return self.commit_current(held, done, now);
        }
        held.sync.progress = done.progress;
        match done.after {
            After::NextPage(page) => self.next_page(held, page, now),
            After::DeltaDone => self.delta_done(held, now),
            After::Owed => self.owed(held, now),
            After::Slices => self.between_slices(held, now),
            After::Compared(last) => {
                if let Some(listing) = &mut held.listing {
                    listing.after = last;
                }
                self.glance(held, now)
            }
            After::AllCompared => self.all_compared(held, now),
            After::Look => self.look(held, now),
            After::Release(release) => self.hand_over(held, release),
        }
    }

    pub(super) fn between_slices(&mut self, held: &mut Held, now: Timestamp) -> Next {
        if self.must_end(held, now) {
            return self.continue_later(held, SignedDuration::ZERO, now);
        }
        (Step::Rereading(Reread::Slices), Effect::ReadSync)
    }
}

/// How these requests end.
pub(super) fn closings(
    requests: &[Request],
    status: JobStatus,
    counts: &Counts,
    errors: &[JobError],
) -> Vec<JobClose> {
    let close = |request: &Request| JobClose {
        id: request.id.clone(),
        status,
        counts: counts.clone(),
        errors: errors.to_vec(),
    };
    requests.iter().map(close).collect()
}

/// Puts closings into the last chunk, and into as many more as they need.
pub(super) fn closing_chunks(mut chunks: Vec<Chunk>, closing: &[JobClose]) -> Vec<Chunk> {
    for (index, closes) in closing.chunks(Commit::CLOSED_MAX).enumerate() {
        match chunks.last_mut() {
            Some(last) if index == 0 => last.closed = closes.to_vec(),
            _ => chunks.push(Chunk { closed: closes.to_vec(), ..Chunk::default() }),
        }
    }
    if chunks.is_empty() {
        chunks.push(Chunk::default());
    }
    chunks
}
