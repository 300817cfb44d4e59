//! DynamoDB Local, AWS's own emulator of its table service: a second opinion on conditions and transactions.
//!
//! `dynamodb-local.sh` installs it into `target/tools/dynamodb-local`; it is not needed to build or to run anything. A
//! test runs itself again against it where it is present, and says why where it is not.

use std::{
    env,
    net::{Ipv4Addr, TcpStream},
    path::PathBuf,
    process::{Command, Stdio},
};

use anyhow::Result;

use crate::{
    ministack::{Running, free_port},
    workspace_root,
};

/// Names a table service that the tests use instead of the emulator's.
const ENDPOINT_VARIABLE: &str = "TEST_DYNAMODB_ENDPOINT_URL";

/// A running DynamoDB Local, in memory. Ends with this handle.
#[derive(Debug)]
pub struct DynamoDbLocal {
    endpoint: String,
    _running: Running,
}

impl DynamoDbLocal {
    /// The table service that this process is to test against, if another than the emulator's.
    pub fn endpoint_under_test() -> Option<String> {
        env::var(ENDPOINT_VARIABLE).ok().filter(|endpoint| !endpoint.is_empty())
    }

    /// What is missing for it; `None` when it can be started.
    pub fn missing() -> Option<String> {
        if !Self::folder().join("DynamoDBLocal.jar").is_file() {
            return Some("it is not installed: run infra/testkit/dynamodb-local.sh".to_owned());
        }
        let java = Command::new("java").arg("-version").stdout(Stdio::null()).stderr(Stdio::null()).status();
        match java {
            Ok(status) if status.success() => None,
            _ => Some("there is no java".to_owned()),
        }
    }

    /// Starts one on a free port of 127.0.0.1 and waits until it answers, at most a minute.
    ///
    /// Errors: something is [missing](Self::missing), or it does not come up.
    pub fn start() -> Result<Self> {
        let port = free_port()?;
        let folder = Self::folder();
        let mut command = Command::new("java");
        command
            .arg(format!("-Djava.library.path={}", folder.join("DynamoDBLocal_lib").display()))
            .arg("-jar")
            .arg(folder.join("DynamoDBLocal.jar"))
            .args(["-inMemory", "-sharedDb", "-disableTelemetry", "-port", &port.to_string()]);
        let is_up = || TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok();
        let running = Running::start("dynamodb-local", command, is_up)?;
        Ok(Self { endpoint: format!("http://127.0.0.1:{port}"), _running: running })
    }

    /// Its URL, without a slash at the end.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Runs the tests of this process's program again, against a DynamoDB Local, without those whose names hold
    /// one of `skip`. What they print is theirs; whether they passed, or why they did not run.
    ///
    /// Errors: it is present and does not come up, or the program cannot be started.
    pub fn run_tests_again(filter: &str, skip: &[&str]) -> Result<std::result::Result<bool, String>> {
        if let Some(missing) = Self::missing() {
            return Ok(Err(missing));
        }
        let local = Self::start()?;
        let mut command = Command::new(env::current_exe()?);
        if !filter.is_empty() {
            command.arg(filter);
        }
        for name in skip {
            command.args(["--skip", name]);
        }
        let status = command.env(ENDPOINT_VARIABLE, local.endpoint()).status()?;
        Ok(Ok(status.success()))
    }

    fn folder() -> PathBuf {
        workspace_root().join("target/tools/dynamodb-local")
    }
}
