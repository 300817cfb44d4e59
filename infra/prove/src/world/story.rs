//! A history in plain words, a line for each thing that happened.
//!
//! Deliberately absent: anything a reader needs the code for. A story is read by somebody who wants to know how mail
//! was lost.

use sync_core::{
    MessageId, SignedDuration, Timestamp,
    job::{Job, Lane, Trigger},
    message::{Labels, RowHead, RowState},
    state::{Window, Work, WorkKind},
    sync::{
        Acquired, Commit, Committed, Effect, Event, Fetched, Happened, HistoryRecord, Listed, Outcome,
        OwedWrite, RecordChange, Released, RowWrite, Seen,
    },
};

/// The lines told so far, if anybody listens.
#[derive(Debug)]
pub struct Story {
    tells: bool,
    began: Timestamp,
    /// One for each thing that happened.
    pub lines: Vec<String>,
}

impl Story {
    /// A story that begins now.
    pub fn new(tells: bool, began: Timestamp) -> Self {
        Self { tells, began, lines: Vec::new() }
    }

    /// Whether anybody listens.
    pub fn tells(&self) -> bool {
        self.tells
    }

    /// One line. The words are only made when somebody listens.
    pub fn tell(&mut self, now: Timestamp, words: impl FnOnce() -> String) {
        if self.tells {
            self.lines.push(format!("{:>12}  {}", clock(now.duration_since(self.began)), words()));
        }
    }
}

/// Time since the beginning: `1h02m03.456`.
fn clock(since: SignedDuration) -> String {
    let millis = since.as_millis();
    let (seconds, rest) = (millis / 1_000, millis % 1_000);
    let (minutes, hours) = (seconds / 60 % 60, seconds / 3_600);
    if hours > 0 {
        format!("{hours}h{minutes:02}m{:02}.{rest:03}", seconds % 60)
    } else {
        format!("{minutes}m{:02}.{rest:03}", seconds % 60)
    }
}

/// The last digits tell messages of one history apart.
pub fn short(id: MessageId) -> String {
    format!("…{:05x}", id.0 & 0xf_ffff)
}

fn ids(ids: &[MessageId]) -> String {
    let shown: Vec<String> = ids.iter().map(|id| short(*id)).collect();
    if shown.is_empty() { "nothing".into() } else { shown.join(", ") }
}

fn named(messages: &[Listed]) -> String {
    ids(&messages.iter().map(|one| one.id).collect::<Vec<_>>())
}

/// Labels in words.
pub fn labels(labels: &Labels) -> String {
    let names: Vec<&str> = labels.iter().map(String::as_str).collect();
    format!("[{}]", names.join(" "))
}

/// A hint in words.
pub fn job(job: &Job) -> String {
    let what = match (job.trigger, job.target) {
        (Trigger::Push, Some(target)) => format!("a push that names {target}"),
        (Trigger::Push, None) => "a push".into(),
        (Trigger::Schedule, _) => "the schedule says that the mailbox is due".into(),
        (Trigger::Manual, _) => "somebody asked".into(),
        (Trigger::Connect, _) => "the mailbox was connected".into(),
        (Trigger::Refresh, _) => "the access token was refused when it was to be refreshed".into(),
        (Trigger::Probe, _) => "the counters are to be compared".into(),
        (Trigger::Continuation, _) => match job.step {
            Some(step) => format!("a continuation of step {step}"),
            None => "a hint to look again".into(),
        },
    };
    let lane = match job.lane {
        Lane::Sync => "",
        Lane::Backfill => ", on the backfill queue",
    };
    format!("{what}{lane}")
}

fn window(window: &Window) -> String {
    match window {
        Window::Newest(count) => format!("the newest {count}"),
        Window::Days(days) => format!("the last {days} days"),
        Window::All => "everything".into(),
        Window::Between { .. } => "a stretch of time".into(),
        Window::Contact { .. } => "one correspondent's mail".into(),
    }
}

