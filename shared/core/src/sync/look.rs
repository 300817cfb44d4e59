//! A look: the requests that wait, what changed since the cursor, and what is owed and due.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use crate::{
    failure::{Disposition, Failure},
    ids::{HistoryId, MessageId},
    job::{Counts, JobError, JobStatus, Request, Trigger},
    message::{RowHead, RowState},
    owed::Owed,
    state::{Errors, Lag, Progress, Status, WorkKind},
    sync::{
        batch::Batch,
        commits::{After, closing_chunks, closings},
        delta::{Decision, Folded, decide, fold},
        effect::{Effect, HistoryPage, Outcome, Seen},
        ends::Release,
        engine::{Engine, Held, Next, Step, earlier, unexpected},
        guards::Guard,
        settle::{Context, Wanted},
        slices::owes_nothing,
        writes::{Chunk, Known, chunks},
    },
};

/// What a look waits for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Look {
    Raising,
    Requests,
    DebtRows(Vec<Request>),
    Debts(Vec<Request>, Known),
    Profile(Why),
    History(Page),
    Rows(Page, Vec<Folded>),
    OwedOf(Page, Vec<Folded>, Known),
    Fetch(Page, Batch),
    Lowering,
    Counts,
    OurCounts(BTreeMap<String, i64>),
    Present(BTreeMap<String, i64>, BTreeMap<String, i64>),
    Owed,
    OwedRows(Vec<Owed>, Option<Timestamp>),
    OwedFetch(Batch, Option<Timestamp>),
}

/// Why Gmail's profile is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Why {
    /// The mailbox has no cursor yet.
    Begin,
    /// The cursor is too old.
    Expired,
    /// History's present stays below the cursor.
    Behind,
}

/// Polls whose cursors are remembered.
const MARKS_MAX: usize = 2;
/// Two polls within this are one: below the shortest interval between polls.
const MARK_AGE: SignedDuration = SignedDuration::from_mins(4);

/// Where a delta is. Page tokens live inside one invocation; the next one lists from the cursor.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
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

impl From<HistoryId> for Page {
    fn from(start: HistoryId) -> Self {
        Self { start, token: None, first: None, last_record: None }
    }
}

impl Engine {
    /// Begins a look with the state as just read.
    pub(super) fn look(&mut self, held: &mut Held, now: Timestamp) -> Next {
        held.looks += 1;
        held.look_counts = Counts::default();
        held.wake_at = None;
        held.found_news = false;
        held.read_at = now;
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
        if self.must_end(held, now) || Self::too_many_looks(held) {
            return self.continue_later(held, SignedDuration::ZERO, now);
        }
        (Step::Look(Look::Requests), Effect::ReadRequests)
    }

    pub(super) fn look_step(&mut self, held: &mut Held, look: Look, seen: Seen, now: Timestamp) -> Next {
        match (look, seen) {
            (Look::Raising, Seen::Done) => self.look(held, now),
            (Look::Requests, Seen::Requests(requests)) => self.requested(held, requests, now),
            (Look::DebtRows(requests), Seen::Rows(rows)) => {
                let rows = held.current_rows(rows).into_iter().collect();
                let ids = requests.iter().filter_map(|request| request.options.message).collect();
                let known = Known { rows, ..Known::default() };
                (Step::Look(Look::Debts(requests, known)), Effect::ReadOwedOf(ids))
            }
            (Look::Debts(requests, mut known), Seen::Owed(owed)) => {
                known.owed = held.current_owed(owed).into_iter().map(|owed| (owed.id, owed)).collect();
                self.decide_debts(held, &requests, known, now)
            }
            (Look::Profile(why), Seen::Profile(profile)) => self.profiled(held, why, &profile, now),
            (Look::History(page), Seen::History(answer)) => self.paged(held, page, answer, now),
            // An earlier mark that has expired proves nothing.
            (Look::History(page), Seen::HistoryExpired) => match held.sync.progress.cursor {
                Some(cursor) if page.start < cursor => self.next_page(held, Page::from(cursor), now),
                _ => (Step::Look(Look::Profile(Why::Expired)), Effect::GetProfile),
            },
            (Look::Rows(page, folded), Seen::Rows(rows)) => {
                let rows = held.current_rows(rows).into_iter().collect();
                self.rows_read(held, page, folded, Known { rows, ..Known::default() }, now)
            }
            (Look::OwedOf(page, folded, mut known), Seen::Owed(owed)) => {
                known.owed = held.current_owed(owed).into_iter().map(|owed| (owed.id, owed)).collect();
                self.decided(held, page, folded, known, now)
            }
            (Look::Fetch(page, batch), Seen::Fetched(fetched)) => {
                self.count_fetched(held, fetched.len());
                let context = self.context(held, now);
                match batch.resolve(fetched, &context) {
                    Err(failure) => self.fail(held, failure, now),
                    Ok(resolved) => self.commit_page(held, page, resolved.with_later_owed(&context), now),
                }
            }
            (look, seen) => self.rest_step(held, look, seen, now),
        }
    }

