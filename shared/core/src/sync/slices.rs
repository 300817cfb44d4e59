//! Slices: one listing, and the fetch list that it leaves, a batch at a time.
//!
//! The first copy lists its windows one after the other; a resync lists all ids and every label's ids
//! and compares. Both leave a fetch list; a slice drains a stretch of it and commits. Between slices the
//! mailbox is read again, and a delta runs as soon as somebody asks: new mail never waits behind old.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};

use crate::{
    ids::{HistoryId, MessageId},
    job::JobStatus,
    message::{Labels, RowHead},
    owed::{Owed, OwedReason},
    state::{FetchList, Window, Work, WorkKind},
    sync::{
        batch::Batch,
        commit::{JobClose, RowWrite},
        commits::{After, closing_chunks},
        effect::{Effect, ListPage, Seen},
        engine::{Engine, Held, Next, Step, earlier, unexpected},
        look::defect,
        settle::Wanted,
        writes::{Change, Known, chunks},
    },
};

/// What a slice waits for.
#[derive(Debug)]
pub(super) enum Slice {
    Listing(Listing),
    LabelNames(Listing),
    Scanning(Compare),
    ScanOwed(Compare, Vec<(MessageId, RowHead)>, bool),
    Saving(Vec<MessageId>),
    Loading,
    Rows(Vec<MessageId>),
    OwedOf(Vec<MessageId>, Known),
    Fetch(u64, Batch),
}

/// A listing under way: everything, then label by label.
#[derive(Debug, Default)]
pub(super) struct Listing {
    /// In the order of the listing, newest first.
    ids: Vec<MessageId>,
    /// Labels still to be listed, the one being listed last.
    names: Vec<String>,
    /// Members of each label, sorted.
    members: Vec<(String, Vec<MessageId>)>,
    label: Option<String>,
}

/// A complete listing being compared with the rows, both in the order of their ids.
#[derive(Debug)]
pub(super) struct Compare {
    baseline: HistoryId,
    listed: Vec<MessageId>,
    at: usize,
    members: Vec<(String, Vec<MessageId>)>,
    missing: Vec<MessageId>,
    after: Option<MessageId>,
}

impl Engine {
    /// The next slice of the first continuation.
    pub(super) fn next_slice(&mut self, held: &mut Held, now: Timestamp) -> Next {
        let Some(work) = held.sync.progress.work.first() else {
            // A request that found no place has one now.
            return if held.requests.is_empty() { self.rest(held, now) } else { self.look(held, now) };
        };
        if self.must_end(now) {
            return self.continue_later(held, SignedDuration::ZERO, now);
        }
        match &work.list {
            None => list_from(work, Listing::default(), None),
            Some(list) if list.position < list.total => {
                let effect = Effect::LoadList {
                    key: list.key.clone(),
                    position: list.position,
                    limit: self.settings.slice,
                };
                (Step::Slice(Slice::Loading), effect)
            }
            Some(_) => self.list_drained(held, now),
        }
    }

