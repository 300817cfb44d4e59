//! Slices: a listing and the fetch list that it leaves, a batch at a time.
//!
//! A backfill lists and fetches; a comparison lists everything, compares, and fetches what is missing. A slice
//! drains a stretch of a fetch list and commits. Between slices the mailbox is read again, and a delta
//! runs as soon as somebody asks: new mail never waits behind old.

use jiff::{SignedDuration, Timestamp};

use crate::{
    ids::MessageId,
    job::JobStatus,
    message::{RowHead, RowState},
    state::{FetchList, Progress, Window, Work, WorkKind},
    sync::{
        batch::Batch,
        commit::{Happened, JobClose},
        commits::{After, closing_chunks},
        compare::{RowPage, resync_of},
        effect::{Effect, Seen},
        engine::{Engine, Held, Next, Step, earlier, unexpected},
        lister::{Taken, Then},
        settle::Wanted,
        threads::{Listed, order_by_thread, whole_threads},
        writes::{Known, chunks},
    },
};

/// What a slice waits for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Slice {
    LoadingListing,
    Listing,
    Present,
    Quiet(Taken),
    Total,
    Totals,
    LabelNames,
    Rebase,
    Keeping(String, Then),
    Scanning,
    ScanOwed(RowPage),
    /// How many messages are not stored, and how many there are.
    Saving(u64, u64),
    /// At most how many of the list are this slice.
    Loading(u32),
    Rows(Vec<Listed>),
    OwedOf(Vec<Listed>, Known),
    Fetch(u64, Batch),
}

/// What a fetch list holds: messages that are not stored, then ids of rows that a listing missed.
#[derive(Debug, Default, Clone, PartialEq, Eq, Hash)]
pub(super) struct FetchIds {
    pub missing: Vec<Listed>,
    pub vanished: Vec<MessageId>,
}

impl Engine {
    /// The next slice of the first continuation.
    pub(super) fn next_slice(&mut self, held: &mut Held, now: Timestamp) -> Next {
        let Some(work) = held.sync.progress.work.first() else {
            held.listing = None;
            // A request that found no place has one now.
            return if held.requests.is_empty() {
                self.probe_or_rest(held, now)
            } else {
                self.look(held, now)
            };
        };
        if self.must_end(held, now) {
            return self.continue_later(held, SignedDuration::ZERO, now);
        }
        match &work.list {
            None => self.list_on(held, now),
            Some(list) if list.position < list.total => {
                let until = if list.position < list.verify_from { list.verify_from } else { list.total };
                let rest = u32::try_from(until.min(list.total) - list.position).unwrap_or(u32::MAX);
                let fetched = u32::try_from(work.counts.fetched).unwrap_or(u32::MAX);
                // No more than was asked for now; the slice that reaches it answers the request.
                let asked = work.max_results.map_or(u32::MAX, |most| most.saturating_sub(fetched).max(1));
                let left = u32::try_from(self.left_to_fetch(held)).unwrap_or(u32::MAX);
                let limit = self.settings.slice.min(rest).min(asked).min(left);
                // One more shows whether the last thread goes on behind this slice.
                let ahead = u32::from(FetchList::is_by_thread(&list.key));
                let (key, position) = (list.key.clone(), list.position);
                (Step::Slice(Slice::Loading(limit)), Effect::LoadList { key, position, limit: limit + ahead })
            }
            Some(_) => self.list_drained(held, now),
        }
    }

    pub(super) fn slice_step(&mut self, held: &mut Held, slice: Slice, seen: Seen, now: Timestamp) -> Next {
        match (slice, seen) {
            (Slice::LoadingListing, Seen::Listing(listing)) => self.listing_loaded(held, listing, now),
            (Slice::Listing, Seen::Listed(page)) => self.listed(held, page, now),
            (Slice::Present, Seen::Profile(profile)) => self.round_ended(held, profile.history_id, now),
            (Slice::Quiet(taken), Seen::History(page)) => self.quiet_paged(held, taken, page, now),
            // The present that the listing began at is too old: a delta will find out what that means.
            (Slice::Quiet(_), Seen::HistoryExpired) => self.list_anew(held, After::Look, now),
            (Slice::Total, Seen::Profile(profile)) => {
                self.totalled(held, [(None, profile.messages_total)], now)
            }
            (Slice::Totals, Seen::LabelCounts(counts)) => {
                let totals = counts.into_iter().map(|(label, count)| (Some(label), count.unsigned_abs()));
                self.totalled(held, totals, now)
            }
            (Slice::LabelNames, Seen::LabelNames(names)) => self.labels_named(held, names, now),
            (Slice::Rebase, Seen::Profile(profile)) => {
                held.sync.progress.cursor = Some(profile.history_id);
                self.save_listed(held, now)
            }
            (Slice::Keeping(key, then), Seen::Done) => self.listing_kept(held, key, then, now),
            (Slice::Scanning, Seen::RowPage(rows, more)) => {
                let rows = held.current_rows(rows);
                self.scanned(held, RowPage { rows, more }, now)
            }
            (Slice::ScanOwed(page), Seen::Owed(owed)) => {
                let owed = held.current_owed(owed);
                self.compared(held, page, owed, now)
            }
            (Slice::Saving(missing, total), Seen::Done) => self.list_saved(held, missing, total, now),
            (slice, seen) => self.drain_step(held, slice, seen, now),
        }
    }

