//! How often a caller may ask: a bucket that refills steadily, and what a process holds of it.
//!
//! The bucket is one number: the time at which all that was taken is refilled. Many processes draw on it, each with one
//! conditional write: a [`Draw`] says what to add under which condition, so that two who draw at once both do. A process
//! draws a little more than it needs when it is asked often ([`Lease`]), and gives nothing back: what it does not spend
//! lapses. Invariant: of all processes together no more requests are let through since any time than the burst, the
//! rate's share of the time since, and what was drawn before and had not lapsed. Deliberately absent: waiting.

use jiff::{SignedDuration, Timestamp};

/// Longest that what was drawn may be spent.
pub const LEASE: SignedDuration = SignedDuration::from_secs(15);
/// A lease that was spent within this was too small.
const BUSY: SignedDuration = SignedDuration::from_secs(5);
/// Most requests drawn at once. A tenth of the burst, if that is less: what one process holds no other has.
const CHUNK_MAX: u32 = 10;

/// A limit: so many requests a minute, and so many at once after a rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Requests a minute, 1 or more.
    pub per_minute: u32,
    /// Requests at once, 1 or more.
    pub burst: u32,
}

/// What a caller has taken: all of it is refilled at this time, in microseconds since 1970.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Bucket {
    /// Past: the bucket is full.
    pub full_at: i64,
}

/// What to write, and when it may be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Draw {
    /// The bucket is full: if it still is by then (`full_by`), it is full again at `full_at`.
    Full {
        /// Now.
        full_by: i64,
        /// The number from now on.
        full_at: i64,
    },
    /// So much is added to the number, if it is above `above` and at most `at_most`.
    More {
        /// What is added.
        adds: i64,
        /// Now.
        above: i64,
        /// The number from which it would be too much.
        at_most: i64,
    },
}

impl Rate {
    /// Draws as many requests as there is room for, up to `most`; or the time until there is room for one.
    pub fn draw(self, bucket: Bucket, most: u32, now: Timestamp) -> Result<(u32, Draw), SignedDuration> {
        let now = now.as_microsecond();
        let taken = bucket.full_at.saturating_sub(now).max(0);
        let free = i64::from(self.burst) - ceiling(taken, self.each());
        let count = u32::try_from(free.clamp(0, i64::from(most))).unwrap_or(0);
        if count == 0 {
            let wait = taken - (i64::from(self.burst) - 1) * self.each();
            return Err(SignedDuration::from_micros(wait.max(1)));
        }
        let adds = i64::from(count) * self.each();
        let draw = if taken == 0 {
            Draw::Full { full_by: now, full_at: now + adds }
        } else {
            let at_most = now + i64::from(self.burst) * self.each() - adds;
            Draw::More { adds, above: now, at_most }
        };
        Ok((count, draw))
    }

    /// Microseconds in which one request is refilled; rounded up, so that the rate is never exceeded.
    fn each(self) -> i64 {
        ceiling(60_000_000, i64::from(self.per_minute.max(1)))
    }

    fn chunk_max(self) -> u32 {
        (self.burst / 10).clamp(1, CHUNK_MAX)
    }
}

impl Draw {
    /// What becomes of a bucket; `None` when the condition does not hold.
    pub fn on(self, bucket: Bucket) -> Option<Bucket> {
        match self {
            Self::Full { full_by, full_at } => (bucket.full_at <= full_by).then_some(Bucket { full_at }),
            Self::More { adds, above, at_most } => {
                let fits = bucket.full_at > above && bucket.full_at <= at_most;
                fits.then_some(Bucket { full_at: bucket.full_at + adds })
            }
        }
    }
}

/// What one process holds for one caller.
#[derive(Debug, Clone, Copy, Default)]
pub struct Lease {
    left: u32,
    drawn: Option<Timestamp>,
    chunk: u32,
    refused_until: Option<Timestamp>,
}

/// What a lease says to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spent {
    /// It is let through.
    Yes,
    /// Draw up to so many first.
    Draw(u32),
    /// Not before so long.
    Refused(SignedDuration),
}

impl Lease {
    /// Spends one, or says what is to be done.
    pub fn spend(&mut self, rate: Rate, now: Timestamp) -> Spent {
        let age = self.drawn.map(|at| now.duration_since(at));
        if self.left > 0 && age.is_some_and(|age| age < LEASE) {
            self.left -= 1;
            return Spent::Yes;
        }
        if let Some(wait) =
            self.refused_until.map(|until| until.duration_since(now)).filter(SignedDuration::is_positive)
        {
            return Spent::Refused(wait);
        }
        let is_busy = self.left == 0 && age.is_some_and(|age| age < BUSY);
        self.chunk = if is_busy { self.chunk * 2 } else { self.chunk / 2 }.clamp(1, rate.chunk_max());
        Spent::Draw(self.chunk)
    }

    /// So many were drawn, and one of them is spent.
    pub fn drew(&mut self, count: u32, now: Timestamp) {
        // Another request of this process may have drawn meanwhile.
        let is_fresh = self.drawn.is_some_and(|at| now.duration_since(at) < LEASE);
        let kept = if is_fresh { self.left } else { 0 };
        (self.left, self.drawn) = (kept + count.saturating_sub(1), Some(now));
    }

    /// Nothing was to be had for so long: until then nobody is asked again.
    pub fn refused(&mut self, wait: SignedDuration, now: Timestamp) {
        self.refused_until = now.checked_add(wait).ok();
    }

