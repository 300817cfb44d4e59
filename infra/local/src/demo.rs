//! The demo mailbox's mail: conversations, receipts, newsletters and notices as a small firm gets them.
//!
//! Invariant: the same seed and time give the same mail. Nothing here is anybody's: names are made up and
//! addresses are of reserved domains.

use std::fmt::Write;

use base64::{Engine, engine::general_purpose::STANDARD};
use jiff::{SignedDuration, Timestamp, fmt::rfc2822, tz::TimeZone};
use rand::{Rng, SeedableRng, rngs::StdRng, seq::IndexedRandom};

/// Whose mail it is.
pub const OWNER: &str = "demo@example.com";

const PEOPLE: [(&str, &str); 8] = [
    ("Maya Lindqvist", "maya@lindqvist.example"),
    ("José Álvarez", "jose@alvarez.example"),
    ("Priya Raman", "priya@northwind.example"),
    ("Tom Becker", "tom.becker@becker-bau.example"),
    ("花子 田中", "hanako@tanaka.example"),
    ("Aoife Byrne", "aoife@byrne.example"),
    ("Łukasz Nowak", "lukasz@nowak.example"),
    ("Chidi Okafor", "chidi@okafor.example"),
];

const TALKS: [(&str, &[&str]); 7] = [
    (
        "Kitchen cabinets, delivery next week?",
        &[
            "Hi,\n\nis the delivery on Tuesday still on? The fitters come on Wednesday at eight.",
            "Yes, it is. The driver calls half an hour before.",
            "Perfect. Third floor, the lift is working again.",
            "Good to know, I told the driver.",
        ],
    ),
    (
        "Quote for the new website",
        &[
            "Hello,\n\nthanks for the call. As said: eight pages, two languages, before the fair in May.",
            "Thank you. The quote is attached to this mail as a PDF tomorrow; roughly 40 hours.",
            "That fits. Could the booking form wait until June?",
        ],
    ),
    (
        "Réunion de jeudi",
        &[
            "Bonjour,\n\non se retrouve jeudi à 14 h ? J'apporte les échantillons.",
            "Parfait, à jeudi ! Le parking est derrière l'hôtel.",
        ],
    ),
    (
        "Angebot für das Büro — Rückfragen",
        &[
            "Guten Tag,\n\nzwei Fragen: Ist die Montage enthalten, und gilt der Preis für Größe 80×160?",
            "Ja zu beidem. Die Lieferzeit beträgt drei Wochen.",
            "Dann nehmen wir sechs Stück. Rechnung bitte an die neue Adresse.",
        ],
    ),
    (
        "見積もりのお願い",
        &[
            "お世話になっております。\n椅子10脚の見積もりをお願いいたします。",
            "ありがとうございます。明日お送りします。",
        ],
    ),
    (
        "Lunch on Friday?",
        &["The new noodle place at the station? 🍜", "Yes! Half past twelve?", "See you there."],
    ),
    (
        "Photos from the site visit",
        &[
            "Here are the notes; photos follow when I'm back at my desk.",
            "Thanks. The crack beside the door was there in spring already, wasn't it?",
            "It was, but shorter. I'd ask the engineer.",
        ],
    ),
];

const SHOPS: [(&str, &str, &str); 5] = [
    ("Papeterie Nord", "billing@papeterie.example", "Office paper and toner"),
    ("CloudHost", "invoices@cloudhost.example", "Hosting, monthly"),
    ("Bahn & Bus", "tickets@bahnbus.example", "Return ticket"),
    ("Greenleaf Coffee", "orders@greenleaf.example", "Coffee beans, 5 kg"),
    ("Toolshed", "receipts@toolshed.example", "Cordless drill"),
];

const LETTERS: [(&str, &str, &str); 4] = [
    ("The Weekly Joinery", "letter@joinery.example", "Dovetails without tears"),
    ("Design Notes", "hello@designnotes.example", "Seven kitchens we loved this month"),
    ("Local Business Club", "news@club.example", "Spring fair: register by Sunday"),
    ("Statistics of Small Firms", "digest@smallfirms.example", "What 1,000 owners say about e-mail"),
];

/// A made-up mail.
#[derive(Debug, Clone)]
pub struct Mail {
    /// Gmail's labels, comma-separated.
    pub labels: &'static str,
    /// RFC 5322, CRLF.
    pub raw: String,
}

/// Makes mail.
#[derive(Debug)]
pub struct Generator {
    random: StdRng,
    made: u32,
    seed: u64,
}

impl Generator {
    /// The same seed makes the same mail.
    pub fn new(seed: u64) -> Self {
        Self { random: StdRng::seed_from_u64(seed), made: 0, seed }
    }

