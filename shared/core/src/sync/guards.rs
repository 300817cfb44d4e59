//! The guards, each of which keeps a promise, and the switch that leaves one out.
//!
//! A proof that cannot fail proves nothing. In a build with debug assertions one guard can be left out, and the
//! model checker and the simulation must find what is lost. In a release build every guard is a constant: what is
//! deployed contains no switch.

use crate::sync::Settings;

/// A guard; its name says what is done while it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Guard {
    /// The cursor moves with the last of the rows that it stands for, never before.
    CursorAfterData,
    /// A write carries its generation.
    Fence,
    /// A release is conditional on nobody having asked.
    ConditionalRelease,
    /// `asked` is raised on condition that the lease is held.
    ConditionalAsk,
    /// The baseline is read before the listing.
    BaselineBeforeListing,
    /// A listing alone buries nothing.
    VerifyVanished,
    /// A first 404 proves nothing.
    PatienceWithMissing,
    /// A listing does not correct a row that a delta has changed since.
    CorrectBelowBaseline,
    /// A deletion is a tombstone, also of a message never stored.
    TombstoneOfUnknown,
    /// A get below its records is not believed.
    FreshEnoughGet,
    /// A push's target is raised before the lease is tried.
    TargetBeforeLease,
    /// A listing is repeated until nothing was taken out of it meanwhile.
    RepeatListing,
    /// A backfill leaves the cursor alone.
    BackfillKeepsCursor,
    /// A listing that was cut short deletes nothing.
    CompleteListing,
    /// The first page's present becomes the cursor, not the last page's.
    FirstPageWins,
    /// History ids are compared as numbers.
    NumericCompare,
    /// What failed is owed.
    OweFailures,
    /// What was not answered is owed.
    OweUnanswered,
    /// Records at or below the row's own id are skipped.
    SkipOldRecords,
}

impl Guard {
    /// All of them.
    pub const ALL: [Self; 19] = [
        Self::CursorAfterData,
        Self::Fence,
        Self::ConditionalRelease,
        Self::ConditionalAsk,
        Self::BaselineBeforeListing,
        Self::VerifyVanished,
        Self::PatienceWithMissing,
        Self::CorrectBelowBaseline,
        Self::TombstoneOfUnknown,
        Self::FreshEnoughGet,
        Self::TargetBeforeLease,
        Self::RepeatListing,
        Self::BackfillKeepsCursor,
        Self::CompleteListing,
        Self::FirstPageWins,
        Self::NumericCompare,
        Self::OweFailures,
        Self::OweUnanswered,
        Self::SkipOldRecords,
    ];
}

/// The guard that is left out, if one. A release build has no room for one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Mutant(#[cfg(debug_assertions)] pub Option<Guard>);

#[cfg(debug_assertions)]
impl Mutant {
    /// Every guard stands.
    pub const NONE: Self = Self(None);

    /// All but this one.
    pub const fn without(guard: Guard) -> Self {
        Self(Some(guard))
    }

    /// Whether the guard stands.
    pub fn keeps(self, guard: Guard) -> bool {
        self.0 != Some(guard)
    }
}

#[cfg(not(debug_assertions))]
impl Mutant {
    /// Every guard stands.
    pub const NONE: Self = Self();

    /// All of them: nothing can be left out of what is released.
    pub const fn without(_guard: Guard) -> Self {
        Self::NONE
    }

    /// Whether the guard stands: it does.
    pub const fn keeps(self, _guard: Guard) -> bool {
        true
    }
}

impl Settings {
    /// Whether the guard stands.
    pub fn keeps(&self, guard: Guard) -> bool {
        self.mutant.keeps(guard)
    }
}
