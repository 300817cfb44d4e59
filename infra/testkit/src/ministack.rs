//! MiniStack, the AWS emulator, as a child process.
//!
//! It is installed by `make tools` into `target/tools/ministack`. Each handle has its own port, its own
//! process group and its own temporary directory, so that test runs side by side never meet.

use std::{
    fs::File,
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process_group};

use crate::{TemporaryDirectory, workspace_root};

/// Names an emulator that is running on this machine already; tests then start none.
const ENDPOINT_VARIABLE: &str = "TEST_AWS_ENDPOINT_URL";
/// How long it may take until it answers: it needs under a second, on a loaded machine a few.
const START_MAX: Duration = Duration::from_mins(1);
/// How long it may take to end by itself before it is killed.
const STOP_MAX: Duration = Duration::from_secs(5);
/// How often a free port is tried: another process may take it between the look and the start.
const PORT_TRIES: u32 = 3;
/// How long one health probe may take.
const PROBE_MAX: Duration = Duration::from_secs(2);

/// A running MiniStack. Ends with this handle, with all processes that it started.
#[derive(Debug)]
pub struct MiniStack {
    endpoint: String,
    running: Option<Running>,
}

/// A child process in a group of its own, and its files.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
    log: PathBuf,
    /// Dropped after the process has ended.
    _temporary: TemporaryDirectory,
}

/// How to start one.
#[derive(Debug, Clone, Default)]
pub struct StartOptions {
    /// Set for the emulator, and so for the functions that it launches.
    pub environment: Vec<(String, String)>,
    /// Where its output goes; a file in its temporary directory, when `None`.
    pub log: Option<PathBuf>,
}

impl MiniStack {
    /// The emulator of this test: the one that `TEST_AWS_ENDPOINT_URL` names, or a new one on a free port.
    pub fn start() -> Result<Self> {
        if let Ok(endpoint) = std::env::var(ENDPOINT_VARIABLE) {
            // Tests erase what they find there.
            let local = ["http://127.0.0.1:", "http://localhost:", "http://[::1]:"];
            if !local.iter().any(|start| endpoint.starts_with(start)) {
                bail!("{ENDPOINT_VARIABLE}: must be http on this machine");
            }
            return Ok(Self { endpoint, running: None });
        }
        let mut attempt = 0;
        loop {
            attempt += 1;
            match Self::start_on(free_port()?, &StartOptions::default()) {
                Err(_) if attempt < PORT_TRIES => {}
                result => return result,
            }
        }
    }

