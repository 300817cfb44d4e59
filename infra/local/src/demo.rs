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

/// Somebody who writes.
#[derive(Debug, Clone, Copy)]
struct Person(&'static str, &'static str);

const OWNER_PERSON: Person = Person("Demo", OWNER);
const MAYA: Person = Person("Maya Lindqvist", "maya@lindqvist.example");
const JOSE: Person = Person("José Álvarez", "jose@alvarez.example");
const PRIYA: Person = Person("Priya Raman", "priya@northwind.example");
const TOM: Person = Person("Tom Becker", "tom.becker@becker-bau.example");
const HANAKO: Person = Person("田中 花子", "hanako@tanaka.example");
const AOIFE: Person = Person("Aoife Byrne", "aoife@byrne.example");
const LUKASZ: Person = Person("Łukasz Nowak", "lukasz@nowak.example");
const CHIDI: Person = Person("Chidi Okafor", "chidi@okafor.example");
const CLAIRE: Person = Person("Claire Dubois", "claire@atelier-dubois.example");

/// Who, about what, and what is said in turns: the other first, then the owner, and so on.
type Talk = (Person, &'static str, &'static [&'static str]);

/// From old to new; the last [`RECENT`] are of today.
const TALKS: [Talk; 10] = [
    (
        CLAIRE,
        "Réunion de jeudi",
        &[
            "Bonjour,\n\non se retrouve jeudi à 14 h ? J'apporte les échantillons de chêne et de noyer.",
            "Parfait, à jeudi ! Le parking est derrière l'hôtel.",
        ],
    ),
    (
        TOM,
        "Angebot für das Büro — Rückfragen",
        &[
            "Guten Tag,\n\nzwei Fragen: Ist die Montage enthalten, und gilt der Preis für Größe 80×160?",
            "Ja zu beidem. Die Lieferzeit beträgt drei Wochen.",
            "Dann nehmen wir sechs Stück. Rechnung bitte an die neue Adresse.",
        ],
    ),
    (
        MAYA,
        "Kitchen cabinets, delivery next week?",
        &[
            "Hi,\n\nis the delivery on Tuesday still on? The fitters come on Wednesday at eight, and they \
             would like to find the cabinets on the third floor.\n\nMaya",
            "Yes, it is. The driver calls half an hour before.",
            "Perfect. Third floor, the lift is working again.",
            "Good to know, I told the driver.",
        ],
    ),
    (
        HANAKO,
        "見積もりのお願い",
        &[
            "お世話になっております。\n椅子10脚の見積もりをお願いいたします。",
            "ありがとうございます。明日お送りします。",
        ],
    ),
    (
        JOSE,
        "Keys to the workshop",
        &[
            "I leave them with the neighbours on the ground floor; they are in until six.",
            "Thanks, got them!",
        ],
    ),
    (
        MAYA,
        "The colour is even better in daylight",
        &["We just unpacked the first doors. Everybody who walks past stops and looks. Thank you! 💚"],
    ),
    (
        CHIDI,
        "Can you take two more tables?",
        &[
            "The café in Harbour Street wants two more of the round ones, oiled, by the end of the month.\n\
             Same price as last time?",
            "Same price, and the 28th works if they decide this week.",
        ],
    ),
    (
        AOIFE,
        "Lunch on Friday?",
        &["The new noodle place at the station? 🍜", "Yes! Half past twelve?", "See you there."],
    ),
    (
        LUKASZ,
        "Photos from the site visit",
        &[
            "Here are the notes; photos follow when I'm back at my desk.\n\n1. Crack beside the door, 12 cm\n\
             2. Window on the left does not close\n3. Floor is level, 2 mm over 4 m",
            "Thanks. The crack beside the door was there in spring already, wasn't it?",
            "It was, but shorter. I'd ask the engineer.",
        ],
    ),
    (
        PRIYA,
        "Quote for the new website",
        &[
            "Hello,\n\nthanks for the call. As said: eight pages, two languages, ready before the fair in \
             May. The old pages are at https://northwind.example/ for comparison.\n\nBest,\nPriya",
            "Thank you. You get the quote tomorrow; roughly 40 hours.",
            "> roughly 40 hours\n\nThat fits. Could the booking form wait until June?",
        ],
    ),
];

/// How many conversations went on today, and are not read to the end.
const RECENT: usize = 3;

/// What a shop sells, with prices in cents.
type Shop = (Person, &'static str, &'static [(&'static str, u32)]);

const SHOPS: [Shop; 5] = [
    (
        Person("Papeterie Nord", "billing@papeterie.example"),
        "#1f7d68",
        &[("Copy paper, 5 boxes", 12_450), ("Toner, black", 8_990), ("Envelopes C4, 250", 1_875)],
    ),
    (
        Person("CloudHost", "invoices@cloudhost.example"),
        "#3a4cd2",
        &[("Hosting, one month", 2_900), ("Backups, 100 GB", 450)],
    ),
    (Person("Bahn & Bus", "tickets@bahnbus.example"), "#b3261e", &[("Return ticket, 2nd class", 7_840)]),
    (
        Person("Greenleaf Coffee", "orders@greenleaf.example"),
        "#6b4a1e",
        &[("Coffee beans, 5 kg", 9_250), ("Filters, 500", 1_490)],
    ),
    (
        Person("Toolshed", "receipts@toolshed.example"),
        "#bb5a1c",
        &[("Cordless drill", 18_900), ("Wood screws 4×40, 1,000", 2_690), ("Delivery", 590)],
    ),
];

/// A newsletter: who, subject, and its paragraphs.
type Letter = (Person, &'static str, &'static [&'static str]);

const LETTERS: [Letter; 4] = [
    (
        Person("The Weekly Joinery", "letter@joinery.example"),
        "Dovetails without tears",
        &[
            "Three cuts, one saw, no jig: this week we take the fear out of the oldest joint there is.",
            "Also in this letter: which oil dries overnight, and a bench that fits into a cupboard.",
        ],
    ),
    (
        Person("Design Notes", "hello@designnotes.example"),
        "Seven kitchens we loved this month",
        &[
            "From a galley of four square metres to a table for twenty: seven kitchens that are used.",
            "Our favourite has no handles at all, and a floor that forgives everything.",
        ],
    ),
    (
        Person("Local Business Club", "news@club.example"),
        "Spring fair: register by Sunday",
        &["The hall is half full already. A table costs nothing for members, coffee is on us."],
    ),
    (
        Person("Statistics of Small Firms", "digest@smallfirms.example"),
        "What 1,000 owners say about e-mail",
        &[
            "Two of three answer within a day. One of three keeps everything, forever, in the inbox.",
            "The full tables are on the web, as always without a registration.",
        ],
    ),
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

    /// About sixty mails of the three months before `now`; what came today is not read yet.
    pub fn history(&mut self, now: Timestamp) -> Vec<Mail> {
        let mut mails = Vec::new();
        let (older, recent) = TALKS.split_at(TALKS.len() - RECENT);
        for (age, talk) in (1..).zip(older.iter().rev()) {
            let ago_hours = age * 120 + self.random.random_range(0..60);
            self.talk(talk, ago(now, ago_hours), false, &mut mails);
        }
        for (index, talk) in (0..).zip(recent.iter().rev()) {
            self.talk(talk, ago(now, 4 + 5 * index), true, &mut mails);
        }
        for ago_hours in (3..2_000).step_by(95) {
            let labels =
                if ago_hours < 24 { "INBOX,UNREAD,CATEGORY_UPDATES" } else { "INBOX,CATEGORY_UPDATES" };
            mails.push(self.receipt(ago(now, ago_hours), labels));
        }
        for ago_hours in (7..2_000).step_by(210) {
            mails.push(self.newsletter(ago(now, ago_hours)));
        }
        mails
    }

    /// One mail that arrives now.
    pub fn arrival(&mut self, now: Timestamp) -> Mail {
        match self.random.random_range(0..5) {
            0 => self.receipt(now, "INBOX,UNREAD,CATEGORY_UPDATES"),
            1 => self.newsletter(now),
            _ => {
                let (person, subject, turns) = self.pick(&TALKS[..TALKS.len() - RECENT]);
                let head = self.head(person, OWNER_PERSON, subject, now);
                Mail { labels: "INBOX,UNREAD", raw: text(&head.lines, turns[0]) }
            }
        }
    }

    /// A conversation between somebody and the owner, some time from turn to turn.
    /// In an open one, the last word is the other's and not read yet.
    fn talk(&mut self, talk: &Talk, start: Timestamp, is_open: bool, mails: &mut Vec<Mail>) {
        let (person, subject, turns) = talk;
        let mut at = start;
        let mut references = String::new();
        for (turn, body) in turns.iter().enumerate() {
            let inbound = turn % 2 == 0;
            let reply = if turn == 0 { (*subject).to_owned() } else { format!("Re: {subject}") };
            let mut head = if inbound {
                self.head(*person, OWNER_PERSON, &reply, at)
            } else {
                self.head(OWNER_PERSON, *person, &reply, at)
            };
            if let Some(last) = references.split(' ').next_back().filter(|last| !last.is_empty()) {
                let _ = write!(head.lines, "In-Reply-To: {last}\r\nReferences: {references}\r\n");
            }
            if !references.is_empty() {
                references.push(' ');
            }
            references.push_str(&head.id);
            let labels = match (inbound, turn) {
                (true, _) if is_open && turn + 1 == turns.len() => "INBOX,UNREAD",
                (true, 0) if turns.len() > 2 => "INBOX,STARRED",
                (true, _) => "INBOX",
                (false, _) => "SENT",
            };
            mails.push(Mail { labels, raw: text(&head.lines, body) });
            at += SignedDuration::from_mins(self.random.random_range(15..70));
        }
    }

    /// An invoice with a PDF.
    fn receipt(&mut self, at: Timestamp, labels: &'static str) -> Mail {
        let (shop, colour, goods) = self.pick(&SHOPS);
        let number = self.random.random_range(10_000..99_999);
        let times = self.random.random_range(1..4);
        let total = money(goods.iter().map(|(_, cents)| cents * times).sum());
        let subject = format!("Your invoice {number} — € {total}");
        let mut head = self.head(shop, OWNER_PERSON, &subject, at);
        let boundary = format!("b{number}x{}", self.made);
        let mut rows = String::new();
        for (what, cents) in goods {
            let _ = write!(
                rows,
                "<tr><td style=\"padding:9px 0;border-bottom:1px solid #e6e8ef\">{what}</td>\
                 <td align=\"right\" style=\"padding:9px 0;border-bottom:1px solid #e6e8ef;color:#6a7186\">{times} ×</td>\
                 <td align=\"right\" style=\"padding:9px 0;border-bottom:1px solid #e6e8ef\">€ {}</td></tr>",
                money(cents * times)
            );
        }
        let html = format!(
            "<div style=\"max-width:560px\"><div style=\"background-color:{colour};color:#ffffff;border-radius:12px;\
             padding:18px 24px;font-size:20px;font-weight:bold\">{}</div>\
             <p style=\"margin:22px 0 6px\">Thank you for your order. Here is invoice <b>{number}</b>.</p>\
             <table width=\"100%\" cellspacing=\"0\" style=\"border-collapse:collapse;margin:14px 0\">{rows}\
             <tr><td style=\"padding:13px 0;font-weight:bold\">Total</td><td></td>\
             <td align=\"right\" style=\"padding:13px 0;font-weight:bold;font-size:18px\">€ {total}</td></tr></table>\
             <p style=\"color:#6a7186;font-size:13px\">Paid by card. The invoice is attached as a PDF.</p></div>",
            shop.0.replace('&', "&amp;")
        );
        let pdf = wrapped(&STANDARD.encode(pdf(&format!("Invoice {number}, total EUR {total}"))));
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

    /// A newsletter in text and HTML, with a picture that counts its readers, as they do.
    fn newsletter(&mut self, at: Timestamp) -> Mail {
        let (sender, subject, paragraphs) = self.pick(&LETTERS);
        let Person(name, address) = sender;
        let mut head = self.head(sender, OWNER_PERSON, subject, at);
        let boundary = format!("n{}", self.made);
        let plain = paragraphs.join("\r\n\r\n");
        let html = format!("<p>{}</p>\r\n", paragraphs.join("</p>\r\n<p>"));
        let _ = write!(
            head.lines,
            "List-Id: <{0}>\r\nList-Unsubscribe: <mailto:{address}?subject=unsubscribe>\r\n\
             Content-Type: multipart/alternative; boundary=\"{boundary}\"\r\n\r\n--{boundary}\r\n\
             Content-Type: text/plain; charset=utf-8\r\n\r\n{plain}\r\n\r\nhttps://letters.example/read\r\n\
             --{boundary}\r\nContent-Type: text/html; charset=utf-8\r\n\r\n\
             <div style=\"max-width:600px\">\r\n<p style=\"color:#6a7186;font-size:13px;letter-spacing:1px;\
             text-transform:uppercase\">{name}</p>\r\n<h1 style=\"font-size:28px;line-height:1.2\">{subject}</h1>\r\n\
             {html}<p><a href=\"https://letters.example/read\" style=\"color:#3a4cd2\">Read on the web</a></p>\r\n\
             <img src=\"https://letters.example/seen.gif\" width=\"1\" height=\"1\">\r\n</div>\r\n--{boundary}--\r\n",
            address.replace('@', "."),
        );
        Mail { labels: "INBOX,UNREAD,CATEGORY_PROMOTIONS", raw: head.lines }
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from.choose(&mut self.random).copied().unwrap_or(from[0])
    }

    /// The header lines that every mail has; the caller adds its own and an empty line.
    fn head(&mut self, Person(name, from): Person, to: Person, subject: &str, at: Timestamp) -> Head {
        self.made += 1;
        let domain = from.rsplit('@').next().unwrap_or("example.com");
        let id = format!(
            "<{:x}.{}@{domain}>",
            self.seed.wrapping_add(at.as_millisecond().unsigned_abs()),
            self.made
        );
        let date = rfc2822::to_string(&at.to_zoned(TimeZone::UTC)).unwrap_or_default();
        let lines = format!(
            "Message-ID: {id}\r\nDate: {date}\r\nFrom: {} <{from}>\r\nTo: {} <{}>\r\nSubject: {}\r\n\
             MIME-Version: 1.0\r\n",
            header_text(name),
            header_text(to.0),
            to.1,
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

fn money(cents: u32) -> String {
    format!("{}.{:02}", cents / 100, cents % 100)
}

/// A PDF of one page with one line of ASCII, small and whole.
fn pdf(line: &str) -> String {
    let drawing = format!("BT /F1 18 Tf 72 740 Td ({line}) Tj ET");
    let objects = [
        "<</Type/Catalog/Pages 2 0 R>>".to_owned(),
        "<</Type/Pages/Kids[3 0 R]/Count 1>>".to_owned(),
        "<</Type/Page/Parent 2 0 R/MediaBox[0 0 595 842]/Contents 4 0 R/Resources<</Font<</F1 5 0 R>>>>>>"
            .to_owned(),
        format!("<</Length {}>>stream\n{drawing}\nendstream", drawing.len()),
        "<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>".to_owned(),
    ];
    let mut file = "%PDF-1.4\n".to_owned();
    let mut table = String::new();
    for (index, object) in objects.iter().enumerate() {
        let _ = writeln!(table, "{:010} 00000 n ", file.len());
        let _ = writeln!(file, "{} 0 obj{object}endobj", index + 1);
    }
    let start = file.len();
    let _ = writeln!(file, "xref\n0 6\n0000000000 65535 f \n{table}trailer<</Size 6/Root 1 0 R>>");
    let _ = writeln!(file, "startxref\n{start}\n%%EOF");
    file
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