/// An effect in words.
pub fn effect(effect: &Effect) -> String {
    match effect {
        Effect::RaiseTarget(target) => format!("raises the target to {target}"),
        Effect::LowerTarget { from, to } => format!("lowers the target from {from} to {to}"),
        Effect::Acquire { .. } => "takes the lease".into(),
        Effect::RaiseAsked => "asks the holder to look again".into(),
        Effect::ReadSync => "reads SYNC".into(),
        Effect::ReadRequests => "reads open requests".into(),
        Effect::GetProfile => "asks for the profile".into(),
        Effect::ListHistory { start, page_token } => {
            let page = if page_token.is_some() { ", next page" } else { "" };
            format!("lists history from {start}{page}")
        }
        Effect::ListMessages { window: stretch, label, page_token } => {
            let what = label.as_ref().map_or_else(|| window(stretch), |label| format!("label {label}"));
            format!("lists {what}{}", if page_token.is_some() { ", next page" } else { "" })
        }
        Effect::ListLabels => "lists the labels".into(),
        Effect::CountLabels(_) => "asks for Gmail's counters".into(),
        Effect::ReadLabelCounts => "reads our counters".into(),
        Effect::ReadRows(rows) => format!("reads the rows of {}", ids(rows)),
        Effect::ScanRows { .. } => "scans rows".into(),
        Effect::ReadOwed { .. } => "reads what is owed".into(),
        Effect::ReadOwedOf(of) => format!("reads what is owed of {}", ids(of)),
        Effect::Fetch { messages, .. } => format!("gets {}", named(messages)),
        Effect::SaveListing { .. } => "keeps an unfinished listing".into(),
        Effect::LoadListing { .. } => "takes up an unfinished listing".into(),
        Effect::SaveList { messages, .. } => format!("writes a fetch list: {}", named(messages)),
        Effect::LoadList { position, .. } => format!("reads the fetch list from {position}"),
        Effect::Commit(commit) => format!("commits {}", self::commit(commit)),
        Effect::SendContinuation { delay, .. } => format!("sends a hint for in {} s", delay.as_secs()),
        Effect::Release { due_at: Some(_), .. } => "gives the lease back, due again".into(),
        Effect::Release { due_at: None, .. } => "gives the lease back".into(),
        Effect::Finish(_) => "ends".into(),
    }
}

fn commit(commit: &Commit) -> String {
    let mut parts = vec![format!("#{}", commit.after + 1)];
    parts.extend(commit.progress.cursor.map(|cursor| format!("cursor {cursor}")));
    parts.extend(commit.rows.iter().map(row_write));
    parts.extend(commit.owed.iter().map(|owed| match owed {
        OwedWrite::Put(owed) => format!("{} is owed ({})", short(owed.id), owed.reason.name()),
        OwedWrite::Clear(id) => format!("{} is owed no more", short(*id)),
    }));
    let event = |event: &Event| format!("event {} {}", event.seq, happened(&event.what));
    parts.extend(commit.events.iter().map(event));
    parts.extend(commit.closed.iter().map(|close| format!("{} is answered", close.id)));
    let works: Vec<&str> = commit.progress.work.iter().map(work).collect();
    if !works.is_empty() {
        parts.push(format!("open work: {}", works.join(", ")));
    }
    parts.join(", ")
}

fn row_write(row: &RowWrite) -> String {
    match row {
        RowWrite::Put { message, .. } => {
            format!("{} is {} @{}", short(message.id), labels(&message.labels), message.history_id)
        }
        RowWrite::Labels { id, labels: new, history_id, .. } => {
            format!("{} becomes {} @{history_id}", short(*id), labels(new))
        }
        RowWrite::Tombstone { id, state, history_id, .. } => {
            format!("{} is {} @{history_id}", short(*id), state_name(*state))
        }
    }
}

fn work(work: &Work) -> &'static str {
    match work.kind {
        WorkKind::Initial { .. } => "first copy",
        WorkKind::Backfill { .. } => "backfill",
        WorkKind::Resync { .. } => "comparison",
    }
}

fn state_name(state: RowState) -> &'static str {
    match state {
        RowState::Live => "alive",
        RowState::Deleted => "a tombstone",
        RowState::OutOfScope => "out of scope",
        RowState::Accepted => "accepted as lost",
    }
}

/// An event in words.
pub fn happened(what: &Happened) -> String {
    match what {
        Happened::Created(news) => format!("created {}", short(news.gmail_id)),
        Happened::Updated(news) => format!("updated {}", short(news.gmail_id)),
        Happened::Deleted(news) => format!("deleted {}", short(news.gmail_id)),
        Happened::NeedsReauth => "needs re-auth".into(),
        Happened::SyncFailed { .. } => "sync failed".into(),
        Happened::BackfillCompleted { .. } => "backfill completed".into(),
    }
}

