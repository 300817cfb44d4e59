//! Gmail's side: the simulator's pure mailbox, what of it shows to whom, and what really happened.
//!
//! Invariant: the truth is in the mailbox. What a reader is shown is some state that was true, or a part of the
//! present; how far behind it may be is bounded in time, because the protocol's own bounds assume so.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use gmail_sim::model::{
    self, ChangeKind, Head, HistoryQuery, LabelIndex, LabelSet, ListQuery, Mailbox, NewMessage, PageFrom,
    Paging, Query, Replica,
};
use sync_core::{
    Disposition, Failure, HistoryId, MessageId, SignedDuration, ThreadId, Timestamp,
    message::{Envelope, Labels, Message},
    state::Window,
    sync::{Fetched, HistoryPage, HistoryRecord, ListPage, Listed, Profile, RecordChange, Seen},
};

use crate::world::{
    dice::Dice,
    fault::{Counts, Fault, Plan},
};

/// How long new mail answers 404 at most; below the engine's grace of ten minutes.
const HIDDEN_SECONDS_MAX: u32 = 300;
/// How long a record does not show at most, most times and at worst; below the shortest time between two polls.
const LATE_SECONDS_MAX: [u32; 4] = [5, 15, 15, 90];
/// How long new mail is in no listing at most.
const UNLISTED_SECONDS_MAX: u32 = 90;
/// How old a state a get shows at most.
const STALE_SECONDS_MAX: i64 = 120;
/// How long a message is refused at most.
const REFUSED_SECONDS_MAX: u32 = 3_600;
/// The address of the one correspondent whom contact requests name.
pub const FRIEND: &str = "friend@example.com";

/// A record that does not show yet.
#[derive(Debug, Clone, Copy)]
struct Late {
    until: Timestamp,
    /// The response names its id all the same.
    torn: bool,
}

/// What a message was, from a record on; `None` once it was deleted.
pub type Version = (HistoryId, Option<Labels>);

/// The mailbox, and what is known of it without asking it.
#[derive(Debug)]
pub struct Gmail {
    mailbox: Mailbox,
    late: BTreeMap<HistoryId, Late>,
    hidden_until: BTreeMap<MessageId, Timestamp>,
    refused_until: BTreeMap<MessageId, Timestamp>,
    unlisted_until: BTreeMap<MessageId, Timestamp>,
    /// Whatever is not above it no history will bring: every listing shows it.
    listed_up_to: HistoryId,
    /// The longest time that a record was not shown and the response said so.
    longest_lag: SignedDuration,
    /// Everything each message ever was in this epoch.
    versions: BTreeMap<MessageId, Vec<Version>>,
    /// When each history id came to be, for what may still be shown.
    heads: Vec<(Timestamp, HistoryId)>,
    /// Nothing older than this is shown to anybody: whoever took it for a baseline has listed since.
    floor: HistoryId,
    paging: Paging,
    page: usize,
    /// Messages that ever had a record that did not show while its id was out.
    torn: BTreeSet<MessageId>,
    epoch: u32,
    /// Credentials up to this version are refused.
    pub revoked: Option<u64>,
}

impl Gmail {
    /// An empty mailbox whose history begins at an id.
    pub fn new(seed: u64, start: HistoryId, page: usize, paging: Paging, now: Timestamp) -> Self {
        let start = model::HistoryId(start.0);
        Self {
            mailbox: Mailbox::starting_at("alice@example.com", seed, start),
            late: BTreeMap::new(),
            hidden_until: BTreeMap::new(),
            refused_until: BTreeMap::new(),
            unlisted_until: BTreeMap::new(),
            listed_up_to: HistoryId(0),
            longest_lag: SignedDuration::ZERO,
            versions: BTreeMap::new(),
            heads: vec![(now, HistoryId(start.0))],
            floor: HistoryId(0),
            paging,
            page,
            torn: BTreeSet::new(),
            epoch: 0,
            revoked: None,
        }
    }

    // ---- the truth

    /// The present.
    pub fn head(&self) -> HistoryId {
        HistoryId(self.mailbox.history_id().0)
    }

    /// How often the mailbox was made anew.
    pub fn epoch(&self) -> u32 {
        self.epoch
    }

