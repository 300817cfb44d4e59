//! Everything that reads bytes which strangers write, as functions of bytes that must return.
//!
//! Used twice: by cargo-fuzz (`cargo +nightly fuzz run mail`, in `shared/gmail`), without a bound on time, and
//! by the tests of `sync-gmail` on the stable toolchain, with a short one. They assert what holds for any bytes:
//! outputs are bounded, what is shown can be had, and finding a mail's parts looks at each byte at most twice.

use std::cell::RefCell;

use jiff::Timestamp;
use sync_core::{
    EmailAddress, MessageId,
    message::{Envelope, Labels},
    state::{Content, Window},
};
use sync_gmail::{
    Endpoint, PushNotification, PushVerifier, batch,
    error::GmailError,
    formats,
    mime::{self, FetchedParts, FullMail, OwnAddresses},
    requests,
};

/// A function that must return, whatever it is given.
pub type Target = fn(&[u8]);

/// All of them; the name is that of the seeds' folder.
pub const TARGETS: [(&str, Target); 5] =
    [("mail", mail), ("batch", batch), ("wire", wire), ("words", words), ("push", push)];

/// How often finding the parts of a mail may look at a byte.
const LOOKS_MAX: u64 = 2;
/// How many levels of a tree of parts are read, the inside of an attached mail included.
const LEVELS_MAX: u64 = 22;
/// How many attachments are fetched again by their hash; each takes the mail apart once more.
const REFETCHED_MAX: usize = 3;
/// Most bytes of one header in a view.
const HEADER_BYTES_MAX: usize = 16 * 1024;

/// A raw mail: its structure, its envelope, its content.
pub fn mail(bytes: &[u8]) {
    assert!(mime::bytes_seen(bytes) <= LOOKS_MAX * bytes.len() as u64, "finding the parts is not linear");
    check_envelope(&mime::envelope(bytes, &OwnAddresses::default(), &Labels::new()));
    let mail = mime::render(bytes);
    check_mail(&mail, bytes.len());
    for file in mail.attachments.iter().take(REFETCHED_MAX) {
        let (_, content) = mime::attachment(bytes, &file.sha256).expect("what is shown can be had");
        assert_eq!(content.len() as u64, file.size);
    }
}

fn check_envelope(envelope: &Envelope) {
    assert!(envelope.subject.len() <= Envelope::TEXT_BYTES_MAX);
    for list in [&envelope.to, &envelope.cc, &envelope.bcc] {
        assert!(list.len() <= Envelope::ADDRESSES_MAX);
    }
    let addresses = envelope.from.iter().chain(&envelope.to).chain(&envelope.cc).chain(&envelope.bcc);
    let texts = addresses.flat_map(|address| address.name.iter().chain([&address.email]));
    for text in texts.chain([&envelope.subject]).chain(&envelope.rfc822_message_id) {
        assert!(!text.chars().any(char::is_control), "a control character would reach a row");
    }
}

fn check_mail(mail: &FullMail, length: usize) {
    for text in mail.text.iter().chain(&mail.html) {
        assert!(text.len() <= mime::TEXT_BYTES_MAX);
    }
    for (name, value) in &mail.headers {
        assert!(name.len() <= 200 && value.len() <= HEADER_BYTES_MAX);
    }
    let whole =
        mail.attachments.iter().filter(|file| file.container.is_none() && file.attachment_id.is_none());
    let decoded: u64 = whole.map(|file| file.size).sum();
    // A line of uuencode without its letters is the one encoding that grows.
    assert!(decoded <= 64 * length as u64, "attachments hold more than the mail");
}

/// The answer to a batch.
pub fn batch(bytes: &[u8]) {
    let asked = [MessageId(1), MessageId(2), MessageId(0xfeed)];
    let (kind, body) = split(bytes);
    for kind in [kind, "multipart/mixed; boundary=b"] {
        let Ok(answers) = batch::read(kind, body, &asked, Content::Raw, Timestamp::UNIX_EPOCH) else {
            continue;
        };
        assert_eq!(answers.len(), asked.len(), "each is answered once");
        for ((id, answer), asked) in answers.iter().zip(asked) {
            assert_eq!(*id, asked);
            assert!(answer.as_ref().map_or(true, |message| message.id == asked));
        }
    }
}

