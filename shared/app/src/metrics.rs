//! What is measured, and under which name.
//!
//! Invariant: a measure is taken from the value that the log line of the same outcome is written from, so the two
//! cannot disagree. Deliberately absent: a mailbox, a tenant or a trace as a dimension (each would be a metric of its
//! own, and a price of its own), and the way out: what writes them is the functions' business.

/// A metric of the namespace `GmailSync`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Metric {
    /// Looks that ended, well or not; not those that found nothing to do.
    Syncs,
    /// 1 for a look that failed, 0 for one that did not: the average is the error rate.
    SyncFailures,
    /// How long a look for new mail took.
    SyncDuration,
    /// How long a slice of old mail took.
    SliceDuration,
    /// Rows that are new.
    MessagesInserted,
    /// Rows whose labels changed.
    MessagesUpdated,
    /// Tombstones written.
    MessagesDeleted,
    /// Messages left owed with a reason.
    Debts,
    /// Gmail quota units spent.
    QuotaUnits,
    /// Age of a copy as a look left it: nothing after a success, growing while looks fail.
    Staleness,
    /// Workers that came back after their lease and were shut out.
    LeaseFences,
    /// Looks that found somebody else at work.
    LeaseBusy,
    /// Watches that had lapsed when somebody looked.
    WatchesLapsed,
    /// Watches that could not be set.
    WatchesFailed,
    /// Jobs that no worker can read.
    JobsUnreadable,
    /// Jobs that failed and come again.
    JobsFailed,
    /// Steps of retention and of rebuilding that failed.
    UpkeepFailures,
    /// Pushes that became jobs.
    PushesAccepted,
    /// Pushes that were forged or malformed.
    PushesRefused,
    /// Pushes of an address that nobody has connected.
    PushesUnknown,
    /// Pushes that could not be taken; Pub/Sub brings them again.
    PushesUnavailable,
    /// Ticks of the fan-out.
    Ticks,
    /// Mailboxes that a tick queued.
    MailboxesQueued,
    /// How late the mailbox is that has been due for longest.
    Overdue,
    /// Messages in the dead-letter queues.
    DeadLetters,
    /// What the project has spent of its day at Gmail.
    QuotaDayPercent,
    /// Requests that the API answered.
    ApiRequests,
    /// 1 for an answer of 500 and above, 0 for any other.
    ApiErrors,
    /// How long the answer took.
    ApiDuration,
}

impl Metric {
    /// All of them, for whoever checks names.
    pub const ALL: [Self; 29] = [
        Self::Syncs,
        Self::SyncFailures,
        Self::SyncDuration,
        Self::SliceDuration,
        Self::MessagesInserted,
        Self::MessagesUpdated,
        Self::MessagesDeleted,
        Self::Debts,
        Self::QuotaUnits,
        Self::Staleness,
        Self::LeaseFences,
        Self::LeaseBusy,
        Self::WatchesLapsed,
        Self::WatchesFailed,
        Self::JobsUnreadable,
        Self::JobsFailed,
        Self::UpkeepFailures,
        Self::PushesAccepted,
        Self::PushesRefused,
        Self::PushesUnknown,
        Self::PushesUnavailable,
        Self::Ticks,
        Self::MailboxesQueued,
        Self::Overdue,
        Self::DeadLetters,
        Self::QuotaDayPercent,
        Self::ApiRequests,
        Self::ApiErrors,
        Self::ApiDuration,
    ];

    /// Its name, as CloudWatch has it.
    pub fn name(self) -> String {
        format!("{self:?}")
    }

    /// Its unit, in CloudWatch's words.
    pub fn unit(self) -> &'static str {
        match self {
            Self::SyncDuration | Self::SliceDuration | Self::ApiDuration => "Milliseconds",
            Self::Staleness | Self::Overdue => "Seconds",
            Self::QuotaDayPercent => "Percent",
            Self::Syncs
            | Self::SyncFailures
            | Self::MessagesInserted
            | Self::MessagesUpdated
            | Self::MessagesDeleted
            | Self::Debts
            | Self::QuotaUnits
            | Self::LeaseFences
            | Self::LeaseBusy
            | Self::WatchesLapsed
            | Self::WatchesFailed
            | Self::JobsUnreadable
            | Self::JobsFailed
            | Self::UpkeepFailures
            | Self::PushesAccepted
            | Self::PushesRefused
            | Self::PushesUnknown
            | Self::PushesUnavailable
            | Self::Ticks
            | Self::MailboxesQueued
            | Self::DeadLetters
            | Self::ApiRequests
            | Self::ApiErrors => "Count",
        }
    }
}

/// What one outcome measured: each metric at most once.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Measures(Vec<(Metric, f64)>);

impl Measures {
    /// One metric alone.
    pub fn one(metric: Metric) -> Self {
        Self::default().with(metric, 1.0)
    }

    /// And this one too.
    #[must_use]
    pub fn with(mut self, metric: Metric, value: f64) -> Self {
        self.0.push((metric, value));
        self
    }

    /// And this count too.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a metric is a double; counts are far below 2^53")]
    pub fn count(self, metric: Metric, count: u64) -> Self {
        self.with(metric, count as f64)
    }

    /// In the order in which they were taken.
    pub fn iter(&self) -> impl Iterator<Item = (Metric, f64)> + '_ {
        self.0.iter().copied()
    }

    /// The value of a metric, if it was taken.
    pub fn get(&self, metric: Metric) -> Option<f64> {
        self.iter().find(|(one, _)| *one == metric).map(|(_, value)| value)
    }

    /// Whether nothing was measured.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
