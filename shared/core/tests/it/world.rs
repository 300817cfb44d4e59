//! A small world for the engine: a Gmail, a store and a clock, all in memory, all decided by one seed.

use std::collections::BTreeMap;

use rand::{Rng, SeedableRng, rngs::StdRng};
use sync_core::{
    Disposition, EmailAddress, Failure, Generation, HistoryId, JobId, MessageId, SignedDuration, ThreadId,
    Timestamp,
    job::{JobStatus, Lane, Request},
    message::{Envelope, Labels, Message, RowHead},
    owed::Owed,
    state::{Lease, Progress, Status, Sync, Totals, Window, WorkKind},
    sync::{
        Acquired, Commit, Committed, Effect, Fetched, HistoryPage, HistoryRecord, ListPage, Observed,
        OwedWrite, Profile, RecordChange, Released, RowWrite, Seen,
    },
};

pub const LABELS: [&str; 4] = ["INBOX", "UNREAD", "STARRED", "TRASH"];

/// How often things go wrong, each out of 1,000.
#[derive(Debug, Clone, Copy, Default)]
pub struct Faults {
    pub retry: u32,
    pub not_visible: u32,
    pub missing_part: u32,
    pub stale_get: u32,
    pub commit_lost_answer: u32,
    pub user_between_effects: u32,
}

pub struct World {
    pub rng: StdRng,
    pub now: Timestamp,
    pub faults: Faults,
    // Gmail
    pub mailbox: BTreeMap<MessageId, (Labels, HistoryId)>,
    pub versions: BTreeMap<MessageId, Vec<(Labels, HistoryId)>>,
    pub born: BTreeMap<MessageId, Timestamp>,
    pub log: Vec<HistoryRecord>,
    pub head: u64,
    pub expired_up_to: u64,
    pub page_size: usize,
    pub gets: u64,
    /// Highest baseline so far. A get may be seconds behind, but not behind a baseline read before it:
    /// then nothing could tell.
    floor: HistoryId,
    next_id: u64,
    // The store
    pub sync: Sync,
    pub rows: BTreeMap<MessageId, RowHead>,
    pub owed: BTreeMap<MessageId, Owed>,
    pub requests: Vec<Request>,
    pub closed: BTreeMap<JobId, JobStatus>,
    pub lists: BTreeMap<String, Vec<MessageId>>,
    // The queue: (not before, lane, step)
    pub hints: Vec<(Timestamp, Lane, Option<u64>)>,
}

impl World {
    pub fn new(seed: u64, faults: Faults) -> Self {
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().expect("a time");
        let address: EmailAddress = "a@example.com".parse().expect("an address");
        let sync = Sync {
            mailbox: "mbx_a".parse().expect("an id"),
            tenant: "ten_a".parse().expect("an id"),
            address,
            target: None,
            asked: 0,
            lease: None,
            generation: Generation(0),
            due_at: Some(now),
            status: Status::Active,
            watch_expires_at: None,
            credential_version: 1,
            commit: 0,
            progress: Progress::default(),
            totals: Totals::default(),
        };
        let mut rng = StdRng::seed_from_u64(seed);
        let page_size = rng.random_range(1..6);
        Self {
            rng,
            now,
            faults,
            mailbox: BTreeMap::new(),
            versions: BTreeMap::new(),
            born: BTreeMap::new(),
            log: Vec::new(),
            head: 990,
            expired_up_to: 0,
            page_size,
            gets: 0,
            floor: HistoryId(0),
            next_id: 1,
            sync,
            rows: BTreeMap::new(),
            owed: BTreeMap::new(),
            requests: Vec::new(),
            closed: BTreeMap::new(),
            lists: BTreeMap::new(),
            hints: Vec::new(),
        }
    }

    pub fn chance(&mut self, of_thousand: u32) -> bool {
        self.rng.random_range(0..1_000) < of_thousand
    }

    // ---- Gmail's side

    fn record(&mut self, changes: Vec<(MessageId, RecordChange)>) -> HistoryId {
        self.head += self.rng.random_range(1..4);
        let id = HistoryId(self.head);
        self.log.push(HistoryRecord { id, changes });
        id
    }