    /// What follows the history.
    fn rest_step(&mut self, held: &mut Held, look: Look, seen: Seen, now: Timestamp) -> Next {
        match (look, seen) {
            (Look::Lowering, Seen::Done) => self.owed(held, now),
            (Look::Counts, Seen::LabelCounts(theirs)) => {
                (Step::Look(Look::OurCounts(theirs)), Effect::ReadLabelCounts)
            }
            (Look::OurCounts(theirs), Seen::LabelCounts(ours)) => {
                (Step::Look(Look::Present(theirs, ours)), Effect::GetProfile)
            }
            (Look::Present(theirs, ours), Seen::Profile(profile)) => {
                self.probed(held, &theirs, &ours, &profile, now)
            }
            (Look::Owed, Seen::Owed(owed)) => {
                let owed = held.current_owed(owed);
                self.owed_read(held, owed, now)
            }
            (Look::OwedRows(owed, next_due), Seen::Rows(rows)) => {
                let known = Known {
                    rows: held.current_rows(rows).into_iter().collect(),
                    owed: owed.iter().map(|owed| (owed.id, owed.clone())).collect(),
                };
                let wanted = owed.into_iter().map(Wanted::from_owed).collect();
                let batch = Batch { known, wanted, ..Batch::default() };
                let effect = batch.fetch(held.sync.content);
                (Step::Look(Look::OwedFetch(batch, next_due)), effect)
            }
            (Look::OwedFetch(batch, next_due), Seen::Fetched(fetched)) => {
                self.count_fetched(held, fetched.len());
                let context = self.context(held, now);
                match batch.resolve(fetched, &context) {
                    Err(failure) => self.fail(held, failure, now),
                    Ok(resolved) => {
                        let batch = resolved.with_later_owed(&context);
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
        let progress = &held.sync.progress;
        let baselines = progress.work.iter().filter_map(|work| match work.kind {
            WorkKind::Resync { baseline, .. } => Some(baseline),
            WorkKind::Initial { .. } | WorkKind::Backfill { .. } => None,
        });
        Context {
            now,
            cursor: progress.cursor.unwrap_or(HistoryId(0)),
            gap: progress.gap,
            first_cursor: progress.first_cursor.unwrap_or(HistoryId(0)),
            epoch: progress.epoch,
            scope: held.sync.scope.clone(),
            replays: false,
            compared_from: baselines.min(),
            settings: self.settings.clone(),
        }
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
        let debts: Vec<Request> =
            held.requests.iter().filter(|request| request.kind.is_about_debts()).cloned().collect();
        if !debts.is_empty() {
            let ids = debts.iter().filter_map(|request| request.options.message).collect();
            return (Step::Look(Look::DebtRows(debts)), Effect::ReadRows(ids));
        }
        match held.sync.progress.cursor {
            None => (Step::Look(Look::Profile(Why::Begin)), Effect::GetProfile),
            Some(cursor) => {
                held.looked_target = held.sync.target;
                // A poll lists from an earlier mark: a record may have been invisible while its id was out.
                let mark = held.sync.progress.marks.first().filter(|_| self.is_poll(held));
                self.next_page(held, Page::from(mark.map_or(cursor, |mark| *mark.min(&cursor))), now)
            }
        }
    }

    /// Whether this look is a scheduled one: the first of its run.
    fn is_poll(&self, held: &Held) -> bool {
        self.job.trigger == Trigger::Schedule && held.looks == 1
    }

    pub(super) fn next_page(&mut self, held: &mut Held, page: Page, now: Timestamp) -> Next {
        // A poll that is cut short leaves its rows as they once were, and the next one begins where it began: with a share
        // that is small enough none would ever come to the end.
        let replays = Some(page.start) < held.sync.progress.cursor;
        if self.is_late(now) || (!replays && self.must_end(held, now)) {
            return self.continue_later(held, SignedDuration::ZERO, now);
        }
        let effect = Effect::ListHistory { start: page.start, page_token: page.token.clone() };
        (Step::Look(Look::History(page)), effect)
    }

    fn paged(&mut self, held: &mut Held, mut page: Page, answer: HistoryPage, now: Timestamp) -> Next {
        let earlier_page = page.first.filter(|_| self.settings.keeps(Guard::FirstPageWins));
        page.first = earlier_page.or(Some(answer.history_id));
        page.token = answer.next_page_token;
        if answer.records.is_empty() && page.token.is_none() && page.first < held.sync.progress.cursor {
            return self.is_behind(held, now);
        }
        held.sync.progress.behind = 0;
        page.last_record = answer.records.iter().map(|record| record.id).max().or(page.last_record);
        let folded = fold(&answer.records);
        self.count_listed(held, folded.len());
        held.found_news |= folded.iter().any(|folded| Some(folded.last) > held.sync.progress.cursor);
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
        let is_accepted =
            |id| known.rows.get(id).is_some_and(|row: &RowHead| row.state == RowState::Accepted);
        let gone = folded.iter().filter(|one| one.deleted.is_some() && is_accepted(&one.id)).count();
        let accepted = &mut held.sync.progress.accepted;
        *accepted = accepted.saturating_sub(gone as u64);
        let mut batch = Batch { known, ..Batch::default() };
        let inline_max = self.settings.inline_fetch_max;
        let replays = Some(page.start) < held.sync.progress.cursor;
        let context = Context { replays, ..self.context(held, now) };
        for one in folded {
            match decide(one, &batch.known, &context) {
                Decision::Nothing => {}
                Decision::Write(change) => batch.add(change),
                Decision::Fetch { wanted, urgent } if urgent && batch.wanted.len() < inline_max => {
                    batch.wanted.push(wanted);
                }
                // A label change on 100,000 messages not stored yet must not become 100,000 gets here.
                Decision::Fetch { wanted, .. } => {
                    let due_at = wanted.owed.as_ref().and_then(|owed| owed.due_at).unwrap_or(now);
                    batch.wait(&wanted, due_at, &context);
                }
            }
        }
        if batch.wanted.is_empty() {
            return self.commit_page(held, page, batch, now);
        }
        let effect = batch.fetch(held.sync.content);
        (Step::Look(Look::Fetch(page, batch)), effect)
    }

    fn commit_page(&mut self, held: &mut Held, page: Page, batch: Batch, now: Timestamp) -> Next {
        let mut progress = held.sync.progress.clone();
        progress.owed_due_at = earlier(progress.owed_due_at, batch.owed_due_at);
        let read_to = self.later(page.last_record, progress.cursor);
        let pieces = chunks(batch.changes);
        if page.token.is_some() {
            let says_nothing = |piece: &Chunk| piece.rows.is_empty() && piece.owed.is_empty();
            let nothing_new = read_to == progress.cursor && pieces.iter().all(says_nothing);
            progress.cursor = read_to;
            if nothing_new {
                return self.next_page(held, page, now);
            }
            return self.commit(held, pieces, progress, After::NextPage(page), now);
        }
        progress.cursor = self.later(read_to, page.first);
        // As of the look's beginning: a worker that slept since has seen no more than it saw then.
        let is_new = progress.marked_at.is_none_or(|at| held.read_at.duration_since(at) >= MARK_AGE);
        if self.is_poll(held) && is_new {
            progress.marked_at = Some(held.read_at);
            progress.marks.extend(progress.cursor);
            let old = progress.marks.len().saturating_sub(MARKS_MAX);
            progress.marks.drain(..old);
        }
        progress.last_sync_at = Some(now);
        progress.errors = Errors::default();
        // The grant works: the end that was told of was an older one's.
        progress.ended_grant = None;
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
        let before = progress.lag.filter(|lag| lag.target == target);
        if let Some(next_at) = before.and_then(|lag| lag.next_at).filter(|at| *at > now) {
            held.wake_at = Some(next_at);
            return;
        }
        let tries = before.map_or(0, |lag| lag.tries) + 1;
        let wait = usize::try_from(tries - 1).ok().and_then(|index| LAG_WAITS.get(index));
        let next_at = wait.map(|seconds| now + SignedDuration::from_secs(*seconds));
        progress.lag = Some(Lag { target, tries, next_at });
        held.wake_at = next_at;
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
        if self.must_end(held, now) {
            return self.continue_later(held, SignedDuration::ZERO, now);
        }
        (Step::Look(Look::Owed), Effect::ReadOwed { limit: OWED_BATCH })
    }

    fn owed_read(&mut self, held: &mut Held, owed: Vec<Owed>, now: Timestamp) -> Next {
        let full = owed.len() >= OWED_BATCH as usize;
        let is_due = |owed: &Owed| owed.due_at.is_some_and(|due| due <= now);
        let (due, not_due): (Vec<Owed>, Vec<Owed>) = owed.into_iter().partition(is_due);
        let next_due = not_due.iter().filter_map(|owed| owed.due_at).min().or(full.then_some(now));
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
            return self.probe_or_rest(held, now);
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
