//! Making, changing, deleting and counting labels.

use super::label::{LABELS_MAX, Label, LabelIndex, SYSTEM};
use super::{Mailbox, Millis, Refusal};

/// Longest name Gmail takes.
const NAME_CHARS_MAX: usize = 225;

/// A change to a label; what is none stays (patch) or is cleared by the caller first (update).
#[derive(Debug, Clone, Default)]
pub struct LabelPatch {
    /// The new name.
    pub name: Option<String>,
    /// `show` or `hide`.
    pub message_list_visibility: Option<String>,
    /// `labelShow`, `labelShowIfUnread` or `labelHide`.
    pub label_list_visibility: Option<String>,
    /// Text and background colour.
    pub color: Option<(String, String)>,
}

/// How many wear a label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LabelCounts {
    /// Messages.
    pub messages: usize,
    /// Messages not read.
    pub messages_unread: usize,
    /// Conversations with at least one such message.
    pub threads: usize,
    /// Conversations with at least one such message that is not read.
    pub threads_unread: usize,
}

#[derive(Debug, Clone)]
pub(crate) struct LabelTable {
    labels: Vec<Label>,
}

impl LabelTable {
    pub(crate) fn new() -> Self {
        let system = |id: &&str| Label::new((*id).to_owned(), (*id).to_owned(), true);
        Self { labels: SYSTEM.iter().map(system).collect() }
    }

    pub(crate) fn get(&self, index: LabelIndex) -> &Label {
        // Every index was handed out by this table, which never shrinks.
        &self.labels[usize::from(index.0)]
    }

    pub(crate) fn id(&self, index: LabelIndex) -> &str {
        &self.get(index).id
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Label> {
        self.labels.iter().filter(|label| !label.deleted)
    }

    fn position(&self, wanted: impl Fn(&Label) -> bool) -> Option<LabelIndex> {
        let at = self.labels.iter().position(|label| !label.deleted && wanted(label))?;
        u16::try_from(at).ok().map(LabelIndex)
    }

    pub(crate) fn find(&self, id: &str) -> Option<LabelIndex> {
        self.position(|label| label.id == id)
    }

    pub(crate) fn find_name(&self, name: &str) -> Option<LabelIndex> {
        self.position(|label| label.name.eq_ignore_ascii_case(name))
    }

    /// A label as a search names it: no case, blanks and slashes as dashes.
    pub(crate) fn find_search(&self, name: &str) -> Option<LabelIndex> {
        let fold = |text: &str| text.to_lowercase().replace([' ', '/'], "-");
        let wanted = fold(name);
        self.position(|label| fold(&label.name) == wanted || label.id.eq_ignore_ascii_case(name))
    }

    pub(crate) fn create(&mut self, name: &str) -> Result<LabelIndex, Refusal> {
        self.check_name(name)?;
        if self.find_name(name).is_some() {
            return Err(Refusal::LabelExists);
        }
        if self.iter().count() >= LABELS_MAX {
            return Err(Refusal::LabelRefused("Label limit reached"));
        }
        let index =
            u16::try_from(self.labels.len()).map_err(|_| Refusal::LabelRefused("Label limit reached"))?;
        let id = format!("Label_{}", self.labels.len() + 1 - SYSTEM.len());
        self.labels.push(Label::new(id, name.trim().to_owned(), false));
        Ok(LabelIndex(index))
    }

    fn check_name(&self, name: &str) -> Result<(), Refusal> {
        let name = name.trim();
        if name.is_empty() || name.chars().count() > NAME_CHARS_MAX {
            return Err(Refusal::LabelRefused("Invalid label name"));
        }
        let reserved = self.labels.iter().any(|label| label.is_system && label.id.eq_ignore_ascii_case(name));
        if reserved { Err(Refusal::LabelRefused("Invalid label name")) } else { Ok(()) }
    }
}

impl Mailbox {
    /// Makes a label of the user's.
    pub fn create_label(&mut self, patch: &LabelPatch) -> Result<&Label, Refusal> {
        let index = self.labels.create(patch.name.as_deref().unwrap_or_default())?;
        let unnamed = LabelPatch { name: None, ..patch.clone() };
        self.change_label(index, &unnamed)
    }

    /// Changes a label; `clear` first forgets what is optional, as an update (not a patch) does.
    pub fn update_label(&mut self, id: &str, patch: &LabelPatch, clear: bool) -> Result<&Label, Refusal> {
        let index = self.labels.find(id).ok_or(Refusal::NotFound)?;
        if self.labels.get(index).is_system {
            return Err(Refusal::InvalidLabel(id.to_owned()));
        }
        if clear {
            let label = &mut self.labels.labels[usize::from(index.0)];
            label.message_list_visibility = None;
            label.label_list_visibility = None;
            label.color = None;
        }
        self.change_label(index, patch)
    }

    fn change_label(&mut self, index: LabelIndex, patch: &LabelPatch) -> Result<&Label, Refusal> {
        if let Some(name) = &patch.name {
            self.labels.check_name(name)?;
            if self.labels.find_name(name).is_some_and(|taken| taken != index) {
                return Err(Refusal::LabelExists);
            }
        }
        let label = &mut self.labels.labels[usize::from(index.0)];
        if let Some(name) = &patch.name {
            name.trim().clone_into(&mut label.name);
        }
        if patch.message_list_visibility.is_some() {
            label.message_list_visibility.clone_from(&patch.message_list_visibility);
        }
        if patch.label_list_visibility.is_some() {
            label.label_list_visibility.clone_from(&patch.label_list_visibility);
        }
        if patch.color.is_some() {
            label.color.clone_from(&patch.color);
        }
        Ok(label)
    }

    /// Deletes a label of the user's and takes it off every message.
    pub fn delete_label(&mut self, id: &str, now: Millis) -> Result<(), Refusal> {
        let index = self.labels.find(id).ok_or(Refusal::NotFound)?;
        if self.labels.get(index).is_system {
            return Err(Refusal::InvalidLabel(id.to_owned()));
        }
        let wearers: Vec<_> =
            self.index.label(index).map(|set| set.iter().map(|place| place.1).collect()).unwrap_or_default();
        self.modify(&wearers, &[], &[index], now);
        self.labels.labels[usize::from(index.0)].deleted = true;
        Ok(())
    }

    /// Counts who wears a label.
    pub fn label_counts(&self, id: &str) -> Result<LabelCounts, Refusal> {
        let index = self.labels.find(id).ok_or(Refusal::NotFound)?;
        Ok(self.index.counts(index))
    }
}