    /// Every message that is there, with its labels.
    pub fn messages(&self) -> impl Iterator<Item = (MessageId, Labels)> {
        self.mailbox.messages().map(|(id, message)| (MessageId(id.0), self.labels(&message.labels)))
    }

    /// How many messages there are.
    pub fn count(&self) -> usize {
        self.mailbox.message_count()
    }

    /// Everything each message was in this epoch, and from which record on.
    pub fn versions(&self) -> &BTreeMap<MessageId, Vec<Version>> {
        &self.versions
    }

    /// Whether a record of this message was invisible while its id was out: only a poll finds it.
    pub fn was_torn(&self, id: MessageId) -> bool {
        self.torn.contains(&id)
    }

    /// Whether anything was.
    pub fn was_any_torn(&self) -> bool {
        !self.torn.is_empty()
    }

    /// The longest time for which the history index was behind its pushes.
    pub fn longest_lag(&self) -> SignedDuration {
        self.longest_lag
    }

    /// Every listing shows what is not above this from now on.
    pub fn list_up_to(&mut self, baseline: HistoryId) {
        self.listed_up_to = baseline;
    }

    /// Nothing older than this is shown from now on.
    pub fn raise_floor(&mut self, floor: HistoryId) {
        self.floor = self.floor.max(floor);
    }

    fn labels(&self, set: &LabelSet) -> Labels {
        self.mailbox.label_ids(set).into_iter().collect()
    }

    // ---- what happens to it

    /// Takes a message in. `age` is how old it is by its date; `spam` is where it lands.
    pub fn deliver(&mut self, age: SignedDuration, labels: &[LabelIndex], friend: bool, now: Timestamp) {
        let from = if friend { FRIEND } else { "somebody@example.com" };
        // Conversations of four.
        let about = self.versions.len() / 4;
        let raw =
            format!("From: {from}\r\nSubject: {about}\r\nReferences: <{about}@example.com>\r\n\r\nText");
        let raw: Arc<[u8]> = raw.into_bytes().into();
        let internal_date = Some((now - age).as_millisecond());
        let new = NewMessage { raw, labels: labels.to_vec(), internal_date, thread: None };
        // Refused only for a thread that does not fit, and none is named.
        drop(self.mailbox.insert(new, now.as_millisecond()));
    }

    /// Moves labels of several messages in one record.
    pub fn modify(&mut self, ids: &[MessageId], add: &[LabelIndex], remove: &[LabelIndex], now: Timestamp) {
        let ids: Vec<_> = ids.iter().map(|id| model::MessageId(id.0)).collect();
        self.mailbox.modify(&ids, add, remove, now.as_millisecond());
    }

    /// Deletes for good.
    pub fn delete(&mut self, ids: &[MessageId], now: Timestamp) {
        let ids: Vec<_> = ids.iter().map(|id| model::MessageId(id.0)).collect();
        self.mailbox.delete(&ids, now.as_millisecond());
    }

    /// The user's own label.
    pub fn own_label(&mut self) -> Option<LabelIndex> {
        self.mailbox.label_or_new("Work").ok()
    }

    /// Saves the first draft again, or a first one.
    pub fn save_draft(&mut self, now: Timestamp) {
        let now = now.as_millisecond();
        let raw: Arc<[u8]> = b"Subject: draft\r\n\r\nText\r\n"[..].into();
        let new = NewMessage { raw, labels: Vec::new(), internal_date: None, thread: None };
        let draft = self.mailbox.drafts().next().map(|(draft, _)| draft);
        match draft {
            Some(draft) => drop(self.mailbox.update_draft(draft, new, now)),
            None => drop(self.mailbox.create_draft(new, now)),
        }
    }

    /// Everything up to an id expires.
    pub fn expire_below(&mut self, oldest: HistoryId) -> HistoryId {
        HistoryId(self.mailbox.expire_history_below(model::HistoryId(oldest.0)).0)
    }

    /// The mailbox is made anew, its ids begin at `start` again.
    pub fn make_anew(&mut self, start: HistoryId, now: Timestamp) {
        self.mailbox.restart_history(model::HistoryId(start.0));
        self.epoch += 1;
        self.late.clear();
        self.floor = start;
        self.heads = vec![(now, start)];
        let alive: Vec<(MessageId, Labels)> = self.messages().collect();
        self.versions = alive.into_iter().map(|(id, labels)| (id, vec![(start, Some(labels))])).collect();
    }

