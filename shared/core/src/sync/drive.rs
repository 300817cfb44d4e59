//! The one seam between decisions and the world, and the loop that crosses it.
//!
//! The engine decides, a world carries out: Gmail, DynamoDB, S3 and SQS in production, a seeded model of all of
//! them in the simulation. Both are driven by the same loop. Deliberately absent: a runtime; whoever polls
//! the future decides what runs, and dropping it is a crash between two effects.

use std::future::Future;

use jiff::Timestamp;

use crate::sync::{Effect, Engine, Observed, Outcome};

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
