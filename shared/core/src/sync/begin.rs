//! What begins: a mailbox's first copy, a comparison after a gap, what requests ask for.

use jiff::Timestamp;

use crate::{
    ids::HistoryId,
    job::{JobKind, Request},
    state::{Progress, Window, Work, WorkKind},
    sync::{
        commits::After,
        effect::Profile,
        engine::{Engine, Held, Next},
        look::Why,
        writes::chunks,
    },
};

/// How often a comparison is begun anew because history expired under it.
const RESTARTS_MAX: u32 = 1;

impl Engine {
    pub(super) fn profiled(&mut self, held: &mut Held, why: Why, profile: &Profile, now: Timestamp) -> Next {
        let mut progress = held.sync.progress.clone();
        progress.step += 1;
        let baseline = profile.history_id;
        let behind = held.sync.progress.cursor.is_some_and(|cursor| baseline < cursor);
        if why == Why::Behind && !behind {
            progress.behind = 0;
            return self.commit(held, chunks(Vec::new()), progress, After::Look, now);
        }
        if behind {
            // Ids that went backwards: a mailbox made anew. Nothing of the old ids compares with the new.
            progress.epoch += 1;
            progress.first_cursor = Some(HistoryId(0));
        }
        progress.behind = 0;
        progress.marks = vec![baseline];
        progress.marked_at = Some(now);
        match why {
            // Baseline before listing: mail that arrives while it lists would fall between the two.
            Why::Begin => {
                let initial = held.requests.iter().find(|request| request.kind == JobKind::Initial);
                let window = self.first_window(held);
                progress.first_cursor = Some(baseline);
                let request = initial.map(|request| request.id.clone());
                progress.work.push(Work::new(WorkKind::Initial { window }, request, now));
            }
            // Everything is listed and compared. The cursor moves to the baseline in the same write, so
            // that deltas go on and the gap before it can never be taken as synced.
            Why::Expired | Why::Behind => {
                let restarts = restarts(&progress);
                if restarts > RESTARTS_MAX {
                    return self.give_up_comparing(held, now);
                }
                progress.gap = Some(baseline);
                held.listing = None;
                compare_from(&mut progress, baseline, restarts, now);
            }
        }
        progress.cursor = Some(baseline);
        progress.lag = None;
        self.commit(held, chunks(Vec::new()), progress, After::Look, now)
    }

    pub(super) fn first_window(&self, held: &Held) -> Window {
        let settings = self.settings_of(held);
        match (settings.initial_newest, settings.initial_days) {
            (0, 0) => Window::All,
            (0, _) if !held.sync.content.may_search() => Window::All,
            (0, days) => Window::Days(days),
            (newest, _) => Window::Newest(newest),
        }
    }

    /// Sorts the open requests: those that this delta served are returned, a full one becomes work.
    pub(super) fn serve(&self, held: &mut Held, progress: &mut Progress, now: Timestamp) -> Vec<Request> {
        let Some(baseline) = progress.cursor else { return Vec::new() };
        let mut served = Vec::new();
        for request in &held.unattached() {
            let kind = match (request.kind, &request.options.window) {
                (JobKind::Initial, _) => WorkKind::Initial { window: self.first_window(held) },
                (JobKind::Incremental, _) | (JobKind::Historical | JobKind::Contact, None) => {
                    served.push(request.clone());
                    continue;
                }
                (JobKind::Historical | JobKind::Contact, Some(window)) => {
                    WorkKind::Backfill { window: window.clone() }
                }
                (JobKind::Full, _) => {
                    let accept_deletions = request.options.accept_deletions;
                    accept_in(&mut progress.work, accept_deletions);
                    WorkKind::Resync { baseline, restarts: 0, accept_deletions }
                }
                // Served elsewhere: see `probe`, `decide_debts`.
                (JobKind::Probe | JobKind::RetryDebt | JobKind::AcceptDebt, _) => continue,
            };
            // Otherwise its turn comes when a place is free.
            if progress.work.len() < Progress::WORK_MAX {
                let max_results = request.options.max_results;
                progress.step += 1;
                progress.work.push(Work { max_results, ..Work::new(kind, Some(request.id.clone()), now) });
            }
        }
        served
    }
}

/// Everything is to be compared above this baseline: comparisons that are open begin anew, backfills go on.
fn compare_from(progress: &mut Progress, baseline: HistoryId, restarts: u32, now: Timestamp) {
    let mut compares = false;
    for work in &mut progress.work {
        if let WorkKind::Resync { accept_deletions, .. } = work.kind {
            let kind = WorkKind::Resync { baseline, restarts, accept_deletions };
            *work = Work { max_results: work.max_results, ..Work::new(kind, work.request.take(), now) };
            compares = true;
        }
    }
    if !compares {
        let kind = WorkKind::Resync { baseline, restarts, accept_deletions: false };
        progress.work.push(Work::new(kind, None, now));
    }
}

/// Who accepts deletions accepts those of the comparisons that stopped because of them.
fn accept_in(works: &mut [Work], accepts: bool) {
    for work in works.iter_mut().filter(|_| accepts) {
        if let WorkKind::Resync { accept_deletions, .. } = &mut work.kind {
            *accept_deletions = true;
        }
    }
}

/// How often history has expired under the comparison that an expiry began.
fn restarts(progress: &Progress) -> u32 {
    let of_expiry = progress.work.iter().filter_map(|work| match work.kind {
        WorkKind::Resync { baseline, restarts, .. } if Some(baseline) == progress.gap => Some(restarts + 1),
        _ => None,
    });
    of_expiry.max().unwrap_or(0)
}
