//! The live part of a history: the user, Gmail, people, time and the workers, in any order.

use sync_core::{
    HistoryId, JobId, MessageId, SignedDuration,
    job::{JobKind, Lane, Request, RequestOptions, Trigger},
    lease,
    state::{Content, Status, Window},
};

use gmail_sim::model::{INBOX, LabelIndex, SPAM, STARRED, TRASH, UNREAD};

use crate::world::{
    fault::Fault,
    gmail::FRIEND,
    history::LARGE,
    sim::{Shared, Sim, lock},
    story,
    worker::{Half, Worker},
};

/// Most workers at once: two that race, and one that comes too late.
const WORKERS_MAX: usize = 3;
/// Most requests of people in one history.
const REQUESTS_MAX: usize = 6;

/// Lets things happen for so many steps. Gives the workers that are still somewhere between two effects.
pub fn live(shared: &Shared, steps: u32) -> Vec<Worker> {
    let mut scheduler = Scheduler { workers: Vec::new(), started: 0 };
    for _ in 0..steps {
        {
            let mut sim = lock(shared);
            if sim.broken.is_some() || !sim.dice.begin_step() {
                break;
            }
        }
        scheduler.step(shared);
    }
    scheduler.workers
}

struct Scheduler {
    workers: Vec<Worker>,
    started: u32,
}

impl Scheduler {
    fn step(&mut self, shared: &Shared) {
        let action = {
            let mut sim = lock(shared);
            sim.misfortune();
            sim.dice.below(100)
        };
        match action {
            0..=57 if !self.workers.is_empty() => self.go_on(shared),
            58..=70 => lock(shared).user_acts(),
            71..=80 | 0..=57 => self.receive(shared),
            81..=87 => self.time_passes(shared),
            88..=91 => lock(shared).fan_out(),
            92..=95 => lock(shared).person_asks(),
            96..=97 => lock(shared).person_acts(),
            _ => self.crash(shared),
        }
    }

    fn go_on(&mut self, shared: &Shared) {
        let (which, halves) = {
            let mut sim = lock(shared);
            let count = u32::try_from(self.workers.len()).unwrap_or(u32::MAX);
            // Mostly whole effects; the quietest choice is many of them, and nobody in between.
            (sim.dice.below(count) as usize, 12 - sim.dice.below(12))
        };
        let Some(worker) = self.workers.get_mut(which) else { return };
        for _ in 0..halves {
            if worker.advance(shared).is_some() {
                self.workers.swap_remove(which);
                return;
            }
        }
    }

    fn receive(&mut self, shared: &Shared) {
        if self.workers.len() >= WORKERS_MAX {
            return;
        }
        let received = {
            let sim = &mut *lock(shared);
            let received = sim.queue.receive(sim.now, &sim.plan, &mut sim.counts, &mut sim.dice);
            // Mostly as long as a worker may take; at times the end comes at once.
            received.map(|(id, job)| (id, job, [280, 280, 280, 2, 0][sim.dice.below(5) as usize]))
        };
        if let Some((id, job, seconds)) = received {
            self.started += 1;
            self.workers.push(Worker::start(shared, self.started, Some(id), job, seconds));
        }
    }

    fn time_passes(&mut self, shared: &Shared) {
        const SECONDS: [u32; 10] = [1, 1, 2, 5, 20, 60, 150, 400, 4_000, 30_000];
        let sim = &mut *lock(shared);
        let longest = *sim.dice.pick(&SECONDS).unwrap_or(&1);
        let seconds = i64::from(sim.dice.between(1, longest));
        // A worker lives as long as its function's time-out; only a stale one outlives its lease.
        let lease = sim.settings.lease.as_secs();
        let is_long = seconds >= 30;
        if is_long && !self.workers.is_empty() {
            if !sim.dice.chance(sim.plan.rate(Fault::StaleLease) * 10) {
                return;
            }
            if seconds > lease {
                sim.counts.note(Fault::StaleLease);
            }
        }
        sim.now += SignedDuration::from_secs(seconds);
        let now = sim.now;
        sim.story.tell(now, || format!("{seconds} seconds have passed"));
    }

