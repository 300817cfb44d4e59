//! Conversations as Gmail forms them: a reply joins when it references a message that is here *and* keeps the
//! subject; otherwise a new conversation begins.
//!
//! Invariant: a thread that is kept has at least one message.

use std::collections::BTreeMap;

use crate::mime::Header;

use super::ids::{MessageId, ThreadId};
use super::random::hash;

/// A conversation that has this many messages breaks off, as Gmail's do.
const THREAD_MAX: usize = 100;
/// Most references looked at; the last ones are the nearest ancestors.
const REFERENCES_MAX: usize = 200;

#[derive(Debug, Clone)]
struct Thread {
    subject: u64,
    members: Vec<MessageId>,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Threads {
    threads: BTreeMap<ThreadId, Thread>,
    by_message_id: BTreeMap<u64, ThreadId>,
}

/// What a message says about its place in a conversation.
#[derive(Debug, Clone)]
pub(crate) struct Placement {
    pub(crate) message_id: Option<u64>,
    pub(crate) references: Vec<String>,
    pub(crate) subject: u64,
}

impl Placement {
    pub(crate) fn read(headers: &[Header]) -> Self {
        let find =
            |name: &str| headers.iter().find(|h| h.name.eq_ignore_ascii_case(name)).map(|h| h.value.as_str());
        let mut references = bracketed(find("References").unwrap_or_default());
        references.extend(bracketed(find("In-Reply-To").unwrap_or_default()));
        let surplus = references.len().saturating_sub(REFERENCES_MAX);
        references.drain(..surplus);
        let message_id = find("Message-ID").map(|id| hash(plain_message_id(id).as_bytes()));
        Self {
            message_id,
            references,
            subject: hash(base_subject(find("Subject").unwrap_or_default()).as_bytes()),
        }
    }
}

impl Threads {
    pub(crate) fn count(&self) -> usize {
        self.threads.len()
    }

    pub(crate) fn members(&self, id: ThreadId) -> Option<&[MessageId]> {
        self.threads.get(&id).map(|thread| thread.members.as_slice())
    }

    /// The conversation in which a message of that `Message-ID` is or was.
    pub(crate) fn by_message_id(&self, message_id: &str) -> Option<ThreadId> {
        self.by_message_id.get(&hash(message_id.as_bytes())).copied()
    }

    /// Whether a message of this subject may be put into the thread by name.
    pub(crate) fn accepts(&self, id: ThreadId, placement: &Placement) -> bool {
        self.threads.get(&id).is_some_and(|thread| thread.subject == placement.subject)
    }

    pub(crate) fn find(&self, placement: &Placement) -> Option<ThreadId> {
        placement.references.iter().rev().find_map(|reference| {
            let id = self.by_message_id(reference)?;
            let thread = self.threads.get(&id)?;
            let fits = thread.subject == placement.subject && thread.members.len() < THREAD_MAX;
            fits.then_some(id)
        })
    }

    pub(crate) fn insert(&mut self, id: ThreadId, message: MessageId, placement: &Placement) {
        let thread = self
            .threads
            .entry(id)
            .or_insert_with(|| Thread { subject: placement.subject, members: Vec::new() });
        thread.members.push(message);
        if let Some(message_id) = placement.message_id {
            self.by_message_id.insert(message_id, id);
        }
    }

    pub(crate) fn remove(&mut self, id: ThreadId, message: MessageId) {
        if let Some(thread) = self.threads.get_mut(&id) {
            thread.members.retain(|member| *member != message);
            if thread.members.is_empty() {
                self.threads.remove(&id);
            }
        }
    }
}

/// The text between angle brackets, or each word when there are none.
fn bracketed(value: &str) -> Vec<String> {
    if value.contains('<') {
        value
            .split('<')
            .skip(1)
            .filter_map(|rest| rest.split_once('>'))
            .map(|(id, _)| id.trim().to_owned())
            .collect()
    } else {
        value.split_whitespace().map(str::to_owned).collect()
    }
}

/// A `Message-ID` without brackets and blanks.
pub(crate) fn plain_message_id(value: &str) -> &str {
    let value = value.trim();
    let start = value.find('<').map_or(0, |at| at + 1);
    let rest = &value[start..];
    rest[..rest.find('>').unwrap_or(rest.len())].trim()
}

/// The subject without any reply or forward marks, lower case, blanks folded.
fn base_subject(subject: &str) -> String {
    let folded = subject.split_whitespace().collect::<Vec<_>>().join(" ").to_lowercase();
    let mut rest = folded.as_str();
    loop {
        let stripped =
            ["re:", "fwd:", "fw:", "aw:", "sv:", "antw:"].iter().find_map(|mark| rest.strip_prefix(mark));
        match stripped {
            Some(shorter) => rest = shorter.trim_start(),
            None => return rest.to_owned(),
        }
    }
}
