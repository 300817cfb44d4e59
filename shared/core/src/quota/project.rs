//! A part of the project's quota: a rate that all workers draw on, and a day.
//!
//! Ten thousand workers share it, so nobody reads before they draw: one conditional write adds to what is spent, and two
//! that draw at once both do. A worker draws for a second ahead ([`DRAWN_FOR`]) and may bring back what it did not spend.
//! Invariant: in any sixty seconds no more reaches Google than the limit, if calls reach it within [`DRAWN_FOR`] of being
//! drawn and take no longer on their way than that. Deliberately absent: reservations of their own for each worker, which
//! would make the row as long as there are workers.

use jiff::{SignedDuration, Timestamp, civil::Date};

use super::{
    Ask, pacific_day, until_next_pacific_day,
    window::{Limit, Priority},
};
use crate::rate::{Bucket, Draw, Rate};

/// How long what was drawn may be spent.
pub const DRAWN_FOR: SignedDuration = SignedDuration::from_secs(1);
/// Units at once, so that a full batch can be drawn also of a small limit.
const BATCH_UNITS: u32 = 500;
/// Of a large limit, so much may be spent at once: one part in fifty.
const BURST: u32 = 50;

/// What one part of the project may spend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    rate: Rate,
    kept_percent: u32,
    day: Option<u64>,
}

/// What it has spent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PartSpent {
    /// Of the minute.
    pub bucket: Bucket,
    /// The day that is counted, if any.
    pub date: Option<Date>,
    /// Units of that day.
    pub units: u64,
    /// Google has named a time before which nothing is to be asked, epoch milliseconds.
    pub closed_until: Option<i64>,
}

/// What to add to the day, and when it may be added.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DrawOfDay {
    /// Another day is counted, or none: this one begins with so many units.
    First {
        /// Units of it.
        units: u64,
    },
    /// This day is counted: so many more units, if it has at most so many.
    More {
        /// What is added; less than nothing when more is brought back.
        adds: i64,
        /// The number from which it would be too much.
        at_most: u64,
    },
}

/// Units that are drawn once this is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drawn {
    /// How many.
    pub units: u32,
    /// What becomes of the minute.
    pub minute: Draw,
    /// The day in California.
    pub date: Date,
    /// What becomes of it.
    pub day: DrawOfDay,
    /// When the rest of what was asked for may be drawn; zero when there is none.
    pub wait: SignedDuration,
}

impl Part {
    /// A part that may spend so many units in any sixty seconds, and so many a day.
    ///
    /// The rate is what is left of the limit when the burst is spent, over the minute and two times [`DRAWN_FOR`]: what is
    /// drawn before a minute may be spent in it.
    pub fn new(limit: Limit, day: Option<u64>) -> Self {
        let burst = (limit.units / BURST).max(BATCH_UNITS.min(limit.units / 2)).max(1);
        let seconds = 60 + 2 * u32::try_from(DRAWN_FOR.as_secs()).unwrap_or(1);
        let steady = u64::from(limit.units.saturating_sub(burst)) * 60 / u64::from(seconds);
        let per_minute = u32::try_from(steady).unwrap_or(u32::MAX).max(1);
        Self { rate: Rate { per_minute, burst }, kept_percent: limit.kept_percent, day }
    }

    /// Draws so many calls, or as many as there is room for, and brings back units of the last draw that were not spent; or
    /// the time until there is room.
    pub fn draw(
        &self,
        spent: &PartSpent,
        ask: Ask,
        brings: u32,
        priority: Priority,
        now: Timestamp,
    ) -> Result<Drawn, SignedDuration> {
        if let Some(wait) = spent.closed_for(now) {
            return Err(wait);
        }
        let date = pacific_day(now);
        let counted = spent.date.filter(|counted| *counted == date).map(|_| spent.units);
        let share = self.day.map_or(u64::MAX, |units| self.of_day(units, priority));
        let today = counted.unwrap_or(0).saturating_sub(brings.into());
        let calls_today = share.saturating_sub(today) / u64::from(ask.each.max(1));
        if calls_today < u64::from(ask.least) {
            return Err(until_next_pacific_day(now));
        }
        let most = ask.most.min(u32::try_from(calls_today).unwrap_or(u32::MAX));
        let room = Limit { units: self.rate.burst, kept_percent: self.kept_percent }.of(priority);
        let fits = self.rate.free(spent.bucket, room, now).saturating_add(brings) / ask.each.max(1);
        let count = fits.min(most);
        // Old mail waits for a batch that is worth a call, or every unit that trickles in would be one.
        let worthwhile = most.min(room / 2 / ask.each.max(1)).max(ask.least);
        let wait = || self.rate.wait(spent.bucket, room, ask.units(worthwhile), now);
        let least = if priority == Priority::Backfill { worthwhile } else { ask.least };
        if count < least {
            return Err(wait());
        }
        let units = ask.units(count);
        let change = i64::from(units) - i64::from(brings);
        let day = match counted {
            None => DrawOfDay::First { units: u64::from(units) },
            Some(_) => DrawOfDay::More { adds: change, at_most: share.saturating_add_signed(-change) },
        };
        let minute = self.rate.change(spent.bucket, room, units, brings, now);
        Ok(Drawn {
            units,
            minute,
            date,
            day,
            wait: if count < ask.most { wait() } else { SignedDuration::ZERO },
        })
    }

