//! The shortest story of a loss: the tape of a history is cut and smoothed as long as the same promise breaks in the same way.

use crate::world::{
    dice::{Dice, Tape},
    history::{Options, Verdict, run},
    promise::Broken,
};

/// A history that cannot be made shorter without keeping the promise.
#[derive(Debug, Clone)]
pub struct Shrunk {
    /// Its choices.
    pub tape: Tape,
    /// What came of it, its story told.
    pub verdict: Verdict,
    /// How many histories were tried.
    pub tries: u32,
}

struct Shrinker {
    best: Tape,
    kind: String,
    options: Options,
    tries: u32,
    tries_max: u32,
}

/// Makes a failing history short. `tries_max` bounds the work: histories that are run.
pub fn shrink(tape: Tape, broken: &Broken, options: Options, tries_max: u32) -> Shrunk {
    let options = Options { tells: false, ..options };
    let mut shrinker = Shrinker { best: tape, kind: broken.kind(), options, tries: 0, tries_max };
    let mut before = None;
    while before.as_ref() != Some(&shrinker.best) && shrinker.tries < tries_max {
        before = Some(shrinker.best.clone());
        shrinker.drop_steps();
        shrinker.smooth_setting();
        shrinker.smooth_steps();
    }
    let (tape, tries) = (shrinker.best, shrinker.tries);
    let verdict = run(Dice::of_tape(tape.clone()), Options { tells: true, ..options });
    Shrunk { tape, verdict, tries }
}

impl Shrinker {
    /// Takes another tape if it breaks the same promise in the same way. Whether it does.
    fn try_tape(&mut self, tape: Tape) -> bool {
        if self.tries >= self.tries_max || tape == self.best {
            return false;
        }
        self.tries += 1;
        let verdict = run(Dice::of_tape(tape.clone()), self.options);
        let same = verdict.broken.is_some_and(|broken| broken.kind() == self.kind);
        if same {
            self.best = tape;
        }
        same
    }

    /// Leaves out steps: many at once, then fewer, then single ones; from the end, where most is idle.
    fn drop_steps(&mut self) {
        let mut size = self.best.0.len() / 2;
        while size > 0 {
            let mut end = self.best.0.len();
            while end > 1 {
                let begin = end.saturating_sub(size).max(1);
                let mut tape = self.best.clone();
                tape.0.drain(begin..end);
                self.try_tape(tape);
                end = begin.min(self.best.0.len());
            }
            size /= 2;
        }
    }

    /// Sets the choices of the setting to the quietest, one by one: which faults are needed at all.
    fn smooth_setting(&mut self) {
        self.smooth_step(0);
    }

    fn smooth_steps(&mut self) {
        for step in (1..self.best.0.len()).rev() {
            let mut tape = self.best.clone();
            if let Some(values) = tape.0.get_mut(step) {
                values.truncate(1);
            }
            self.try_tape(tape);
            self.smooth_step(step);
        }
    }

    fn smooth_step(&mut self, step: usize) {
        let values = self.best.0.get(step).map_or(0, Vec::len);
        for at in 0..values {
            let value = self.best.0.get(step).and_then(|values| values.get(at)).copied().unwrap_or_default();
            for smaller in [0, value / 2, value.saturating_sub(1)] {
                let mut tape = self.best.clone();
                if let Some(place) = tape.0.get_mut(step).and_then(|values| values.get_mut(at)) {
                    if *place <= smaller {
                        break;
                    }
                    *place = smaller;
                }
                if self.try_tape(tape) {
                    break;
                }
            }
        }
    }
}
