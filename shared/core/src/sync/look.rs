//! A look: the requests that wait, what changed since the cursor, and what is owed and due.

use jiff::{SignedDuration, Timestamp};

use crate::{
    failure::{Disposition, Failure},
    ids::{HistoryId, MessageId},
    job::{Counts, JobError, JobKind, JobStatus, Request},
    owed::Owed,
    state::{Errors, Lag, Progress, Status, Window, Work, WorkKind},
    sync::{
        batch::Batch,
        commits::{After, closing_chunks, closings},
        delta::{Decision, Folded, decide, fold},
        effect::{Effect, HistoryPage, Outcome, Profile, Seen},
        ends::Release,
        engine::{Engine, Held, Next, Step, earlier, unexpected},
        settle::{Context, Wanted},
        slices::owes_nothing,
        writes::{Known, chunks},
    },
};

/// What a look waits for.
#[derive(Debug)]
pub(super) enum Look {
    Requests,
    Profile(Why),
    History(Page),
    Rows(Page, Vec<Folded>),
    OwedOf(Page, Vec<Folded>, Known),
    Fetch(Page, Batch),
    Lowering,
    Owed,
    OwedRows(Vec<Owed>, Option<Timestamp>),
    OwedFetch(Batch, Option<Timestamp>),
}

/// Why Gmail's profile is asked for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Why {
    /// The mailbox has no cursor yet.
    Begin,
    /// The cursor is too old.
    Expired,
}

/// Where a delta is. Page tokens live inside one invocation; the next one lists from the cursor.
#[derive(Debug, Clone)]
pub(super) struct Page {
    start: HistoryId,
    token: Option<String>,
    /// The *first* page's `historyId`: later pages may name a present whose records they do not hold.
    first: Option<HistoryId>,
    last_record: Option<HistoryId>,
}

/// Waits while the index is behind a push's target, seconds; then the target is lowered.
const LAG_WAITS: [i64; 3] = [2, 5, 15];
/// Owed messages fetched at once.
const OWED_BATCH: u32 = 75;

impl Engine {
    /// Begins a look with the state as just read.
    pub(super) fn look(&mut self, held: &mut Held, now: Timestamp) -> Next {
        held.looks += 1;
        held.look_counts = Counts::default();
        held.wake_at = None;
        held.found_news = false;
        if let Some(until) = self.resting_until(held, now) {
            let outcome = Outcome::Continued(Counts::default());
            let release = Release {
                due_at: Some(until),
                status: None,
                insist: true,
                hint: None,
                hinted: false,
                outcome,
            };
            return self.hand_over(held, release);
        }
        if self.must_end(now) || Self::too_many_looks(held) {
            return self.continue_later(held, SignedDuration::ZERO, now);
        }
        (Step::Look(Look::Requests), Effect::ReadRequests)
    }

