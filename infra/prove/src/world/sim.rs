//! The whole world, and how it carries out one effect.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sync_core::{
    Disposition, Failure, Generation, HistoryId, SignedDuration, Timestamp,
    job::{Job, Lane, Trigger},
    lease::{self, Giving},
    message::RowHead,
    state::{Content, Scope, Status, WorkKind},
    sync::{Acquired, Committed, Effect, Listing, Mutant, Observed, Released, Seen, Settings},
};

use crate::world::{
    Unfit,
    dice::Dice,
    fault::{Counts, Fault, Plan},
    gmail::{Gmail, throttled},
    promise::{Broken, Promise},
    queue::Queue,
    store::Store,
    story::{self, Story},
};

/// What a history begins with.
#[derive(Debug, Clone)]
pub struct Setting {
    /// The engine's.
    pub settings: Settings,
    /// Which labels the owner chose.
    pub scope: Scope,
    /// What of a message the owner chose: threads come whole in some formats.
    pub content: Content,
    /// Whether a watch is set: with one, polls are an hour apart, else five minutes.
    pub watched: bool,
    /// The id at which history begins.
    pub start: HistoryId,
    /// Records, or messages, a page.
    pub page: usize,
    /// How often what goes wrong.
    pub plan: Plan,
    /// Decides the mailbox's own ids.
    pub mailbox_seed: u64,
}

/// How many effects of old work may come between a push and the look it asks for.
pub const OLD_EFFECTS_MAX: u32 = 60;

/// Most effects of one history: one with more will never come to rest.
const EFFECTS_MAX: u64 = 15_000;

/// The world.
#[derive(Debug)]
pub struct Sim {
    /// The clock.
    pub now: Timestamp,
    /// Every choice.
    pub dice: Dice,
    /// How often what goes wrong.
    pub plan: Plan,
    /// How often it did.
    pub counts: Counts,
    /// Gmail.
    pub gmail: Gmail,
    /// DynamoDB and S3.
    pub store: Store,
    /// SQS.
    pub queue: Queue,
    /// The engine's settings.
    pub settings: Settings,
    /// What is told, when somebody wants to read it.
    pub story: Story,
    /// The first promise that was broken.
    pub broken: Option<Broken>,
    /// Effects carried out.
    pub effects: u64,
    /// Effects of old work since a push asked for a look.
    waiting_push: Option<(HistoryId, u32)>,
    /// Gets, for claims about their number.
    pub gets: u64,
    /// The highest history id that a push has named and whose message was taken off the queue as done.
    pub pushed: Option<HistoryId>,
    /// Which mailbox, of those that were made anew, the last profile was of.
    profiled: u32,
    /// Which one the cursor is of.
    pub synced: u32,
}

/// The world as workers and the scheduler share it.
pub type Shared = Arc<Mutex<Sim>>;

/// Puts a world where workers can reach it.
pub fn share(sim: Sim) -> Shared {
    Arc::new(Mutex::new(sim))
}

/// The world for one moment. Nobody waits while holding it, so nobody waits for it.
pub fn lock(shared: &Shared) -> MutexGuard<'_, Sim> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Noon of a day on which nothing special happens.
const BEGINNING: i64 = 1_772_539_200;

impl Sim {
    /// A world at its beginning: an empty mailbox, connected just now, nothing copied.
    pub fn new(setting: Setting, dice: Dice, tells: bool) -> Result<Self, Unfit> {
        let now = Timestamp::from_second(BEGINNING).unwrap_or_default();
        let mutant: Mutant = setting.settings.mutant;
        let shifting = setting.plan.rate(Fault::PageShifted) > 0;
        let paging =
            if shifting { gmail_sim::model::Paging::Shifting } else { gmail_sim::model::Paging::Keyed };
        Ok(Self {
            now,
            dice,
            counts: Counts::default(),
            gmail: Gmail::new(setting.mailbox_seed, setting.start, setting.page, paging, now),
            store: Store::new(setting.scope, setting.content, setting.watched, mutant, now)?,
            queue: Queue::default(),
            plan: setting.plan,
            settings: setting.settings,
            story: Story::new(tells, now),
            broken: None,
            effects: 0,
            waiting_push: None,
            gets: 0,
            pushed: None,
            profiled: 0,
            synced: 0,
        })
    }

