//! The one seam between decisions and the world.
//!
//! The engine decides, a world carries out. [`crate::live::LiveWorld`] does so with Gmail, DynamoDB, S3
//! and SQS. The engine's own tests carry out the same effects in memory, with a loop of their own that can stop
//! between any two of them; the engine is the same in both.

use std::future::Future;

use sync_core::{
    Timestamp,
    sync::{Effect, Engine, Observed, Outcome},
};

/// Carries out effects, one after the other.
pub trait World {
    /// Carries out one effect and tells what was seen. What goes wrong is an observation too.
    fn perform(&mut self, effect: Effect) -> impl Future<Output = Observed> + Send;
}

/// Runs an engine to its end.
pub async fn drive<W: World>(mut engine: Engine, world: &mut W, now: Timestamp) -> Outcome {
    let mut effect = engine.start(now);
    loop {
        if let Effect::Finish(outcome) = effect {
            return outcome;
        }
        let observed = world.perform(effect).await;
        effect = engine.step(observed);
    }
}
