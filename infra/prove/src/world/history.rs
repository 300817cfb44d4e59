//! One history from its first choice to its verdict.

use std::panic::{AssertUnwindSafe, catch_unwind};

use sync_core::{
    HistoryId, SignedDuration,
    job::{JobKind, Lane, Request, RequestOptions, Trigger},
    message::Labels,
    state::{Content, Scope},
    sync::{Guard, Mutant, Settings},
};

use crate::world::{
    dice::{Dice, Tape},
    fault::{Counts, Plan},
    live::live,
    promise::{Broken, Promise},
    settle::settle,
    sim::{Setting, Shared, Sim, lock, share},
};

/// How a history is run.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    /// The guard that is left out.
    pub mutant: Option<Guard>,
    /// Whether the story is told.
    pub tells: bool,
}

/// What came of a history.
#[derive(Debug, Clone)]
pub struct Verdict {
    /// The first promise that was broken.
    pub broken: Option<Broken>,
    /// What went wrong on the way, by kind.
    pub counts: Counts,
    /// Effects carried out.
    pub effects: u64,
    /// Every choice.
    pub tape: Tape,
    /// What happened, when it was told.
    pub story: Vec<String>,
}

/// The history of a seed.
pub fn run_seed(seed: u64, options: Options) -> Verdict {
    run(Dice::of_seed(seed), options)
}

/// Runs one history. A panic of the engine is a broken promise too.
pub fn run(dice: Dice, options: Options) -> Verdict {
    let mut dice = dice;
    let (setting, begins, steps) = setting(&mut dice, options.mutant);
    let sim = match Sim::new(setting, dice, options.tells) {
        Ok(sim) => sim,
        Err(unfit) => return Verdict::unfit(&unfit.to_string()),
    };
    let shared = share(sim);
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        begin(&shared, begins);
        let workers = live(&shared, steps);
        settle(&shared, workers);
    }));
    let mut sim = lock(&shared);
    if let Err(panic) = outcome {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no reason");
        sim.break_promise(Broken::new(Promise::Bounds, format!("a panic: {text}")));
    }
    Verdict {
        broken: sim.broken.clone(),
        counts: sim.counts.clone(),
        effects: sim.effects,
        tape: sim.dice.tape(),
        story: std::mem::take(&mut sim.story.lines),
    }
}

impl Verdict {
    fn unfit(why: &str) -> Self {
        Self {
            broken: Some(Broken::new(Promise::Bounds, why)),
            counts: Counts::default(),
            effects: 0,
            tape: Tape::default(),
            story: Vec::new(),
        }
    }
}

/// Messages of a large mailbox.
pub const LARGE: u32 = 50;

/// How the world is set, how much mail there is before it begins, and for how many steps it lives.
fn setting(dice: &mut Dice, mutant: Option<Guard>) -> (Setting, u32, u32) {
    let plan = Plan::of(dice);
    let start = match dice.below(4) {
        // About to grow a digit.
        0 => 9_900 + u64::from(dice.below(90)),
        1 => 99_900 + u64::from(dice.below(90)),
        2 => 5_000 + u64::from(dice.below(1_000)),
        _ => 7_000_000,
    };
    let probes = dice.below(10) == 9;
    let far = SignedDuration::from_hours(24 * 365);
    let hours = |hours| if probes { SignedDuration::from_hours(hours) } else { far };
    let settings = Settings {
        initial_newest: dice.below(3),
        initial_days: dice.below(3),
        inline_fetch_max: 1 + dice.below(3) as usize,
        slice: 1 + dice.below(4),
        glance: SignedDuration::from_millis([1_000, 50, 0][dice.below(3) as usize]),
        guard_messages: [50, 50, 50, 2][dice.below(4) as usize],
        guard_percent: 10,
        // A net below the net would hide what falls through the first: probes in one history of ten.
        quiet_probe_interval: hours(6),
        repair_interval: hours(24),
        mutant: mutant.map_or(Mutant::NONE, Mutant::without),
        ..Settings::default()
    };
    let labels = |name: &str| Labels::from([name.to_owned()]);
    let scope = match dice.below(8) {
        0..=4 => Scope::default(),
        5 => Scope { include: labels("INBOX"), ..Scope::default() },
        6 => Scope { exclude: labels("SPAM"), ..Scope::default() },
        _ => Scope { include: labels("Label_1"), exclude: labels("TRASH") },
    };
    let watched = dice.below(2) == 0;
    let page = 1 + dice.below(5) as usize;
    let mailbox_seed = u64::from(dice.below(1_000_000));
    // At times enough mail for a change of all of it to take more than one transaction.
    let is_large = dice.below(12) == 11;
    let begins = dice.below(9) + if is_large { LARGE } else { 0 };
    // A short history often ends in the middle of something, and nothing that comes later repairs it.
    let (fewest, more) = if dice.below(2) == 0 { (20, 260) } else { (4, 36) };
    let steps = dice.steps(fewest, more);
    let slice = if is_large { LARGE } else { settings.slice };
    // Every fifth hands over after a message or a few.
    let hands_over = mailbox_seed % 5 == 0 && !is_large;
    let batch_max = if hands_over { 1 + mailbox_seed % 4 } else { settings.batch_max };
    let settings = Settings { slice, batch_max, ..settings };
    let start = HistoryId(start);
    let content = match mailbox_seed % 3 {
        0 => Content::Raw,
        1 => Content::Full,
        _ => Content::Metadata,
    };
    (Setting { settings, scope, content, watched, start, page, plan, mailbox_seed }, begins, steps)
}

/// Mail from before, and the mailbox is connected.
fn begin(shared: &Shared, messages: u32) {
    let sim = &mut *lock(shared);
    for _ in 0..messages {
        let before = sim.gmail.head();
        sim.deliver();
        // Long ago: nobody pushes it, and all of it shows.
        sim.gmail.note_since(before, &Plan::only(&[]), &mut sim.counts, &mut sim.dice, sim.now);
    }
    let now = sim.now;
    sim.story.tell(now, || "the mailbox is connected".into());
    let Ok(id) = "job_1".parse() else { return };
    let (kind, trigger) = (JobKind::Initial, Trigger::Connect);
    sim.store.request(Request { id, kind, trigger, options: RequestOptions::default() }, now);
    sim.send(trigger, None, Lane::Sync, None, now);
}
