//! The simulator's clock: it starts when it is told to, runs as the real one does, and a test can advance it.

use std::sync::atomic::{AtomicI64, Ordering};

use crate::model::Millis;

/// A clock that is never set back.
#[derive(Debug, Default)]
pub(crate) struct Clock {
    ahead_ms: AtomicI64,
}

impl Clock {
    /// A clock that shows this time now, the real one when none is given.
    pub(crate) fn starting(at: Option<Millis>) -> Self {
        Self { ahead_ms: AtomicI64::new(at.map_or(0, |at| at.saturating_sub(real_now()))) }
    }

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