    /// Takes note of what happened since `before`, and decides which of it does not show yet.
    pub fn note_since(
        &mut self,
        before: HistoryId,
        plan: &Plan,
        counts: &mut Counts,
        dice: &mut Dice,
        now: Timestamp,
    ) {
        let mut records = Vec::new();
        for record in self.mailbox.records_after(model::HistoryId(before.0)) {
            let id = HistoryId(record.id.0);
            let mut changed = BTreeMap::new();
            for change in &record.changes {
                let gone = change.kind == ChangeKind::Deleted;
                let labels = (!gone).then(|| self.labels(&change.labels));
                changed.insert(MessageId(change.message.0), (change.kind == ChangeKind::Added, labels));
            }
            records.push((id, changed));
        }
        for (record, changed) in records {
            let lag = dice.chance(plan.rate(Fault::IndexLag));
            let torn = !lag && dice.chance(plan.rate(Fault::RecordInvisible));
            let behind_torn = self.late.values().any(|late| late.torn && late.until > now);
            if lag || torn {
                let most = *dice.pick(&LATE_SECONDS_MAX).unwrap_or(&1);
                let late_for = SignedDuration::from_secs(i64::from(dice.between(1, most)));
                self.late.insert(record, Late { until: now + late_for, torn });
                if lag {
                    self.longest_lag = self.longest_lag.max(late_for);
                }
                counts.note(if torn { Fault::RecordInvisible } else { Fault::IndexLag });
            }
            for (message, (is_new, labels)) in changed {
                if torn || behind_torn {
                    self.torn.insert(message);
                }
                if is_new && dice.chance(plan.rate(Fault::NotVisibleYet)) {
                    let seconds = i64::from(dice.between(1, HIDDEN_SECONDS_MAX));
                    self.hidden_until.insert(message, now + SignedDuration::from_secs(seconds));
                }
                if is_new && dice.chance(plan.rate(Fault::NotListedYet)) {
                    let seconds = i64::from(dice.between(1, UNLISTED_SECONDS_MAX));
                    self.unlisted_until.insert(message, now + SignedDuration::from_secs(seconds));
                    counts.note(Fault::NotListedYet);
                }
                if is_new && dice.chance(plan.rate(Fault::FailedPart)) {
                    let seconds = i64::from(dice.between(1, REFUSED_SECONDS_MAX));
                    self.refused_until.insert(message, now + SignedDuration::from_secs(seconds));
                }
                self.versions.entry(message).or_default().push((record, labels));
            }
            self.heads.push((now, record));
        }
    }

    /// Nothing is refused or late any more.
    pub fn calm_down(&mut self) {
        self.refused_until.clear();
        self.paging = Paging::Keyed;
    }

    // ---- what it answers

    /// `getProfile`.
    pub fn profile(&self) -> Seen {
        let messages_total = self.mailbox.message_count() as u64;
        Seen::Profile(Profile { history_id: self.head(), messages_total })
    }

    /// `history.list`. `ahead` decides, on the first page, that later pages name a present of their own and hold
    /// the records of the first page's.
    pub fn history(&self, start: HistoryId, page_token: Option<&str>, ahead: bool, now: Timestamp) -> Seen {
        // A token is where the last page ended, and up to which record the pages go, if they are bound.
        let mut parts = page_token.unwrap_or_default().split('-').map(|part| part.parse().ok());
        let (resume_after, bound) = (parts.next().flatten(), parts.next().flatten());
        let bound = if ahead { Some(self.head().0) } else { bound };
        let query =
            HistoryQuery { start: start.0, resume_after, limit: self.page, ..HistoryQuery::default() };
        // The index grows in order: what comes after a record that does not show does not show either.
        let first_late = self.late.iter().find(|(_, late)| late.until > now);
        let shows = |record: &model::Record| {
            first_late.is_none_or(|(late, _)| record.id.0 < late.0)
                && bound.is_none_or(|bound| record.id.0 <= bound)
        };
        let is_behind = first_late.is_some_and(|(_, late)| !late.torn);
        let head = if is_behind { Head::LastShown } else { Head::Present };
        let mut seen = self.page_of(self.mailbox.history_where(&query, now.as_millisecond(), head, shows));
        if let (Seen::History(HistoryPage { next_page_token: Some(token), .. }), Some(bound)) =
            (&mut seen, bound)
        {
            *token = format!("{token}-{bound}");
        }
        seen
    }

