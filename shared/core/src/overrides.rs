//! What of the deployment's settings a tenant or a mailbox's owner has otherwise.
//!
//! A mailbox's word beats its tenant's, and the tenant's beats the deployment's. Invariant: a value is inside the
//! bounds of the deployment's own setting; whoever parses one checks it by [`Setting::holds`]. Deliberately absent:
//! settings that bound what the deployment spends for all together, such as quota and concurrency.

use std::{collections::BTreeMap, ops::RangeInclusive};

use serde::{Deserialize, Serialize};

/// A setting that may be chosen, a whole number in the unit that its name ends with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Setting {
    /// How old a mailbox may get before it is polled, with a watch and without.
    SyncIntervalMinutes,
    /// First window of a first copy, messages; 0 leaves it out.
    InitialNewest,
    /// Second window, days; 0 leaves it out.
    InitialDays,
    /// Messages that one run fetches before it hands over.
    BatchMax,
    /// Share of the mailbox that a comparison may find gone.
    MassDeletionPercent,
    /// Messages that a comparison may find gone, however small the mailbox.
    MassDeletionMessages,
    /// How long a deletion is remembered.
    DeletedMailKeptDays,
}

impl Setting {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::SyncIntervalMinutes,
        Self::InitialNewest,
        Self::InitialDays,
        Self::BatchMax,
        Self::MassDeletionPercent,
        Self::MassDeletionMessages,
        Self::DeletedMailKeptDays,
    ];

    /// The name that API and rows have it by.
    pub fn name(self) -> &'static str {
        match self {
            Self::SyncIntervalMinutes => "syncIntervalMinutes",
            Self::InitialNewest => "initialNewest",
            Self::InitialDays => "initialDays",
            Self::BatchMax => "batchMax",
            Self::MassDeletionPercent => "massDeletionPercent",
            Self::MassDeletionMessages => "massDeletionMessages",
            Self::DeletedMailKeptDays => "deletedMailKeptDays",
        }
    }

    /// The setting of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|setting| setting.name() == name)
    }

    /// The least and the most that it may be, for the deployment and for whoever overrides it.
    pub fn bounds(self) -> RangeInclusive<u32> {
        match self {
            Self::SyncIntervalMinutes => 1..=1_440,
            // A page of a listing: what is newest is wanted soon.
            Self::InitialNewest => 0..=500,
            Self::InitialDays => 0..=3_650,
            Self::DeletedMailKeptDays => 1..=3_650,
            // The most is far beyond what fits into a worker's fifteen minutes.
            Self::BatchMax => 1..=100_000,
            Self::MassDeletionPercent => 1..=100,
            Self::MassDeletionMessages => 0..=1_000_000,
        }
    }

    /// The value, when it is inside the bounds.
    pub fn holds(self, value: u64) -> Option<u32> {
        u32::try_from(value).ok().filter(|value| self.bounds().contains(value))
    }
}

/// What is chosen; what is not is as one level below has it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "BTreeMap<String, u32>", from = "BTreeMap<String, u32>")]
pub struct Overrides(BTreeMap<Setting, u32>);

impl Overrides {
    /// What is chosen for this setting.
    pub fn get(&self, setting: Setting) -> Option<u32> {
        self.0.get(&setting).copied()
    }

    /// Chooses a value, or takes the choice back.
    pub fn set(&mut self, setting: Setting, value: Option<u32>) {
        match value {
            Some(value) => drop(self.0.insert(setting, value)),
            None => drop(self.0.remove(&setting)),
        }
    }

    /// Whether nothing is chosen.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// These laid over those of the level below.
    #[must_use]
    pub fn over(&self, below: &Self) -> Self {
        let mut all = below.0.clone();
        all.extend(&self.0);
        Self(all)
    }
}

/// A name that this version does not know is of a later one, and chooses nothing here.
impl From<BTreeMap<String, u32>> for Overrides {
    fn from(named: BTreeMap<String, u32>) -> Self {
        let known = |(name, value): (String, u32)| Some((Setting::named(&name)?, value));
        Self(named.into_iter().filter_map(known).collect())
    }
}

impl From<Overrides> for BTreeMap<String, u32> {
    fn from(overrides: Overrides) -> Self {
        overrides.0.into_iter().map(|(setting, value)| (setting.name().to_owned(), value)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_chosen_above_beats_what_is_chosen_below() {
        let chosen = |pairs: &[(Setting, u32)]| {
            let mut overrides = Overrides::default();
            for (setting, value) in pairs {
                overrides.set(*setting, Some(*value));
            }
            overrides
        };
        let tenant = chosen(&[(Setting::InitialDays, 7), (Setting::BatchMax, 200)]);
        let mailbox = chosen(&[(Setting::InitialDays, 1), (Setting::MassDeletionPercent, 5)]);
        let both = mailbox.over(&tenant);
        assert_eq!(both.get(Setting::InitialDays), Some(1), "the mailbox's");
        assert_eq!(both.get(Setting::BatchMax), Some(200), "the tenant's");
        assert_eq!(both.get(Setting::InitialNewest), None, "nobody's");
        let mut back = mailbox;
        back.set(Setting::InitialDays, None);
        assert_eq!(back.over(&tenant).get(Setting::InitialDays), Some(7), "taken back");
    }

    #[test]
    fn a_setting_goes_by_its_name_and_inside_its_bounds() {
        for setting in Setting::ALL {
            assert_eq!(Setting::named(setting.name()), Some(setting));
            let (least, most) = setting.bounds().into_inner();
            assert_eq!(setting.holds(u64::from(least)), Some(least), "{setting:?}");
            assert_eq!(setting.holds(u64::from(most)), Some(most), "{setting:?}");
            assert_eq!(setting.holds(u64::from(most) + 1), None, "{setting:?}");
        }
        assert_eq!(Setting::SyncIntervalMinutes.holds(0), None);
        assert_eq!(Setting::named("fetchWindow"), None);
    }

    #[test]
    fn a_choice_of_a_later_version_is_passed_over() {
        let named = |pairs: &[(&str, u32)]| -> BTreeMap<String, u32> {
            pairs.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect()
        };
        let read = Overrides::from(named(&[("initialDays", 3), ("whatComesLater", 9)]));
        assert_eq!(BTreeMap::from(read), named(&[("initialDays", 3)]));
    }
}