    /// Remembers the first promise that was broken.
    pub fn break_promise(&mut self, broken: Broken) {
        if self.broken.is_none() {
            let text = broken.to_string();
            self.story.tell(self.now, || text);
            self.broken = Some(broken);
        }
    }

    /// Sends a hint.
    pub fn send(
        &mut self,
        trigger: Trigger,
        target: Option<HistoryId>,
        lane: Lane,
        step: Option<u64>,
        at: Timestamp,
    ) {
        let mailbox = self.store.kept.sync.mailbox.clone();
        let job = Job { mailbox, trigger, target, step, lane };
        self.queue.send(&job, at, &self.plan, &mut self.counts, &mut self.dice);
    }

    /// Whether old work held up a push for too long.
    fn count_old_work(&mut self, effect: &Effect) {
        match effect {
            Effect::RaiseTarget(target) if Some(*target) > self.store.kept.sync.progress.cursor => {
                self.waiting_push = Some((*target, 0));
            }
            Effect::ListHistory { .. } => self.waiting_push = None,
            Effect::LoadList { .. } | Effect::ListMessages { .. } | Effect::ScanRows { .. } => {
                let cursor = self.store.kept.sync.progress.cursor;
                self.waiting_push = self.waiting_push.filter(|(target, _)| Some(*target) > cursor);
                let Some((target, effects)) = &mut self.waiting_push else { return };
                *effects += 1;
                let (target, effects) = (*target, *effects);
                if effects > OLD_EFFECTS_MAX {
                    let how = format!("{effects} effects of old work since a push named {target}");
                    self.break_promise(Broken::new(Promise::NewBeforeOld, how));
                }
            }
            _ => {}
        }
    }

    /// Carries out one effect for a worker. `credential` is the version of the grant that the worker's run uses.
    pub fn carry_out(&mut self, worker: u32, credential: &mut Option<u64>, effect: &Effect) -> Seen {
        self.now += SignedDuration::from_millis(20);
        self.effects += 1;
        self.count_old_work(effect);
        if self.effects == EFFECTS_MAX {
            let broken = self.never_quiet();
            self.break_promise(broken);
        }
        if self.dice.chance(self.plan.rate(Fault::Throttled) / 2) {
            self.counts.note(Fault::Throttled);
            let now = self.now;
            self.story.tell(now, || format!("worker {worker}: {} — throttled", story::effect(effect)));
            return Seen::Failed(throttled());
        }
        let seen = self.do_it(worker, credential, effect);
        let is_lost = self.dice.chance(self.plan.rate(Fault::AnswerLost) / 2);
        let now = self.now;
        self.story.tell(now, || {
            let lost = if is_lost { " — and the answer is lost" } else { "" };
            format!("worker {worker}: {}: {}{lost}", story::effect(effect), story::seen(&seen))
        });
        if is_lost {
            self.counts.note(Fault::AnswerLost);
            return Seen::Failed(throttled());
        }
        seen
    }

    fn do_it(&mut self, worker: u32, credential: &mut Option<u64>, effect: &Effect) -> Seen {
        match effect {
            Effect::GetProfile
            | Effect::ListHistory { .. }
            | Effect::ListMessages { .. }
            | Effect::ListLabels
            | Effect::CountLabels(_)
            | Effect::Fetch { .. } => {
                let version = *credential.get_or_insert(self.store.kept.sync.credential_version);
                if self.gmail.revoked.is_some_and(|revoked| version <= revoked) {
                    return Seen::Failed(Failure::new(Disposition::NeedsReauth, "the grant was revoked"));
                }
                self.ask_gmail(worker, effect)
            }
            Effect::SaveListing { .. }
            | Effect::LoadListing { .. }
            | Effect::SaveList { .. }
            | Effect::LoadList { .. } => self.objects(effect),
            Effect::Release { generation, asked, due_at, status } => {
                let credential_version = credential.filter(|_| *status == Some(Status::NeedsReauth));
                self.release(&Giving {
                    generation: *generation,
                    asked: *asked,
                    due_at: *due_at,
                    status: *status,
                    credential_version,
                })
            }
            Effect::SendContinuation { lane, step, delay } => {
                self.send(Trigger::Continuation, None, *lane, *step, self.now + *delay);
                Seen::Done
            }
            Effect::Commit(commit) => Seen::Committed(self.commit(commit)),
            _ => self.ask_store(worker, effect),
        }
    }

