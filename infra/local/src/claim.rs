//! The directory of a running system: logs, demo mail and `env`, the file that tells other programs where
//! the system is.
//!
//! Invariant: one running system a directory; `env` exists only while its system runs.

use std::{
    fmt::Write,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};

/// The file that holds the process id of the system.
const OWNER: &str = "owner";
/// The file for other programs.
const ENVIRONMENT: &str = "env";

/// A directory that is ours while this lives.
#[derive(Debug)]
pub struct Claim {
    directory: PathBuf,
}

impl Claim {
    /// Takes a directory, emptied of what an earlier system left.
    pub fn take(directory: &Path) -> Result<Self> {
        if let Some(owner) = live_owner(directory) {
            bail!(
                "process {owner} runs a local system in {}: end it, or choose another directory and ports, \
                 such as `make run STATE=target/local-2 PORT=8081 SIM_PORT=4101 AWS_PORT=4567`",
                directory.display()
            );
        }
        fs::create_dir_all(directory).with_context(|| format!("cannot make {}", directory.display()))?;
        let claim = Self { directory: directory.canonicalize()? };
        for stale in [ENVIRONMENT, "sam-env.json", "ministack.log", "gmail-sim.log"] {
            let _ = fs::remove_file(claim.path(stale));
        }
        fs::write(claim.path(OWNER), std::process::id().to_string())?;
        Ok(claim)
    }

    /// A file or folder in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// An empty folder in it.
    pub fn fresh_folder(&self, name: &str) -> Result<PathBuf> {
        let folder = self.path(name);
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        Ok(folder)
    }

    /// Where `env` is.
    pub fn environment_file(&self) -> PathBuf {
        self.path(ENVIRONMENT)
    }

    /// Writes `env`: a line `export NAME='value'` for each variable.
    pub fn write_environment(&self, variables: &[(String, String)]) -> Result<()> {
        let mut lines = String::new();
        for (name, value) in variables {
            let _ = writeln!(lines, "export {name}='{}'", value.replace('\'', r"'\''"));
        }
        // Whole or not at all: programs wait for it to appear and read it at once.
        let unfinished = self.path("env.unfinished");
        fs::write(&unfinished, lines)?;
        fs::rename(&unfinished, self.environment_file()).context("cannot write env")
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let _ = fs::remove_file(self.environment_file());
        let _ = fs::remove_file(self.path(OWNER));
    }
}

/// The system that runs in this directory, if it is not this process and still lives.
fn live_owner(directory: &Path) -> Option<u32> {
    let owner: u32 = fs::read_to_string(directory.join(OWNER)).ok()?.trim().parse().ok()?;
    let lives = Path::new("/proc").join(owner.to_string()).exists();
    (lives && owner != std::process::id()).then_some(owner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn env_is_there_while_the_system_runs_and_gone_after_it() {
        let directory = testkit::TemporaryDirectory::new("claim").expect("a directory");
        let claim = Claim::take(directory.path()).expect("nobody has it");
        claim.write_environment(&[("A".to_owned(), "it's".to_owned())]).expect("it writes");
        let file = claim.environment_file();
        assert_eq!(fs::read_to_string(&file).expect("it is there"), "export A='it'\\''s'\n");
        drop(claim);
        assert!(!file.exists());
    }

    #[test]
    fn a_directory_of_a_living_process_is_refused_and_of_a_dead_one_is_taken() {
        let directory = testkit::TemporaryDirectory::new("claim").expect("a directory");
        // Process 1 lives as long as the machine; the largest id is never given out.
        fs::write(directory.path().join(OWNER), "1").expect("it writes");
        if Path::new("/proc/1").exists() {
            let error = Claim::take(directory.path()).expect_err("it is taken").to_string();
            assert!(error.contains("STATE="), "{error}");
        }
        fs::write(directory.path().join(OWNER), u32::MAX.to_string()).expect("it writes");
        Claim::take(directory.path()).expect("its owner is gone");
    }
}