fn record(record: &HistoryRecord) -> String {
    let change = |(id, change): &(MessageId, RecordChange)| {
        let id = short(*id);
        match change {
            RecordChange::Added => format!("{id} added"),
            RecordChange::Deleted => format!("{id} deleted"),
            RecordChange::LabelsAdded(labels) => format!("{id} +{}", labels.join(" +")),
            RecordChange::LabelsRemoved(labels) => format!("{id} -{}", labels.join(" -")),
        }
    };
    let changes: Vec<String> = record.changes.iter().map(change).collect();
    format!("{} ({})", record.id, changes.join(", "))
}

fn fetched((id, fetched): &(MessageId, Fetched)) -> String {
    let id = short(*id);
    match fetched {
        Fetched::Message(message) => format!("{id} {} @{}", labels(&message.labels), message.history_id),
        Fetched::NotFound => format!("{id} not found"),
        Fetched::Failed(failure) => format!("{id} failed ({})", failure.message),
    }
}

fn row((id, row): &(MessageId, RowHead)) -> String {
    format!("{} {} {} @{}", short(*id), state_name(row.state), labels(&row.labels), row.history_id)
}

fn listed<T>(items: &[T], name: impl Fn(&T) -> String) -> String {
    let names: Vec<String> = items.iter().map(name).collect();
    if names.is_empty() { "nothing".into() } else { names.join("; ") }
}

/// An answer in words.
pub fn seen(seen: &Seen) -> String {
    match seen {
        Seen::Done => "done".into(),
        Seen::Acquired(Acquired::Held(sync)) => format!("it is ours, generation {}", sync.generation.0),
        Seen::Acquired(Acquired::Busy) => "somebody has it".into(),
        Seen::Acquired(Acquired::Unknown) => "no such mailbox".into(),
        Seen::Asked(true) => "asked".into(),
        Seen::Asked(false) => "nobody holds it any more".into(),
        Seen::Sync(sync) => {
            let cursor = sync.progress.cursor.map_or_else(|| "none".into(), |cursor| cursor.to_string());
            format!("cursor {cursor}, generation {}", sync.generation.0)
        }
        Seen::Requests(requests) => listed(requests, |request| request.kind.name().into()),
        Seen::Profile(profile) => format!("present {}", profile.history_id),
        Seen::History(page) => {
            let more = if page.next_page_token.is_some() { ", and more" } else { "" };
            format!("{}{more}; present {}", listed(&page.records, record), page.history_id)
        }
        Seen::HistoryExpired => "404, expired".into(),
        Seen::Listed(page) => {
            let more = if page.next_page_token.is_some() { ", and more" } else { "" };
            format!("{}{more}", named(&page.messages))
        }
        Seen::LabelNames(names) => format!("{} labels", names.len()),
        Seen::LabelCounts(counts) => format!("{} counters", counts.len()),
        Seen::Listing(Some(_)) => "here it is".into(),
        Seen::Listing(None) => "it is gone".into(),
        Seen::Rows(rows) | Seen::RowPage(rows, _) => listed(rows, row),
        Seen::Owed(owed) => listed(owed, |owed| format!("{} {}", short(owed.id), owed.reason.name())),
        Seen::Fetched(answers) => listed(answers, fetched),
        Seen::ListSlice(messages) => named(messages),
        Seen::Committed(Committed::Applied) => "applied".into(),
        Seen::Committed(Committed::Conflict) => "conflict".into(),
        Seen::Released(Released::Free) => "free".into(),
        Seen::Released(Released::AskedAgain) => "refused, somebody asked".into(),
        Seen::Committed(Committed::Fenced) | Seen::Released(Released::Fenced) => "fenced".into(),
        Seen::Failed(failure) => format!("failed ({})", failure.message),
    }
}

/// The end of a run in words.
pub fn outcome(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Synced(_) => "nothing more to do".into(),
        Outcome::Continued(_) => "what remains is scheduled".into(),
        Outcome::Busy => "somebody else will look".into(),
        Outcome::NotActive(status) => format!("the mailbox is {}", status.name()),
        Outcome::Unknown(_) => "no such mailbox".into(),
        Outcome::Stale => "an old continuation".into(),
        Outcome::Fenced => "somebody else has taken over".into(),
        Outcome::Failed(failure) => format!("failed ({})", failure.message),
        Outcome::Interrupted(failure) => format!("interrupted ({})", failure.message),
    }
}