    fn ask_gmail(&mut self, worker: u32, effect: &Effect) -> Seen {
        let now = self.now;
        match effect {
            Effect::ListHistory { start, page_token } => {
                let is_behind =
                    page_token.is_none() && self.dice.chance(self.plan.rate(Fault::ReplicaBehind));
                if is_behind {
                    self.counts.note(Fault::ReplicaBehind);
                    return self.gmail.history_behind(*start, now);
                }
                let ahead = page_token.is_none() && self.dice.chance(self.plan.rate(Fault::LaterPageAhead));
                let seen = self.gmail.history(*start, page_token.as_deref(), ahead, now);
                if ahead && matches!(&seen, Seen::History(page) if page.next_page_token.is_some()) {
                    self.counts.note(Fault::LaterPageAhead);
                }
                seen
            }
            Effect::ListMessages { window, label, page_token } => {
                // A token is `worker/token`: one that another run got may be refused.
                let (owner, token) = match page_token.as_deref().and_then(|token| token.split_once('/')) {
                    Some((owner, token)) => (owner.parse().ok(), Some(token)),
                    None => (None, None),
                };
                if owner.is_some_and(|owner: u32| owner != worker)
                    && self.dice.chance(self.plan.rate(Fault::TokenRefused))
                {
                    self.counts.note(Fault::TokenRefused);
                    return Seen::Failed(Failure::new(Disposition::Defect, "Invalid pageToken"));
                }
                let (seen, by_count) = self.gmail.list(window, label.as_deref(), token, now);
                if by_count {
                    self.counts.note(Fault::PageShifted);
                }
                match seen {
                    Seen::Listed(mut page) => {
                        page.next_page_token = page.next_page_token.map(|token| format!("{worker}/{token}"));
                        Seen::Listed(page)
                    }
                    other => other,
                }
            }
            Effect::GetProfile => {
                self.profiled = self.gmail.epoch();
                self.gmail.profile()
            }
            Effect::ListLabels => Seen::LabelNames(self.gmail.label_names()),
            Effect::CountLabels(names) => Seen::LabelCounts(self.gmail.label_counts(names)),
            // A thread is its messages, and what it lacks is got singly: each goes right or wrong for itself.
            Effect::Fetch { messages, .. } => {
                self.gets += messages.len() as u64;
                let mut answers = Vec::with_capacity(messages.len());
                for id in messages.iter().map(|one| one.id) {
                    let answer = self.gmail.get(id, &self.plan, &mut self.counts, &mut self.dice, now);
                    answers.extend(answer.map(|answer| (id, answer)));
                }
                Seen::Fetched(answers)
            }
            _ => Seen::Done,
        }
    }

    fn objects(&mut self, effect: &Effect) -> Seen {
        match effect {
            Effect::SaveListing { key, listing } => {
                self.store.listings.insert(key.clone(), listing.to_bytes());
            }
            Effect::LoadListing { key } => {
                let is_lost = self.loses_object();
                let bytes = self.store.listings.get(key).filter(|_| !is_lost);
                return Seen::Listing(bytes.and_then(|bytes| Listing::from_bytes(bytes)).map(Box::new));
            }
            Effect::SaveList { key, messages } => {
                self.store.lists.insert(key.clone(), messages.clone());
            }
            Effect::LoadList { key, position, limit } => {
                let is_lost = self.loses_object();
                let list = self.store.lists.get(key).filter(|_| !is_lost).into_iter().flatten();
                let position = usize::try_from(*position).unwrap_or(usize::MAX);
                return Seen::ListSlice(list.skip(position).take(*limit as usize).copied().collect());
            }
            _ => {}
        }
        Seen::Done
    }

    fn loses_object(&mut self) -> bool {
        let is_lost = self.dice.chance(self.plan.rate(Fault::ObjectLost));
        if is_lost {
            self.counts.note(Fault::ObjectLost);
        }
        is_lost
    }

    fn release(&mut self, giving: &Giving) -> Seen {
        let mutant = self.settings.mutant;
        let released = lease::release(&mut self.store.kept.sync, giving, mutant);
        if released == Released::Free
            && giving.due_at.is_none()
            && self.store.kept.sync.status == Status::Active
        {
            let how = "a mailbox was given back and nobody will come again";
            self.break_promise(Broken::new(Promise::NothingSkipped, how));
        }
        if released == Released::Free {
            self.check_health();
        }
        Seen::Released(released)
    }

