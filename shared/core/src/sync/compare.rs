//! Comparing a complete listing with the rows, both in the order of their ids.
//!
//! A listing alone buries nothing and overrules no delta: what it misses gets a get, and a row that a delta has
//! changed since the baseline keeps the labels that the delta changed.

use jiff::Timestamp;

use crate::{
    failure::{Disposition, Failure},
    ids::{HistoryId, MessageId},
    message::{RowHead, RowState, Touched},
    owed::Owed,
    state::WorkKind,
    sync::{
        batch::Batch,
        commit::RowWrite,
        commits::After,
        effect::Effect,
        engine::{Engine, Held, Next, Step, earlier},
        guards::Guard,
        listing::Listing,
        look::defect,
        settle::{Context, keep_touched},
        slices::{FetchIds, Slice, owes_nothing},
        writes::{Told, chunks},
    },
};

/// A page of rows to be compared.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct RowPage {
    pub rows: Vec<(MessageId, RowHead)>,
    pub more: bool,
}

impl Engine {
    pub(super) fn scanned(&mut self, held: &mut Held, page: RowPage, now: Timestamp) -> Next {
        if owes_nothing(held) {
            return self.compared(held, page, Vec::new(), now);
        }
        let ids = page.rows.iter().map(|(id, _)| *id).collect();
        (Step::Slice(Slice::ScanOwed(page)), Effect::ReadOwedOf(ids))
    }

    pub(super) fn compared(
        &mut self,
        held: &mut Held,
        page: RowPage,
        owed: Vec<Owed>,
        now: Timestamp,
    ) -> Next {
        let Some((baseline, _)) = resync_of(held) else {
            return self.fail(held, defect("not a comparison"), now);
        };
        let context = self.context(held, now);
        let Some(listing) = &mut held.listing else { return self.fail(held, defect("no listing"), now) };
        let mut batch = Batch::default();
        batch.known.owed = owed.into_iter().map(|owed| (owed.id, owed)).collect();
        let last = page.rows.last().map(|(id, _)| *id);
        let until = last.filter(|_| page.more);
        listing.find_missing(&page.rows, until, &context);
        for (id, row) in page.rows {
            batch.known.rows.insert(id, row.clone());
            // What is owed gets its get anyway, with everything that was seen of it.
            if batch.known.owed.contains_key(&id) {
                correct_outside(listing, id, &row, baseline, &mut batch);
            } else {
                compare_row(listing, id, &row, baseline, &mut batch, &context);
            }
        }
        let mut progress = held.sync.progress.clone();
        progress.owed_due_at = earlier(progress.owed_due_at, batch.owed_due_at);
        let pieces = chunks(batch.changes);
        if let Some(work) = progress.work.first_mut() {
            for piece in &pieces {
                work.counts.add(&piece.counts);
            }
        }
        let after = if page.more { After::Compared(last) } else { After::AllCompared };
        self.commit(held, pieces, progress, after, now)
    }

    /// Every row is compared: what is missing is fetched, what has vanished is verified, unless it is too much.
    pub(super) fn all_compared(&mut self, held: &mut Held, now: Timestamp) -> Next {
        let (Some((_, accepts)), Some(mut listing)) = (resync_of(held), held.listing.take()) else {
            return self.fail(held, defect("not a comparison"), now);
        };
        // Message ids grow with time: newest first. A page may have been compared twice.
        listing.missing.sort_unstable_by(|one, other| other.cmp(one));
        listing.missing.dedup_by_key(|one| one.id);
        listing.vanished.sort_unstable_by(|one, other| other.cmp(one));
        listing.vanished.dedup();
        let stored = u64::try_from(held.sync.totals.messages).unwrap_or(0);
        let vanished = listing.vanished.len() as u64;
        let guard = self.settings_of(held);
        let share = stored * u64::from(guard.guard_percent) / 100;
        if vanished > share && vanished > guard.guard_messages && !accepts {
            let message = format!(
                "{vanished} of {stored} stored messages are not in Gmail any more: nothing was deleted; accept it with a full sync and accept_deletions"
            );
            return self.park_work(held, Failure::new(Disposition::NeedsAttention, message), now);
        }
        let Listing { missing, vanished, .. } = *listing;
        self.save_list(held, FetchIds { missing, vanished }, now)
    }
}

