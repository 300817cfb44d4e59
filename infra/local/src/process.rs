//! Processes of the local system: each in a group of its own, ended as a whole.
//!
//! Invariant: a group ends when its handle is dropped, and when this process ends in any way at all, even
//! killed: a watchdog outlives it just long enough to end what is left.

use std::{
    fs::{File, OpenOptions},
    io::Write,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, ExitStatus, Stdio},
    sync::{Mutex, OnceLock},
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process_group};

/// How long a group may take to end by itself before it is killed.
const STOP_MAX: Duration = Duration::from_secs(3);

/// Reads groups, one a line, until its input ends, which it does when this process ends. It ignores what a
/// terminal sends, since it has a group of its own. `-N` takes a group off the list.
const WATCHDOG: &str = r#"
groups=" "
while read -r line; do
  case "$line" in
    -*) groups="${groups%% ${line#-} *} ${groups#* ${line#-} }" ;;
    *) groups="$groups$line " ;;
  esac
done
for group in $groups; do kill -9 "-$group" 2>/dev/null; done
"#;

/// A process and all its descendants. Ends when dropped.
#[derive(Debug)]
pub struct Group {
    child: Child,
    group: Option<Pid>,
}

impl Group {
    /// Starts a command in a group of its own, its output appended to `log`.
    pub fn start(mut command: Command, log: &Path) -> Result<Self> {
        let output = append_to(log)?;
        command.stdout(output.try_clone().context("cannot share the log file")?).stderr(output);
        Self::spawn(command)
    }

    /// Starts a command in a group of its own; its output goes where the command says.
    pub fn spawn(mut command: Command) -> Result<Self> {
        let program = command.get_program().to_string_lossy().into_owned();
        let child = command
            .stdin(Stdio::null())
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot start {program}"))?;
        let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        watch(child.id());
        Ok(Self { child, group })
    }

    /// The process itself, for its output and its status.
    pub fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// Its status, once it has ended by itself.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Sends a signal to the whole group.
    pub fn signal(&self, signal: Signal) {
        if let Some(group) = self.group {
            // A failure means that the group is gone already.
            let _ = kill_process_group(group, signal);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.signal(Signal::TERM);
        // A stopped process hears nothing else until it continues.
        self.signal(Signal::CONT);
        let deadline = Instant::now() + STOP_MAX;
        while self.ended().is_none() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(10));
        }
        self.signal(Signal::KILL);
        let _ = self.child.wait();
        unwatch(self.child.id());
    }
}

/// Asks the watchdog to end this group should this process end without doing it itself.
pub fn watch(group: u32) {
    tell_watchdog(&group.to_string());
}

/// Takes a group off the watchdog's list, once it has ended: its number may be another's soon.
pub fn unwatch(group: u32) {
    tell_watchdog(&format!("-{group}"));
}

fn tell_watchdog(line: &str) {
    static WATCHDOG_INPUT: OnceLock<Option<Mutex<ChildStdin>>> = OnceLock::new();
    let input = WATCHDOG_INPUT.get_or_init(|| {
        let child = Command::new("sh")
            .args(["-c", WATCHDOG])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn();
        // Without a shell the handles alone end the groups, which every end but a kill lets them do.
        child.ok().and_then(|child| child.stdin).map(Mutex::new)
    });
    if let Some(input) = input
        && let Ok(mut input) = input.lock()
    {
        let _ = writeln!(input, "{line}");
    }
}

/// Opens a log for appending, with its directory.
pub fn append_to(log: &Path) -> Result<File> {
    OpenOptions::new()
        .create(true)
        .append(true)
        .open(log)
        .with_context(|| format!("cannot write {}", log.display()))
}

/// The last lines of a log, to be shown with an error.
pub fn log_end(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}

/// The first of these programs that is on the PATH.
pub fn find_program(name: &str) -> Option<PathBuf> {
    std::env::split_paths(&std::env::var_os("PATH")?)
        .map(|folder| folder.join(name))
        .find(|path| path.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Waits at most ten seconds for a process to be gone, zombies included.
    fn gone(id: u32) -> bool {
        let deadline = Instant::now() + Duration::from_secs(10);
        while Instant::now() < deadline {
            let status = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
            if status.is_empty() || status.contains(") Z ") {
                return true;
            }
            std::thread::yield_now();
        }
        false
    }

    #[test]
    fn dropping_a_group_ends_its_grandchildren_too() {
        let mut command = Command::new("sh");
        command.args(["-c", "sleep 600 & echo $!; wait"]).stdout(Stdio::piped());
        let mut group = Group::spawn(command).expect("sh");
        let mut output = std::io::BufReader::new(group.child().stdout.take().expect("piped"));
        let mut line = String::new();
        std::io::BufRead::read_line(&mut output, &mut line).expect("a line");
        let grandchild = line.trim().parse().expect("a process id");
        drop(group);
        assert!(gone(grandchild), "process {grandchild} is left");
    }

    #[test]
    fn the_watchdog_ends_what_is_listed_and_nothing_else() {
        let sleeper = || Command::new("sleep").arg("600").process_group(0).spawn().expect("sleep");
        let mut listed = [sleeper(), sleeper()];
        let mut released = sleeper();
        let mut watchdog =
            Command::new("sh").args(["-c", WATCHDOG]).stdin(Stdio::piped()).spawn().expect("sh");
        let mut input = watchdog.stdin.take().expect("piped");
        for id in [listed[0].id(), released.id(), listed[1].id()] {
            writeln!(input, "{id}").expect("it reads");
        }
        writeln!(input, "-{}", released.id()).expect("it reads");
        drop(input);
        watchdog.wait().expect("it ends");
        for child in &mut listed {
            assert!(!child.wait().expect("it ends").success());
        }
        assert!(released.try_wait().expect("a status").is_none(), "it was taken off the list");
        released.kill().expect("it runs");
        released.wait().expect("it ends");
    }
}
