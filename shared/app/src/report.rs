//! What came of one look at one mailbox: the log line and the measures, from one value.

use sync_core::{
    Disposition, MailboxId, SignedDuration,
    job::{Counts, Lane, Trigger},
    sync::Outcome,
};

use crate::metrics::{Measures, Metric};

/// What came of the watch at the end of a look.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WatchKept {
    /// It had lapsed: pushes were missing until now, and the poll covered the mailbox.
    pub lapsed: bool,
    /// It was set anew.
    pub set: bool,
    /// It was due and could not be set.
    pub failed: bool,
}

/// A look, as it ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// Which mailbox.
    pub mailbox: MailboxId,
    /// What made somebody look.
    pub trigger: Trigger,
    /// Which queue it came from.
    pub lane: Lane,
    /// How it ended.
    pub outcome: Outcome,
    /// Gmail quota units spent.
    pub quota_units: u64,
    /// How long it took.
    pub duration: SignedDuration,
    /// How old the copy was when somebody looked; `None` when it never was whole, or the lease was not had.
    pub staleness: Option<SignedDuration>,
    /// What came of the watch.
    pub watch: WatchKept,
}

impl Report {
    /// Writes the one line of the outcome. Where it is from (trace, mailbox) stands in the span around it.
    pub fn tell(&self) {
        let (trigger, quota_units, duration_ms) = (self.trigger, self.quota_units, self.duration.as_millis());
        let staleness_seconds = self.left_stale().map(|age| age.as_secs());
        let none = Counts::default();
        macro_rules! line {
            ($level:ident, $counts:expr, { $($field:tt)* }, $($sentence:tt)*) => {{
                let counts: &Counts = $counts;
                tracing::$level!(
                    mailbox.id = %self.mailbox,
                    trigger = ?trigger,
                    gmail_emails = counts.listed,
                    new_emails = counts.inserted,
                    updated_emails = counts.updated,
                    deleted_emails = counts.deleted,
                    total_processed = counts.inserted + counts.updated + counts.deleted,
                    debts = counts.debts,
                    quota_units,
                    duration_ms,
                    staleness_seconds,
                    $($field)*
                    $($sentence)*
                )
            }};
        }
        match &self.outcome {
            Outcome::Synced(counts) => line!(info, counts, {}, "synced"),
            Outcome::Continued(counts) => line!(info, counts, {}, "what remains is scheduled"),
            Outcome::Busy => line!(info, &none, {}, "somebody else works on it and will look again"),
            Outcome::NotActive(status) => {
                line!(info, &none, { status = status.name(), }, "not to be synced");
            }
            Outcome::Unknown(_) => line!(warn, &none, {}, "no such mailbox"),
            Outcome::Stale => line!(debug, &none, {}, "an old continuation"),
            Outcome::Fenced => line!(warn, &none, {}, "another worker took over"),
            Outcome::Failed(failure) => {
                let (error, disposition) = (&failure.message, &failure.disposition);
                line!(warn, &none, { error = %error, disposition = ?disposition, }, "the sync failed and will be tried again");
            }
            Outcome::Interrupted(failure) => {
                line!(error, &none, { error = %failure.message, }, "the sync was interrupted");
            }
        }
    }

    /// How old the look left the copy.
    fn left_stale(&self) -> Option<SignedDuration> {
        let synced = matches!(self.outcome, Outcome::Synced(_));
        if synced { Some(SignedDuration::ZERO) } else { self.staleness }
    }

    /// The same in numbers.
    pub fn measures(&self) -> Measures {
        let none = Counts::default();
        let (counts, failed) = match &self.outcome {
            Outcome::Synced(counts) | Outcome::Continued(counts) => (counts, false),
            // Out of quota is no failure: what was begun goes on when there is some.
            Outcome::Failed(failure) => (&none, !matches!(failure.disposition, Disposition::Wait(_))),
            Outcome::Interrupted(_) => (&none, true),
            Outcome::Fenced => return Measures::one(Metric::LeaseFences),
            Outcome::Busy => return Measures::one(Metric::LeaseBusy),
            Outcome::NotActive(_) | Outcome::Unknown(_) | Outcome::Stale => return Measures::default(),
        };
        let duration = match self.lane {
            Lane::Sync => Metric::SyncDuration,
            Lane::Backfill => Metric::SliceDuration,
        };
        let measures = Measures::one(Metric::Syncs)
            .count(Metric::SyncFailures, u64::from(failed))
            .with(duration, self.duration.as_secs_f64() * 1_000.0)
            .count(Metric::MessagesInserted, counts.inserted)
            .count(Metric::MessagesUpdated, counts.updated)
            .count(Metric::MessagesDeleted, counts.deleted)
            .count(Metric::Debts, counts.debts)
            .count(Metric::QuotaUnits, self.quota_units)
            .count(Metric::WatchesLapsed, u64::from(self.watch.lapsed))
            .count(Metric::WatchesFailed, u64::from(self.watch.failed));
        match self.left_stale() {
            Some(age) => measures.with(Metric::Staleness, age.as_secs_f64()),
            None => measures,
        }
    }
}

#[cfg(test)]
mod tests {
    use sync_core::Failure;

    use super::*;

    fn report(outcome: Outcome) -> Report {
        Report {
            mailbox: "mbx_1".parse().expect("an id"),
            trigger: Trigger::Push,
            lane: Lane::Sync,
            outcome,
            quota_units: 7,
            duration: SignedDuration::from_millis(1_500),
            staleness: Some(SignedDuration::from_mins(10)),
            watch: WatchKept::default(),
        }
    }

    #[test]
    fn a_success_leaves_a_fresh_copy_and_a_failure_leaves_it_as_old_as_it_was() {
        let counts = Counts { inserted: 2, deleted: 1, ..Counts::default() };
        let well = report(Outcome::Synced(counts)).measures();
        assert_eq!((well.get(Metric::Staleness), well.get(Metric::SyncFailures)), (Some(0.0), Some(0.0)));
        assert_eq!(
            (well.get(Metric::MessagesInserted), well.get(Metric::SyncDuration)),
            (Some(2.0), Some(1_500.0))
        );
        let failure = Failure::new(Disposition::Defect, "no");
        let ill = report(Outcome::Failed(failure)).measures();
        assert_eq!((ill.get(Metric::Staleness), ill.get(Metric::SyncFailures)), (Some(600.0), Some(1.0)));
    }

    #[test]
    fn what_was_not_a_sync_is_not_counted_as_one() {
        for outcome in [Outcome::Busy, Outcome::Fenced, Outcome::Stale] {
            assert_eq!(report(outcome).measures().get(Metric::Syncs), None);
        }
        assert_eq!(report(Outcome::Fenced).measures().get(Metric::LeaseFences), Some(1.0));
    }
}