    fn crash(&mut self, shared: &Shared) {
        let which = {
            let sim = &mut *lock(shared);
            let count = u32::try_from(self.workers.len()).unwrap_or(u32::MAX);
            let which = sim.dice.below(count) as usize;
            let Some(worker) = self.workers.get(which) else { return };
            let fault = match worker.half {
                Half::Decided => Fault::CrashBefore,
                Half::CarriedOut => Fault::CrashAfter,
            };
            if !sim.dice.chance(sim.plan.rate(fault) * 20) {
                return;
            }
            sim.counts.note(fault);
            which
        };
        self.workers.swap_remove(which).die(shared);
    }
}

impl Sim {
    /// What befalls Gmail or the grant, by this history's plan.
    fn misfortune(&mut self) {
        if self.dice.chance(self.plan.rate(Fault::HistoryExpired)) {
            self.expire();
        }
        if self.dice.chance(self.plan.rate(Fault::MadeAnew)) && self.gmail.epoch() == 0 {
            self.make_anew();
        }
        if self.dice.chance(self.plan.rate(Fault::GrantRevoked)) {
            self.revoke();
        }
        if self.dice.chance(self.plan.rate(Fault::Unlocked)) {
            self.counts.note(Fault::Unlocked);
            self.unlock();
            let now = self.now;
            self.story.tell(now, || "a person takes the mailbox from whoever holds it".into());
        }
    }

    /// Everything up to now, or most of it, expires.
    pub fn expire(&mut self) {
        self.counts.note(Fault::HistoryExpired);
        let back = u64::from(self.dice.below(20));
        let oldest = self.gmail.expire_below(HistoryId(self.gmail.head().0.saturating_sub(back)));
        let now = self.now;
        self.story.tell(now, || format!("history below {oldest} expires"));
    }

    /// Gmail makes the mailbox anew: ids begin again, far below.
    pub fn make_anew(&mut self) {
        self.counts.note(Fault::MadeAnew);
        let start = HistoryId(self.gmail.head().0 / 10);
        self.gmail.make_anew(start, self.now);
        let now = self.now;
        self.story.tell(now, || format!("Gmail makes the mailbox anew, ids begin at {start}"));
    }

    /// The owner takes the grant back.
    pub fn revoke(&mut self) {
        self.counts.note(Fault::GrantRevoked);
        self.gmail.revoked = Some(self.store.kept.sync.credential_version);
        let now = self.now;
        self.story.tell(now, || "the owner revokes the grant".into());
    }

    /// The owner signs in again: a new version of the credential, and work from outside.
    pub fn sign_in_again(&mut self) {
        let sync = &mut self.store.kept.sync;
        sync.credential_version += 1;
        if sync.status == Status::NeedsReauth {
            sync.status = Status::Active;
        }
        lease::ask(sync, self.now);
        let now = self.now;
        self.story.tell(now, || "the owner signs in again".into());
        self.send(Trigger::Connect, None, Lane::Sync, None, now);
    }

    /// The schedule: whoever is due is hinted.
    pub fn fan_out(&mut self) {
        if self.store.kept.sync.due_at.is_some_and(|due| due <= self.now) {
            let now = self.now;
            self.story.tell(now, || "the schedule finds the mailbox due".into());
            self.send(Trigger::Schedule, None, Lane::Sync, None, now);
        }
    }

    // ---- the user

    /// Something happens in the mailbox, and Gmail pushes it: at once, late, or never.
    pub fn user_acts(&mut self) {
        let before = self.gmail.head();
        self.touch_mailbox();
        self.announce_since(before);
    }

