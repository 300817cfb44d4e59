//! Watches what the workers log, effect by effect, and kills the one that is about to do something.
//!
//! Invariant: only a process whose own log has just grown is killed, so its id is its own. A kill counts only when the
//! log ends with an effect: then the process died between that line and the next one.

use std::{
    collections::BTreeMap,
    fs::File,
    io::Read,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// Between two looks at the logs: shorter than any effect.
const LOOK_EVERY: Duration = Duration::from_micros(300);
/// Longest wait until a killed process is gone.
const GONE_MAX: Duration = Duration::from_secs(10);
/// What somebody does who does not hold the mailbox, or not yet.
pub const WITHOUT_LEASE: [&str; 3] = ["RaiseTarget", "Acquire", "RaiseAsked"];

/// Where a worker died.
#[derive(Debug, Clone)]
pub struct Death {
    /// The last effect that was done, or `the start` of the visit.
    pub after: String,
    /// The effect that was under way, or `the next` if none had begun.
    pub before: String,
}

/// A line about an effect.
#[derive(Debug, Clone)]
struct Line {
    mailbox: String,
    effect: String,
    is_done: bool,
}

/// The end of one process's log.
struct Tail {
    file: File,
    unfinished: Vec<u8>,
    last: Option<Line>,
    last_done: Option<String>,
}

/// The logs of all workers.
pub struct Hunter {
    folder: PathBuf,
    tails: BTreeMap<i32, Tail>,
    /// How many effects each mailbox has had of somebody who holds it.
    held: BTreeMap<String, usize>,
}

impl Hunter {
    /// Watches the logs in this folder.
    pub fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), tails: BTreeMap::new(), held: BTreeMap::new() }
    }

    /// How many effects somebody who held this mailbox has had so far.
    pub fn work_on(&mut self, mailbox: &str) -> usize {
        drop(self.news());
        self.held.get(mailbox).copied().unwrap_or(0)
    }

    /// Waits for a worker that has just come to this effect of the mailbox (to any, for `None`), and kills it after
    /// `delay`. `None`: nobody did within the bound, or the process had finished when the signal came.
    pub fn kill(
        &mut self,
        mailbox: &str,
        effect: Option<&str>,
        delay: Duration,
        bound: Duration,
    ) -> Option<Death> {
        let deadline = Instant::now() + bound;
        while Instant::now() < deadline {
            for (id, lines) in self.news() {
                let is_wanted = |line: &Line| {
                    line.mailbox == mailbox && effect.is_none_or(|effect| line.effect == effect)
                };
                let works = self.tails[&id].last.as_ref().is_some_and(|last| last.mailbox == mailbox);
                if works && lines.iter().any(is_wanted) {
                    std::thread::sleep(delay);
                    if let Some(death) = self.kill_now(id, mailbox) {
                        return Some(death);
                    }
                }
            }
            std::thread::sleep(LOOK_EVERY);
        }
        None
    }

    fn kill_now(&mut self, id: i32, mailbox: &str) -> Option<Death> {
        let process = Pid::from_raw(id)?;
        // It may have ended by itself: then nothing was killed.
        kill_process(process, Signal::KILL).ok()?;
        let deadline = Instant::now() + GONE_MAX;
        while !is_gone(id) {
            assert!(Instant::now() < deadline, "process {id} does not end");
            std::thread::sleep(LOOK_EVERY);
        }
        drop(self.news());
        let tail = self.tails.remove(&id)?;
        let last = tail.last.filter(|last| last.mailbox == mailbox)?;
        // What follows these is the end of the visit, not an effect.
        if last.is_done && matches!(last.effect.as_str(), "Release" | "RaiseAsked") {
            return None;
        }
        let after = tail.last_done.unwrap_or_else(|| "the start".to_owned());
        let before = if last.is_done { "the next".to_owned() } else { last.effect };
        Some(Death { after, before })
    }

    /// What each process has logged of effects since the last look.
    fn news(&mut self) -> Vec<(i32, Vec<Line>)> {
        for entry in std::fs::read_dir(&self.folder).expect("the folder of logs").flatten() {
            let path = entry.path();
            let id = path.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| stem.parse().ok());
            let Some(id) = id.filter(|id| !self.tails.contains_key(id)) else { continue };
            // A dead process's log is not read again.
            if is_gone(id) {
                continue;
            }
            let file = File::open(&path).expect("a log");
            self.tails.insert(id, Tail { file, unfinished: Vec::new(), last: None, last_done: None });
        }
        let mut news = Vec::new();
        for (id, tail) in &mut self.tails {
            let lines = tail.read();
            for line in lines.iter().filter(|line| !WITHOUT_LEASE.contains(&line.effect.as_str())) {
                *self.held.entry(line.mailbox.clone()).or_default() += 1;
            }
            if !lines.is_empty() {
                news.push((*id, lines));
            }
        }
        news
    }
}

impl Tail {
    fn read(&mut self) -> Vec<Line> {
        self.file.read_to_end(&mut self.unfinished).expect("it reads");
        let Some(end) = self.unfinished.iter().rposition(|byte| *byte == b'\n') else { return Vec::new() };
        let whole: Vec<u8> = self.unfinished.drain(..=end).collect();
        let mut lines = Vec::new();
        for line in whole.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            let line = parsed(line);
            match &line {
                // The visit is over, or about to be.
                None => self.last_done = None,
                Some(line) if line.is_done => self.last_done = Some(line.effect.clone()),
                Some(_) => {}
            }
            lines.extend(line.clone());
            self.last = line;
        }
        lines
    }
}

/// A line of the log, if it is about an effect.
fn parsed(line: &[u8]) -> Option<Line> {
    let line: Value = serde_json::from_slice(line).ok()?;
    Some(Line {
        mailbox: line["mailbox.id"].as_str()?.to_owned(),
        effect: line["effect"].as_str()?.to_owned(),
        is_done: line["message"].as_str()?.ends_with("is done"),
    })
}

/// Whether a process has ended, whoever has yet to collect it.
fn is_gone(id: i32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
    status.is_empty() || status.contains(") Z ")
}
