//! Every choice of a history, from one seed, on one tape.
//!
//! Invariant: a history is a function of its tape, and 0 is always the quietest choice (no fault, the first worker,
//! nothing more). So a tape can be cut and smoothed until only what matters is left, and read as a story.

use rand::{RngCore as _, SeedableRng as _, rngs::StdRng};

/// The choices of a history, a list for each step; the first holds the setting.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tape(pub Vec<Vec<u32>>);

#[derive(Debug)]
enum Source {
    Seed(Box<StdRng>),
    Tape(Tape),
    /// Nothing is chosen any more: faults are off.
    Quiet,
}

/// What decides.
#[derive(Debug)]
pub struct Dice {
    source: Source,
    values: Vec<u32>,
    /// Where each step began.
    begins: Vec<usize>,
    within: usize,
}

impl Dice {
    /// Choices that follow from a seed.
    pub fn of_seed(seed: u64) -> Self {
        Self::with(Source::Seed(Box::new(StdRng::seed_from_u64(seed))))
    }

    /// Choices that were made before; what is not on the tape is 0.
    pub fn of_tape(tape: Tape) -> Self {
        Self::with(Source::Tape(tape))
    }

    fn with(source: Source) -> Self {
        Self { source, values: Vec::with_capacity(2_048), begins: vec![0], within: 0 }
    }

    /// The next step. Whether there is one: a tape ends.
    pub fn begin_step(&mut self) -> bool {
        let goes_on = match &self.source {
            Source::Seed(_) => true,
            Source::Tape(tape) => self.begins.len() < tape.0.len(),
            Source::Quiet => false,
        };
        if goes_on {
            self.begins.push(self.values.len());
            self.within = 0;
        }
        goes_on
    }

    /// How many steps there are at most: as many as the tape has, or as a seed says.
    pub fn steps(&mut self, fewest: u32, more: u32) -> u32 {
        let steps = fewest + self.below(more);
        if let Source::Tape(_) = self.source { u32::MAX } else { steps }
    }

    /// A number below `bound`; 0 when the bound is 0.
    pub fn below(&mut self, bound: u32) -> u32 {
        let value = match &mut self.source {
            Source::Seed(random) => {
                let wide = u64::from(random.next_u32()) * u64::from(bound);
                u32::try_from(wide >> 32).unwrap_or_default()
            }
            Source::Tape(tape) => {
                let step = tape.0.get(self.begins.len() - 1);
                let value = step.and_then(|step| step.get(self.within)).copied().unwrap_or_default();
                value.min(bound.saturating_sub(1))
            }
            Source::Quiet => return 0,
        };
        self.within += 1;
        self.values.push(value);
        value
    }

    /// One of `from` up to and including `to`.
    pub fn between(&mut self, from: u32, to: u32) -> u32 {
        from + self.below(to.saturating_sub(from) + 1)
    }

    /// True in so many of a thousand.
    pub fn chance(&mut self, of_thousand: u32) -> bool {
        of_thousand > 0 && self.below(1_000) >= 1_000_u32.saturating_sub(of_thousand)
    }

    /// One of a list; `None` when it is empty.
    pub fn pick<'a, T>(&mut self, list: &'a [T]) -> Option<&'a T> {
        let length = u32::try_from(list.len()).unwrap_or(u32::MAX);
        list.get(self.below(length) as usize)
    }

    /// From now on every choice is 0 and none is kept.
    pub fn quiet(&mut self) {
        self.source = Source::Quiet;
    }

    /// What was chosen so far.
    pub fn tape(&self) -> Tape {
        let ends = self.begins.iter().skip(1).copied().chain([self.values.len()]);
        let step = |(from, to): (&usize, usize)| self.values.get(*from..to).unwrap_or_default().to_vec();
        Tape(self.begins.iter().zip(ends).map(step).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choices(dice: &mut Dice) -> Vec<u32> {
        (0..20)
            .flat_map(|_| {
                dice.begin_step();
                [dice.below(10), dice.between(5, 9), u32::from(dice.chance(300))]
            })
            .collect()
    }

    #[test]
    fn a_tape_repeats_what_a_seed_chose() {
        let mut first = Dice::of_seed(7);
        let chosen = choices(&mut first);
        let mut again = Dice::of_tape(first.tape());
        assert_eq!(choices(&mut again), chosen);
        assert_eq!(again.tape(), first.tape());
        assert!(!again.begin_step(), "the tape is over");
        assert_eq!(again.below(10), 0, "what is not on the tape is 0");
    }
}