/// The comparison under way: its baseline, and whether deletions beyond the guard are meant.
pub(super) fn resync_of(held: &Held) -> Option<(HistoryId, bool)> {
    match held.sync.progress.work.first()?.kind {
        WorkKind::Resync { baseline, accept_deletions, .. } => Some((baseline, accept_deletions)),
        WorkKind::Initial { .. } | WorkKind::Backfill { .. } => None,
    }
}

impl Listing {
    /// Listed between the last page of rows and the end of this one, and not stored.
    fn find_missing(&mut self, rows: &[(MessageId, RowHead)], until: Option<MessageId>, context: &Context) {
        let up_to = |last: MessageId| self.messages.partition_point(|one| one.id <= last);
        let from = self.after.map_or(0, up_to);
        let to = until.map_or(self.messages.len(), up_to);
        for rank in from..to {
            let Some(message) = self.messages.get(rank).copied() else { break };
            let stored = rows.binary_search_by_key(&message.id, |(stored, _)| *stored).is_ok();
            if !stored && (context.scope.is_everything() || context.scope.holds(&self.labels_at(rank))) {
                self.missing.push(message);
            }
        }
    }
}

/// The get of a message that enters the scope builds on what its row says of it, so that must be exact. Its id
/// stays: the get shows the message's own, which may be below the baseline.
fn correct_outside(listing: &Listing, id: MessageId, row: &RowHead, baseline: HistoryId, batch: &mut Batch) {
    let Ok(rank) = listing.rank(id) else { return };
    if row.state == RowState::OutOfScope {
        let labels = Some(keep_touched(listing.labels_at(rank), row, baseline));
        let (state, history_id, touched) = (row.state, row.history_id, row.touched.clone());
        let tombstone = RowWrite::Tombstone { id, state, history_id, labels, touched };
        batch.change(id, Some(tombstone), None, Told::Updated);
    }
}

fn compare_row(
    listing: &mut Listing,
    id: MessageId,
    row: &RowHead,
    baseline: HistoryId,
    batch: &mut Batch,
    context: &Context,
) {
    let settings = &context.settings;
    let is_above = row.history_id > baseline;
    let Ok(rank) = listing.rank(id) else {
        // A listing alone proves nothing: pages shift while mail moves. A get decides, twice.
        if row.is_live() && !is_above {
            if settings.keeps(Guard::VerifyVanished) && settings.keeps(Guard::CompleteListing) {
                listing.vanished.push(id);
            } else {
                let (state, history_id) = (RowState::Deleted, row.history_id);
                let tombstone =
                    RowWrite::Tombstone { id, state, history_id, labels: None, touched: Touched::new() };
                batch.change(id, Some(tombstone), None, Told::Updated);
            }
        }
        return;
    };
    // A row that a delta has changed since keeps what the delta changed; the rest follows the listing.
    let is_newer = is_above && settings.keeps(Guard::CorrectBelowBaseline);
    let listed = listing.labels_at(rank);
    let labels = if is_newer { keep_touched(listed, row, baseline) } else { listed };
    let history_id = if is_newer { row.history_id } else { baseline };
    let is_inside = context.scope.holds(&labels);
    match row.state {
        // Buried by a record after the baseline: the listing is older.
        RowState::Deleted if is_above => {}
        RowState::Deleted | RowState::OutOfScope if is_inside => {
            listing.missing.extend(listing.messages.get(rank).copied());
        }
        // Nothing revives it: it is gone for good, outside, or accepted as lost.
        RowState::Deleted | RowState::Accepted => {}
        RowState::OutOfScope | RowState::Live if !is_inside => {
            // Its id stays: the get that brings it back shows the message's own, which may be below the baseline.
            let (state, history_id) = (RowState::OutOfScope, row.history_id);
            let touched = context.touched(&row.touched, []);
            let tombstone = RowWrite::Tombstone { id, state, history_id, labels: Some(labels), touched };
            batch.change(id, Some(tombstone), None, Told::Updated);
        }
        RowState::OutOfScope | RowState::Live => {
            let is_news = !row.announced && row.history_id > context.first_cursor;
            if labels == row.labels && !is_news {
                return;
            }
            let touched = context.touched(&row.touched, []);
            let write = RowWrite::Labels { id, labels, history_id, announced: true, touched };
            let told = if is_news { Told::Created } else { Told::Updated };
            batch.change(id, Some(write), None, told);
        }
    }
}