    pub fn deliver(&mut self) -> MessageId {
        let id = MessageId(self.next_id);
        self.next_id += 1;
        let at = self.record(vec![(id, RecordChange::Added)]);
        self.born.insert(id, self.now);
        let labels: Labels = ["INBOX", "UNREAD"].map(String::from).into();
        self.mailbox.insert(id, (labels.clone(), at));
        self.versions.insert(id, vec![(labels, at)]);
        id
    }

    pub fn user_acts(&mut self) {
        let ids: Vec<MessageId> = self.mailbox.keys().copied().collect();
        let die = self.rng.random_range(0..10);
        if ids.is_empty() || die < 3 {
            self.deliver();
        } else if die < 5 {
            let id = ids[self.rng.random_range(0..ids.len())];
            self.record(vec![(id, RecordChange::Deleted)]);
            self.mailbox.remove(&id);
        } else {
            // One record may touch many messages.
            let count = self.rng.random_range(1..=ids.len().min(3));
            let label = LABELS[self.rng.random_range(0..LABELS.len())].to_owned();
            let add = self.rng.random_bool(0.5);
            let touched: Vec<MessageId> = ids.into_iter().rev().take(count).collect();
            let change = |label: &String| {
                let labels = vec![label.clone()];
                if add { RecordChange::LabelsAdded(labels) } else { RecordChange::LabelsRemoved(labels) }
            };
            let at = self.record(touched.iter().map(|id| (*id, change(&label))).collect());
            for id in touched {
                let Some((labels, history_id)) = self.mailbox.get_mut(&id) else { continue };
                if add {
                    labels.insert(label.clone())
                } else {
                    labels.remove(&label)
                };
                *history_id = at;
                self.versions.entry(id).or_default().push((labels.clone(), at));
            }
        }
    }

    fn list_history(&self, start: HistoryId, page_token: Option<&String>) -> Seen {
        if start.0 < self.expired_up_to {
            return Seen::HistoryExpired;
        }
        let from: u64 = page_token.map_or(start.0, |token| token.parse().expect("our own token"));
        let mut records: Vec<HistoryRecord> =
            self.log.iter().filter(|record| record.id.0 > from).cloned().collect();
        let more = records.len() > self.page_size;
        records.truncate(self.page_size);
        let next_page_token = records.last().filter(|_| more).map(|record| record.id.0.to_string());
        Seen::History(HistoryPage { records, history_id: HistoryId(self.head), next_page_token })
    }

    fn list_messages(&self, window: Window, label: Option<&String>, page_token: Option<&String>) -> Seen {
        let below: u64 = page_token.map_or(u64::MAX, |token| token.parse().expect("our own token"));
        let size = match window {
            Window::Newest(count) => count as usize,
            Window::Days(_) | Window::All => self.page_size,
        };
        let holds = |labels: &Labels| label.is_none_or(|label| labels.contains(label));
        let mut ids: Vec<MessageId> = self
            .mailbox
            .iter()
            .rev()
            .filter(|(id, (labels, _))| id.0 < below && holds(labels))
            .map(|(id, _)| *id)
            .collect();
        let more = ids.len() > size;
        ids.truncate(size);
        let next_page_token = ids.last().filter(|_| more).map(|id| id.0.to_string());
        Seen::Listed(ListPage { ids, next_page_token })
    }

    fn fetch(&mut self, ids: &[MessageId]) -> Seen {
        let mut answers = Vec::new();
        for id in ids {
            self.gets += 1;
            if self.chance(self.faults.missing_part) {
                continue;
            }
            let retry = self.chance(self.faults.retry);
            // New mail may be invisible for seconds; minutes here, to be hard on the engine.
            let young = self.born.get(id).is_some_and(|born| self.now < *born + SignedDuration::from_mins(5));
            let hidden = self.chance(self.faults.not_visible) && young;
            let stale = self.chance(self.faults.stale_get);
            let answer = match self.mailbox.get(id).cloned() {
                _ if retry => Fetched::Failed(retry_later()),
                Some(_) if hidden => Fetched::NotFound,
                now => {
                    let shown = if stale { self.older_state(*id) } else { None };
                    match shown.or(now) {
                        None => Fetched::NotFound,
                        Some((labels, history_id)) => {
                            Fetched::Message(Box::new(message(*id, labels, history_id, self.now)))
                        }
                    }
                }
            };
            answers.push((*id, answer));
        }
        Seen::Fetched(answers)
    }