    /// What a priority may fill a day up to.
    fn of_day(&self, units: u64, priority: Priority) -> u64 {
        let percent = u64::from(Limit { units: 100, kept_percent: self.kept_percent }.of(priority));
        units.saturating_sub(units.saturating_mul(100 - percent.min(100)) / 100)
    }
}

impl PartSpent {
    /// Units of the day so far.
    pub fn today(&self, now: Timestamp) -> u64 {
        self.date.filter(|date| *date == pacific_day(now)).map_or(0, |_| self.units)
    }

    fn closed_for(&self, now: Timestamp) -> Option<SignedDuration> {
        let left = self.closed_until?.saturating_sub(now.as_millisecond());
        (left > 0).then(|| SignedDuration::from_millis(left))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Limit = Limit { units: 60_000, kept_percent: 5 };

    fn at(text: &str) -> Timestamp {
        text.parse().expect("a time")
    }

    fn gets(most: u32) -> Ask {
        Ask { each: 20, least: 1, most }
    }

    /// Writes what was drawn, as the table does: none when the condition does not hold.
    fn write(spent: &PartSpent, drawn: &Drawn) -> Option<PartSpent> {
        let bucket = drawn.minute.on(spent.bucket)?;
        let units = match drawn.day {
            DrawOfDay::First { units } => (spent.date != Some(drawn.date)).then_some(units)?,
            DrawOfDay::More { adds, at_most } => {
                let fits = spent.date == Some(drawn.date) && spent.units <= at_most;
                fits.then(|| spent.units.saturating_add_signed(adds))?
            }
        };
        Some(PartSpent { bucket, date: Some(drawn.date), units, ..spent.clone() })
    }

    #[test]
    fn no_minute_holds_more_than_the_limit_and_nearly_all_of_it_is_used() {
        for units in [1_000, 6_000, 60_000, 1_000_000] {
            let part = Part::new(Limit { units, kept_percent: 5 }, None);
            let start = at("2026-08-27T10:00:00Z");
            let (mut spent, mut reached, mut now) = (PartSpent::default(), Vec::new(), 0_i64);
            while now < 200_000 {
                let moment = start + SignedDuration::from_millis(now);
                match part.draw(&spent, Ask { each: 1, least: 1, most: 700 }, 0, Priority::Delta, moment) {
                    Ok(drawn) => {
                        spent = write(&spent, &drawn).expect("nobody came between");
                        // Spent at the last moment, or at once: what is worse for the minute.
                        let late = if now < 60_000 { 1_000 } else { 0 };
                        reached.push((now + late, drawn.units));
                        now += i64::try_from(drawn.wait.as_millis()).expect("short").max(1);
                    }
                    Err(wait) => now += i64::try_from(wait.as_millis()).expect("short").max(1),
                }
            }
            let minute = |from: i64| {
                let within = reached.iter().filter(|(at, _)| (from..from + 60_000).contains(at));
                within.map(|(_, units)| u64::from(*units)).sum::<u64>()
            };
            let most = reached.iter().map(|(at, _)| minute(*at)).max().unwrap_or(0);
            assert!(most <= u64::from(units), "{most} of {units}");
            let (least, percent) = (minute(120_000), if units < 60_000 { 45 } else { 93 });
            assert!(least * 100 >= u64::from(units) * percent, "{least} of {units}");
        }
    }

    #[test]
    fn a_backfill_leaves_room_for_new_mail_and_is_told_when_to_come_again() {
        let now = at("2026-08-27T10:00:00Z");
        let part = Part::new(LIMIT, None);
        let drawn = part.draw(&PartSpent::default(), gets(75), 0, Priority::Backfill, now).expect("room");
        assert_eq!(drawn.units, 1_140, "95 percent of 1,200");
        assert!(drawn.wait > SignedDuration::ZERO);
        let spent = write(&PartSpent::default(), &drawn).expect("free");
        let refused = part.draw(&spent, gets(25), 0, Priority::Backfill, now).expect_err("nothing for it");
        assert!((300..700).contains(&refused.as_millis()), "{refused:?} for 500 units at 948 a second");
        assert_eq!(part.draw(&spent, gets(3), 0, Priority::Delta, now).expect("kept").units, 60);
        assert!(part.draw(&spent, gets(25), 0, Priority::Backfill, now + refused).is_ok());
    }

    #[test]
    fn what_was_not_spent_is_brought_back_with_the_next_draw() {
        let now = at("2026-08-27T10:00:00Z");
        let part = Part::new(LIMIT, Some(1_000_000));
        let all = part.draw(&PartSpent::default(), gets(50), 0, Priority::Delta, now).expect("room");
        let spent = write(&PartSpent::default(), &all).expect("free");
        let next = part.draw(&spent, gets(50), 800, Priority::Delta, now).expect("room");
        assert_eq!(next.units, 1_000);
        let spent = write(&spent, &next).expect("nobody came between");
        assert_eq!((spent.units, spent.today(now)), (1_200, 1_200));
        assert!(
            part.draw(&spent, gets(1), 0, Priority::Delta, now).is_err(),
            "the bucket is full to the brim"
        );
    }

    #[test]
    fn a_day_that_is_spent_ends_at_midnight_in_california_and_backfills_end_before() {
        let (now, part) = (at("2026-08-27T10:00:00Z"), Part::new(LIMIT, Some(1_000)));
        let drawn = part.draw(&PartSpent::default(), gets(75), 0, Priority::Backfill, now).expect("room");
        assert_eq!(drawn.units, 940, "95 percent of a thousand units");
        let spent = write(&PartSpent::default(), &drawn).expect("free");
        let wait = part.draw(&spent, gets(1), 0, Priority::Backfill, now).expect_err("the day is spent");
        assert_eq!(wait, SignedDuration::from_hours(21));
        assert_eq!(part.draw(&spent, gets(75), 0, Priority::Delta, now).expect("kept").units, 60);
        let tomorrow = at("2026-08-28T07:00:00Z");
        assert_eq!(spent.today(tomorrow), 0);
        let first = part.draw(&spent, gets(1), 0, Priority::Backfill, tomorrow).expect("another day");
        assert_eq!(first.day, DrawOfDay::First { units: 20 });
    }

    #[test]
    fn two_who_draw_at_once_both_draw_and_a_day_has_no_more_than_it_has() {
        let (now, part) = (at("2026-08-27T10:00:00Z"), Part::new(LIMIT, Some(1_000)));
        let first = part.draw(&PartSpent::default(), gets(10), 0, Priority::Delta, now).expect("room");
        let spent = write(&PartSpent::default(), &first).expect("free");
        assert_eq!(write(&spent, &first), None, "the day is counted by now");
        let (one, other) = (
            part.draw(&spent, gets(10), 0, Priority::Delta, now).expect("room"),
            part.draw(&spent, gets(20), 0, Priority::Delta, now).expect("room"),
        );
        let both = write(&spent, &one).and_then(|spent| write(&spent, &other)).expect("room for both");
        assert_eq!(both.units, 800);
        assert_eq!(write(&both, &other), None, "1,200 of 1,000");
    }

    #[test]
    fn nothing_is_drawn_before_the_time_that_google_named() {
        let now = at("2026-08-27T10:00:00Z");
        let spent = PartSpent { closed_until: Some(now.as_millisecond() + 60_000), ..PartSpent::default() };
        let part = Part::new(LIMIT, None);
        let refused = part.draw(&spent, gets(1), 0, Priority::Delta, now);
        assert_eq!(refused, Err(SignedDuration::from_mins(1)));
        assert!(part.draw(&spent, gets(1), 0, Priority::Delta, now + SignedDuration::from_mins(1)).is_ok());
    }
}