    fn drain_step(&mut self, held: &mut Held, slice: Slice, seen: Seen, now: Timestamp) -> Next {
        match (slice, seen) {
            (Slice::Loading(limit), Seen::ListSlice(messages)) if !messages.is_empty() => {
                let messages = whole_threads(messages, limit as usize);
                let effect = Effect::ReadRows(ids_of(&messages));
                (Step::Slice(Slice::Rows(messages)), effect)
            }
            // The object is gone or short: list again rather than take what is missing as done.
            (Slice::Loading(_), Seen::ListSlice(_)) => {
                let mut progress = held.sync.progress.clone();
                if let Some(work) = progress.work.first_mut() {
                    work.list = None;
                }
                progress.step += 1;
                self.commit(held, chunks(Vec::new()), progress, After::Slices, now)
            }
            (Slice::Rows(messages), Seen::Rows(rows)) => {
                let rows = held.current_rows(rows).into_iter().collect();
                let known = Known { rows, ..Known::default() };
                if owes_nothing(held) {
                    return self.slice_decided(held, &messages, known, now);
                }
                let effect = Effect::ReadOwedOf(ids_of(&messages));
                (Step::Slice(Slice::OwedOf(messages, known)), effect)
            }
            (Slice::OwedOf(messages, mut known), Seen::Owed(owed)) => {
                known.owed = held.current_owed(owed).into_iter().map(|owed| (owed.id, owed)).collect();
                self.slice_decided(held, &messages, known, now)
            }
            (Slice::Fetch(taken, batch), Seen::Fetched(fetched)) => {
                self.count_fetched(held, fetched.len());
                let answered = fetched.len() as u64;
                match batch.resolve(fetched, &self.context(held, now)) {
                    Err(failure) => self.fail(held, failure, now),
                    // Out of quota: what was got is kept, the position stays, nobody sleeps.
                    Ok(resolved) if !resolved.later.is_empty() => {
                        let release = self.release_for_later(held, resolved.wait, now);
                        self.commit_slice(held, 0, answered, resolved.batch, After::Release(release), now)
                    }
                    Ok(resolved) => {
                        self.commit_slice(held, taken, answered, resolved.batch, After::Slices, now)
                    }
                }
            }
            (_, seen) => self.fail(held, unexpected(&seen), now),
        }
    }

    // ---- the fetch list

    pub(super) fn save_list(&mut self, held: &mut Held, ids: FetchIds, now: Timestamp) -> Next {
        let FetchIds { missing: mut messages, vanished } = ids;
        let missing = messages.len() as u64;
        if held.sync.content.comes_by_thread() {
            order_by_thread(&mut messages);
        } else {
            // A list that does not name threads is half as long.
            for message in &mut messages {
                *message = Listed::alone(message.id);
            }
        }
        messages.extend(vanished.into_iter().map(Listed::alone));
        let total = messages.len() as u64;
        if total == 0 {
            return self.list_saved(held, missing, total, now);
        }
        let effect = Effect::SaveList { key: list_key(held), messages };
        (Step::Slice(Slice::Saving(missing, total)), effect)
    }

    fn list_saved(&mut self, held: &mut Held, verify_from: u64, total: u64, now: Timestamp) -> Next {
        let key = list_key(held);
        let mut progress = held.sync.progress.clone();
        if let Some(work) = progress.work.first_mut() {
            work.list = Some(FetchList { key, total, position: 0, verify_from });
            work.listing = None;
            work.counts.listed = work.counts.listed.max(total);
        }
        progress.step += 1;
        self.commit(held, chunks(Vec::new()), progress, After::Slices, now)
    }