    /// `history.list` from a replica that is behind the question.
    pub fn history_behind(&self, start: HistoryId, now: Timestamp) -> Seen {
        let query = HistoryQuery { start: start.0, limit: self.page, ..HistoryQuery::default() };
        let point = Replica::At(model::HistoryId(start.0.saturating_sub(1)));
        self.page_of(self.mailbox.history_from(&query, now.as_millisecond(), point))
    }

    fn page_of(&self, page: Result<model::HistoryPage, model::Refusal>) -> Seen {
        let Ok(page) = page else { return Seen::HistoryExpired };
        let labels = |set: &LabelSet| self.mailbox.label_ids(set);
        let change = |change: &model::Change| {
            let what = match change.kind {
                ChangeKind::Added => RecordChange::Added,
                ChangeKind::Deleted => RecordChange::Deleted,
                ChangeKind::LabelsAdded => RecordChange::LabelsAdded(labels(&change.touched)),
                ChangeKind::LabelsRemoved => RecordChange::LabelsRemoved(labels(&change.touched)),
            };
            (MessageId(change.message.0), what)
        };
        let record = |record: &model::Record| HistoryRecord {
            id: HistoryId(record.id.0),
            changes: record.changes.iter().map(change).collect(),
        };
        Seen::History(HistoryPage {
            records: page.records.iter().map(record).collect(),
            history_id: HistoryId(page.present.0),
            next_page_token: page.resume_after.map(|id| id.0.to_string()),
        })
    }

    /// `messages.list`. The bool says whether the page began by count.
    pub fn list(
        &self,
        window: &Window,
        label: Option<&str>,
        page_token: Option<&str>,
        now: Timestamp,
    ) -> (Seen, bool) {
        let labels = match label.map(|label| self.mailbox.label_index(label)) {
            None => Vec::new(),
            Some(Ok(label)) => vec![label],
            // A label that was deleted has no members.
            Some(Err(_)) => {
                return (Seen::Listed(ListPage { messages: Vec::new(), next_page_token: None }), false);
            }
        };
        let query = search(window, now).map(|text| Query::parse(&text, &self.mailbox, now.as_millisecond()));
        let limit = if let Window::Newest(newest) = window { *newest as usize } else { self.page };
        let from = page_token.map_or(PageFrom::Start, page_from);
        let list = ListQuery { labels, include_spam_trash: true, query, from, limit };
        let page = self.mailbox.list_messages(&list);
        let next_page_token = page.next_from(from, self.paging).map(|next| page_token_of(&next));
        let is_listed = |id: &MessageId| {
            let born = self.versions.get(id).and_then(|versions| versions.first()).map(|(born, _)| *born);
            self.unlisted_until.get(id).is_none_or(|until| *until <= now) || born <= Some(self.listed_up_to)
        };
        let listed = page.entries.iter().map(|(id, thread)| Listed::new(MessageId(id.0), ThreadId(thread.0)));
        let messages = listed.filter(|one| is_listed(&one.id)).collect();
        (Seen::Listed(ListPage { messages, next_page_token }), matches!(from, PageFrom::Offset(_)))
    }

    /// `labels.list`.
    pub fn label_names(&self) -> Vec<String> {
        self.mailbox.labels().map(|label| label.id.clone()).collect()
    }

    /// Gmail's own counters: of these labels, or of all.
    pub fn label_counts(&self, names: &[String]) -> BTreeMap<String, i64> {
        let names = if names.is_empty() { self.label_names() } else { names.to_vec() };
        let count = |name: String| {
            let counts = self.mailbox.label_counts(&name).ok()?;
            Some((name, i64::try_from(counts.messages).unwrap_or(i64::MAX)))
        };
        names.into_iter().filter_map(count).collect()
    }

