//! What a large mailbox costs, counted in a process of its own. Times are the business of `examples/million.rs`.

use std::process::Command;

use gmail_sim::model::Mailbox;

/// Messages of the measured mailbox.
const MESSAGES: u32 = 100_000;
/// A gigabyte for a million of them, less what the rest of the process may grow by.
const BYTES_PER_MESSAGE_MAX: u64 = 900;
const CHILD: &str = "GMAIL_SIM_MEMORY_CHILD";

/// The most memory this process ever held.
fn peak_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

#[test]
#[cfg(target_os = "linux")]
fn a_million_messages_fit_into_a_gigabyte() {
    if std::env::var_os(CHILD).is_some() {
        let before = peak_bytes();
        let mut mailbox = Mailbox::new("bulk@example.com", 1);
        mailbox.generate(MESSAGES, 1, 1_790_000_000_000);
        assert_eq!(mailbox.message_count(), MESSAGES as usize);
        println!("grown by {}", peak_bytes() - before);
        return;
    }
    let own = std::env::current_exe().unwrap();
    let name = "memory::a_million_messages_fit_into_a_gigabyte";
    let child = Command::new(own).args(["--exact", name, "--nocapture"]).env(CHILD, "1").output().unwrap();
    let said = String::from_utf8_lossy(&child.stdout);
    let grown = said.split("grown by ").nth(1).and_then(|rest| rest.split_whitespace().next());
    let grown: u64 = grown.unwrap_or_else(|| panic!("the child said {said}")).parse().unwrap();
    let each = grown / u64::from(MESSAGES);
    assert!((50..BYTES_PER_MESSAGE_MAX).contains(&each), "{each} bytes a message");
}
