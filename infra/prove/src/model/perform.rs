//! Carrying out one effect, and what may be odd about it.

use std::{collections::BTreeSet, ops::Bound, sync::Arc};

use sync_core::{
    Disposition, Failure, HistoryId, MessageId, SignedDuration,
    job::Trigger,
    lease::{self, Giving},
    message::RowHead,
    state::{Status, WorkKind},
    sync::{Acquired, Commit, Committed, Effect, Fetched, Listed, Observed, Released, Seen},
};

use crate::{
    model::{
        chance::Chance,
        gmail::Gmail,
        scenario::Scenario,
        state::{Hint, Oddity, State, Worker},
    },
    world::{Broken, Promise},
};

/// Steps of old work that may come between asking a holder to look and its look: the one under way and what
/// writes down its end.
const OLD_WORK_MAX: u8 = 3;
/// Rows of one page when all are read: small, so that pages end in between.
const SCAN: usize = 2;

/// A refusal that passes.
fn refused() -> Failure {
    Failure::new(Disposition::Retry(SignedDuration::from_secs(3)), "Backend Error")
}

fn is_gmail(effect: &Effect) -> bool {
    matches!(
        effect,
        Effect::GetProfile
            | Effect::ListHistory { .. }
            | Effect::ListMessages { .. }
            | Effect::ListLabels
            | Effect::CountLabels(_)
            | Effect::Fetch { .. }
    )
}

/// The chance that an oddity takes.
pub fn chance_of(oddity: &Oddity) -> Chance {
    match oddity {
        Oddity::Slow => Chance::Slow,
        Oddity::NotVisible(_) => Chance::NotVisible,
        Oddity::Unanswered(_) => Chance::Unanswered,
        Oddity::Unreadable(_) => Chance::Unreadable,
        Oddity::Stale(..) => Chance::Stale,
        Oddity::TornGet(..) => Chance::TornGet,
        Oddity::Omitted(_) => Chance::Omitted,
        Oddity::Refused => Chance::Refused,
        Oddity::AnswerLost => Chance::AnswerLost,
        Oddity::ObjectLost => Chance::ObjectLost,
        Oddity::SequenceTaken => Chance::SequenceTaken,
    }
}

/// What may be odd about a worker's next effect.
pub fn oddities(state: &State, worker: &Worker) -> Vec<Oddity> {
    let mut odd = Vec::new();
    let allows = |chance| state.left.allows(chance);
    if allows(Chance::Slow) && state.holds(worker) && worker.checkpoint_at > state.now {
        odd.push(Oddity::Slow);
    }
    if allows(Chance::Refused) && is_gmail(&worker.effect) {
        odd.push(Oddity::Refused);
    }
    if allows(Chance::AnswerLost) {
        odd.push(Oddity::AnswerLost);
    }
    match &worker.effect {
        Effect::Fetch { messages, .. } => odd.extend(messages.iter().flat_map(|one| of_get(state, one.id))),
        Effect::ListMessages { label: None, .. } if allows(Chance::Omitted) => {
            let stored = |id: &MessageId| state.store.kept.rows.get(id).is_some_and(RowHead::is_live);
            odd.extend(state.gmail.alive().map(|(id, _)| id).filter(stored).map(Oddity::Omitted));
        }
        Effect::LoadList { .. } | Effect::LoadListing { .. } if allows(Chance::ObjectLost) => {
            odd.push(Oddity::ObjectLost);
        }
        Effect::Commit(commit) if allows(Chance::SequenceTaken) && !commit.events.is_empty() => {
            odd.push(Oddity::SequenceTaken);
        }
        _ => {}
    }
    odd
}

fn of_get(state: &State, id: MessageId) -> Vec<Oddity> {
    let (gmail, left) = (&state.gmail, &state.left);
    let mut odd = Vec::new();
    if left.allows(Chance::NotVisible) && gmail.may_be_hidden(id, state.now) {
        odd.push(Oddity::NotVisible(id));
    }
    if left.allows(Chance::Unanswered) {
        odd.push(Oddity::Unanswered(id));
    }
    if left.allows(Chance::Unreadable) && gmail.labels(id).is_some() {
        odd.push(Oddity::Unreadable(id));
    }
    if left.allows(Chance::Stale) {
        odd.extend(gmail.stale(id, state.now).map(|version| Oddity::Stale(id, version)));
    }
    if left.allows(Chance::TornGet) && gmail.labels(id).is_some() {
        odd.extend(gmail.stale(id, state.now).map(|version| Oddity::TornGet(id, version)));
    }
    odd
}

