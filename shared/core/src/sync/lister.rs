//! Making a listing: page by page, round by round, until nothing was taken out of it meanwhile.
//!
//! Between pages the mailbox is looked at again, so that new mail never waits behind a long listing; the
//! listing stays with the run. What ends the run early keeps it as an object, and the next run goes on.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};

use crate::{
    failure::{Disposition, Failure},
    ids::HistoryId,
    state::{Window, Work, WorkKind},
    sync::{
        commits::After,
        effect::{Effect, HistoryPage, ListPage, RecordChange},
        engine::{Engine, Held, Next, Reread, Step},
        guards::Guard,
        listing::{Key, Listing, Stage, TRIES_MAX},
        look::defect,
        slices::{FetchIds, Slice},
        threads::Listed,
        writes::chunks,
    },
};

/// What history says was taken out of a listing while it was made.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Taken {
    /// The mailbox's present after the round: history that does not reach it proves nothing.
    present: HistoryId,
    page_token: Option<String>,
    first: Option<HistoryId>,
    deleted: bool,
    removed: BTreeSet<String>,
}

/// What follows when a listing has been kept.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Then {
    Fail(Failure),
    Later(SignedDuration),
}

/// How soon an index that is behind is asked again whether a round was quiet.
const INDEX_WAIT: SignedDuration = SignedDuration::from_secs(2);
/// How soon a listing that was never quiet, and whose totals say that it misses something, is made again.
const RELIST_WAIT: SignedDuration = SignedDuration::from_mins(5);

impl Engine {
    /// The next page of the first continuation's listing.
    pub(super) fn list_on(&mut self, held: &mut Held, now: Timestamp) -> Next {
        let cursor = held.sync.progress.cursor.unwrap_or(HistoryId(0));
        let Some(work) = held.sync.progress.work.first() else {
            return self.fail(held, defect("no work"), now);
        };
        let listing = match (&mut held.listing, &work.listing) {
            (Some(listing), _) => listing,
            (None, Some(key)) => {
                return (Step::Slice(Slice::LoadingListing), Effect::LoadListing { key: key.clone() });
            }
            (none, None) => {
                none.insert(Box::new(Listing::begin(keys_of(work, held.sync.scope.include.iter()), cursor)))
            }
        };
        if listing.stage == Stage::Compare {
            let after = listing.after;
            return (Step::Slice(Slice::Scanning), Effect::ScanRows { after });
        }
        match listing.key() {
            Some(label) => {
                let (label, page_token) = (label.clone(), listing.page_token.clone());
                let effect = Effect::ListMessages { window: window_of(work), label, page_token };
                (Step::Slice(Slice::Listing), effect)
            }
            None => self.round_done(held, now),
        }
    }

    pub(super) fn listing_loaded(
        &mut self,
        held: &mut Held,
        listing: Option<Box<Listing>>,
        now: Timestamp,
    ) -> Next {
        held.resumed = listing.as_ref().is_some_and(|listing| listing.page_token.is_some());
        match listing {
            Some(listing) => {
                held.listing = Some(listing);
                self.list_on(held, now)
            }
            None => self.list_anew(held, After::Slices, now),
        }
    }

    pub(super) fn listed(&mut self, held: &mut Held, mut page: ListPage, now: Timestamp) -> Next {
        let work = held.sync.progress.work.first();
        if work.is_some_and(|work| is_one_page(work) || self.is_cut_short(work, held)) {
            page.next_page_token = None;
        }
        held.resumed = false;
        self.count_listed(held, page.messages.len());
        let Some(listing) = &mut held.listing else {
            return self.fail(held, defect("no listing"), now);
        };
        listing.take(page);
        self.glance(held, now)
    }

    /// Once in a while the mailbox is looked at; the listing stays with the run.
    pub(super) fn glance(&mut self, held: &mut Held, now: Timestamp) -> Next {
        if now.duration_since(held.read_at) >= self.settings.glance {
            return (Step::Rereading(Reread::Slices), Effect::ReadSync);
        }
        self.next_slice(held, now)
    }

    /// A page token that was kept from an earlier run may be refused: what it belonged to is listed anew.
    pub(super) fn page_token_refused(&mut self, held: &mut Held, failure: Failure, now: Timestamp) -> Next {
        let ours = matches!(failure.disposition, Disposition::Debt | Disposition::Defect);
        match &mut held.listing {
            Some(listing) if held.resumed && ours => {
                held.resumed = false;
                listing.page_token = None;
                listing.gathered = Vec::new();
                self.list_on(held, now)
            }
            _ => self.fail(held, failure, now),
        }
    }