    /// Takes note of what happened and pushes it.
    pub fn announce_since(&mut self, before: HistoryId) {
        let head = self.gmail.head();
        if head == before {
            return;
        }
        self.gmail.note_since(before, &self.plan, &mut self.counts, &mut self.dice, self.now);
        if self.dice.chance(self.plan.rate(Fault::PushDropped)) {
            self.counts.note(Fault::PushDropped);
            return;
        }
        let mut at = self.now + SignedDuration::from_millis(100);
        if self.dice.chance(self.plan.rate(Fault::PushLate)) {
            self.counts.note(Fault::PushLate);
            at += SignedDuration::from_secs(i64::from(self.dice.between(1, 600)));
        }
        self.send(Trigger::Push, Some(head), Lane::Sync, None, at);
    }

    fn touch_mailbox(&mut self) {
        let ids: Vec<MessageId> = self.gmail.messages().map(|(id, _)| id).collect();
        let now = self.now;
        let actions = if ids.len() >= LARGE as usize { 24 } else { 17 };
        match self.dice.below(actions) {
            0..=4 => self.deliver(),
            5..=6 => {
                let gone = self.some(&ids, 2);
                self.story.tell(now, || format!("the user deletes {} for good", names(&gone)));
                self.gmail.delete(&gone, now);
            }
            7 => {
                self.story.tell(now, || "the user's draft is saved".into());
                self.gmail.save_draft(now);
            }
            8 => {
                let some = self.some(&ids, 2);
                self.story.tell(now, || format!("the user puts {} into the bin", names(&some)));
                self.gmail.modify(&some, &[TRASH], &[INBOX, SPAM], now);
            }
            9 => {
                // Binned, and the bin emptied, in one breath.
                let some = self.some(&ids, 1);
                self.story.tell(now, || format!("the user bins and purges {}", names(&some)));
                self.gmail.modify(&some, &[TRASH], &[INBOX, SPAM], now);
                self.gmail.delete(&some, now);
            }
            action => {
                // Rarely everything at once.
                let some = if action >= 16 { ids } else { self.some(&ids, 3) };
                let own = self.gmail.own_label().unwrap_or(STARRED);
                let labels: [LabelIndex; 4] = [UNREAD, INBOX, STARRED, own];
                let label = *self.dice.pick(&labels).unwrap_or(&UNREAD);
                let add = self.dice.below(2) == 0;
                self.story.tell(now, || {
                    let what = if add { "labels" } else { "takes a label off" };
                    let which = if action >= 16 { "all mail".into() } else { names(&some) };
                    format!("the user {what} {which} ({})", label_name(label))
                });
                let (on, off) = if add { (vec![label], vec![]) } else { (vec![], vec![label]) };
                self.gmail.modify(&some, &on, &off, now);
            }
        }
    }

    /// New mail, at times imported with an old date or taken for spam.
    pub fn deliver(&mut self) {
        let labels: &[LabelIndex] = match self.dice.below(8) {
            0..=5 => &[INBOX, UNREAD],
            6 => &[SPAM],
            _ => &[],
        };
        let age = match self.dice.below(6) {
            0..=4 => SignedDuration::ZERO,
            _ => SignedDuration::from_hours(i64::from(self.dice.between(1, 2_000))),
        };
        let friend = self.dice.below(4) == 3;
        self.gmail.deliver(age, labels, friend, self.now);
        let now = self.now;
        let (gmail, story) = (&self.gmail, &mut self.story);
        story.tell(now, || format!("mail arrives, history is at {}", gmail.head()));
    }

    fn some(&mut self, ids: &[MessageId], most: u32) -> Vec<MessageId> {
        let count = self.dice.between(1, most);
        (0..count).filter_map(|_| self.dice.pick(ids).copied()).collect()
    }

    // ---- people

