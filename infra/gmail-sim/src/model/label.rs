//! Labels: the system's own, the user's, and the set a message wears.
//!
//! A label that is deleted keeps its place in the table, because history records still name it.

/// Where a label stands in its mailbox's table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LabelIndex(pub(crate) u16);

/// Most labels of one mailbox, Gmail's own limit.
pub const LABELS_MAX: usize = 10_000;

/// The labels every mailbox is born with, in the order of their index.
pub const SYSTEM: [&str; 15] = [
    "CHAT",
    "SENT",
    "INBOX",
    "IMPORTANT",
    "TRASH",
    "DRAFT",
    "SPAM",
    "CATEGORY_FORUMS",
    "CATEGORY_UPDATES",
    "CATEGORY_PERSONAL",
    "CATEGORY_PROMOTIONS",
    "CATEGORY_SOCIAL",
    "STARRED",
    "UNREAD",
    "YELLOW_STAR",
];

/// Sent mail.
pub const SENT: LabelIndex = LabelIndex(1);
/// The inbox.
pub const INBOX: LabelIndex = LabelIndex(2);
/// The bin; emptied by hand here, never by time.
pub const TRASH: LabelIndex = LabelIndex(4);
/// Unsent mail.
pub const DRAFT: LabelIndex = LabelIndex(5);
/// Junk.
pub const SPAM: LabelIndex = LabelIndex(6);
/// Starred mail.
pub const STARRED: LabelIndex = LabelIndex(12);
/// Mail not read.
pub const UNREAD: LabelIndex = LabelIndex(13);

/// One label as its owner set it up.
#[derive(Debug, Clone)]
pub struct Label {
    /// `INBOX`, `Label_7`, …
    pub id: String,
    /// What the user sees.
    pub name: String,
    /// Made by Gmail, not by the user.
    pub is_system: bool,
    /// `show` or `hide`, when set.
    pub message_list_visibility: Option<String>,
    /// `labelShow`, `labelShowIfUnread` or `labelHide`, when set.
    pub label_list_visibility: Option<String>,
    /// Text and background colour, when set.
    pub color: Option<(String, String)>,
    pub(crate) deleted: bool,
}

impl Label {
    pub(crate) fn new(id: String, name: String, is_system: bool) -> Self {
        Self {
            id,
            name,
            is_system,
            message_list_visibility: None,
            label_list_visibility: None,
            color: None,
            deleted: false,
        }
    }
}

/// What one message wears: sorted, without doubles, small.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LabelSet(Box<[LabelIndex]>);

impl LabelSet {
    /// A set of these labels, in any order, doubles allowed.
    pub fn of(labels: &[LabelIndex]) -> Self {
        let mut sorted = labels.to_vec();
        sorted.sort_unstable();
        sorted.dedup();
        Self(sorted.into_boxed_slice())
    }

    /// Whether the message wears it.
    pub fn has(&self, label: LabelIndex) -> bool {
        self.0.contains(&label)
    }

    /// The labels, sorted by index.
    pub fn iter(&self) -> impl Iterator<Item = LabelIndex> + '_ {
        self.0.iter().copied()
    }

    /// No label at all: archived mail that was read.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// This set with some more and, after that, without some.
    #[must_use]
    pub fn changed(&self, add: &[LabelIndex], remove: &[LabelIndex]) -> Self {
        let kept: Vec<LabelIndex> =
            self.iter().chain(add.iter().copied()).filter(|l| !remove.contains(l)).collect();
        Self::of(&kept)
    }

    /// What this set has and the other has not.
    #[must_use]
    pub fn minus(&self, other: &Self) -> Self {
        Self(self.iter().filter(|label| !other.has(*label)).collect())
    }
}