    /// Whether there is nothing in it that anybody needs.
    pub fn is_over(&self, now: Timestamp) -> bool {
        let is_past = |at: Timestamp| now.duration_since(at) >= LEASE;
        self.drawn.is_none_or(is_past) && self.refused_until.is_none_or(|until| until <= now)
    }
}

fn ceiling(dividend: i64, divisor: i64) -> i64 {
    dividend / divisor + i64::from(dividend % divisor > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate { per_minute: 600, burst: 100 };

    fn at(milliseconds: i64) -> Timestamp {
        Timestamp::from_millisecond(1_800_000_000_000 + milliseconds).expect("a time")
    }

    /// One request of a process; whether it is let through.
    fn ask(rate: Rate, bucket: &mut Bucket, lease: &mut Lease, writes: &mut u32, now: Timestamp) -> bool {
        let most = match lease.spend(rate, now) {
            Spent::Yes => return true,
            Spent::Refused(_) => return false,
            Spent::Draw(most) => most,
        };
        match rate.draw(*bucket, most, now) {
            Ok((count, draw)) => {
                *writes += 1;
                *bucket = draw.on(*bucket).expect("nobody came between");
                lease.drew(count, now);
                true
            }
            Err(wait) => {
                lease.refused(wait, now);
                false
            }
        }
    }

    fn dice(seed: &mut u64) -> u64 {
        *seed ^= *seed << 13;
        *seed ^= *seed >> 7;
        *seed ^= *seed << 17;
        *seed
    }

    #[test]
    fn no_processes_together_let_through_more_than_the_burst_and_the_rate() {
        for seed in 1..=300_u64 {
            let mut seed = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let rate = Rate {
                per_minute: 1 + u32::try_from(dice(&mut seed) % 3_000).expect("small"),
                burst: 1 + u32::try_from(dice(&mut seed) % 200).expect("small"),
            };
            let processes = 1 + usize::try_from(dice(&mut seed) % 8).expect("small");
            let (mut bucket, mut leases, mut writes) =
                (Bucket::default(), vec![Lease::default(); processes], 0);
            let (mut now, mut let_through) = (0_i64, Vec::new());
            for _ in 0..2_000 {
                now += i64::try_from(dice(&mut seed) % 200).expect("small");
                let process = usize::try_from(dice(&mut seed)).unwrap_or(0) % processes;
                if ask(rate, &mut bucket, &mut leases[process], &mut writes, at(now)) {
                    let_through.push(now);
                }
            }
            let allowed = |from: i64, to: i64| {
                i64::from(rate.burst) + i64::from(rate.per_minute) * (to - from) / 60_000 + 1
            };
            let held = i64::from(rate.chunk_max()) * i64::try_from(processes).expect("few");
            for (first, from) in let_through.iter().enumerate().step_by(37) {
                let since = if first == 0 { 0 } else { held };
                for (count, to) in (1_i64..).zip(&let_through[first..]) {
                    assert!(count <= allowed(*from, *to) + since, "{rate:?}: {count} from {from} to {to}");
                }
            }
            assert!(!let_through.is_empty());
        }
    }

    #[test]
    fn a_caller_at_the_rate_is_never_refused_and_one_in_many_of_its_requests_writes() {
        let (mut bucket, mut leases, mut writes) = (Bucket::default(), [Lease::default(); 3], 0);
        for request in 0..6_000_usize {
            let now = at(i64::try_from(request).expect("small") * 100);
            assert!(ask(RATE, &mut bucket, &mut leases[request % 3], &mut writes, now), "request {request}");
        }
        assert!(writes < 6_000 / 8, "{writes} writes");
    }

    #[test]
    fn after_the_burst_it_is_said_when_to_come_again_and_then_one_is_let_through() {
        let (mut bucket, mut writes) = (Bucket::default(), 0);
        // Each request in a process of its own: what one holds no other may be refused for.
        for request in 0..100 {
            assert!(ask(RATE, &mut bucket, &mut Lease::default(), &mut writes, at(0)), "request {request}");
        }
        let wait = RATE.draw(bucket, 1, at(0)).expect_err("the burst is spent");
        assert_eq!(wait, SignedDuration::from_millis(100));
        assert_eq!(RATE.draw(bucket, 10, at(100)).expect("refilled").0, 1);
        assert_eq!(RATE.draw(bucket, 1_000, at(60_000)).expect("refilled").0, 100, "and no more than that");
    }

    #[test]
    fn who_was_refused_asks_nobody_before_the_time() {
        let mut lease = Lease::default();
        lease.refused(SignedDuration::from_secs(2), at(0));
        assert_eq!(lease.spend(RATE, at(500)), Spent::Refused(SignedDuration::from_millis(1_500)));
        assert!(!lease.is_over(at(500)) && lease.is_over(at(2_000)));
        assert_eq!(lease.spend(RATE, at(2_000)), Spent::Draw(1));
    }

    #[test]
    fn two_who_draw_at_once_both_draw_and_the_last_of_a_bucket_is_drawn_once() {
        let rate = Rate { per_minute: 60, burst: 4 };
        let (_, first) = rate.draw(Bucket::default(), 1, at(0)).expect("room");
        let bucket = first.on(Bucket::default()).expect("full");
        assert_eq!(first.on(bucket), None, "it is full no more");
        let (_, one) = rate.draw(bucket, 1, at(0)).expect("room");
        let (_, other) = rate.draw(bucket, 2, at(0)).expect("room");
        let both = one.on(bucket).and_then(|bucket| other.on(bucket)).expect("room for both");
        assert_eq!(other.on(both), None);
        assert!(rate.draw(both, 1, at(0)).is_err());
    }
}