    /// What a get that is behind shows: an older state under its own id, older labels under the newest id, or
    /// a message that is deleted already.
    fn older_state(&mut self, id: MessageId) -> Option<(Labels, HistoryId)> {
        let versions = self.versions.get(&id)?;
        let newest_id = versions.last()?.1;
        if !self.mailbox.contains_key(&id) {
            let deleted_at =
                self.log.iter().rev().find(|record| record.changes.iter().any(|(of, _)| *of == id))?.id;
            return versions.last().filter(|_| deleted_at > self.floor).cloned();
        }
        let (labels, own_id) =
            versions.windows(2).find(|pair| pair[1].1 > self.floor).map(|pair| pair[0].clone())?;
        let over = self.rng.random_bool(0.5);
        Some((labels, if over { newest_id } else { own_id }))
    }

    // ---- the store's side

    fn acquire(&mut self, until: Timestamp) -> Seen {
        if self.sync.lease.as_ref().is_some_and(|lease| lease.until >= self.now) {
            return Seen::Acquired(Acquired::Busy);
        }
        self.sync.generation = Generation(self.sync.generation.0 + 1);
        self.sync.lease = Some(Lease { owner: "w".into(), generation: self.sync.generation, until });
        self.sync.due_at = Some(until);
        Seen::Acquired(Acquired::Held(Box::new(self.sync.clone())))
    }

    fn commit(&mut self, commit: &Commit) -> Committed {
        if commit.generation != self.sync.generation || self.sync.lease.is_none() {
            return Committed::Fenced;
        }
        if commit.after != self.sync.commit {
            return Committed::Conflict;
        }
        let items = commit.rows.len() + commit.owed.len() + 2 * commit.closed.len() + 1;
        assert!(items <= Commit::ITEMS_MAX, "a transaction of {items} items");
        assert!(commit.progress.cursor >= self.sync.progress.cursor, "the cursor went backwards");
        self.sync.commit += 1;
        self.sync.progress = commit.progress.clone();
        let baselines = commit.progress.work.iter().filter_map(|work| match work.kind {
            WorkKind::Resync { baseline } => Some(baseline),
            WorkKind::Initial { .. } => None,
        });
        self.floor = baselines.chain(commit.progress.first_cursor).fold(self.floor, HistoryId::max);
        self.sync.totals.add(&commit.totals);
        for row in &commit.rows {
            match row {
                RowWrite::Put(message) => {
                    let head = RowHead {
                        history_id: message.history_id,
                        labels: message.labels.clone(),
                        deleted: false,
                    };
                    self.rows.insert(message.id, head);
                }
                RowWrite::Labels { id, labels, history_id } => {
                    let row = self.rows.get_mut(id).expect("labels of a stored row");
                    row.labels.clone_from(labels);
                    row.history_id = *history_id;
                }
                RowWrite::Tombstone { id, history_id } => {
                    let row = self.rows.entry(*id).or_insert_with(|| RowHead {
                        history_id: *history_id,
                        labels: Labels::new(),
                        deleted: true,
                    });
                    row.deleted = true;
                    row.history_id = *history_id;
                }
            }
        }
        for owed in &commit.owed {
            match owed {
                OwedWrite::Put(owed) => drop(self.owed.insert(owed.id, owed.clone())),
                OwedWrite::Clear(id) => drop(self.owed.remove(id)),
            }
        }
        for close in &commit.closed {
            self.requests.retain(|request| request.id != close.id);
            let before = self.closed.insert(close.id.clone(), close.status);
            assert!(before.is_none(), "a request was closed twice");
        }
        Committed::Applied
    }

    fn release(
        &mut self,
        generation: Generation,
        asked: u64,
        due_at: Option<Timestamp>,
        status: Option<Status>,
    ) -> Released {
        if generation != self.sync.generation || self.sync.lease.is_none() {
            return Released::Fenced;
        }
        if asked != self.sync.asked {
            return Released::AskedAgain;
        }
        self.sync.lease = None;
        self.sync.due_at = due_at;
        self.sync.status = status.unwrap_or(self.sync.status);
        Released::Free
    }

    fn head_of(&self, id: MessageId) -> Option<(MessageId, RowHead)> {
        self.rows.get(&id).map(|row| (id, row.clone()))
    }