impl Scenario {
    /// Carries out a worker's effect; what it saw. The worker takes the next step, or ends.
    pub(super) fn go(&self, state: &mut State, place: usize, oddity: Option<&Oddity>) -> Option<Seen> {
        let mut worker = state.workers.get_mut(place)?.take()?;
        let it = Arc::make_mut(&mut worker);
        if matches!(oddity, Some(Oddity::Slow)) {
            state.now = state.now.max(it.checkpoint_at);
        }
        note_old_work(state, it);
        let seen = match oddity {
            Some(Oddity::Refused) => Seen::Failed(refused()),
            _ => self.carry_out(state, it, oddity),
        };
        let heard = match oddity {
            Some(Oddity::AnswerLost) => Seen::Failed(refused()),
            _ => seen.clone(),
        };
        it.effect = it.engine.step(Observed { now: state.now, seen: heard });
        if let Effect::Finish(outcome) = &it.effect {
            if matches!(outcome, sync_core::sync::Outcome::Interrupted(_)) {
                state.queue(Hint { ready: state.now, job: it.job.clone() });
            }
        } else if let Some(slot) = state.workers.get_mut(place) {
            *slot = Some(worker);
        }
        Some(seen)
    }

    fn carry_out(&self, state: &mut State, worker: &mut Worker, oddity: Option<&Oddity>) -> Seen {
        let effect = worker.effect.clone();
        if is_gmail(&effect) {
            let version = *worker.credential.get_or_insert(state.store.kept.sync.credential_version);
            if state.gmail.revoked.is_some_and(|revoked| version <= revoked) {
                return Seen::Failed(Failure::new(Disposition::NeedsReauth, "the grant was revoked"));
            }
            return self.ask_gmail(state, &effect, oddity);
        }
        match effect {
            Effect::Acquire { until } => {
                let now = state.now;
                let store = Arc::make_mut(&mut state.store);
                if !lease::acquire(&mut store.kept.sync, "worker", until, now) {
                    return Seen::Acquired(Acquired::Busy);
                }
                worker.generation = Some(store.kept.sync.generation);
                state.old_work = None;
                Seen::Acquired(Acquired::Held(Box::new(store.kept.sync.clone())))
            }
            Effect::Commit(commit) => Seen::Committed(self.commit(state, &commit, oddity)),
            Effect::Release { generation, asked, due_at, status } => {
                let credential_version = worker.credential.filter(|_| status == Some(Status::NeedsReauth));
                let giving = Giving { generation, asked, due_at, status, credential_version };
                let store = Arc::make_mut(&mut state.store);
                let released = lease::release(&mut store.kept.sync, &giving, self.settings.mutant);
                if released == Released::Free {
                    state.old_work = None;
                }
                Seen::Released(released)
            }
            Effect::SendContinuation { lane, step, delay } => {
                let mailbox = state.store.kept.sync.mailbox.clone();
                let trigger = Trigger::Continuation;
                let job = sync_core::job::Job { mailbox, trigger, target: None, step, lane };
                state.queue(Hint { ready: state.now + delay, job });
                Seen::Done
            }
            other => self.ask_store(state, other, oddity),
        }
    }

    fn ask_gmail(&self, state: &State, effect: &Effect, oddity: Option<&Oddity>) -> Seen {
        let (gmail, manner, now) = (&state.gmail, &self.manner, state.now);
        match effect {
            Effect::GetProfile => gmail.profile(),
            Effect::ListHistory { start, page_token } => {
                gmail.history(*start, page_token.as_deref(), manner, now)
            }
            Effect::ListMessages { window, label, page_token } => {
                let omitted = if let Some(Oddity::Omitted(id)) = oddity { Some(*id) } else { None };
                gmail.list(window, label.as_deref(), page_token.as_deref(), omitted, manner)
            }
            Effect::ListLabels => {
                Seen::LabelNames(manner.labels.iter().map(|label| (*label).to_owned()).collect())
            }
            Effect::CountLabels(names) => Seen::LabelCounts(gmail.counts(names, manner)),
            // A thread is its messages, and what it lacks is got singly: what is odd is odd about one of them.
            Effect::Fetch { messages, .. } => {
                let answer = |one: &Listed| Some((one.id, get(state, one.id, oddity)?));
                Seen::Fetched(messages.iter().filter_map(answer).collect())
            }
            _ => Seen::Done,
        }
    }

    fn commit(&self, state: &mut State, commit: &Commit, oddity: Option<&Oddity>) -> Committed {
        let store = Arc::make_mut(&mut state.store);
        if matches!(oddity, Some(Oddity::SequenceTaken)) {
            store.kept.sync.seq += 1;
        }
        let (committed, loss) = store.commit(commit, self.settings.mutant);
        state.loss = state.loss.take().or(loss);
        if committed == Committed::Applied {
            // Whoever takes a baseline lists after it: Gmail shows nobody a state older than that.
            let baselines = commit.progress.work.iter().filter_map(|work| match work.kind {
                WorkKind::Resync { baseline, .. } => Some(baseline),
                WorkKind::Initial { .. } | WorkKind::Backfill { .. } => None,
            });
            let floor = baselines.chain(commit.progress.first_cursor).max().unwrap_or(HistoryId(0));
            if floor > state.gmail.floor {
                Arc::make_mut(&mut state.gmail).floor = floor;
            }
        }
        committed
    }

