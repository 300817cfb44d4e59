//! Conversations as Gmail forms them: messages belong together when one references the other, or both reference
//! a third (which need not be here), *and* they keep the subject; otherwise a new conversation begins.
//!
//! Invariant: a thread that is kept has at least one message, and nothing is kept of a thread that is gone.

use std::collections::BTreeMap;

use crate::mime::Header;

use super::ids::{MessageId, ThreadId};
use super::random::{hash, mix};

/// A conversation that has this many messages breaks off, as Gmail's do.
const THREAD_MAX: usize = 100;
/// Most references looked at; the last ones are the nearest ancestors.
const REFERENCES_MAX: usize = 100;

#[derive(Debug, Clone)]
struct Thread {
    subject: u64,
    /// With the hash of its `Message-ID`, 0 when it has none.
    members: Vec<(MessageId, u64)>,
    /// The keys in `links` that lead here.
    links: Vec<u64>,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Threads {
    by_id: BTreeMap<ThreadId, Thread>,
    by_message_id: BTreeMap<u64, ThreadId>,
    /// By a referenced id together with the subject: siblings find each other though their parent is not here.
    links: BTreeMap<u64, ThreadId>,
}

/// What a message says about its place in a conversation.
#[derive(Debug, Clone)]
pub(crate) struct Placement {
    pub(crate) message_id: Option<u64>,
    /// Hashes of the ids it references, nearest last.
    pub(crate) references: Vec<u64>,
    pub(crate) subject: u64,
}

impl Placement {
    pub(crate) fn read(headers: &[Header]) -> Self {
        let find =
            |name: &str| headers.iter().find(|h| h.name.eq_ignore_ascii_case(name)).map(|h| h.value.as_str());
        let mut references: Vec<u64> = Vec::new();
        for name in ["References", "In-Reply-To"] {
            references.extend(bracketed(find(name).unwrap_or_default()).map(|id| hash(id.as_bytes())));
        }
        let surplus = references.len().saturating_sub(REFERENCES_MAX);
        references.drain(..surplus);
        let message_id = find("Message-ID").map(plain_message_id).filter(|id| !id.is_empty());
        Self {
            message_id: message_id.map(|id| hash(id.as_bytes())),
            references,
            subject: hash(base_subject(find("Subject").unwrap_or_default()).as_bytes()),
        }
    }

    fn link(&self, reference: u64) -> u64 {
        mix(reference ^ self.subject.rotate_left(32))
    }
}

impl Threads {
    pub(crate) fn count(&self) -> usize {
        self.by_id.len()
    }

    /// The messages of a conversation in the order of their arrival; none when there is no such conversation.
    pub(crate) fn members(&self, id: ThreadId) -> impl DoubleEndedIterator<Item = MessageId> {
        self.by_id.get(&id).into_iter().flat_map(|thread| &thread.members).map(|(id, _)| *id)
    }

    pub(crate) fn holds(&self, id: ThreadId) -> bool {
        self.by_id.contains_key(&id)
    }

    /// The conversation in which a message of that `Message-ID` is.
    pub(crate) fn by_message_id(&self, message_id: &str) -> Option<ThreadId> {
        self.by_message_id.get(&hash(message_id.as_bytes())).copied()
    }

    /// Whether a message of this subject may be put into the thread by name.
    pub(crate) fn accepts(&self, id: ThreadId, placement: &Placement) -> bool {
        self.by_id.get(&id).is_some_and(|thread| thread.subject == placement.subject)
    }

    /// The conversation a message belongs to, if it is here already: the nearest relative decides.
    pub(crate) fn find(&self, placement: &Placement) -> Option<ThreadId> {
        // Its own id comes last: a parent that arrives after its child, or a second copy.
        let ids = placement.references.iter().rev().chain(&placement.message_id);
        ids.copied().find_map(|id| {
            let named = self.by_message_id.get(&id);
            let linked = self.links.get(&placement.link(id));
            [named, linked].into_iter().flatten().copied().find(|thread| self.takes(*thread, placement))
        })
    }

    fn takes(&self, id: ThreadId, placement: &Placement) -> bool {
        self.by_id
            .get(&id)
            .is_some_and(|thread| thread.subject == placement.subject && thread.members.len() < THREAD_MAX)
    }

    pub(crate) fn insert(&mut self, id: ThreadId, message: MessageId, placement: &Placement) {
        let empty = || Thread { subject: placement.subject, members: Vec::new(), links: Vec::new() };
        let thread = self.by_id.entry(id).or_insert_with(empty);
        thread.members.push((message, placement.message_id.unwrap_or(0)));
        if let Some(message_id) = placement.message_id {
            self.by_message_id.insert(message_id, id);
        }
        for reference in &placement.references {
            let link = placement.link(*reference);
            if self.links.insert(link, id) != Some(id) {
                thread.links.push(link);
            }
        }
    }

    pub(crate) fn remove(&mut self, id: ThreadId, message: MessageId) {
        let Some(thread) = self.by_id.get_mut(&id) else { return };
        let Some(place) = thread.members.iter().position(|(member, _)| *member == message) else { return };
        let (_, message_id) = thread.members.remove(place);
        let gone = if thread.members.is_empty() { self.by_id.remove(&id) } else { None };
        // A saved draft has the Message-ID of the one it replaced.
        let copies = self.by_id.get(&id).is_some_and(|t| t.members.iter().any(|(_, own)| *own == message_id));
        if !copies && self.by_message_id.get(&message_id) == Some(&id) {
            self.by_message_id.remove(&message_id);
        }
        for link in gone.into_iter().flat_map(|thread| thread.links) {
            if self.links.get(&link) == Some(&id) {
                self.links.remove(&link);
            }
        }
    }
}

/// The text between angle brackets; without any, each word if all could be ids: old programs quote the date and
/// the writer of what they answer.
fn bracketed(value: &str) -> Box<dyn Iterator<Item = &str> + '_> {
    if value.contains('<') {
        let ids = value.split('<').skip(1).filter_map(|rest| rest.split_once('>')).map(|(id, _)| id.trim());
        Box::new(ids.filter(|id| !id.is_empty()))
    } else {
        let named = value.split_whitespace().all(|word| word.contains('@'));
        Box::new(value.split_whitespace().filter(move |_| named))
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
    while let Some((mark, after)) = rest.split_once(':') {
        // `Re[2]` counts the answers.
        let plain = mark.split_once('[').map_or(mark, |(mark, count)| {
            let counts =
                count.strip_suffix(']').is_some_and(|count| count.bytes().all(|b| b.is_ascii_digit()));
            if counts { mark } else { "" }
        });
        if !["re", "fwd", "fw", "aw", "sv", "antw", "wg", "tr", "rv"].contains(&plain) {
            break;
        }
        rest = after.trim_start();
    }
    rest.to_owned()
}