    pub(super) fn slice_step(&mut self, held: &mut Held, slice: Slice, seen: Seen, now: Timestamp) -> Next {
        match (slice, seen) {
            (Slice::Listing(listing), Seen::Listed(page)) => self.listed(held, listing, page, now),
            (Slice::LabelNames(mut listing), Seen::LabelNames(names)) => {
                listing.names = names;
                self.next_label(held, listing, now)
            }
            (Slice::Scanning(compare), Seen::RowPage(rows, more)) if owes_nothing(held) => {
                self.compared(held, compare, rows, Vec::new(), more, now)
            }
            (Slice::Scanning(compare), Seen::RowPage(rows, more)) => {
                let ids = rows.iter().map(|(id, _)| *id).collect();
                (Step::Slice(Slice::ScanOwed(compare, rows, more)), Effect::ReadOwedOf(ids))
            }
            (Slice::ScanOwed(compare, rows, more), Seen::Owed(owed)) => {
                self.compared(held, compare, rows, owed, more, now)
            }
            (Slice::Saving(ids), Seen::Done) => self.list_saved(held, &ids, now),
            (Slice::Loading, Seen::ListSlice(ids)) if !ids.is_empty() => {
                (Step::Slice(Slice::Rows(ids.clone())), Effect::ReadRows(ids))
            }
            // The object is gone or short: list again rather than take what is missing as done.
            (Slice::Loading, Seen::ListSlice(_)) => {
                let mut progress = held.sync.progress.clone();
                if let Some(work) = progress.work.first_mut() {
                    work.list = None;
                }
                progress.step += 1;
                self.commit(held, chunks(Vec::new()), progress, After::Slices, now)
            }
            (Slice::Rows(ids), Seen::Rows(rows)) => {
                let known = Known { rows: rows.into_iter().collect(), ..Known::default() };
                if owes_nothing(held) {
                    return self.slice_decided(held, &ids, known, now);
                }
                (Step::Slice(Slice::OwedOf(ids.clone(), known)), Effect::ReadOwedOf(ids))
            }
            (Slice::OwedOf(ids, mut known), Seen::Owed(owed)) => {
                known.owed = owed.into_iter().map(|owed| (owed.id, owed)).collect();
                self.slice_decided(held, &ids, known, now)
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

    // ---- listing

    fn listed(&mut self, held: &mut Held, mut listing: Listing, page: ListPage, now: Timestamp) -> Next {
        let Some(work) = held.sync.progress.work.first() else {
            return self.fail(held, defect("no work"), now);
        };
        match (&listing.label, listing.members.last_mut()) {
            (Some(_), Some((_, members))) => members.extend(page.ids),
            _ => listing.ids.extend(page.ids),
        }
        let newest_only = matches!(work.kind, WorkKind::Initial { window: Window::Newest(_) });
        if let Some(token) = page.next_page_token.filter(|_| !newest_only) {
            return list_from(work, listing, Some(token));
        }
        match work.kind {
            WorkKind::Initial { .. } => {
                let mut seen = BTreeSet::new();
                listing.ids.retain(|id| seen.insert(*id));
                self.save_list(held, listing.ids, now)
            }
            WorkKind::Resync { .. } if listing.label.is_none() => {
                (Step::Slice(Slice::LabelNames(listing)), Effect::ListLabels)
            }
            WorkKind::Resync { .. } => self.next_label(held, listing, now),
        }
    }

    fn next_label(&mut self, held: &mut Held, mut listing: Listing, now: Timestamp) -> Next {
        let Some(work) = held.sync.progress.work.first() else {
            return self.fail(held, defect("no work"), now);
        };
        if let Some(name) = listing.names.pop() {
            listing.members.push((name.clone(), Vec::new()));
            listing.label = Some(name);
            return list_from(work, listing, None);
        }
        let WorkKind::Resync { baseline } = work.kind else {
            return self.fail(held, defect("not a resync"), now);
        };
        for (_, members) in &mut listing.members {
            members.sort_unstable();
        }
        listing.ids.sort_unstable();
        listing.ids.dedup();
        self.count_listed(held, listing.ids.len());
        if let Some(work) = held.sync.progress.work.first_mut() {
            work.counts.listed = listing.ids.len() as u64;
        }
        let compare = Compare {
            baseline,
            listed: listing.ids,
            at: 0,
            members: listing.members,
            missing: Vec::new(),
            after: None,
        };
        (Step::Slice(Slice::Scanning(compare)), Effect::ScanRows { after: None })
    }

    /// Compares one page of rows with the listing, both in the order of their ids.
    fn compared(
        &mut self,
        held: &mut Held,
        mut compare: Compare,
        rows: Vec<(MessageId, RowHead)>,
        owed: Vec<Owed>,
        more: bool,
        now: Timestamp,
    ) -> Next {
        let mut batch = Batch::default();
        batch.known.owed = owed.into_iter().map(|owed| (owed.id, owed)).collect();
        for (id, row) in rows {
            compare.after = Some(id);
            let listed = compare.advance_to(id);
            batch.known.rows.insert(id, row.clone());
            compare.correct(id, &row, listed, &mut batch, now);
        }
        if more {
            return self.commit_compared(held, batch, After::Compare(compare), now);
        }
        let rest = compare.listed.split_off(compare.at.min(compare.listed.len()));
        compare.missing.extend(rest);
        // Message ids grow with time: newest first.
        compare.missing.sort_unstable_by(|one, other| other.cmp(one));
        self.commit_compared(held, batch, After::SaveList(compare.missing), now)
    }

    fn commit_compared(&mut self, held: &mut Held, batch: Batch, after: After, now: Timestamp) -> Next {
        let mut progress = held.sync.progress.clone();
        progress.owed_due_at = earlier(progress.owed_due_at, batch.owed_due_at);
        self.commit(held, chunks(batch.changes), progress, after, now)
    }

    /// The next page of rows to compare.
    pub(super) fn scan_on(compare: Compare) -> Next {
        let after = compare.after;
        (Step::Slice(Slice::Scanning(compare)), Effect::ScanRows { after })
    }

    // ---- the fetch list

    pub(super) fn save_list(&mut self, held: &mut Held, ids: Vec<MessageId>, now: Timestamp) -> Next {
        if ids.is_empty() {
            return self.list_saved(held, &ids, now);
        }
        let key = list_key(held);
        let effect = Effect::SaveList { key, ids: ids.clone() };
        (Step::Slice(Slice::Saving(ids)), effect)
    }

    fn list_saved(&mut self, held: &mut Held, ids: &[MessageId], now: Timestamp) -> Next {
        let key = list_key(held);
        let mut progress = held.sync.progress.clone();
        if let Some(work) = progress.work.first_mut() {
            work.list = Some(FetchList { key, total: ids.len() as u64, position: 0 });
            work.counts.listed = work.counts.listed.max(ids.len() as u64);
        }
        progress.step += 1;
        self.commit(held, chunks(Vec::new()), progress, After::Slices, now)
    }

    fn slice_decided(&mut self, held: &mut Held, ids: &[MessageId], known: Known, now: Timestamp) -> Next {
        let revive =
            matches!(held.sync.progress.work.first().map(|work| work.kind), Some(WorkKind::Resync { .. }));
        let wanted: Vec<Wanted> = ids
            .iter()
            .filter(|id| !known.owed.contains_key(id))
            .filter(|id| known.rows.get(id).is_none_or(|row| row.deleted && revive))
            .map(|id| Wanted::listed(*id))
            .collect();
        let taken = ids.len() as u64;
        let batch = Batch { known, wanted, ..Batch::default() };
        if batch.wanted.is_empty() {
            return self.commit_slice(held, taken, 0, batch, After::Slices, now);
        }
        let effect = batch.fetch();
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
        let pieces = chunks(batch.changes);
        if let Some(work) = progress.work.first_mut() {
            for piece in &pieces {
                work.counts.add(&piece.counts);
            }
            work.counts.fetched += fetched;
            if let Some(list) = &mut work.list {
                list.position += taken;
            }
        }
        self.commit(held, pieces, progress, after, now)
    }

    /// A fetch list is drained: the next window, or the end of this continuation.
    fn list_drained(&mut self, held: &mut Held, now: Timestamp) -> Next {
        let mut progress = held.sync.progress.clone();
        progress.step += 1;
        let Some(work) = progress.work.first_mut() else { return self.rest(held, now) };
        if let WorkKind::Initial { window } = work.kind
            && let Some(next) = self.window_after(window)
        {
            work.kind = WorkKind::Initial { window: next };
            work.list = None;
            return self.commit(held, chunks(Vec::new()), progress, After::Slices, now);
        }
        let done = progress.work.remove(0);
        let status = if held.sync.totals.debts > 0 { JobStatus::Partial } else { JobStatus::Success };
        let close = |id| JobClose { id, status, counts: done.counts.clone(), errors: Vec::new() };
        let closing: Vec<JobClose> = done.request.map(close).into_iter().collect();
        let pieces = closing_chunks(chunks(Vec::new()), &closing);
        self.commit(held, pieces, progress, After::Slices, now)
    }

    fn window_after(&self, window: Window) -> Option<Window> {
        match (window, self.settings.initial_days) {
            (Window::Newest(_), days) if days > 0 => Some(Window::Days(days)),
            (Window::Newest(_) | Window::Days(_), _) => Some(Window::All),
            (Window::All, _) => None,
        }
    }
}

pub(super) fn owes_nothing(held: &Held) -> bool {
    held.sync.totals.debts == 0 && held.sync.totals.waiting == 0
}

fn list_from(work: &Work, listing: Listing, page_token: Option<String>) -> Next {
    let window = match work.kind {
        WorkKind::Initial { window } => window,
        WorkKind::Resync { .. } => Window::All,
    };
    let effect = Effect::ListMessages { window, label: listing.label.clone(), page_token };
    (Step::Slice(Slice::Listing(listing)), effect)
}

/// A new key for each generation and step: a fenced worker never writes over its successor's list.
fn list_key(held: &Held) -> String {
    format!("{}-{}", held.sync.generation.0, held.sync.progress.step)
}

impl Compare {
    /// Moves through the listing up to this row; what lies before it is not stored. Says whether the row is listed.
    fn advance_to(&mut self, id: MessageId) -> bool {
        while let Some(listed) = self.listed.get(self.at).copied() {
            if listed > id {
                return false;
            }
            self.at += 1;
            if listed == id {
                return true;
            }
            self.missing.push(listed);
        }
        false
    }

    fn labels_of(&self, id: MessageId) -> Labels {
        let holds = |(name, members): &(String, Vec<MessageId>)| {
            members.binary_search(&id).is_ok().then(|| name.clone())
        };
        self.members.iter().filter_map(holds).collect()
    }

    fn correct(&mut self, id: MessageId, row: &RowHead, listed: bool, batch: &mut Batch, now: Timestamp) {
        // What is owed gets its get anyway, with everything that was seen of it.
        if batch.known.owed.contains_key(&id) {
            return;
        }
        let owe = |reason, at_least| Owed {
            id,
            reason,
            at_least,
            label_changes: Vec::new(),
            tries: 0,
            since: now,
            missing_since: None,
            due_at: now,
        };
        if !listed {
            // A listing alone proves nothing: pages shift while mail moves. A get decides, twice.
            if !row.deleted && row.history_id <= self.baseline {
                batch.owe(owe(OwedReason::Vanished, HistoryId(0)));
            }
            return;
        }
        if row.deleted {
            self.missing.push(id);
            return;
        }
        let labels = self.labels_of(id);
        if labels == row.labels {
            return;
        }
        if row.history_id > self.baseline {
            // A delta has changed the row since: which of the labels it did is known to Gmail alone.
            batch.owe(owe(OwedReason::Waiting, row.history_id));
            return;
        }
        let write = RowWrite::Labels { id, labels, history_id: self.baseline };
        let change = Change::new(id, Some(write), None, &batch.known);
        batch.changes.push(change);
    }
}
