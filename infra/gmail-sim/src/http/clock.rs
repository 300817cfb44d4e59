//! The simulator's clock: the real one, plus what a test has advanced it by.

use std::sync::atomic::{AtomicI64, Ordering};

use crate::model::Millis;

/// A clock that only goes forward of the real one.
#[derive(Debug, Default)]
pub(crate) struct Clock {
    ahead_ms: AtomicI64,
}

impl Clock {
    /// Simulated epoch milliseconds.
    pub(crate) fn now(&self) -> Millis {
        real_now().saturating_add(self.ahead_ms.load(Ordering::Relaxed))
    }

    pub(crate) fn advance(&self, by_ms: Millis) {
        self.ahead_ms.fetch_add(by_ms, Ordering::Relaxed);
    }
}

/// Real epoch milliseconds: what a push token is signed for, since its verifier knows no other clock.
pub(crate) fn real_now() -> Millis {
    jiff::Timestamp::now().as_millisecond()
}