    /// About sixty mails of the three months before `now`.
    pub fn history(&mut self, now: Timestamp) -> Vec<Mail> {
        let mut mails = Vec::new();
        for round in 0..2 {
            for (subject, turns) in TALKS {
                let ago_hours = self.random.random_range(24 + round * 700..(round + 1) * 1_000);
                self.talk(subject, turns, ago(now, ago_hours), &mut mails);
            }
        }
        for ago_hours in (30..2_000).step_by(130) {
            mails.push(self.receipt(ago(now, ago_hours), "INBOX,CATEGORY_UPDATES"));
        }
        for ago_hours in (50..2_000).step_by(330) {
            mails.push(self.newsletter(ago(now, ago_hours)));
        }
        mails
    }

    /// One mail that arrives now.
    pub fn arrival(&mut self, now: Timestamp) -> Mail {
        match self.random.random_range(0..4) {
            0 => self.receipt(now, "INBOX,UNREAD,CATEGORY_UPDATES"),
            1 => self.newsletter(now),
            _ => {
                let (subject, turns) = self.pick(&TALKS);
                let (name, address) = self.pick(&PEOPLE);
                let head = self.head(name, address, OWNER, subject, now);
                Mail { labels: "INBOX,UNREAD", raw: text(&head.lines, turns[0]) }
            }
        }
    }

    /// A conversation between somebody and the owner, a few hours from turn to turn.
    fn talk(&mut self, subject: &str, turns: &[&str], start: Timestamp, mails: &mut Vec<Mail>) {
        let (name, address) = self.pick(&PEOPLE);
        let mut at = start;
        let mut references = String::new();
        for (turn, body) in turns.iter().enumerate() {
            let inbound = turn % 2 == 0;
            let reply = if turn == 0 { subject.to_owned() } else { format!("Re: {subject}") };
            let mut head = if inbound {
                self.head(name, address, OWNER, &reply, at)
            } else {
                self.head("Demo", OWNER, address, &reply, at)
            };
            if let Some(last) = references.split(' ').next_back().filter(|last| !last.is_empty()) {
                let _ = write!(head.lines, "In-Reply-To: {last}\r\nReferences: {references}\r\n");
            }
            if !references.is_empty() {
                references.push(' ');
            }
            references.push_str(&head.id);
            mails.push(Mail { labels: if inbound { "INBOX" } else { "SENT" }, raw: text(&head.lines, body) });
            at += SignedDuration::from_mins(self.random.random_range(20..400));
        }
    }

    /// An invoice with a PDF.
    fn receipt(&mut self, at: Timestamp, labels: &'static str) -> Mail {
        let (shop, address, what) = self.pick(&SHOPS);
        let number = self.random.random_range(10_000..99_999);
        let cents = self.random.random_range(450..48_000);
        let amount = format!("{}.{:02}", cents / 100, cents % 100);
        let subject = format!("Your invoice {number} — € {amount}");
        let mut head = self.head(shop, address, OWNER, &subject, at);
        let boundary = format!("b{number}x{}", self.made);
        let html = format!(
            "<h1>{shop}</h1><p>{what}</p><p><b>Total: € {amount}</b></p><p>Paid by card. Thank you!</p>"
        );
        let pdf =
            wrapped(&STANDARD.encode(format!("%PDF-1.4\n% Invoice {number}, {what}, EUR {amount}\n%%EOF\n")));
        let _ = write!(
            head.lines,
            "Content-Type: multipart/mixed; boundary=\"{boundary}\"\r\n\r\n--{boundary}\r\n\
             Content-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n\r\n{}\
             --{boundary}\r\nContent-Type: application/pdf; name=\"invoice-{number}.pdf\"\r\n\
             Content-Disposition: attachment; filename=\"invoice-{number}.pdf\"\r\n\
             Content-Transfer-Encoding: base64\r\n\r\n{pdf}--{boundary}--\r\n",
            wrapped(&STANDARD.encode(html)),
        );
        Mail { labels, raw: head.lines }
    }

    /// A newsletter in text and HTML.
    fn newsletter(&mut self, at: Timestamp) -> Mail {
        let (name, address, subject) = self.pick(&LETTERS);
        let mut head = self.head(name, address, OWNER, subject, at);
        let boundary = format!("n{}", self.made);
        let html = format!(
            "<html><body><h2>{subject}</h2><p>Hello,</p><p>this is {name}. \
             <a href=\"https://letters.example/read\">Read on the web</a></p></body></html>"
        );
        let _ = write!(
            head.lines,
            "List-Id: <{0}>\r\nList-Unsubscribe: <mailto:{address}?subject=unsubscribe>\r\n\
             Content-Type: multipart/alternative; boundary=\"{boundary}\"\r\n\r\n--{boundary}\r\n\
             Content-Type: text/plain; charset=utf-8\r\n\r\n{subject}\r\n\r\nRead on the web.\r\n\
             --{boundary}\r\nContent-Type: text/html; charset=utf-8\r\n\r\n{html}\r\n--{boundary}--\r\n",
            address.replace('@', "."),
        );
        Mail { labels: "INBOX,UNREAD,CATEGORY_PROMOTIONS", raw: head.lines }
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from.choose(&mut self.random).copied().unwrap_or(from[0])
    }

