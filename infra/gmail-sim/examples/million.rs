//! What a mailbox of a million messages costs: memory, and pages at the top and deep down.
//!
//! `cargo run --release -p gmail-sim --example million [MESSAGES]` prints one line a figure. Times are remarks
//! about a machine; that the deepest pages cost what the first ones do is the result.

use std::time::{Duration, Instant};

use gmail_sim::model::{
    HistoryQuery, INBOX, LabelIndex, ListQuery, Mailbox, MessageId, Millis, NewMessage, PageFrom, Paging,
    Query, Random, STARRED, UNREAD,
};

const NOW: Millis = 1_790_000_000_000;
/// Entries of a page, Gmail's most.
const PAGE: usize = 500;
/// Single label changes of the storm.
const CHANGES: u64 = 100_000;

fn main() {
    report("a mailbox and 24 operations", &timed(10_000, tiny));
    let count =
        std::env::args().nth(1).map_or(1_000_000, |count| count.parse().expect("a number of messages"));
    let mut mailbox = Mailbox::new("bulk@example.com", 1);
    let begun = Instant::now();
    mailbox.generate(count, 1, NOW);
    say(
        "generated",
        &format!("{count} messages, {} threads in {:.1?}", mailbox.thread_count(), begun.elapsed()),
    );
    say("peak memory", &format!("{} MB", peak_memory_kb() / 1024));

    pages(&mailbox, "messages.list", &[], "");
    pages(&mailbox, "messages.list, INBOX", &[INBOX], "");
    pages(&mailbox, "messages.list, INBOX and UNREAD", &[INBOX, UNREAD], "");
    pages(&mailbox, "q=in:inbox is:unread", &[], "in:inbox is:unread");
    pages(&mailbox, "q=older_than:1y", &[], "older_than:1y");
    pages(&mailbox, "q=-in:inbox larger:3000", &[], "-in:inbox larger:3000");
    pages(&mailbox, "q=from:ada (reads text)", &[], "from:ada");
    thread_pages(&mailbox);
    let counts = timed(100, |_| mailbox.label_counts("INBOX").expect("the inbox is there").messages);
    report("labels.get", &counts);

    let before = mailbox.history_id();
    let ids: Vec<MessageId> = mailbox.messages().map(|(id, _)| id).collect();
    let mut random = Random::new(3);
    let storm = timed(CHANGES, |number| {
        let place = usize::try_from(random.below(ids.len() as u64)).unwrap_or(0);
        let (add, remove) = if number % 2 == 0 { (STARRED, UNREAD) } else { (UNREAD, STARRED) };
        mailbox.modify(&[ids[place]], &[add], &[remove], NOW + Millis::try_from(number).unwrap_or(0));
        0
    });
    report("one label change of a storm", &storm);
    history_pages(&mailbox, before.0);
    say("peak memory after the storm", &format!("{} MB", peak_memory_kb() / 1024));
}

#[expect(clippy::print_stdout, reason = "the example's whole purpose")]
fn say(name: &str, figure: &str) {
    println!("{name:40} {figure}");
}

/// The most memory the process ever held, as Linux counts it; 0 elsewhere.
fn peak_memory_kb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0)
}

fn timed(rounds: u64, mut act: impl FnMut(u64) -> usize) -> Vec<Duration> {
    let mut times = Vec::new();
    for round in 0..rounds {
        let begun = Instant::now();
        std::hint::black_box(act(round));
        times.push(begun.elapsed());
    }
    times
}

fn report(name: &str, times: &[Duration]) {
    let at = |times: &[Duration], percent: usize| {
        let mut sorted = times.to_vec();
        sorted.sort_unstable();
        sorted
            .get((sorted.len() * percent / 100).min(sorted.len().saturating_sub(1)))
            .copied()
            .unwrap_or_default()
    };
    let tenth = (times.len() / 10).max(1);
    let (first, last) = (at(&times[..tenth], 50), at(&times[times.len() - tenth..], 50));
    let (median, worst) = (at(times, 50), at(times, 99));
    let figure = format!(
        "{} times: p50 {median:.1?}, p99 {worst:.1?}; first tenth {first:.1?}, last tenth {last:.1?}",
        times.len()
    );
    say(name, &figure);
}

/// What a simulated world does hundreds of thousands of times: a mailbox lives and is looked at.
fn tiny(seed: u64) -> usize {
    let mut mailbox = Mailbox::new("a@example.com", seed);
    let start = mailbox.history_id().0;
    let raw: std::sync::Arc<[u8]> = b"Subject: x\r\nMessage-ID: <1@x>\r\n\r\nx\r\n".as_slice().into();
    for now in NOW..NOW + 10 {
        let labels = vec![INBOX, UNREAD];
        let new = NewMessage { raw: raw.clone(), labels, internal_date: None, thread: None };
        let id = mailbox.insert(new, now).expect("mail without a named thread is taken");
        mailbox.modify(&[id], &[STARRED], &[UNREAD], now);
        if now % 5 == 0 {
            mailbox.delete(&[id], now);
        }
    }
    let query = HistoryQuery { start, limit: 100, ..HistoryQuery::default() };
    let (from, limit) = (PageFrom::Start, 100);
    let list = ListQuery { labels: vec![INBOX], include_spam_trash: false, query: None, from, limit };
    let page = mailbox.history(&query, NOW + 10).expect("nothing has expired");
    page.records.len() + mailbox.list_messages(&list).entries.len()
}

/// Every page of a listing, from the newest to the oldest.
fn pages(mailbox: &Mailbox, name: &str, labels: &[LabelIndex], search: &str) {
    let query = (!search.is_empty()).then(|| Query::parse(search, mailbox, NOW));
    let from = PageFrom::Start;
    let mut list = ListQuery { labels: labels.to_vec(), include_spam_trash: false, query, from, limit: PAGE };
    let mut times = Vec::new();
    loop {
        let begun = Instant::now();
        let page = mailbox.list_messages(&list);
        times.push(begun.elapsed());
        let Some(next) = page.next_from(list.from, Paging::Keyed) else { break };
        list.from = next;
    }
    report(name, &times);
}

fn thread_pages(mailbox: &Mailbox) {
    let (from, limit) = (PageFrom::Start, PAGE);
    let mut list = ListQuery { labels: vec![], include_spam_trash: false, query: None, from, limit };
    let mut times = Vec::new();
    loop {
        let begun = Instant::now();
        let page = mailbox.list_threads(&list);
        times.push(begun.elapsed());
        let Some(next) = page.next_from(list.from, Paging::Keyed) else { break };
        list.from = next;
    }
    report("threads.list", &times);
}

fn history_pages(mailbox: &Mailbox, start: u64) {
    let mut query = HistoryQuery { start, limit: PAGE, ..HistoryQuery::default() };
    let mut times = Vec::new();
    loop {
        let begun = Instant::now();
        let page = mailbox.history(&query, NOW + 1_000_000).expect("nothing has expired");
        times.push(begun.elapsed());
        let Some(next) = page.resume_after else { break };
        query.resume_after = Some(next.0);
    }
    report("history.list", &times);
}
