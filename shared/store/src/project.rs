//! The project's quota, in parts: each a row that all workers draw on with conditional writes.
//!
//! Nobody reads before drawing: a guess is checked by the condition, and a refusal brings what is there.

use sync_core::{
    SignedDuration, Timestamp,
    quota::{Ask, DrawOfDay, Drawn, Part, PartSpent, Priority},
    rate::Bucket,
};

use crate::{
    Store, StoreError,
    item::{Change, Fields, Item, SCHEMA_VERSION, number, text, ttl},
    keys,
    limits::draw_on_bucket,
    table::Updated,
};

type Result<T> = std::result::Result<T, StoreError>;

/// How often a draw is decided anew, because others drew meanwhile: only at the brim of a bucket.
const TRIES: u32 = 8;
/// Come again after this when others were always quicker.
const CROWDED: SignedDuration = SignedDuration::from_secs(1);
/// How long a part is kept that nobody draws on: longer than a day counts.
const KEPT: SignedDuration = SignedDuration::from_hours(48);

impl Store {
    /// Draws on a part of the project's quota, and brings back units of the last draw; or the time until there is room.
    /// `seen` is what this process saw last, and becomes what is there now.
    #[expect(clippy::too_many_arguments, reason = "one decision's inputs")]
    pub async fn draw_quota(
        &self,
        number: u8,
        part: &Part,
        seen: &mut PartSpent,
        ask: Ask,
        brings: u32,
        priority: Priority,
        now: Timestamp,
    ) -> Result<std::result::Result<Drawn, SignedDuration>> {
        for _ in 0..TRIES {
            let drawn = match part.draw(seen, ask, brings, priority, now) {
                Ok(drawn) => drawn,
                // Also of a guess: what is there can only be less, but for what others have brought back.
                Err(wait) => return Ok(Err(wait)),
            };
            match self.update("draw quota", &keys::project_quota(number), written(&drawn, now)).await? {
                Updated::Done(item) => {
                    *seen = spent_from(&item)?;
                    return Ok(Ok(drawn));
                }
                Updated::Refused(found) => {
                    *seen = found.as_ref().map(spent_from).transpose()?.unwrap_or_default();
                }
            }
        }
        Ok(Err(CROWDED))
    }

    /// Google has named a time before which the project is not to ask.
    pub async fn close_quota(&self, number_of_part: u8, until: Timestamp, now: Timestamp) -> Result<()> {
        let change = Change::default()
            .set("v", number(SCHEMA_VERSION))
            .set("ttl", ttl(now + KEPT))
            .set("closed_until", number(until.as_millisecond()))
            .when("attribute_not_exists(#closed_until) OR #closed_until < :closed_until");
        self.update("close quota", &keys::project_quota(number_of_part), change).await?;
        Ok(())
    }

    /// What the parts have spent, as it is now; those that nobody has drawn on are left out.
    pub async fn read_project_quota(&self, parts: u8) -> Result<Vec<PartSpent>> {
        let keys = (0..parts).map(keys::project_quota).collect();
        let items = self.batch_get("read quota", keys, None).await?;
        items.iter().map(spent_from).collect()
    }
}

fn written(drawn: &Drawn, now: Timestamp) -> Change {
    let change = Change::default()
        .set("v", number(SCHEMA_VERSION))
        .set("ttl", ttl(now + KEPT))
        .when("attribute_not_exists(#closed_until) OR #closed_until <= :now")
        .value(":now", number(now.as_millisecond()));
    let change = draw_on_bucket(change, drawn.minute);
    match drawn.day {
        DrawOfDay::First { units } => change
            .when("attribute_not_exists(#date) OR #date <> :date")
            .set("date", text(drawn.date.to_string()))
            .set("units", number(units)),
        DrawOfDay::More { adds, at_most } => change
            .when("#date = :date AND #units <= :units_most")
            .value(":date", text(drawn.date.to_string()))
            .value(":units_most", number(at_most))
            .add("units", adds),
    }
}

fn spent_from(item: &Item) -> Result<PartSpent> {
    let fields = Fields::new("project quota", item);
    Ok(PartSpent {
        bucket: Bucket { full_at: fields.optional_number("full_at")?.unwrap_or_default() },
        date: fields.optional_text("date")?.and_then(|date| date.parse().ok()),
        units: fields.optional_number("units")?.unwrap_or_default(),
        closed_until: fields.optional_number("closed_until")?,
    })
}
