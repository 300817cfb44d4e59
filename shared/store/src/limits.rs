//! How often tokens and sessions may ask: one row each, which all processes draw on.
//!
//! The row is as good as none once its bucket is full, so TTL takes it.

use sync_core::{
    SignedDuration, Timestamp,
    rate::{Bucket, Draw, Rate},
};

use crate::{
    Store, StoreError,
    item::{Change, Fields, SCHEMA_VERSION, number, ttl},
    keys,
    table::Updated,
};

type Result<T> = std::result::Result<T, StoreError>;

/// How often a draw is decided anew: only who is refused by what others drew meanwhile comes back.
const TRIES: u32 = 8;
/// How long a row is kept that nobody draws on. A bucket may take longer to fill, if its limit is odd; then it is full.
const KEPT: SignedDuration = SignedDuration::from_hours(48);

impl Store {
    /// Draws on the bucket of the token of this hash, up to so many requests: how many, or the time until there is one.
    pub async fn draw_requests(
        &self,
        token_sha256: &str,
        rate: Rate,
        most: u32,
        now: Timestamp,
    ) -> Result<std::result::Result<u32, SignedDuration>> {
        // A guess, which the condition checks: whoever has rested has a full one.
        let mut bucket = Bucket::default();
        for _ in 0..TRIES {
            let (count, draw) = match rate.draw(bucket, most, now) {
                Ok(drawn) => drawn,
                Err(wait) => return Ok(Err(wait)),
            };
            match self.update("draw requests", &keys::requests(token_sha256), drawn(draw, now)).await? {
                Updated::Done(_) => return Ok(Ok(count)),
                Updated::Refused(found) => {
                    let full_at = found.map(|item| Fields::new("requests", &item).number("full_at"));
                    bucket = Bucket { full_at: full_at.transpose()?.unwrap_or_default() };
                }
            }
        }
        Err(StoreError::Busy { operation: "draw requests" })
    }
}

fn drawn(draw: Draw, now: Timestamp) -> Change {
    let change = Change::default().set("v", number(SCHEMA_VERSION)).set("ttl", ttl(now + KEPT));
    match draw {
        Draw::Full { full_by, full_at } => change
            .set("full_at", number(full_at))
            .when("attribute_not_exists(#full_at) OR #full_at <= :full_by")
            .value(":full_by", number(full_by)),
        Draw::More { adds, above, at_most } => change
            .add("full_at", adds)
            .when("#full_at > :above AND #full_at <= :at_most")
            .value(":above", number(above))
            .value(":at_most", number(at_most)),
    }
}
