//! What a person sees while the system starts: a spinner on a terminal, plain lines elsewhere.
//!
//! Invariant: every finished step leaves exactly one line, on either.

use std::{
    io::{IsTerminal, Write},
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressStyle};

/// Where progress goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Progress {
    /// Nowhere, for tests.
    #[default]
    Quiet,
    /// To standard error: a spinner when that is a terminal, else a line a step.
    Shown,
}

impl Progress {
    /// Begins a step, named by what is being done: "building the functions".
    pub fn step(self, name: &str) -> Step {
        let bar = match self {
            Self::Shown if std::io::stderr().is_terminal() => {
                let bar = ProgressBar::new_spinner().with_prefix(name.to_owned());
                let style =
                    ProgressStyle::with_template("{spinner:.cyan} {prefix} {elapsed} {wide_msg:.dim}");
                bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
                bar.enable_steady_tick(Duration::from_millis(100));
                Some(bar)
            }
            Self::Shown | Self::Quiet => None,
        };
        Step { name: name.to_owned(), bar, progress: self, started: Instant::now() }
    }

    /// A line by itself.
    pub fn line(self, text: &str) {
        if self == Self::Shown {
            // A closed standard error is no reason to stop.
            let _ = writeln!(std::io::stderr(), "{text}");
        }
    }
}

/// A step under way.
#[derive(Debug)]
pub struct Step {
    name: String,
    bar: Option<ProgressBar>,
    progress: Progress,
    started: Instant,
}

impl Step {
    /// What it is at now; seen on a terminal only.
    pub fn detail(&self, text: &str) {
        if let Some(bar) = &self.bar {
            bar.set_message(text.to_owned());
        }
    }

    /// Ends it well.
    pub fn done(self, result: &str) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        let separator = if result.is_empty() { "" } else { ": " };
        let seconds = self.started.elapsed().as_secs_f64();
        self.progress.line(&format!("✓ {}{separator}{result} ({seconds:.1} s)", self.name));
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        // A step that failed leaves its line to the error that follows.
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