    /// One `messages.get`, or a part of a batch; `None` when the part is missing in the answer.
    pub fn get(
        &self,
        id: MessageId,
        plan: &Plan,
        counts: &mut Counts,
        dice: &mut Dice,
        now: Timestamp,
    ) -> Option<Fetched> {
        if dice.chance(plan.rate(Fault::MissingPart)) {
            counts.note(Fault::MissingPart);
            return None;
        }
        if dice.chance(plan.rate(Fault::Throttled)) {
            counts.note(Fault::Throttled);
            return Some(Fetched::Failed(throttled()));
        }
        if self.refused_until.get(&id).is_some_and(|until| *until > now) {
            counts.note(Fault::FailedPart);
            return Some(Fetched::Failed(Failure::new(Disposition::Debt, "it cannot be parsed")));
        }
        if self.hidden_until.get(&id).is_some_and(|until| *until > now) {
            counts.note(Fault::NotVisibleYet);
            return Some(Fetched::NotFound);
        }
        let stale = dice.chance(plan.rate(Fault::StaleGet));
        let torn = !stale && dice.chance(plan.rate(Fault::TornGet));
        let wanted = model::MessageId(id.0);
        if (stale || torn)
            && let Some(point) = self.older(id, dice, now)
        {
            let replica = if torn { Replica::Torn(point) } else { Replica::At(point) };
            counts.note(if torn { Fault::TornGet } else { Fault::StaleGet });
            let shown = self.mailbox.message_from(wanted, replica);
            return Some(shown.map_or(Fetched::NotFound, |message| self.fetched(id, &message)));
        }
        if let Ok(message) = self.mailbox.message(wanted) {
            return Some(self.fetched(id, message));
        }
        counts.note(Fault::DeletedMeanwhile);
        Some(Fetched::NotFound)
    }

    /// A point in which a message was another than now, not too long ago and not below the floor.
    fn older(&self, id: MessageId, dice: &mut Dice, now: Timestamp) -> Option<model::HistoryId> {
        let oldest = now - SignedDuration::from_secs(STALE_SECONDS_MAX);
        let first = self.heads.iter().rev().find(|(at, _)| *at < oldest).map_or(HistoryId(0), |(_, id)| *id);
        let first = first.max(self.floor);
        let versions = self.versions.get(&id)?;
        // The version before each change that came after the first point that may be shown.
        let points: Vec<HistoryId> =
            versions.iter().map(|(record, _)| *record).filter(|record| *record > first).collect();
        let before = dice.pick(&points)?;
        Some(model::HistoryId(before.0 - 1))
    }

    fn fetched(&self, id: MessageId, message: &model::Message) -> Fetched {
        Fetched::Message(Box::new(Message {
            id,
            thread_id: ThreadId(message.thread.0),
            history_id: HistoryId(message.history.0),
            labels: self.labels(&message.labels),
            received_at: Timestamp::from_millisecond(message.internal_date).unwrap_or_default(),
            size_estimate: u64::from(message.size),
            snippet: String::new(),
            envelope: Box::new(Envelope::default()),
            body: None,
        }))
    }
}

/// A refusal that passes.
pub fn throttled() -> Failure {
    Failure::new(Disposition::Retry(SignedDuration::from_secs(3)), "Backend Error")
}

fn search(window: &Window, now: Timestamp) -> Option<String> {
    let seconds = |time: Timestamp| time.as_second();
    match window {
        Window::Newest(_) | Window::All => None,
        Window::Days(days) => {
            let since = now - SignedDuration::from_hours(24 * i64::from(*days));
            Some(format!("after:{}", seconds(since) - 1))
        }
        Window::Between { after, before } => {
            Some(format!("after:{} before:{}", seconds(*after) - 1, seconds(*before)))
        }
        Window::Contact { address, .. } => {
            let address = address.as_str();
            Some(format!("{{from:{address} to:{address}}}"))
        }
    }
}

fn page_token_of(from: &PageFrom) -> String {
    match from {
        PageFrom::Start => String::new(),
        PageFrom::Below(date, id) => format!("below-{date}-{}", id.0),
        PageFrom::Offset(offset) => format!("offset-{offset}"),
    }
}

fn page_from(token: &str) -> PageFrom {
    let mut parts = token.split('-');
    let kind = parts.next();
    let mut number = || parts.next().and_then(|part| part.parse::<u64>().ok());
    match (kind, number(), number()) {
        (Some("below"), Some(date), Some(id)) => {
            PageFrom::Below(i64::try_from(date).unwrap_or(i64::MAX), model::MessageId(id))
        }
        (Some("offset"), Some(offset), _) => PageFrom::Offset(usize::try_from(offset).unwrap_or(usize::MAX)),
        _ => PageFrom::Start,
    }
}
