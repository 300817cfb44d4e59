//! What a look does beside reading history: counters compared, debts decided by people, ids that went backwards.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use crate::{
    failure::{Disposition, Failure},
    ids::{HistoryId, MessageId},
    job::{JobKind, JobStatus, Request, Trigger},
    message::{RowState, Touched},
    owed::Owed,
    state::{Progress, Work, WorkKind},
    sync::{
        batch::Batch,
        commit::{OwedWrite, RowWrite},
        commits::{After, closing_chunks, closings},
        effect::{Effect, Profile},
        engine::{Engine, Held, Next, Step, earlier},
        guards::Guard,
        look::{Look, Why},
        slices::owes_nothing,
        writes::{Known, Told, chunks},
    },
};

/// Waits while history's present is below the cursor, seconds; then the profile decides.
const BEHIND_WAITS: [i64; 3] = [2, 5, 15];

impl Engine {
    // ---- the counters

    /// Compares the counters when somebody asks for it or it is time; else rests.
    pub(super) fn probe_or_rest(&mut self, held: &mut Held, now: Timestamp) -> Next {
        let is_asked = held.requests.iter().any(|request| request.kind == JobKind::Probe);
        let probe = &held.sync.progress.probe;
        let (interval, comes_by_itself) = match self.job.trigger {
            Trigger::Probe => (self.settings.probe_interval, true),
            // Also where nothing changed, as far as is known: what was missed has changed nothing here.
            Trigger::Schedule => (self.settings.quiet_probe_interval, true),
            Trigger::Push | Trigger::Manual | Trigger::Connect | Trigger::Continuation | Trigger::Refresh => {
                (self.settings.quiet_probe_interval, false)
            }
        };
        let is_old = probe.at.is_none_or(|at| now.duration_since(at) >= interval);
        let is_time = is_old && (comes_by_itself || probe.drift > 0);
        let scope = &held.sync.scope;
        // What is still on its way is no drift.
        if held.probed
            || !(is_asked || is_time)
            || !scope.is_countable()
            || !owes_nothing(held)
            || held.wake_at.is_some()
        {
            return self.close_probes(held, now);
        }
        held.probed = true;
        (Step::Look(Look::Counts), Effect::CountLabels(scope.include.iter().cloned().collect()))
    }

    /// A probe that could not be made, or not now, is no reason to keep somebody waiting.
    fn close_probes(&mut self, held: &mut Held, now: Timestamp) -> Next {
        let asked = probes(held);
        if asked.is_empty() {
            return self.rest(held, now);
        }
        let closing = closings(&asked, JobStatus::Partial, &held.look_counts, &[]);
        let progress = held.sync.progress.clone();
        self.commit(held, closing_chunks(chunks(Vec::new()), &closing), progress, After::Owed, now)
    }

    /// Their counters, our counters, and then the present: if it is the cursor, all of them are of one time.
    pub(super) fn probed(
        &mut self,
        held: &mut Held,
        theirs: &BTreeMap<String, i64>,
        ours: &BTreeMap<String, i64>,
        profile: &Profile,
        now: Timestamp,
    ) -> Next {
        if Some(profile.history_id) > held.sync.progress.cursor {
            // Something happened meanwhile: it is looked at first.
            held.probed = held.looks > 2;
            return self.look(held, now);
        }
        let differs = |(label, count): (&String, &i64)| count.abs_diff(ours.get(label).copied().unwrap_or(0));
        let by_label = theirs.iter().map(differs).max().unwrap_or(0);
        let everything = held.sync.scope.is_everything();
        let total = i64::try_from(profile.messages_total).unwrap_or(i64::MAX);
        let by_total = if everything { total.abs_diff(held.sync.totals.messages) } else { 0 };
        let mut progress = held.sync.progress.clone();
        progress.probe.at = Some(now);
        progress.probe.drift = by_label.max(by_total).saturating_sub(progress.accepted);
        let may_compare = progress
            .probe
            .compared_at
            .is_none_or(|at| now.duration_since(at) >= self.settings.repair_interval);
        if progress.probe.drift > 0
            && may_compare
            && let Some(baseline) = progress.cursor
        {
            progress.probe.compared_at = Some(now);
            progress.step += 1;
            let kind = WorkKind::Resync { baseline, restarts: 0, accept_deletions: false };
            progress.work.push(Work::new(kind, None, now));
        }
        let closing = closings(&probes(held), JobStatus::Success, &held.look_counts, &[]);
        self.commit(held, closing_chunks(chunks(Vec::new()), &closing), progress, After::Owed, now)
    }