    /// Only what took more than one page can have shifted.
    fn round_done(&mut self, held: &mut Held, now: Timestamp) -> Next {
        let Some(listing) = &held.listing else { return self.fail(held, defect("no listing"), now) };
        if listing.paged.is_empty() || !self.settings.keeps(Guard::RepeatListing) {
            return self.stage_done(held, now);
        }
        (Step::Slice(Slice::Present), Effect::GetProfile)
    }

    /// The present after a round: history up to it says whether the round was quiet.
    pub(super) fn round_ended(&mut self, held: &mut Held, present: HistoryId, now: Timestamp) -> Next {
        let Some(listing) = &held.listing else { return self.fail(held, defect("no listing"), now) };
        let effect = Effect::ListHistory { start: listing.since, page_token: None };
        let (page_token, first) = (None, None);
        let taken = Taken { present, page_token, first, deleted: false, removed: BTreeSet::new() };
        (Step::Slice(Slice::Quiet(taken)), effect)
    }

    pub(super) fn quiet_paged(
        &mut self,
        held: &mut Held,
        mut taken: Taken,
        answer: HistoryPage,
        now: Timestamp,
    ) -> Next {
        for (_, change) in answer.records.iter().flat_map(|record| &record.changes) {
            match change {
                RecordChange::Deleted => taken.deleted = true,
                RecordChange::LabelsRemoved(labels) => taken.removed.extend(labels.iter().cloned()),
                RecordChange::Added | RecordChange::LabelsAdded(_) => {}
            }
        }
        taken.first = taken.first.or(Some(answer.history_id));
        taken.page_token = answer.next_page_token;
        let Some(listing) = &mut held.listing else { return self.fail(held, defect("no listing"), now) };
        if taken.page_token.is_some() {
            let effect = Effect::ListHistory { start: listing.since, page_token: taken.page_token.clone() };
            return (Step::Slice(Slice::Quiet(taken)), effect);
        }
        if taken.first < Some(taken.present) {
            // The index is behind: what it does not show yet may have shifted the pages.
            return self.continue_later(held, INDEX_WAIT, now);
        }
        let is_shifted =
            |key: &&Key| taken.deleted || key.as_ref().is_some_and(|label| taken.removed.contains(label));
        let shifted: Vec<Key> = listing.paged.iter().filter(is_shifted).cloned().collect();
        listing.tries += 1;
        if shifted.is_empty() {
            return self.stage_done(held, now);
        }
        if listing.tries < TRIES_MAX {
            let since = taken.first.unwrap_or(listing.since);
            listing.begin_round(shifted, since);
            return self.glance(held, now);
        }
        self.ask_totals(held, shifted, now)
    }

    /// A mailbox that is never quiet: the totals decide, where there are any.
    fn ask_totals(&mut self, held: &mut Held, shifted: Vec<Key>, now: Timestamp) -> Next {
        let whole = held.sync.progress.work.first().is_some_and(|work| window_of(work) == Window::All);
        let members = held.listing.as_ref().is_some_and(|listing| listing.stage == Stage::Labels);
        // A window has no total, nor has the union of some labels: three rounds united must do.
        if !whole || !(members || shifted.contains(&None)) {
            return self.stage_done(held, now);
        }
        if shifted.contains(&None) {
            return (Step::Slice(Slice::Total), Effect::GetProfile);
        }
        (Step::Slice(Slice::Totals), Effect::CountLabels(shifted.into_iter().flatten().collect()))
    }

    /// Whether a listing holds as many as the counters say.
    pub(super) fn totalled(
        &mut self,
        held: &mut Held,
        totals: impl IntoIterator<Item = (Key, u64)>,
        now: Timestamp,
    ) -> Next {
        let Some(listing) = &held.listing else { return self.fail(held, defect("no listing"), now) };
        if totals.into_iter().all(|(key, total)| listing.count(&key) >= total) {
            return self.stage_done(held, now);
        }
        held.listing = None;
        let mut progress = held.sync.progress.clone();
        if let Some(work) = progress.work.first_mut() {
            work.listing = None;
        }
        let release = self.release_for_later(held, RELIST_WAIT, now);
        self.commit(held, chunks(Vec::new()), progress, After::Release(release), now)
    }

    /// What was kept is of no use: the listing begins anew.
    pub(super) fn list_anew(&mut self, held: &mut Held, after: After, now: Timestamp) -> Next {
        held.listing = None;
        let mut progress = held.sync.progress.clone();
        if let Some(work) = progress.work.first_mut() {
            work.listing = None;
        }
        self.commit(held, chunks(Vec::new()), progress, after, now)
    }