    /// Carries out an effect; `None` when the run is over.
    pub fn perform(&mut self, effect: Effect) -> Option<Observed> {
        if self.chance(self.faults.user_between_effects) {
            self.user_acts();
        }
        self.now += SignedDuration::from_millis(20);
        let gmail = matches!(
            effect,
            Effect::ListHistory { .. }
                | Effect::ListMessages { .. }
                | Effect::GetProfile
                | Effect::ListLabels
        );
        if gmail && self.chance(self.faults.retry) {
            return Some(Observed { now: self.now, seen: Seen::Failed(retry_later()) });
        }
        let seen = match effect {
            Effect::RaiseTarget(target) => {
                self.sync.target = self.sync.target.max(Some(target));
                Seen::Done
            }
            Effect::LowerTarget { from, to } => {
                if self.sync.target == Some(from) {
                    self.sync.target = Some(to);
                }
                Seen::Done
            }
            Effect::Acquire { until } => self.acquire(until),
            Effect::RaiseAsked => {
                let held = self.sync.lease.as_ref().is_some_and(|lease| lease.until >= self.now);
                self.sync.asked += u64::from(held);
                Seen::Asked(held)
            }
            Effect::ReadSync => Seen::Sync(Box::new(self.sync.clone())),
            Effect::ReadRequests => Seen::Requests(self.requests.clone()),
            Effect::GetProfile => Seen::Profile(Profile {
                history_id: HistoryId(self.head),
                messages_total: self.mailbox.len() as u64,
            }),
            Effect::ListHistory { start, page_token } => self.list_history(start, page_token.as_ref()),
            Effect::ListMessages { window, label, page_token } => {
                self.list_messages(window, label.as_ref(), page_token.as_ref())
            }
            Effect::ListLabels => Seen::LabelNames(LABELS.map(String::from).into()),
            Effect::ReadRows(ids) => Seen::Rows(ids.into_iter().filter_map(|id| self.head_of(id)).collect()),
            Effect::ScanRows { after } => {
                let mut ids: Vec<MessageId> =
                    self.rows.keys().copied().filter(|id| Some(*id) > after).collect();
                let more = ids.len() > self.page_size;
                ids.truncate(self.page_size);
                Seen::RowPage(ids.into_iter().filter_map(|id| self.head_of(id)).collect(), more)
            }
            Effect::ReadOwed { limit } => {
                let mut owed: Vec<Owed> = self.owed.values().cloned().collect();
                owed.sort_by_key(|owed| owed.due_at);
                owed.truncate(limit as usize);
                Seen::Owed(owed)
            }
            Effect::ReadOwedOf(ids) => {
                Seen::Owed(ids.iter().filter_map(|id| self.owed.get(id).cloned()).collect())
            }
            Effect::Fetch(ids) => self.fetch(&ids),
            Effect::SaveList { key, ids } => {
                self.lists.insert(key, ids);
                Seen::Done
            }
            Effect::LoadList { key, position, limit } => {
                let ids = self.lists.get(&key).into_iter().flatten();
                let position = usize::try_from(position).expect("a position");
                Seen::ListSlice(ids.skip(position).take(limit as usize).copied().collect())
            }
            Effect::Commit(commit) => {
                let committed = self.commit(&commit);
                if committed == Committed::Applied && self.chance(self.faults.commit_lost_answer) {
                    Seen::Committed(Committed::Conflict)
                } else {
                    Seen::Committed(committed)
                }
            }
            Effect::SendContinuation { lane, step, delay } => {
                self.hints.push((self.now + delay, lane, step));
                Seen::Done
            }
            Effect::Release { generation, asked, due_at, status } => {
                Seen::Released(self.release(generation, asked, due_at, status))
            }
            Effect::Finish(_) => return None,
        };
        Some(Observed { now: self.now, seen })
    }
}

fn retry_later() -> Failure {
    Failure::new(Disposition::Retry(SignedDuration::from_secs(3)), "Backend Error")
}

fn message(id: MessageId, labels: Labels, history_id: HistoryId, received_at: Timestamp) -> Message {
    Message {
        id,
        thread_id: ThreadId(id.0),
        history_id,
        labels,
        received_at,
        size_estimate: 1,
        snippet: String::new(),
        envelope: Box::new(Envelope::default()),
        body: None,
    }
}