    fn ask_store(&self, state: &mut State, effect: Effect, oddity: Option<&Oddity>) -> Seen {
        let now = state.now;
        let lost = matches!(oddity, Some(Oddity::ObjectLost));
        match effect {
            Effect::RaiseTarget(target) => {
                let store = Arc::make_mut(&mut state.store);
                lease::raise_target(&mut store.kept.sync, target);
            }
            Effect::LowerTarget { from, to } => {
                lease::lower_target(&mut Arc::make_mut(&mut state.store).kept.sync, from, to);
            }
            Effect::RaiseAsked => {
                let sync = &mut Arc::make_mut(&mut state.store).kept.sync;
                let asked = lease::raise_asked(sync, now, self.settings.mutant);
                let alive = state.workers.iter().flatten().any(|worker| state.holds(worker));
                if asked && alive {
                    state.old_work = state.old_work.or(Some(0));
                }
                return Seen::Asked(asked);
            }
            Effect::ReadSync => return Seen::Sync(Box::new(state.store.kept.sync.clone())),
            Effect::ReadRequests => return Seen::Requests(state.store.kept.requests.clone()),
            Effect::ReadLabelCounts => return Seen::LabelCounts(state.store.kept.label_counts.clone()),
            Effect::ReadRows(ids) => {
                let rows = &state.store.kept.rows;
                return Seen::Rows(ids.iter().filter_map(|id| Some((*id, rows.get(id)?.clone()))).collect());
            }
            Effect::ScanRows { after } => {
                let from = after.map_or(Bound::Unbounded, Bound::Excluded);
                let mut rows = state.store.kept.rows.range((from, Bound::Unbounded));
                let page = rows.by_ref().take(SCAN).map(|(id, row)| (*id, row.clone())).collect();
                return Seen::RowPage(page, rows.next().is_some());
            }
            Effect::ReadOwed { limit } => {
                // Due or not, as the store reads them; what is never due by itself comes last.
                let mut owed: Vec<_> = state.store.kept.owed.values().collect();
                owed.sort_by_key(|owed| (owed.due_at.is_none(), owed.due_at));
                return Seen::Owed(owed.into_iter().take(limit as usize).cloned().collect());
            }
            Effect::ReadOwedOf(ids) => {
                let ids: BTreeSet<_> = ids.into_iter().collect();
                let of = state.store.kept.owed.values().filter(|owed| ids.contains(&owed.id));
                return Seen::Owed(of.cloned().collect());
            }
            Effect::SaveListing { key, listing } => {
                Arc::make_mut(&mut state.store).listings.insert(key, *listing);
            }
            Effect::LoadListing { key } => {
                let kept = state.store.listings.get(&key).filter(|_| !lost);
                return Seen::Listing(kept.cloned().map(Box::new));
            }
            Effect::SaveList { key, messages } => {
                Arc::make_mut(&mut state.store).lists.insert(key, messages);
            }
            Effect::LoadList { key, position, limit } => {
                let kept = state.store.lists.get(&key).filter(|_| !lost);
                let position = usize::try_from(position).unwrap_or(usize::MAX);
                let messages = kept.into_iter().flatten().skip(position).take(limit as usize);
                return Seen::ListSlice(messages.copied().collect());
            }
            _ => {}
        }
        Seen::Done
    }
}

/// Counts old work that is done while somebody has asked for a look.
fn note_old_work(state: &mut State, worker: &Worker) {
    if state.old_work.is_none() || !state.holds(worker) {
        return;
    }
    match worker.effect {
        Effect::ReadRequests => state.old_work = None,
        Effect::LoadList { .. }
        | Effect::ListMessages { .. }
        | Effect::ScanRows { .. }
        | Effect::ListLabels
        | Effect::SaveList { .. } => {
            let steps = state.old_work.unwrap_or_default().saturating_add(1);
            state.old_work = Some(steps);
            if steps > OLD_WORK_MAX && state.loss.is_none() {
                let how = "old work went on though somebody had asked for a look";
                state.loss = Some(Broken::new(Promise::NewBeforeOld, how));
            }
        }
        _ => {}
    }
}

/// One message of a get; `None` when its part of the answer is missing.
fn get(state: &State, id: MessageId, oddity: Option<&Oddity>) -> Option<Fetched> {
    let (gmail, now) = (&state.gmail, state.now);
    let versions = gmail.messages.get(&id).map(Vec::as_slice).unwrap_or_default();
    let last = versions.last();
    let show = |history_id, labels: Option<&_>| match labels {
        Some(labels) => Fetched::Message(Gmail::shown(id, history_id, Clone::clone(labels), now)),
        None => Fetched::NotFound,
    };
    let old = |version: usize| versions.get(version);
    Some(match oddity {
        Some(Oddity::Unanswered(of)) if *of == id => return None,
        Some(Oddity::NotVisible(of)) if *of == id => Fetched::NotFound,
        Some(Oddity::Unreadable(of)) if *of == id => {
            Fetched::Failed(Failure::new(Disposition::Debt, "it cannot be parsed"))
        }
        Some(Oddity::Stale(of, version)) if *of == id => {
            let old = old(*version)?;
            show(old.id, old.labels.as_ref())
        }
        Some(Oddity::TornGet(of, version)) if *of == id => show(last?.id, old(*version)?.labels.as_ref()),
        _ => last.map_or(Fetched::NotFound, |last| show(last.id, last.labels.as_ref())),
    })
}
