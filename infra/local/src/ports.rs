//! Ports of this machine: which are free, and who holds one that is not.
//!
//! Invariant: nothing here keeps a port. Between the look and the use another program may take it; the
//! start that fails then says so.

use std::{
    fs,
    net::{Ipv4Addr, TcpListener},
    path::Path,
};

use anyhow::{Context, Result, bail};

/// State "listening" in the kernel's socket table.
const LISTENING: &str = "0A";

/// Ends with an error that names the port, its holder if that can be told, and the cure, unless it is free.
///
/// `variable` is the setting that chooses another one. Port 0 is always free.
pub fn require_free(port: u16, variable: &str) -> Result<()> {
    if port == 0 || TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
        return Ok(());
    }
    let holder = holder(port).map_or_else(|| "another program".to_owned(), |holder| holder.to_string());
    let other = port.checked_add(1).unwrap_or(1024);
    bail!(
        "port {port} is held by {holder}: end it, or choose another port, such as `make run {variable}={other}`"
    )
}

/// This port, or a free one for 0.
pub fn or_free(port: u16) -> Result<u16> {
    if port != 0 {
        return Ok(port);
    }
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no free port on 127.0.0.1")?;
    Ok(listener.local_addr()?.port())
}

/// A process that listens on a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// Its process id.
    pub id: i32,
    /// Its command line, cut to what fits a line.
    pub command: String,
}

impl std::fmt::Display for Holder {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "process {} ({})", self.id, self.command)
    }
}

/// Who listens on a port of this machine; `None` where the system does not tell (no `/proc`, or not ours).
pub fn holder(port: u16) -> Option<Holder> {
    let sockets: Vec<String> = ["/proc/net/tcp", "/proc/net/tcp6"]
        .iter()
        .filter_map(|table| fs::read_to_string(table).ok())
        .flat_map(|table| listening_sockets(&table, port))
        .map(|inode| format!("socket:[{inode}]"))
        .collect();
    fs::read_dir("/proc").ok()?.flatten().find_map(|entry| {
        let id = entry.file_name().to_str()?.parse().ok()?;
        let mut open = fs::read_dir(entry.path().join("fd")).ok()?.flatten();
        open.any(|file| is_one_of(&file.path(), &sockets))
            .then(|| Holder { id, command: command_line(&entry.path()) })
    })
}

fn is_one_of(descriptor: &Path, sockets: &[String]) -> bool {
    fs::read_link(descriptor).is_ok_and(|target| sockets.iter().any(|socket| target == Path::new(socket)))
}

/// The inodes of the sockets that listen on `port`, from the kernel's table.
fn listening_sockets(table: &str, port: u16) -> Vec<String> {
    let suffix = format!(":{port:04X}");
    table
        .lines()
        .filter_map(|line| {
            let columns: Vec<&str> = line.split_whitespace().collect();
            let listens = columns.get(1)?.ends_with(&suffix) && *columns.get(3)? == LISTENING;
            listens.then(|| columns.get(9).map(ToString::to_string))?
        })
        .collect()
}

fn command_line(process: &Path) -> String {
    let bytes = fs::read(process.join("cmdline")).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes).replace('\0', " ");
    text.trim().chars().take(80).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_held_port_is_named_with_its_holder_and_the_cure() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let error = require_free(port, "SIM_PORT").expect_err("it is held").to_string();
        assert!(error.contains(&port.to_string()), "{error}");
        assert!(error.contains("SIM_PORT="), "{error}");
        if cfg!(target_os = "linux") {
            assert!(error.contains(&format!("process {}", std::process::id())), "{error}");
        }
    }

    #[test]
    fn a_free_port_and_port_zero_pass() {
        let port = or_free(0).expect("a port");
        require_free(port, "PORT").expect("it is free");
        require_free(0, "PORT").expect("zero means any");
    }

    #[test]
    fn only_listening_sockets_of_the_port_count() {
        let table = "  sl  local_address rem_address   st tx rx tr tm retrnsmt   uid  timeout inode\n\
            0: 0100007F:1F90 00000000:0000 0A 0:0 0:0 0 0 0 111 1\n\
            1: 0100007F:1F90 0100007F:9999 01 0:0 0:0 0 0 0 222 1\n\
            2: 0100007F:1F91 00000000:0000 0A 0:0 0:0 0 0 0 333 1\n";
        // The columns of the real table: slot, local, remote, state, queues, timer, retransmits, uid, time-out, inode.
        assert_eq!(listening_sockets(table, 8080), vec!["111"]);
    }
}