    /// Starts one on this port of 127.0.0.1 and waits until it answers, at most a minute.
    ///
    /// Errors: it is not installed, the port is taken, or it does not come up; each says what to do.
    pub fn start_on(port: u16, options: &StartOptions) -> Result<Self> {
        let program = Self::program();
        if !program.is_file() {
            bail!("MiniStack is not installed at {}: run `make tools`", program.display());
        }
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_err() {
            bail!("port {port} is in use by another program: choose another one or stop that program");
        }
        let temporary = TemporaryDirectory::new("ministack")?;
        let log = options.log.clone().unwrap_or_else(|| temporary.path().join("ministack.log"));
        let output = File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
        let endpoint = format!("http://127.0.0.1:{port}");
        let child = Command::new(&program)
            .env("GATEWAY_PORT", port.to_string())
            .env("BIND_HOST", "127.0.0.1")
            // Functions inherit it and so find the emulator.
            .env("AWS_ENDPOINT_URL", &endpoint)
            .env("TMPDIR", temporary.path())
            .env("STATE_DIR", temporary.path().join("state"))
            .env("S3_DATA_DIR", temporary.path().join("s3"))
            .env("PERSIST_STATE", "0")
            .env("SFTP_ENABLED", "0")
            .envs(options.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(output.try_clone().context("cannot share the log file")?)
            .stderr(output)
            // Its own group: it is ended as a whole, and Ctrl-C reaches our own process first.
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        let running = Running { child, log, _temporary: temporary };
        let mut stack = Self { endpoint, running: Some(running) };
        stack.wait_until_healthy(port)?;
        Ok(stack)
    }

    /// Where `make tools` installs it.
    pub fn program() -> PathBuf {
        workspace_root().join("target/tools/ministack/bin/ministack")
    }

    /// Its URL, without a slash at the end.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Its output, if this handle started it.
    pub fn log(&self) -> Option<&Path> {
        self.running.as_ref().map(|running| running.log.as_path())
    }

    /// Whether it ended by itself.
    pub fn has_ended(&mut self) -> bool {
        self.running.as_mut().is_some_and(|running| !matches!(running.child.try_wait(), Ok(None)))
    }

    fn wait_until_healthy(&mut self, port: u16) -> Result<()> {
        let deadline = Instant::now() + START_MAX;
        loop {
            if is_healthy(port) {
                return Ok(());
            }
            if self.has_ended() {
                bail!("MiniStack ended while it started:\n{}", self.log_end());
            }
            if Instant::now() > deadline {
                bail!("MiniStack did not answer within {} s:\n{}", START_MAX.as_secs(), self.log_end());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// The last lines of its output.
    fn log_end(&self) -> String {
        let text = self.log().and_then(|log| std::fs::read_to_string(log).ok()).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }
}

impl Running {
    /// Starts a program whose output goes into a file of a directory of its own, and waits, at most a minute,
    /// until `is_up`. The directory is the program's working directory.
    ///
    /// Errors: it cannot be started, ends at once or does not come up; with the last lines of its output.
    pub(crate) fn start(name: &str, mut command: Command, is_up: impl Fn() -> bool) -> Result<Self> {
        let temporary = TemporaryDirectory::new(name)?;
        let log = temporary.path().join("output.log");
        let output = File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
        let child = command
            .current_dir(temporary.path())
            .env("TMPDIR", temporary.path())
            .stdin(Stdio::null())
            .stdout(output.try_clone().context("cannot share the log file")?)
            .stderr(output)
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot start {name}"))?;
        let mut running = Self { child, log, _temporary: temporary };
        let deadline = Instant::now() + START_MAX;
        while !is_up() {
            let has_ended = !matches!(running.child.try_wait(), Ok(None));
            if has_ended || Instant::now() > deadline {
                let text = std::fs::read_to_string(&running.log).unwrap_or_default();
                bail!("{name} did not come up:\n{text}");
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(running)
    }

    /// Asks the whole group to end, then makes it.
    fn stop(&mut self) {
        let Some(group) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) else { return };
        // Failures mean that the group is gone already.
        let _ = kill_process_group(group, Signal::TERM);
        let deadline = Instant::now() + STOP_MAX;
        while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(20));
        }
        // Functions that it launched may outlive it, so the group is killed even when it ended well.
        let _ = kill_process_group(group, Signal::KILL);
        let _ = self.child.wait();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A port that is free now.
pub(crate) fn free_port() -> Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no free port on 127.0.0.1")?;
    Ok(listener.local_addr().context("no address on a bound port")?.port())
}

/// One probe of the health endpoint, in plain HTTP/1.0: a client library would be most of this crate.
fn is_healthy(port: u16) -> bool {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let probe = || -> std::io::Result<bool> {
        let mut stream = TcpStream::connect_timeout(&address, PROBE_MAX)?;
        stream.set_read_timeout(Some(PROBE_MAX))?;
        stream.write_all(b"GET /_ministack/health HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n")?;
        let mut head = [0; 12];
        stream.read_exact(&mut head)?;
        Ok(head.ends_with(b" 200"))
    };
    probe().unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stack_answers_while_its_handle_lives_and_leaves_nothing() {
        let port = free_port().expect("a port");
        let stack = MiniStack::start_on(port, &StartOptions::default()).expect("`make tools` was run");
        assert!(is_healthy(port));
        let log = stack.log().expect("a log").to_owned();
        assert!(log.is_file());
        drop(stack);
        assert!(!is_healthy(port), "the process is gone");
        assert!(!log.exists(), "its files are gone");
    }

    #[test]
    fn a_port_in_use_is_named() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let error = MiniStack::start_on(port, &StartOptions::default()).expect_err("the port is taken");
        assert!(error.to_string().contains(&port.to_string()), "{error}");
    }
}
