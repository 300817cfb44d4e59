//! Microburst, a proxy that puts faults between an AWS client and its service, in AWS's own wire format.
//!
//! It is installed by `make tools` into `target/tools/microburst`. Which calls fail, how and how often is said in its
//! own rules: <https://github.com/pingedbrain/microburst#rules>.

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    path::PathBuf,
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result, bail};

use crate::{
    ministack::{Running, free_port},
    workspace_root,
};

/// How long one call of its control interface may take.
const CONTROL_MAX: Duration = Duration::from_secs(10);

/// A running proxy. Ends with this handle.
#[derive(Debug)]
pub struct Microburst {
    port: u16,
    _running: Running,
}

impl Microburst {
    /// Starts one on a free port of 127.0.0.1, in front of this endpoint, without any rule.
    ///
    /// Errors: it is not installed, or does not come up within a minute; each says what to do.
    pub fn start(upstream: &str) -> Result<Self> {
        let program = Self::program();
        if !program.is_file() {
            bail!("microburst is not installed at {}: run `make tools`", program.display());
        }
        let port = free_port()?;
        let mut command = Command::new(program);
        command.args(["--upstream", upstream, "--port", &port.to_string(), "--no-resign"]);
        let running = Running::start("microburst", command, || call(port, "GET", "health", "").is_ok())?;
        Ok(Self { port, _running: running })
    }

    /// Where `make tools` installs it.
    pub fn program() -> PathBuf {
        workspace_root().join("target/tools/microburst/bin/microburst")
    }

    /// Its URL, without a slash at the end.
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Replaces all rules by this JSON list of rules, tried in order for each call.
    ///
    /// Errors: it does not take them.
    pub fn set_rules(&self, rules: &str) -> Result<()> {
        call(self.port, "POST", "rules", rules).map(drop)
    }

    /// The faults that fired so far, oldest first, at most a thousand: a JSON list.
    ///
    /// Errors: it does not answer.
    pub fn fired(&self) -> Result<String> {
        call(self.port, "GET", "fired?limit=1000", "")
    }
}

/// One call of the control interface, in plain HTTP/1.0: a client library would be most of this crate.
fn call(port: u16, method: &str, path: &str, body: &str) -> Result<String> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut stream = TcpStream::connect_timeout(&address, CONTROL_MAX)?;
    stream.set_read_timeout(Some(CONTROL_MAX))?;
    let length = body.len();
    write!(
        stream,
        "{method} /_microburst/{path} HTTP/1.0\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").context("no answer")?;
    if head.split_whitespace().nth(1) != Some("200") {
        bail!("microburst refused {path}: {body}");
    }
    Ok(body.to_owned())
}