    pub(super) fn look_step(&mut self, held: &mut Held, look: Look, seen: Seen, now: Timestamp) -> Next {
        match (look, seen) {
            (Look::Requests, Seen::Requests(requests)) => self.requested(held, requests, now),
            (Look::Profile(why), Seen::Profile(profile)) => self.profiled(held, why, &profile, now),
            (Look::History(page), Seen::History(answer)) => self.paged(held, page, answer, now),
            (Look::History(_), Seen::HistoryExpired) => {
                (Step::Look(Look::Profile(Why::Expired)), Effect::GetProfile)
            }
            (Look::Rows(page, folded), Seen::Rows(rows)) => {
                let known = Known { rows: rows.into_iter().collect(), ..Known::default() };
                self.rows_read(held, page, folded, known, now)
            }
            (Look::OwedOf(page, folded, mut known), Seen::Owed(owed)) => {
                known.owed = owed.into_iter().map(|owed| (owed.id, owed)).collect();
                self.decided(held, page, folded, known, now)
            }
            (Look::Fetch(page, batch), Seen::Fetched(fetched)) => {
                self.count_fetched(held, fetched.len());
                match batch.resolve(fetched, &self.context(held, now)) {
                    Err(failure) => self.fail(held, failure, now),
                    Ok(resolved) => self.commit_page(held, page, resolved.with_later_owed(now), now),
                }
            }
            (Look::Lowering, Seen::Done) => self.owed(held, now),
            (Look::Owed, Seen::Owed(owed)) => self.owed_read(held, owed, now),
            (Look::OwedRows(owed, next_due), Seen::Rows(rows)) => {
                let known = Known {
                    rows: rows.into_iter().collect(),
                    owed: owed.iter().map(|owed| (owed.id, owed.clone())).collect(),
                };
                let wanted = owed.into_iter().map(Wanted::from_owed).collect();
                let batch = Batch { known, wanted, ..Batch::default() };
                let effect = batch.fetch();
                (Step::Look(Look::OwedFetch(batch, next_due)), effect)
            }
            (Look::OwedFetch(batch, next_due), Seen::Fetched(fetched)) => {
                self.count_fetched(held, fetched.len());
                match batch.resolve(fetched, &self.context(held, now)) {
                    Err(failure) => self.fail(held, failure, now),
                    Ok(resolved) => {
                        let batch = resolved.with_later_owed(now);
                        let due = earlier(next_due, batch.owed_due_at);
                        let progress = Progress { owed_due_at: due, ..held.sync.progress.clone() };
                        self.commit(held, chunks(batch.changes), progress, After::Owed, now)
                    }
                }
            }
            (_, seen) => self.fail(held, unexpected(&seen), now),
        }
    }

    pub(super) fn context(&self, held: &Held, now: Timestamp) -> Context {
        let cursor = held.sync.progress.cursor.unwrap_or(HistoryId(0));
        Context { now, cursor, gap: held.sync.progress.gap, grace: self.settings.visibility_grace }
    }

    fn requested(&mut self, held: &mut Held, requests: Vec<Request>, now: Timestamp) -> Next {
        held.requests = requests;
        let status = held.sync.status;
        if status != Status::Active {
            let message = format!("the mailbox is not active: {}", status.name());
            let error = JobError { message_id: None, error: message, at: now };
            let closing = closings(&held.unattached(), JobStatus::Failed, &Counts::default(), &[error]);
            let outcome = Outcome::NotActive(status);
            let release =
                Release { due_at: None, status: None, insist: false, hint: None, hinted: false, outcome };
            if closing.is_empty() {
                return self.hand_over(held, release);
            }
            let progress = held.sync.progress.clone();
            return self.commit(
                held,
                closing_chunks(Vec::new(), &closing),
                progress,
                After::Release(release),
                now,
            );
        }
        match held.sync.progress.cursor {
            None => (Step::Look(Look::Profile(Why::Begin)), Effect::GetProfile),
            Some(start) => {
                held.looked_target = held.sync.target;
                self.next_page(held, Page { start, token: None, first: None, last_record: None }, now)
            }
        }
    }

    fn profiled(&mut self, held: &mut Held, why: Why, profile: &Profile, now: Timestamp) -> Next {
        let mut progress = held.sync.progress.clone();
        progress.step += 1;
        let baseline = profile.history_id;
        let work =
            |kind, request| Work { kind, request, list: None, started_at: now, counts: Counts::default() };
        match why {
            // Baseline before listing: mail that arrives while it lists would fall between the two.
            Why::Begin => {
                let initial = held.requests.iter().find(|request| request.kind == JobKind::Initial);
                let window = self.first_window();
                progress.first_cursor = Some(baseline);
                progress
                    .work
                    .push(work(WorkKind::Initial { window }, initial.map(|request| request.id.clone())));
            }
            // Everything is listed and compared. The cursor moves to the baseline in the same write, so
            // that deltas go on and the gap before it can never be taken as synced.
            Why::Expired => {
                progress.gap = Some(baseline);
                let mut requests: Vec<_> = progress.work.drain(..).filter_map(|open| open.request).collect();
                let first = (!requests.is_empty()).then(|| requests.remove(0));
                progress.work.push(work(WorkKind::Resync { baseline }, first));
                progress
                    .work
                    .extend(requests.into_iter().map(|id| work(WorkKind::Resync { baseline }, Some(id))));
            }
        }
        progress.cursor = Some(baseline);
        progress.lag = None;
        self.commit(held, chunks(Vec::new()), progress, After::Look, now)
    }