/// Gmail's JSON: every answer that is read, and refusals.
pub fn wire(bytes: &[u8]) {
    let _ = requests::read_profile(bytes);
    let _ = requests::read_message_list(bytes, &Window::All);
    let _ = requests::read_history(bytes);
    let _ = requests::read_labels(bytes);
    let _ = requests::read_watch(bytes);
    let _ = formats::read_attachment(bytes);
    let _ = formats::read_send_as(bytes);
    let _ = GmailError::from_response(403, None, bytes, Timestamp::UNIX_EPOCH);
    let id = MessageId(1);
    let owner: EmailAddress = "owner@example.com".parse().expect("an address");
    for content in [Content::Raw, Content::Full, Content::Metadata] {
        let one = formats::read_message(bytes, id, content).ok();
        let of_thread = formats::read_thread(bytes, content).unwrap_or_default();
        for message in of_thread.iter().chain(&one) {
            if let Ok(message) = mime::fetched_to_message(message, &owner) {
                check_envelope(&message.envelope);
            }
        }
    }
    if let Ok(message) = requests::read_raw(bytes, id) {
        mail(&message.mail);
    }
    if let Ok(message) = formats::read_parted(bytes, id) {
        let seen = message.mail.bytes_seen();
        assert!(seen <= LEVELS_MAX * bytes.len() as u64, "reading a tree of parts is not linear");
        check_envelope(&mime::parted_to_message(&message, &owner).envelope);
        check_mail(&mime::render_parts(&message.mail, &FetchedParts::new()), bytes.len());
    }
}

/// Encoded words (RFC 2047), parameters (RFC 2231), addresses and dates: the bytes as each header.
pub fn words(bytes: &[u8]) {
    let headers = ["Subject", "From", "To", "Date", "Message-ID"];
    let parameters = ["Content-Type: text/plain; ", "Content-Disposition: attachment; "];
    let starts = headers.iter().map(|name| format!("{name}: ")).chain(parameters.map(str::to_owned));
    for start in starts {
        mail(&[start.as_bytes(), bytes, b"\r\n\r\nbody"].concat());
    }
}

/// A push: its body, and the bytes as its token.
pub fn push(bytes: &[u8]) {
    let _ = PushNotification::parse(bytes);
    let (token, _) = split(bytes);
    RUNNER.with_borrow(|(runtime, verifier)| {
        let verdict = runtime.block_on(verifier.verify(token, Timestamp::UNIX_EPOCH));
        assert!(verdict.is_err(), "a token that nobody signed was accepted");
    });
}

thread_local! {
    static RUNNER: RefCell<(tokio::runtime::Runtime, PushVerifier)> = RefCell::new(runner());
}

/// A verifier that knows one key, so that it fetches none.
fn runner() -> (tokio::runtime::Runtime, PushVerifier) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let nowhere = Endpoint::parse("http://127.0.0.1:9").expect("loopback");
    let modulus = "AQAB".repeat(86);
    let keys = format!(r#"{{"keys":[{{"kid":"k","kty":"RSA","alg":"RS256","n":"{modulus}","e":"AQAB"}}]}}"#);
    let verifier = PushVerifier::new(nowhere, "audience", "account@example.com").expect("a verifier");
    let verifier = verifier.with_keys(keys.as_bytes(), Timestamp::UNIX_EPOCH).expect("keys");
    (runtime, verifier)
}

/// The first line as text, and what follows it.
fn split(bytes: &[u8]) -> (&str, &[u8]) {
    let end = bytes.iter().position(|byte| *byte == b'\n').unwrap_or(bytes.len());
    let (line, rest) = bytes.split_at(end);
    (std::str::from_utf8(line).unwrap_or_default().trim_end(), rest.get(1..).unwrap_or_default())
}