    // ---- debts, decided by people

    /// Tried again now, or accepted as lost.
    pub(super) fn decide_debts(
        &mut self,
        held: &mut Held,
        requests: &[Request],
        known: Known,
        now: Timestamp,
    ) -> Next {
        let mut batch = Batch { known, ..Batch::default() };
        let mut decided = std::collections::BTreeSet::new();
        let mut accepted_now = 0;
        for request in requests {
            let Some(owed) = request.options.message.and_then(|id| batch.known.owed.get(&id)).cloned() else {
                continue;
            };
            // One decision a message in one commit; the later ones find it decided.
            if !decided.insert(owed.id) {
                continue;
            }
            if request.kind == JobKind::RetryDebt {
                batch.owe(Owed { due_at: Some(now), tries: 0, ..owed });
            } else {
                let id = owed.id;
                accepted_now += 1;
                let tombstone = accepted(id, &owed, &batch.known);
                batch.change(id, Some(tombstone), Some(OwedWrite::Clear(id)), Told::Updated);
            }
        }
        let due = earlier(held.sync.progress.owed_due_at, batch.owed_due_at);
        let accepted = held.sync.progress.accepted + accepted_now;
        let progress = Progress { owed_due_at: due, accepted, ..held.sync.progress.clone() };
        let closing = closings(requests, JobStatus::Success, &held.look_counts, &[]);
        self.commit(held, closing_chunks(chunks(batch.changes), &closing), progress, After::Look, now)
    }

    // ---- ids that went backwards

    /// History's present is below the cursor: an index that lags, or a mailbox made anew.
    pub(super) fn is_behind(&mut self, held: &mut Held, now: Timestamp) -> Next {
        let tries = held.sync.progress.behind;
        let wait = usize::try_from(tries).ok().and_then(|index| BEHIND_WAITS.get(index));
        let Some(seconds) = wait else {
            return (Step::Look(Look::Profile(Why::Behind)), Effect::GetProfile);
        };
        let wait = SignedDuration::from_secs(*seconds);
        held.wake_at = Some(now + wait);
        let progress = Progress { behind: tries + 1, ..held.sync.progress.clone() };
        self.commit(held, chunks(Vec::new()), progress, After::DeltaDone, now)
    }

    /// History expired under a comparison that had begun anew already: somebody must look.
    pub(super) fn give_up_comparing(&mut self, held: &mut Held, now: Timestamp) -> Next {
        for work in &mut held.sync.progress.work {
            if let WorkKind::Resync { restarts, .. } = &mut work.kind {
                *restarts = 0;
            }
        }
        let message = "history expired twice while everything was being compared";
        self.fail(held, Failure::new(Disposition::NeedsAttention, message), now)
    }

    /// The later of two history ids, as numbers.
    pub(super) fn later(&self, one: Option<HistoryId>, other: Option<HistoryId>) -> Option<HistoryId> {
        if self.settings.keeps(Guard::NumericCompare) {
            return one.max(other);
        }
        let text = |id: &Option<HistoryId>| id.map(|id| id.to_string());
        if text(&one) > text(&other) { one } else { other }
    }
}

fn probes(held: &Held) -> Vec<Request> {
    held.requests.iter().filter(|request| request.kind == JobKind::Probe).cloned().collect()
}

/// What stands for a message that its owner gave up: a listing does not bring it back.
fn accepted(id: MessageId, owed: &Owed, known: &Known) -> RowWrite {
    let row_id = known.rows.get(&id).map_or(HistoryId(0), |row| row.history_id);
    let history_id = row_id.max(owed.at_least);
    let state = RowState::Accepted;
    RowWrite::Tombstone { id, state, history_id, labels: None, touched: Touched::new() }
}