    pub(super) fn first_window(&self) -> Window {
        match (self.settings.initial_newest, self.settings.initial_days) {
            (0, 0) => Window::All,
            (0, days) => Window::Days(days),
            (newest, _) => Window::Newest(newest),
        }
    }

    pub(super) fn next_page(&mut self, held: &mut Held, page: Page, now: Timestamp) -> Next {
        if self.must_end(now) {
            return self.continue_later(held, SignedDuration::ZERO, now);
        }
        let effect = Effect::ListHistory { start: page.start, page_token: page.token.clone() };
        (Step::Look(Look::History(page)), effect)
    }

    fn paged(&mut self, held: &mut Held, mut page: Page, answer: HistoryPage, now: Timestamp) -> Next {
        page.first = page.first.or(Some(answer.history_id));
        page.token = answer.next_page_token;
        page.last_record = answer.records.iter().map(|record| record.id).max().or(page.last_record);
        let folded = fold(&answer.records);
        self.count_listed(held, folded.len());
        held.found_news |= !folded.is_empty();
        if folded.is_empty() {
            // A page may hold nothing and still have a successor.
            return self.commit_page(held, page, Batch::default(), now);
        }
        let ids = folded.iter().map(|folded| folded.id).collect();
        (Step::Look(Look::Rows(page, folded)), Effect::ReadRows(ids))
    }

    fn rows_read(
        &mut self,
        held: &mut Held,
        page: Page,
        folded: Vec<Folded>,
        known: Known,
        now: Timestamp,
    ) -> Next {
        if owes_nothing(held) {
            return self.decided(held, page, folded, known, now);
        }
        let ids: Vec<MessageId> = folded.iter().map(|folded| folded.id).collect();
        (Step::Look(Look::OwedOf(page, folded, known)), Effect::ReadOwedOf(ids))
    }

    fn decided(
        &mut self,
        held: &mut Held,
        page: Page,
        folded: Vec<Folded>,
        known: Known,
        now: Timestamp,
    ) -> Next {
        let mut batch = Batch { known, ..Batch::default() };
        let inline_max = self.settings.inline_fetch_max;
        for one in folded {
            match decide(one, &batch.known) {
                Decision::Nothing => {}
                Decision::Write(change) => batch.changes.push(change),
                Decision::Fetch { wanted, urgent } if urgent && batch.wanted.len() < inline_max => {
                    batch.wanted.push(wanted);
                }
                // A label change on 100,000 messages not stored yet must not become 100,000 gets here.
                Decision::Fetch { wanted, .. } => {
                    let due_at = wanted.owed.as_ref().map_or(now, |owed| owed.due_at);
                    batch.wait(&wanted, due_at, now);
                }
            }
        }
        if batch.wanted.is_empty() {
            return self.commit_page(held, page, batch, now);
        }
        let effect = batch.fetch();
        (Step::Look(Look::Fetch(page, batch)), effect)
    }

    fn commit_page(&mut self, held: &mut Held, page: Page, batch: Batch, now: Timestamp) -> Next {
        let mut progress = held.sync.progress.clone();
        progress.owed_due_at = earlier(progress.owed_due_at, batch.owed_due_at);
        let read_to = page.last_record.max(progress.cursor);
        let pieces = chunks(batch.changes);
        if page.token.is_some() {
            let nothing_new = read_to == progress.cursor && pieces.iter().all(|piece| piece.rows.is_empty());
            progress.cursor = read_to;
            if nothing_new {
                return self.next_page(held, page, now);
            }
            return self.commit(held, pieces, progress, After::NextPage(page), now);
        }
        progress.cursor = read_to.max(page.first);
        progress.last_sync_at = Some(now);
        progress.errors = Errors::default();
        self.note_lag(held, &mut progress, now);
        let mut counts = held.look_counts.clone();
        for piece in &pieces {
            counts.add(&piece.counts);
        }
        let served = self.serve(held, &mut progress, now);
        let status = if counts.debts > 0 { JobStatus::Partial } else { JobStatus::Success };
        let pieces = closing_chunks(pieces, &closings(&served, status, &counts, &[]));
        self.commit(held, pieces, progress, After::DeltaDone, now)
    }

