//! Builds the functions and packs each as Lambda wants it: a zip with an executable `bootstrap`.
//!
//! Invariant: what is packed was built from the tree as it is now. Deliberately absent: `sam build`; the
//! development profile builds in seconds, and a deployment's `sam build` has its own cross-compiler.

use std::{
    fs,
    io::{BufRead, BufReader, Cursor, Write},
    path::{Path, PathBuf},
    process::{ChildStderr, Command, Stdio},
};

use anyhow::{Context, Result, bail};
use zip::{CompressionMethod, ZipWriter, write::SimpleFileOptions};

use crate::{
    process::Group,
    progress::{Progress, Step},
};

/// The functions, as their packages, their binaries and their folders in the template are called.
pub const FUNCTIONS: [&str; 4] = ["webhook", "api", "cron", "worker"];

/// The workspace's root directory.
pub fn workspace_root() -> PathBuf {
    testkit::workspace_root()
}

/// Where cargo builds: `target` under the root, or what `CARGO_TARGET_DIR` says.
pub fn target_directory() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace_root().join("target"), PathBuf::from)
}

/// A binary of the workspace, once built.
pub fn binary(name: &str) -> PathBuf {
    target_directory().join("debug").join(name)
}

/// Builds the functions, the simulator and the command line. Minutes on a fresh machine, else seconds.
pub async fn build(progress: Progress) -> Result<()> {
    let step = progress.step("building the functions");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    // The whole workspace, as `make run` has built it: a choice of packages would have other features of what
    // they share, and build all of that again.
    command.args(["build", "--workspace", "--bins"]);
    command.current_dir(workspace_root()).stdout(Stdio::null()).stderr(Stdio::piped());
    // Inside `cargo test` or `make run`, cargo has told us about our own package; the build of another must
    // not take that for a change of its environment and start over.
    for (name, _) in std::env::vars_os() {
        let ours = name.to_string_lossy();
        if ours.starts_with("CARGO_PKG_")
            || ours.starts_with("CARGO_MANIFEST_")
            || ours.starts_with("CARGO_BIN_")
        {
            command.env_remove(&name);
        }
    }
    let mut cargo = Group::spawn(command).context("cargo is needed to build the functions")?;
    let errors = cargo.child().stderr.take().context("cargo has no output")?;
    // The group stays with this future, so that giving up on the start ends the build; the reader ends with it.
    let output = tokio::task::spawn_blocking(move || (follow(errors, &step), step)).await;
    let (output, step) = output.context("the build's output cannot be read")?;
    let status = cargo.child().wait().context("cargo vanished")?;
    if !status.success() {
        bail!("the functions do not build:\n{output}");
    }
    step.done("");
    Ok(())
}

/// Shows cargo's output as it comes, and returns it.
fn follow(errors: ChildStderr, step: &Step) -> String {
    let mut output = String::new();
    for line in BufReader::new(errors).lines().map_while(Result::ok) {
        step.detail(line.trim());
        output.push_str(&line);
        output.push('\n');
    }
    output
}

/// The deployment package of one function.
pub fn package(function: &str) -> Result<Vec<u8>> {
    let path = binary(function);
    pack(&path).with_context(|| format!("cannot pack {}", path.display()))
}

/// The same function as [`package`], with debug lines of our own code: each process of it appends its output to
/// `<process id>.log` in `logs`, line by line as it happens, for whoever watches it live.
pub fn watched_package(function: &str, logs: &Path) -> Result<Vec<u8>> {
    let quoted = |path: &Path| format!("'{}'", path.display().to_string().replace('\'', r"'\''"));
    // The emulator starts it in a folder of its own.
    let (program, logs) = (quoted(&std::path::absolute(binary(function))?), quoted(logs));
    // `exec` keeps the process id, so that the log's name says whom a signal reaches.
    let script =
        format!("#!/bin/sh\nexport LOG_LEVEL=info,sync_app=debug\nexec {program} >>{logs}/$$.log 2>&1\n");
    pack_program(script.as_bytes())
}

fn pack(path: &Path) -> Result<Vec<u8>> {
    pack_program(&fs::read(path)?)
}

/// A zip with this program as its `bootstrap`.
pub(crate) fn pack_program(program: &[u8]) -> Result<Vec<u8>> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::with_capacity(program.len() + 1024)));
    // Stored: it travels from one process of this machine to another, and packing would be most of the wait.
    let options = SimpleFileOptions::default()
        .compression_method(CompressionMethod::Stored)
        .unix_permissions(0o755)
        .last_modified_time(zip::DateTime::default());
    zip.start_file("bootstrap", options)?;
    zip.write_all(program)?;
    Ok(zip.finish()?.into_inner())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_holds_an_executable_bootstrap_and_nothing_else() {
        let program = std::env::current_exe().expect("this test");
        let mut zip = zip::ZipArchive::new(Cursor::new(pack(&program).expect("it packs"))).expect("a zip");
        assert_eq!(zip.len(), 1);
        let entry = zip.by_name("bootstrap").expect("the bootstrap");
        assert_eq!(entry.unix_mode().map(|mode| mode & 0o777), Some(0o755));
        assert_eq!(entry.size(), fs::metadata(&program).expect("its size").len());
    }

    #[test]
    fn a_watched_function_runs_in_the_process_that_its_log_is_named_after() {
        use std::io::Read as _;
        let package = watched_package("worker", Path::new("/logs/it's")).expect("it packs");
        let mut zip = zip::ZipArchive::new(Cursor::new(package)).expect("a zip");
        let mut script = String::new();
        zip.by_name("bootstrap").expect("the bootstrap").read_to_string(&mut script).expect("a script");
        let last = script.lines().last().expect("a line");
        assert!(last.starts_with("exec '") && last.contains("/worker' "), "{script}");
        assert!(last.ends_with(r">>'/logs/it'\''s'/$$.log 2>&1"), "{script}");
    }

    #[test]
    fn every_function_of_the_template_is_built_here() {
        let template = fs::read_to_string(workspace_root().join("template.yaml")).expect("the template");
        let mut named: Vec<&str> = template
            .lines()
            .filter_map(|line| line.trim().strip_prefix("CodeUri: functions/")?.strip_suffix('/'))
            .collect();
        named.sort_unstable();
        let mut ours = FUNCTIONS;
        ours.sort_unstable();
        assert_eq!(named, ours);
    }
}