    fn commit(&mut self, commit: &sync_core::sync::Commit) -> Committed {
        if self.dice.chance(self.plan.rate(Fault::SequenceTaken)) {
            self.counts.note(Fault::SequenceTaken);
            self.store.take_sequence_number();
        }
        let before = (self.store.kept.sync.progress.cursor.is_some(), self.store.kept.sync.progress.epoch);
        let (committed, broken) = self.store.commit(commit);
        if let Some(broken) = broken {
            self.break_promise(broken);
        }
        if committed == Committed::Applied {
            // Whoever takes a baseline lists after it: Gmail shows nobody a state older than that.
            let baselines = commit.progress.work.iter().filter_map(|work| match work.kind {
                WorkKind::Resync { baseline, .. } => Some(baseline),
                WorkKind::Initial { .. } | WorkKind::Backfill { .. } => None,
            });
            let begins = commit.progress.first_cursor.max(commit.progress.gap);
            self.gmail.list_up_to(begins.unwrap_or(HistoryId(0)));
            if before != (true, commit.progress.epoch) {
                self.synced = self.profiled;
            }
            if self.synced == self.gmail.epoch() {
                let floor = baselines.chain(commit.progress.first_cursor).max();
                self.gmail.raise_floor(floor.unwrap_or(HistoryId(0)).min(self.gmail.head()));
            }
            self.check_health();
        }
        committed
    }

    fn ask_store(&mut self, worker: u32, effect: &Effect) -> Seen {
        let now = self.now;
        let store = &mut self.store;
        let row = |store: &Store, id| store.kept.rows.get(id).map(|row: &RowHead| (*id, row.clone()));
        match effect {
            Effect::RaiseTarget(target) => lease::raise_target(&mut store.kept.sync, *target),
            Effect::LowerTarget { from, to } => lease::lower_target(&mut store.kept.sync, *from, *to),
            Effect::Acquire { until } => {
                let owner = format!("worker {worker}");
                if !lease::acquire(&mut store.kept.sync, &owner, *until, now) {
                    return Seen::Acquired(Acquired::Busy);
                }
                store.newest_holder = store.kept.sync.generation;
                return Seen::Acquired(Acquired::Held(Box::new(store.kept.sync.clone())));
            }
            Effect::RaiseAsked => {
                return Seen::Asked(lease::raise_asked(&mut store.kept.sync, now, self.settings.mutant));
            }
            Effect::ReadSync => return Seen::Sync(Box::new(store.kept.sync.clone())),
            Effect::ReadRequests => return Seen::Requests(store.kept.requests.clone()),
            Effect::ReadLabelCounts => return Seen::LabelCounts(store.kept.label_counts.clone()),
            Effect::ReadRows(ids) => {
                return Seen::Rows(ids.iter().filter_map(|id| row(store, id)).collect());
            }
            Effect::ScanRows { after } => {
                let from = after.map_or(std::ops::Bound::Unbounded, std::ops::Bound::Excluded);
                let mut rows = store.kept.rows.range((from, std::ops::Bound::Unbounded));
                let page = rows.by_ref().take(4).map(|(id, row)| (*id, row.clone())).collect();
                return Seen::RowPage(page, rows.next().is_some());
            }
            Effect::ReadOwed { limit } => {
                // What nothing more is tried of by itself is not in this index.
                let timed = |owed: &&sync_core::owed::Owed| owed.due_at.is_some();
                let mut owed: Vec<_> = store.kept.owed.values().filter(timed).cloned().collect();
                owed.sort_by_key(|owed| owed.due_at);
                owed.truncate(*limit as usize);
                return Seen::Owed(owed);
            }
            Effect::ReadOwedOf(ids) => {
                return Seen::Owed(ids.iter().filter_map(|id| store.kept.owed.get(id).cloned()).collect());
            }
            _ => {}
        }
        Seen::Done
    }

    /// A person takes the mailbox from whoever holds it.
    pub fn unlock(&mut self) {
        lease::unlock(&mut self.store.kept.sync, self.now);
        self.store.newest_holder = Generation(self.store.kept.sync.generation.0);
    }

    /// What a worker hears: the answer, at the time at which it comes.
    pub fn heard(&self, seen: Seen) -> Observed {
        Observed { now: self.now, seen }
    }
}