    /// The header lines that every mail has; the caller adds its own and an empty line.
    fn head(&mut self, name: &str, from: &str, to: &str, subject: &str, at: Timestamp) -> Head {
        self.made += 1;
        let domain = from.rsplit('@').next().unwrap_or("example.com");
        let id = format!(
            "<{:x}.{}@{domain}>",
            self.seed.wrapping_add(at.as_millisecond().unsigned_abs()),
            self.made
        );
        let date = rfc2822::to_string(&at.to_zoned(TimeZone::UTC)).unwrap_or_default();
        let lines = format!(
            "Message-ID: {id}\r\nDate: {date}\r\nFrom: {} <{from}>\r\nTo: <{to}>\r\nSubject: {}\r\n\
             MIME-Version: 1.0\r\n",
            header_text(name),
            header_text(subject),
        );
        Head { id, lines }
    }
}

struct Head {
    id: String,
    lines: String,
}

fn ago(now: Timestamp, hours: i64) -> Timestamp {
    now - SignedDuration::from_hours(hours)
}

/// Plain text as a whole mail.
fn text(head: &str, body: &str) -> String {
    let encoded = wrapped(&STANDARD.encode(body.replace('\n', "\r\n")));
    format!(
        "{head}Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n\r\n{encoded}"
    )
}

/// Header text: as it is when ASCII, else encoded words of at most 75 characters.
fn header_text(text: &str) -> String {
    /// Bytes that fit an encoded word: 75 less `=?utf-8?B?` and `?=`, in base64.
    const WORD_BYTES_MAX: usize = 45;
    if text.is_ascii() {
        return text.to_owned();
    }
    let mut words = vec![String::new()];
    for character in text.chars() {
        let fits = words.last().is_some_and(|word| word.len() + character.len_utf8() <= WORD_BYTES_MAX);
        if !fits {
            words.push(String::new());
        }
        if let Some(word) = words.last_mut() {
            word.push(character);
        }
    }
    let encoded: Vec<String> =
        words.iter().map(|word| format!("=?utf-8?B?{}?=", STANDARD.encode(word))).collect();
    encoded.join("\r\n ")
}

/// Base64 in lines of 76.
fn wrapped(encoded: &str) -> String {
    let mut lines = String::with_capacity(encoded.len() + encoded.len() / 38 + 2);
    let mut rest = encoded;
    while !rest.is_empty() {
        let (line, after) = rest.split_at(rest.len().min(76));
        lines.push_str(line);
        lines.push_str("\r\n");
        rest = after;
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Timestamp {
        "2026-03-01T12:00:00Z".parse().expect("a time")
    }

    #[test]
    fn the_history_is_about_sixty_mails_with_conversations_both_ways() {
        let mails = Generator::new(1).history(now());
        assert!((50..=75).contains(&mails.len()), "{}", mails.len());
        assert!(mails.iter().any(|mail| mail.labels == "SENT"));
        assert!(mails.iter().any(|mail| mail.raw.contains("\r\nIn-Reply-To: <")));
        assert!(mails.iter().any(|mail| mail.raw.contains("application/pdf")));
    }

    #[test]
    fn the_same_seed_makes_the_same_mail() {
        let raw = |seed| -> Vec<String> {
            Generator::new(seed).history(now()).into_iter().map(|mail| mail.raw).collect()
        };
        assert_eq!(raw(7), raw(7));
        assert_ne!(raw(7), raw(8));
    }

    #[test]
    fn every_mail_is_ascii_with_crlf_and_lines_of_legal_length() {
        let mut generator = Generator::new(3);
        let mut mails = generator.history(now());
        mails.extend((0..50).map(|_| generator.arrival(now())));
        for mail in mails {
            for line in mail.raw.split("\r\n") {
                assert!(!line.contains(['\r', '\n']), "{line:?}");
                assert!(line.len() <= 998, "{line:?}");
            }
            let (head, _) = mail.raw.split_once("\r\n\r\n").expect("an empty line");
            assert!(head.is_ascii(), "{head}");
        }
    }

    #[test]
    fn message_ids_are_unique() {
        let mails = Generator::new(5).history(now());
        let ids: std::collections::BTreeSet<&str> =
            mails.iter().filter_map(|mail| mail.raw.lines().next()).collect();
        assert_eq!(ids.len(), mails.len());
    }
}
