//! The promises, for one state.

use sync_core::{
    HistoryId, MessageId, SignedDuration,
    message::{Labels, RowState},
    state::Status,
};

use crate::{
    model::{rest::is_at_rest, scenario::Scenario, state::State},
    world::Promise,
};

/// Longest time until somebody comes back to a mailbox with work: the cooldown. A poll is later.
const BACK_WITHIN: SignedDuration = SignedDuration::from_mins(30);

type Verdict = Result<(), String>;

impl Scenario {
    /// How a state breaks a promise, if it does.
    pub(super) fn broken(&self, state: &State, promise: Promise) -> Option<String> {
        if let Some(loss) = &state.loss {
            return (loss.promise == promise).then(|| loss.how.clone());
        }
        let verdict = match promise {
            Promise::NothingLost => at_rest(state, judge_replica),
            Promise::Announced => at_rest(state, judge_feed),
            Promise::NothingSkipped => self
                .judge_health(state)
                .and_then(|()| judge_return(state))
                .and_then(|()| at_rest(state, judge_counters)),
            Promise::AppliedOnce | Promise::NewBeforeOld | Promise::Bounds => Ok(()),
        };
        verdict.err()
    }

    /// P4: whatever is called healthy is whole, as of its cursor, and owes nothing.
    fn judge_health(&self, state: &State) -> Verdict {
        let sync = &state.store.kept.sync;
        if !sync.is_healthy(self.settings.interval, state.now) {
            return Ok(());
        }
        if let Some(id) = state.store.kept.owed.keys().next() {
            return Err(format!("called healthy while message {id} is owed"));
        }
        let cursor = sync.progress.cursor.unwrap_or(HistoryId(0));
        for (id, versions) in &state.gmail.messages {
            // What has changed since may be ahead of the cursor, when a get has shown it.
            let Some(last) = versions.last().filter(|last| last.id <= cursor) else { continue };
            if state.gmail.torn.contains(id) {
                continue;
            }
            compare(state, *id, last.labels.as_ref()).map_err(|how| format!("called healthy while {how}"))?;
        }
        Ok(())
    }
}

fn at_rest(state: &State, judge: fn(&State) -> Verdict) -> Verdict {
    if is_at_rest(state) { judge(state) } else { Ok(()) }
}

/// Whether the copy of a message is what it should be.
fn compare(state: &State, id: MessageId, truth: Option<&Labels>) -> Verdict {
    let row = state.store.kept.rows.get(&id);
    if row.is_some_and(|row| row.state == RowState::Accepted) {
        return Ok(());
    }
    let wanted = truth.filter(|labels| state.store.kept.sync.scope.holds(labels));
    let stored = row.filter(|row| row.is_live()).map(|row| &row.labels);
    match (wanted, stored) {
        (wanted, stored) if wanted == stored => Ok(()),
        (Some(_), None) => Err(format!("message {id} is missing in the copy")),
        (None, _) => Err(format!("message {id} is in the copy, and gone")),
        (Some(wanted), Some(stored)) => {
            Err(format!("message {id} wears {wanted:?} and the copy says {stored:?}"))
        }
    }
}

/// P1.
fn judge_replica(state: &State) -> Verdict {
    for id in state.gmail.messages.keys().chain(state.store.kept.rows.keys()) {
        compare(state, *id, state.gmail.labels(*id))?;
    }
    if state.store.kept.sync.progress.cursor < Some(state.gmail.head) {
        return Err(format!("the cursor stays below {}, and only a poll will find out", state.gmail.head));
    }
    Ok(())
}

/// The counters that status and probe rely on.
fn judge_counters(state: &State) -> Verdict {
    let (store, totals) = (&state.store, state.store.kept.sync.totals);
    let count = |live: bool| store.kept.rows.values().filter(|row| row.is_live() == live).count();
    let debts = store.kept.owed.values().filter(|owed| owed.reason.is_debt()).count();
    let pairs = [
        ("messages", totals.messages, count(true)),
        ("tombstones", totals.deleted, count(false)),
        ("debts", totals.debts, debts),
        ("waiting", totals.waiting, store.kept.owed.len() - debts),
    ];
    for (name, counter, counted) in pairs {
        if usize::try_from(counter) != Ok(counted) {
            return Err(format!("the counter of {name} says {counter}, there are {counted}"));
        }
    }
    let wearing = |label: &str| {
        store.kept.rows.values().filter(|row| row.is_live() && row.labels.contains(label)).count()
    };
    for (label, counter) in &store.kept.label_counts {
        if usize::try_from(*counter) != Ok(wearing(label)) {
            return Err(format!("the counter of label {label} says {counter}, there are {}", wearing(label)));
        }
    }
    Ok(())
}

/// P3: what consumers know at rest is what the rows say; news is created once, old mail is not told.
fn judge_feed(state: &State) -> Verdict {
    let first = state.store.kept.sync.progress.first_cursor.unwrap_or(HistoryId(0));
    for (id, row) in &state.store.kept.rows {
        let told = state.store.told.get(id);
        let there = told.is_some_and(|told| told.there);
        if row.announced && there != row.is_live() {
            return Err(format!("whether message {id} is there is not what was told last"));
        }
        if there && told.is_some_and(|told| told.labels != row.labels) {
            return Err(format!("what was told last of message {id} is not what it wears"));
        }
        let versions = state.gmail.messages.get(id).map(Vec::as_slice).unwrap_or_default();
        let (Some(born), Some(last)) = (versions.first(), versions.last()) else { continue };
        let created = told.map_or(0, |told| told.created);
        if created > 1 {
            return Err(format!("message {id} was told created {created} times"));
        }
        let everything = state.store.kept.sync.scope.is_everything();
        if everything && born.id > first && row.is_live() && created != 1 {
            return Err(format!("message {id} is news, and nobody was told"));
        }
        let was = versions.iter().rfind(|version| version.id <= first).and_then(|was| was.labels.as_ref());
        if everything && last.id > first && row.is_live() && was != Some(&row.labels) && !there {
            return Err(format!("message {id} has changed, and nobody was told"));
        }
        if last.id <= first && there {
            return Err(format!("message {id} is old, has not changed, and was told"));
        }
    }
    Ok(())
}

/// Somebody always comes back: with work left and no hint on its way, a time stands at which it is tried.
fn judge_return(state: &State) -> Verdict {
    let sync = &state.store.kept.sync;
    if let Some(lease) = &sync.lease
        && sync.status == Status::Active
        && sync.due_at.is_none_or(|due| due > lease.until.max(state.now))
    {
        return Err("the lease is held, and nobody will come when it has lapsed".into());
    }
    if state.is_busy() || !state.queue.is_empty() || sync.status != Status::Active {
        return Ok(());
    }
    let Some(due) = sync.due_at else {
        return Err("nobody works, nothing is on its way, and nobody will come again".into());
    };
    let progress = &sync.progress;
    let left = !progress.work.is_empty()
        || !state.store.kept.requests.is_empty()
        || progress.cursor.is_none()
        || sync.target > progress.cursor;
    if left && due.duration_since(state.now) > BACK_WITHIN {
        return Err("something is left to do, and nobody comes before the next poll".into());
    }
    let owed = state.store.kept.owed.values().filter_map(|owed| owed.due_at).min();
    if owed.is_some_and(|owed| due > owed.max(state.now + BACK_WITHIN)) {
        return Err("something is owed and due, and nobody comes for it".into());
    }
    Ok(())
}