    fn slice_decided(&mut self, held: &mut Held, messages: &[Listed], known: Known, now: Timestamp) -> Next {
        let baseline = resync_of(held).map(|(baseline, _)| baseline);
        let list = held.sync.progress.work.first().and_then(|work| work.list.as_ref());
        let verifies = list.is_some_and(|list| list.position >= list.verify_from);
        let is_wanted = |row: Option<&RowHead>| match row {
            None => !verifies,
            // Changed by a record meanwhile: it lives.
            Some(row) if verifies => row.is_live() && Some(row.history_id) <= baseline,
            // Buried by a record after the baseline: an older get would revive it.
            Some(row) if row.state == RowState::Deleted => Some(row.history_id) <= baseline,
            Some(row) => row.state == RowState::OutOfScope && baseline.is_some(),
        };
        let wanted: Vec<Wanted> = messages
            .iter()
            .filter(|one| !known.owed.contains_key(&one.id) && is_wanted(known.rows.get(&one.id)))
            .map(|one| Wanted::listed(*one))
            .collect();
        let taken = messages.len() as u64;
        let batch = Batch { known, wanted, ..Batch::default() };
        if batch.wanted.is_empty() {
            return self.commit_slice(held, taken, 0, batch, After::Slices, now);
        }
        let effect = batch.fetch(held.sync.content);
        (Step::Slice(Slice::Fetch(taken, batch)), effect)
    }

    fn commit_slice(
        &mut self,
        held: &mut Held,
        taken: u64,
        fetched: u64,
        batch: Batch,
        after: After,
        now: Timestamp,
    ) -> Next {
        let mut progress = held.sync.progress.clone();
        progress.owed_due_at = earlier(progress.owed_due_at, batch.owed_due_at);
        progress.step += 1;
        let mut pieces = chunks(batch.changes);
        if let Some(work) = progress.work.first_mut() {
            for piece in &pieces {
                work.counts.add(&piece.counts);
            }
            work.counts.fetched += fetched;
            if let Some(list) = &mut work.list {
                list.position += taken;
            }
            // So many were asked for now; the rest goes on without the request.
            if work.max_results.is_some_and(|max| work.counts.fetched >= u64::from(max)) {
                work.max_results = None;
                let closing: Vec<JobClose> =
                    work.request.take().map(|id| close(id, JobStatus::Partial, work)).into_iter().collect();
                pieces = closing_chunks(pieces, &closing);
            }
        }
        self.commit(held, pieces, progress, after, now)
    }

    /// A fetch list is drained: the next window, or the end of this continuation.
    fn list_drained(&mut self, held: &mut Held, now: Timestamp) -> Next {
        let mut progress = held.sync.progress.clone();
        progress.step += 1;
        let Some(work) = progress.work.first_mut() else { return self.rest(held, now) };
        if let WorkKind::Initial { window } = &work.kind
            && let Some(next) = self.window_after(held, window)
        {
            work.kind = WorkKind::Initial { window: next };
            work.list = None;
            return self.commit(held, chunks(Vec::new()), progress, After::Slices, now);
        }
        let done = progress.work.remove(0);
        if matches!(done.kind, WorkKind::Resync { .. }) {
            // Whether it put right what it was begun for.
            progress.probe.at = None;
        }
        self.finish_work(held, &done, progress, now)
    }

    fn finish_work(&mut self, held: &mut Held, done: &Work, progress: Progress, now: Timestamp) -> Next {
        let status = if held.sync.totals.debts > 0 { JobStatus::Partial } else { JobStatus::Success };
        let closing: Vec<JobClose> =
            done.request.clone().map(|id| close(id, status, done)).into_iter().collect();
        let mut pieces = closing_chunks(chunks(Vec::new()), &closing);
        // Old mail is not announced one by one.
        if !matches!(done.kind, WorkKind::Resync { .. })
            && let Some(piece) = pieces.last_mut()
        {
            piece.happened.push(Happened::BackfillCompleted { counts: done.counts.clone() });
        }
        self.commit(held, pieces, progress, After::Slices, now)
    }

    fn window_after(&self, held: &Held, window: &Window) -> Option<Window> {
        match (window, self.settings_of(held).initial_days) {
            (Window::Newest(_), days) if days > 0 && held.sync.content.may_search() => {
                Some(Window::Days(days))
            }
            (Window::Newest(_) | Window::Days(_), _) => Some(Window::All),
            (Window::All | Window::Between { .. } | Window::Contact { .. }, _) => None,
        }
    }
}

fn close(id: crate::ids::JobId, status: JobStatus, work: &Work) -> JobClose {
    JobClose { id, status, counts: work.counts.clone(), errors: Vec::new() }
}

pub(super) fn owes_nothing(held: &Held) -> bool {
    held.sync.totals.debts == 0 && held.sync.totals.waiting == 0
}

/// A new key for each generation and step: a fenced worker never writes over its successor's list.
fn list_key(held: &Held) -> String {
    let suffix = if held.sync.content.comes_by_thread() { FetchList::BY_THREAD } else { "" };
    format!("{}-{}{suffix}", held.sync.generation.0, held.sync.progress.step)
}

fn ids_of(messages: &[Listed]) -> Vec<MessageId> {
    messages.iter().map(|one| one.id).collect()
}
