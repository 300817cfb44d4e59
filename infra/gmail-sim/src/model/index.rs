//! Which messages wear a label, newest first, so that a page of a million costs a page.
//!
//! Invariant: a message is in `all` once, and in a label's set exactly when it wears the label.

use std::collections::BTreeSet;

use super::ids::MessageId;
use super::label::{LabelIndex, LabelSet, SYSTEM};
use super::{Message, Millis};

/// A message's place in a listing: newer is greater.
pub(crate) type Place = (Millis, MessageId);

#[derive(Debug, Clone)]
pub(crate) struct Index {
    all: BTreeSet<Place>,
    by_label: Vec<BTreeSet<Place>>,
}

impl Index {
    pub(crate) fn new() -> Self {
        Self { all: BTreeSet::new(), by_label: vec![BTreeSet::new(); SYSTEM.len()] }
    }

    pub(crate) fn all(&self) -> &BTreeSet<Place> {
        &self.all
    }

    /// None when no message ever wore it.
    pub(crate) fn label(&self, label: LabelIndex) -> Option<&BTreeSet<Place>> {
        self.by_label.get(usize::from(label.0))
    }

    pub(crate) fn insert(&mut self, id: MessageId, message: &Message) {
        self.all.insert((message.internal_date, id));
        self.relabel((message.internal_date, id), &LabelSet::default(), &message.labels);
    }

    pub(crate) fn remove(&mut self, id: MessageId, message: &Message) {
        self.all.remove(&(message.internal_date, id));
        self.relabel((message.internal_date, id), &message.labels, &LabelSet::default());
    }

    pub(crate) fn relabel(&mut self, place: Place, before: &LabelSet, after: &LabelSet) {
        for lost in before.minus(after).iter() {
            if let Some(set) = self.by_label.get_mut(usize::from(lost.0)) {
                set.remove(&place);
            }
        }
        for gained in after.minus(before).iter() {
            let slot = usize::from(gained.0);
            if self.by_label.len() <= slot {
                self.by_label.resize(slot + 1, BTreeSet::new());
            }
            self.by_label[slot].insert(place);
        }
    }
}
