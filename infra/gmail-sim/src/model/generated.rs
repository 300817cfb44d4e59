//! Synthetic mail that costs a few bytes to keep: the text is derived from a seed whenever it is read.
//!
//! Invariant: [`Recipe::raw`] is always [`Recipe::size`] bytes long and never changes.

use std::fmt::Write as _;

use super::random::{Random, mix};

/// All that is kept of one generated message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recipe {
    /// The run it belongs to.
    pub seed: u64,
    /// Its number within the run.
    pub index: u32,
    /// The number of its conversation's first message.
    pub first: u32,
    /// Epoch seconds of its `Date`.
    pub date_s: u32,
}

const WORDS: [&str; 32] = [
    "invoice",
    "meeting",
    "draft",
    "schedule",
    "quarter",
    "review",
    "contract",
    "delivery",
    "question",
    "budget",
    "garden",
    "report",
    "signature",
    "travel",
    "lunch",
    "release",
    "server",
    "payment",
    "holiday",
    "address",
    "change",
    "order",
    "proposal",
    "update",
    "summary",
    "agenda",
    "photo",
    "ticket",
    "receipt",
    "weather",
    "plan",
    "notes",
];
const PEOPLE: [&str; 12] = [
    "Ada Lovelace",
    "Alan Turing",
    "Grace Hopper",
    "Edsger Dijkstra",
    "Barbara Liskov",
    "Donald Knuth",
    "Frances Allen",
    "John Backus",
    "Mary Shaw",
    "Tony Hoare",
    "Radia Perlman",
    "Leslie Lamport",
];

impl Recipe {
    /// Bytes of the whole message: 700 to about 6,000.
    pub fn size(&self) -> u32 {
        let spread = mix(self.seed ^ (u64::from(self.index) << 1) ^ 0x51ED);
        // The remainder is below 5,300 and so fits.
        700 + u32::try_from(spread % 5_300).unwrap_or(0)
    }

    /// Its `Message-ID`, without angle brackets.
    pub fn message_id(&self, index: u32) -> String {
        format!("g{index}.{:x}@generated.example", self.seed)
    }

    /// The conversation's subject, without any reply mark.
    pub fn subject(&self) -> String {
        let mut topic = Random::new(mix(self.seed ^ (u64::from(self.first) << 32)));
        format!("{} {} {}", pick(&WORDS, &mut topic), pick(&WORDS, &mut topic), topic.below(10_000))
    }

    /// What a search asks for most, without making up the message around it; none for any other field.
    pub fn header(&self, name: &str, owner: &str) -> Option<String> {
        match name {
            "From" => Some(sender(&mut self.random())),
            "To" => Some(format!("<{owner}>")),
            "Subject" => Some(self.full_subject()),
            _ => None,
        }
    }

    fn random(&self) -> Random {
        Random::new(mix(self.seed ^ u64::from(self.index)))
    }

    fn is_reply(&self) -> bool {
        self.index != self.first
    }

    fn full_subject(&self) -> String {
        if self.is_reply() { format!("Re: {}", self.subject()) } else { self.subject() }
    }

    /// The whole message with CRLF line ends.
    pub fn raw(&self, owner: &str) -> Vec<u8> {
        let mut random = self.random();
        let mut text = String::with_capacity(self.size() as usize);
        // Writing to a String cannot fail.
        let _ = write!(
            text,
            "From: {}\r\nTo: <{owner}>\r\nSubject: {}\r\nDate: {}\r\nMessage-ID: <{}>\r\n",
            sender(&mut random),
            self.full_subject(),
            date_text(self.date_s),
            self.message_id(self.index),
        );
        if self.is_reply() {
            let first = self.message_id(self.first);
            let _ = write!(text, "In-Reply-To: <{first}>\r\nReferences: <{first}>\r\n");
        }
        text.push_str("MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n");
        let end = self.size() as usize - 2;
        let mut column = 0;
        while text.len() < end {
            let word = pick(&WORDS, &mut random);
            text.push_str(word);
            column += word.len() + 1;
            text.push_str(if column > 64 { "\r\n" } else { " " });
            column = if column > 64 { 0 } else { column };
        }
        // Bytes, not characters: a cut through an address of many bytes must not panic.
        let mut raw = text.into_bytes();
        raw.truncate(end);
        raw.extend_from_slice(b"\r\n");
        raw
    }
}

fn sender(random: &mut Random) -> String {
    let person = pick(&PEOPLE, random);
    format!("{person} <{}@generated.example>", person.to_lowercase().replace(' ', "."))
}

fn pick<'a>(choices: &[&'a str], random: &mut Random) -> &'a str {
    let place = random.below(choices.len() as u64);
    choices[usize::try_from(place).unwrap_or(0)]
}

fn date_text(seconds: u32) -> String {
    let at = jiff::Timestamp::from_second(i64::from(seconds)).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    at.strftime("%a, %d %b %Y %H:%M:%S +0000").to_string()
}

/// How many messages the next conversation has: most have one, a few have dozens.
pub fn thread_length(random: &mut Random) -> u64 {
    match random.below(100) {
        0..=54 => 1,
        55..=79 => 2 + random.below(2),
        80..=94 => 4 + random.below(5),
        _ => 9 + random.below(22),
    }
}