    /// A response below the target: a push may come before its change shows. Look again shortly.
    fn note_lag(&self, held: &mut Held, progress: &mut Progress, now: Timestamp) {
        let Some(target) = held.looked_target.filter(|target| Some(*target) > progress.cursor) else {
            progress.lag = None;
            return;
        };
        let tries = progress.lag.filter(|lag| lag.target == target).map_or(0, |lag| lag.tries) + 1;
        progress.lag = Some(Lag { target, tries });
        let wait = usize::try_from(tries - 1).ok().and_then(|index| LAG_WAITS.get(index));
        held.wake_at = wait.map(|seconds| now + SignedDuration::from_secs(*seconds));
    }

    /// Sorts the open requests: those that this delta served are returned, a full one becomes work.
    fn serve(&self, held: &mut Held, progress: &mut Progress, now: Timestamp) -> Vec<Request> {
        let Some(baseline) = progress.cursor else { return Vec::new() };
        let mut served = Vec::new();
        for request in &held.unattached() {
            match request.kind {
                JobKind::Incremental | JobKind::Initial => served.push(request.clone()),
                JobKind::Full if progress.work.len() < Progress::WORK_MAX => {
                    let kind = WorkKind::Resync { baseline };
                    let request = Some(request.id.clone());
                    progress.step += 1;
                    progress.work.push(Work {
                        kind,
                        request,
                        list: None,
                        started_at: now,
                        counts: Counts::default(),
                    });
                }
                // Its turn comes when a place is free.
                JobKind::Full => {}
            }
        }
        served
    }

    pub(super) fn delta_done(&mut self, held: &mut Held, now: Timestamp) -> Next {
        let progress = &held.sync.progress;
        match (progress.lag, progress.cursor) {
            (Some(lag), Some(cursor)) if held.wake_at.is_none() => {
                (Step::Look(Look::Lowering), Effect::LowerTarget { from: lag.target, to: cursor })
            }
            _ => self.owed(held, now),
        }
    }

    /// What is owed and due.
    pub(super) fn owed(&mut self, held: &mut Held, now: Timestamp) -> Next {
        if held.sync.progress.owed_due_at.is_none_or(|due| due > now) {
            return self.work(held, now);
        }
        if self.must_end(now) {
            return self.continue_later(held, SignedDuration::ZERO, now);
        }
        (Step::Look(Look::Owed), Effect::ReadOwed { limit: OWED_BATCH })
    }

    fn owed_read(&mut self, held: &mut Held, owed: Vec<Owed>, now: Timestamp) -> Next {
        let full = owed.len() >= OWED_BATCH as usize;
        let (due, not_due): (Vec<Owed>, Vec<Owed>) = owed.into_iter().partition(|owed| owed.due_at <= now);
        let next_due = not_due.iter().map(|owed| owed.due_at).min().or(full.then_some(now));
        if due.is_empty() {
            let progress = Progress { owed_due_at: next_due, ..held.sync.progress.clone() };
            return self.commit(held, chunks(Vec::new()), progress, After::Owed, now);
        }
        let ids = due.iter().map(|owed| owed.id).collect();
        (Step::Look(Look::OwedRows(due, next_due)), Effect::ReadRows(ids))
    }

    /// What is long: slices, on the queue where they make nobody wait.
    fn work(&mut self, held: &mut Held, now: Timestamp) -> Next {
        if held.sync.progress.work.is_empty() {
            return self.rest(held, now);
        }
        if self.is_backfill() {
            return self.next_slice(held, now);
        }
        self.continue_later(held, SignedDuration::ZERO, now)
    }
}

/// A defect of ours that concerns the mailbox as a whole.
pub(super) fn defect(message: &str) -> Failure {
    Failure::new(Disposition::Defect, message)
}