    fn stage_done(&mut self, held: &mut Held, now: Timestamp) -> Next {
        let since = held.sync.progress.cursor.unwrap_or(HistoryId(0));
        let exclude: Vec<String> = held.sync.scope.exclude.iter().cloned().collect();
        let Some(work) = held.sync.progress.work.first_mut() else {
            return self.fail(held, defect("no work"), now);
        };
        let Some(listing) = &mut held.listing else { return self.fail(held, defect("no listing"), now) };
        match (&work.kind, listing.stage) {
            (WorkKind::Resync { .. }, Stage::Ids) => (Step::Slice(Slice::LabelNames), Effect::ListLabels),
            (WorkKind::Resync { .. }, _) => {
                listing.stage = Stage::Compare;
                work.counts.listed = listing.messages.len() as u64;
                self.list_on(held, now)
            }
            (_, Stage::Ids) if !exclude.is_empty() => {
                listing.begin_labels(exclude, since);
                self.list_on(held, now)
            }
            (kind, _) => {
                // Left-out guards: what makes a listing move the cursor.
                let moves = match kind {
                    WorkKind::Initial { .. } => !self.settings.keeps(Guard::BaselineBeforeListing),
                    _ => !self.settings.keeps(Guard::BackfillKeepsCursor),
                };
                if moves {
                    return (Step::Slice(Slice::Rebase), Effect::GetProfile);
                }
                self.save_listed(held, now)
            }
        }
    }

    /// A backfill's listing is its fetch list, less what the scope leaves out.
    pub(super) fn save_listed(&mut self, held: &mut Held, now: Timestamp) -> Next {
        let Some(listing) = held.listing.take() else {
            return self.fail(held, defect("no listing"), now);
        };
        let is_outside = |rank: usize| !listing.members.is_empty() && !listing.labels_at(rank).is_empty();
        // Message ids grow with time: newest first.
        let missing: Vec<Listed> = (0..listing.messages.len())
            .rev()
            .filter(|rank| !is_outside(*rank))
            .filter_map(|rank| listing.messages.get(rank).copied())
            .collect();
        drop(listing);
        self.save_list(held, FetchIds { missing, vanished: Vec::new() }, now)
    }

    pub(super) fn labels_named(&mut self, held: &mut Held, names: Vec<String>, now: Timestamp) -> Next {
        let since = held.sync.progress.cursor.unwrap_or(HistoryId(0));
        let Some(listing) = &mut held.listing else { return self.fail(held, defect("no listing"), now) };
        listing.begin_labels(names, since);
        self.list_on(held, now)
    }

    // ---- what the end of a run cuts short

    /// Keeps a listing before the run ends; `None` when there is none to keep.
    pub(super) fn keep_listing(&mut self, held: &mut Held, then: Then) -> Result<Next, Then> {
        let worth = held
            .listing
            .as_ref()
            .is_some_and(|listing| listing.stage != Stage::Ids || !listing.paged.is_empty());
        match held.listing.take() {
            Some(listing) if worth => {
                let key = format!("listing-{}-{}", held.sync.generation.0, held.sync.commit);
                let effect = Effect::SaveListing { key: key.clone(), listing };
                Ok((Step::Slice(Slice::Keeping(key, then)), effect))
            }
            _ => Err(then),
        }
    }

    pub(super) fn listing_kept(&mut self, held: &mut Held, key: String, then: Then, now: Timestamp) -> Next {
        if let Some(work) = held.sync.progress.work.first_mut() {
            work.listing = Some(key);
        }
        match then {
            Then::Fail(failure) => self.fail(held, failure, now),
            Then::Later(wait) => {
                let mut progress = held.sync.progress.clone();
                progress.step += 1;
                let release = self.release_for_later(held, wait, now);
                self.commit(held, chunks(Vec::new()), progress, After::Release(release), now)
            }
        }
    }

    /// A left-out guard: a listing that stops at what is fetched now.
    fn is_cut_short(&self, work: &Work, held: &Held) -> bool {
        let most = u64::from(work.max_results.unwrap_or(1));
        let whole = held.listing.as_ref().is_some_and(|listing| listing.key() == Some(&None));
        whole
            && matches!(work.kind, WorkKind::Resync { .. })
            && most > 0
            && !self.settings.keeps(Guard::CompleteListing)
    }
}

fn window_of(work: &Work) -> Window {
    match &work.kind {
        WorkKind::Initial { window } | WorkKind::Backfill { window } => window.clone(),
        WorkKind::Resync { .. } => Window::All,
    }
}

/// The newest so many are one page; another page would be older ones.
fn is_one_page(work: &Work) -> bool {
    matches!(window_of(work), Window::Newest(_) | Window::Contact { .. })
}

/// A comparison lists everything, labels included; a backfill only what the scope takes in.
fn keys_of<'a>(work: &Work, include: impl ExactSizeIterator<Item = &'a String>) -> Vec<Key> {
    match work.kind {
        WorkKind::Initial { .. } | WorkKind::Backfill { .. } if include.len() > 0 => {
            include.cloned().map(Some).collect()
        }
        _ => vec![None],
    }
}