    /// Somebody asks for something over HTTPS: a row first, then its hint.
    pub fn person_asks(&mut self) {
        let number = self.store.closed.len() + self.store.kept.requests.len() + 1;
        if number > REQUESTS_MAX {
            return;
        }
        let mut options = RequestOptions::default();
        let kind = match self.dice.below(12) {
            0..=2 => JobKind::Incremental,
            3..=5 => {
                options.max_results = (self.dice.below(2) == 1).then(|| self.dice.between(1, 4));
                options.accept_deletions = self.dice.below(2) == 1;
                JobKind::Full
            }
            6..=7 => {
                let before = self.now - SignedDuration::from_hours(i64::from(self.dice.below(500)));
                let after = before - SignedDuration::from_hours(i64::from(self.dice.between(1, 1_500)));
                options.window = Some(Window::Between { after, before });
                JobKind::Historical
            }
            8 => {
                let Ok(address) = FRIEND.parse() else { return };
                options.window = Some(Window::Contact { address, limit: self.dice.between(1, 5) });
                JobKind::Contact
            }
            9 => JobKind::Probe,
            other => {
                let owed: Vec<MessageId> = self.store.kept.owed.keys().copied().collect();
                let Some(message) = self.dice.pick(&owed) else { return };
                options.message = Some(*message);
                if other == 10 { JobKind::RetryDebt } else { JobKind::AcceptDebt }
            }
        };
        self.ask_for(kind, options);
    }

    /// Writes a request and sends its hint.
    pub fn ask_for(&mut self, kind: JobKind, options: RequestOptions) {
        let number = self.store.closed.len() + self.store.kept.requests.len() + 1;
        let Ok(id) = format!("job_{number}").parse::<JobId>() else { return };
        let now = self.now;
        self.story.tell(now, || format!("somebody asks for {} ({id})", kind.name()));
        // And at times chooses what is fetched from now on, whatever work is open.
        if number.is_multiple_of(2) {
            let content = &mut self.store.kept.sync.content;
            *content = if content.comes_by_thread() { Content::Raw } else { Content::Full };
        }
        let request = Request { id, kind, trigger: Trigger::Manual, options };
        self.store.request(request, now);
        self.send(Trigger::Manual, None, Lane::Sync, None, now);
    }

    /// The owner pauses, resumes, signs in again, or somebody forces the mailbox.
    fn person_acts(&mut self) {
        let now = self.now;
        match (self.dice.below(3), self.store.kept.sync.status) {
            (_, Status::NeedsReauth) => self.sign_in_again(),
            (_, Status::Paused | Status::NeedsAttention) => self.resume(),
            (0, _) if self.gmail.revoked == Some(self.store.kept.sync.credential_version) => {
                self.sign_in_again();
            }
            (1, Status::Active) if self.dice.below(3) == 0 => {
                self.story.tell(now, || "the owner pauses the mailbox".into());
                self.store.kept.sync.status = Status::Paused;
            }
            (2, _) if self.plan.rate(Fault::Unlocked) > 0 => {
                self.counts.note(Fault::Unlocked);
                self.story.tell(now, || "a person forces the mailbox".into());
                self.unlock();
                self.send(Trigger::Manual, None, Lane::Sync, None, now);
            }
            _ => {}
        }
    }

    /// The owner has the mailbox synced again.
    pub fn resume(&mut self) {
        let now = self.now;
        self.story.tell(now, || "the owner resumes the mailbox".into());
        self.store.kept.sync.status = Status::Active;
        lease::ask(&mut self.store.kept.sync, now);
        self.send(Trigger::Manual, None, Lane::Sync, None, now);
    }
}

fn names(ids: &[MessageId]) -> String {
    let names: Vec<String> = ids.iter().map(|id| story::short(*id)).collect();
    if names.is_empty() { "nothing".into() } else { names.join(" and ") }
}

fn label_name(label: LabelIndex) -> &'static str {
    match label {
        UNREAD => "UNREAD",
        INBOX => "INBOX",
        STARRED => "STARRED",
        _ => "Label_1",
    }
}
