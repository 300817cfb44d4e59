//! What mail does to a parser. The mail here is made up.

use std::time::{Duration, Instant};

use proptest::prelude::*;
use sync_core::EmailAddress;

use super::*;

fn owner() -> EmailAddress {
    "owner@example.com".parse().expect("an address")
}

fn of(raw: &[u8]) -> Envelope {
    envelope(raw, &owner(), &Labels::new())
}

/// Generous for an unoptimised build on a busy machine; a quadratic parser needs minutes.
const LONGEST: Duration = Duration::from_mins(1);

fn survives(raw: &[u8]) -> FullMail {
    let start = Instant::now();
    assert!(bytes_seen(raw) <= 2 * raw.len() as u64, "finding the parts looks at each byte twice at most");
    let envelope = of(raw);
    let mail = render(raw);
    assert!(start.elapsed() < LONGEST, "took {:?} for {} bytes", start.elapsed(), raw.len());
    assert!(envelope.subject.len() <= Envelope::TEXT_BYTES_MAX);
    for list in [&envelope.to, &envelope.cc, &envelope.bcc] {
        assert!(list.len() <= Envelope::ADDRESSES_MAX);
    }
    mail
}

const MIXED: &[u8] = b"From: =?utf-8?B?SsO8cmdlbiBN?= =?utf-8?Q?=C3=BCller?= <Juergen@Example.com>\r\n\
To: \"Doe, Jane\" <jane@example.com>, plain@example.com\r\n\
Cc: team: a@example.com, b@example.com;\r\n\
Message-ID: <abc.1@example.com>\r\n\
Subject: =?iso-8859-1?Q?Gr=FC=DFe?=\r\n =?utf-8?B?4oKs?= today\r\n\
MIME-Version: 1.0\r\n\
Content-Type: multipart/mixed; boundary=\"out er\"\r\n\r\n\
preamble\r\n\
--out er\r\n\
Content-Type: multipart/alternative; boundary=inner\r\n\r\n\
--inner\r\n\
Content-Type: text/plain; charset=iso-8859-1\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n\
caf=E9 =\r\nau lait\r\n\
--inner\r\n\
Content-Type: text/html; charset=utf-8\r\n\r\n\
<p>caf\xc3\xa9</p>\r\n\
--inner--\r\n\
--out er\r\n\
Content-Type: application/pdf\r\n\
Content-Disposition: attachment; filename*0*=UTF-8''R%C3%A9; filename*1=sum.pdf\r\n\
Content-Transfer-Encoding: base64\r\n\r\n\
aGVsbG8=\r\n\
--out er\r\n\
Content-Type: image/png; name=\"p.png\"\r\nContent-ID: <pic@1>\r\nContent-Disposition: inline\r\n\
Content-Transfer-Encoding: base64\r\n\r\n\
AAEC\r\n\
--out er--\r\nepilogue\r\n";

#[test]
fn an_ordinary_mail_is_read_as_its_sender_meant_it() {
    let envelope = of(MIXED);
    let name = |address: &sync_core::message::Address| (address.name.clone(), address.email.clone());
    let from = envelope.from.as_ref().map(name);
    assert_eq!(from, Some((Some("Jürgen Müller".into()), "Juergen@Example.com".into())));
    assert_eq!(
        envelope.to.iter().map(name).collect::<Vec<_>>(),
        [(Some("Doe, Jane".into()), "jane@example.com".into()), (None, "plain@example.com".into())]
    );
    assert_eq!(envelope.cc.len(), 2, "the members of a group");
    assert_eq!(envelope.subject, "Grüße€ today");
    assert_eq!(envelope.rfc822_message_id.as_deref(), Some("abc.1@example.com"));
    assert!(envelope.has_attachments && !envelope.outbound);

    let mail = render(MIXED);
    assert_eq!(mail.text.as_deref(), Some("café au lait"));
    assert_eq!(mail.html.as_deref(), Some("<p>café</p>"));
    assert!(!mail.truncated);
    let [pdf, png] = mail.attachments.as_slice() else { panic!("{:?}", mail.attachments) };
    assert_eq!(pdf.filename.as_deref(), Some("Résum.pdf"));
    assert_eq!((pdf.content_type.as_str(), pdf.size, pdf.inline), ("application/pdf", 5, false));
    assert_eq!(pdf.sha256, "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824");
    assert_eq!((png.content_id.as_deref(), png.inline), (Some("pic@1"), true));
    assert_eq!(attachment(MIXED, &pdf.sha256).expect("the attachment").1, b"hello");
    assert!(attachment(MIXED, "00").is_none());
    assert_eq!(mail.headers[0].0, "From");
    assert_eq!(mail.headers[4].1, "Grüße€ today");
}

#[test]
fn direction_follows_the_label_and_the_sender() {
    let mail = b"From: Owner <OWNER@example.com>\n\nx";
    assert!(of(mail).outbound);
    let other = b"From: other@example.com\n\nx";
    assert!(!of(other).outbound);
    assert!(envelope(other, &owner(), &Labels::from(["SENT".to_owned()])).outbound);
}

#[test]
fn mail_without_headers_is_text() {
    for raw in [&b"just some words\nand more"[..], b"\r\njust some words\nand more"] {
        assert_eq!(of(raw), Envelope::default());
        assert_eq!(render(raw).text.as_deref(), Some("just some words\nand more"));
    }
    assert_eq!(of(b""), Envelope::default());
    assert_eq!(of(b"Subject: only").subject, "only");
}

#[test]
fn broken_encodings_yield_what_can_be_had() {
    let mail = |encoding: &str, body: &str| {
        let raw = format!("Content-Type: text/plain\nContent-Transfer-Encoding: {encoding}\n\n{body}");
        render(raw.as_bytes()).text.expect("text")
    };
    assert_eq!(mail("base64", "aGVs!bG8*="), "hello");
    assert_eq!(mail("base64", "aGVsbG8"), "hello");
    assert_eq!(mail("quoted-printable", "100% = a=ZZ=41=\nb"), "100% = a=ZZAb");
    assert_eq!(mail("base64", "aGVsbG8=\n____\nlist mailing list"), "hello", "a footer was put behind it");
    assert_eq!(mail("x-uuencode", "begin 644 n\n%:&5L;&\\\n`\nend\n"), "hello");
    assert_eq!(mail("x-uuencode", "no beginning"), "no beginning");
    assert_eq!(mail("x-unknown", "as it is"), "as it is");
    assert_eq!(of(b"Subject: caf\xe9 =?utf-8?B?broken\n\n").subject, "café =?utf-8?B?broken");
    assert_eq!(of(b"X: caf\xe9\nSubject: caf\xc3\xa9\n\n").subject, "café", "each line for itself");
    assert_eq!(render(b"Content-Type: text/plain; charset=x-none\n\ncaf\xe9").text.as_deref(), Some("café"));
    assert_eq!(
        render(b"Content-Type: text/plain; charset=us-ascii\n\ncaf\xc3\xa9").text.as_deref(),
        Some("café")
    );
}

#[test]
fn zeros_and_controls_do_not_reach_a_row() {
    let envelope = of(b"Subject: a\0b\x07c\x1b[31m\nFrom: \"x\0y\" <a\0@example.com>\n\n");
    assert_eq!(envelope.subject, "abc[31m");
    let from = envelope.from.expect("a sender");
    assert!(!from.email.contains('\0') && !from.name.expect("a name").contains('\0'));
    assert_eq!(render(b"\n\na\0b\x07\r\nc").text.as_deref(), Some("\nab\nc"));
}

#[test]
fn long_texts_are_cut_between_characters() {
    const TEXT: usize = render::TEXT_BYTES_MAX;
    let envelope = of(format!("Subject: {}\n\n", "€".repeat(5_000)).as_bytes());
    assert_eq!(envelope.subject.chars().count(), Envelope::TEXT_BYTES_MAX / 3);
    let many = format!("To: {}\n\n", "\"n\" <a@example.com>, ".repeat(5_000));
    assert_eq!(of(many.as_bytes()).to.len(), Envelope::ADDRESSES_MAX);
    let mail = render(format!("\n{}", "€".repeat(TEXT)).as_bytes());
    assert!(mail.truncated && mail.text.expect("text").len() <= TEXT);
}

#[test]
fn a_boundary_that_never_comes_hides_nothing() {
    let mail = render(b"Content-Type: multipart/mixed; boundary=gone\n\nthe words\n--other\nmore");
    assert_eq!(mail.text.as_deref(), Some("the words\n--other\nmore"));
    let cut = render(b"Content-Type: multipart/mixed; boundary=b\n\n--b\n\nthe words");
    assert_eq!(cut.text.as_deref(), Some("the words"));
}

#[test]
fn text_beside_html_is_shown_in_the_html_too() {
    let mail = render(
        b"Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: text/html\n\n<p>hi</p>\n--b\n\nfooter <x>\n--b--",
    );
    assert_eq!(mail.html.as_deref(), Some("<p>hi</p>\n<pre>footer &lt;x&gt;</pre>"));
    let only_html = render(b"Content-Type: text/html\n\n<p>hi &amp; ho</p>");
    assert_eq!(only_html.text.expect("text").trim(), "hi & ho");
}

#[test]
fn a_forwarded_mail_is_an_attachment() {
    let raw = b"Content-Type: multipart/digest; boundary=b\n\n--b\n\nSubject: inner\n\ntext\n--b\nContent-Type: message/rfc822\n\nSubject: two\n\n--b--";
    let mail = render(raw);
    assert_eq!(mail.attachments.len(), 2);
    assert!(mail.attachments.iter().all(|attachment| attachment.content_type == "message/rfc822"));
    assert!(of(raw).has_attachments);
}

#[test]
fn a_name_that_is_a_path_is_none() {
    let mail = render(b"Content-Type: a/b; name=\"../../etc/pass\\\\wd\0\"\n\nx");
    assert_eq!(mail.attachments[0].filename.as_deref(), Some(".._.._etc_pass_wd"));
}

#[test]
fn deep_nests_neither_overflow_the_stack_nor_take_for_ever() {
    const LEVELS: usize = 200_000;
    let multipart = |depth| format!("Content-Type: multipart/mixed; boundary=b{depth}\r\n\r\n--b{depth}\r\n");
    let multiparts = (0..LEVELS).map(multipart).collect::<Vec<_>>().concat();
    assert!(!survives(multiparts.as_bytes()).attachments.is_empty());
    // Where mail-parser builds a tree that it then drops recursively.
    survives("Content-Type: message/rfc822\r\n\r\n".repeat(LEVELS).as_bytes());
    survives("Content-Type: multipart/digest; boundary=b\r\n\r\n--b\r\n\r\n".repeat(LEVELS).as_bytes());
    survives("Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n".repeat(LEVELS).as_bytes());
}

#[test]
fn a_million_parts_are_bounded() {
    const PARTS: usize = 1_000_000;
    let flat =
        "Content-Type: multipart/mixed; boundary=b\r\n\r\n".to_owned() + &"--b\r\n\r\nx\r\n".repeat(PARTS);
    assert!(survives(flat.as_bytes()).truncated);
    // Each with a boundary of its own that never comes.
    let part = |part| format!("--b\r\nContent-Type: multipart/mixed; boundary=n{part}\r\n\r\nx\r\n");
    let unclosed = "Content-Type: multipart/mixed; boundary=b\r\n\r\n".to_owned()
        + &(0..PARTS).map(part).collect::<Vec<_>>().concat();
    assert!(survives(unclosed.as_bytes()).truncated);
}

#[test]
fn thirty_megabytes_are_read_in_bounded_time() {
    const SIZE: usize = 30_000_000;
    let head = "Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Transfer-Encoding: base64\nContent-Type: a/b\n\n";
    let line = "QUJD".repeat(19) + "\n";
    let body = head.to_owned() + &line.repeat(SIZE / line.len());
    assert!(survives(body.as_bytes()).attachments[0].size > 20_000_000);
    survives((head.to_owned() + &"--\n".repeat(SIZE / 30)).as_bytes());
    survives(("Subject: ".to_owned() + &"x".repeat(SIZE / 3)).as_bytes());
    survives("A: b\n".repeat(SIZE / 30).as_bytes());
    survives(&vec![b'\n'; SIZE / 3]);
    survives(&vec![0; SIZE / 3]);
}

#[test]
fn headers_made_to_be_slow_are_not() {
    for hostile in [
        "=?utf-8?B?",
        "=?utf-8?Q?a",
        "=?",
        "(",
        "((a)",
        "\"",
        "<",
        "<a@b",
        "a:",
        ",",
        ";",
        "\\",
        "[",
        "\n ",
        "\n =?a?q?",
    ] {
        let block = hostile.repeat(300_000 / hostile.len());
        for name in ["Subject", "From", "To", "Message-ID", "Content-Type", "Content-Disposition"] {
            survives(format!("{name}: {block}\n\n").as_bytes());
        }
    }
    let parameters = (0..20_000).map(|n| format!("; a*{n}*=x")).collect::<Vec<_>>().concat();
    survives(format!("Content-Type: text/plain{parameters}\n\n").as_bytes());
}

#[test]
fn the_files_of_a_winmail_are_listed_beside_it() {
    let raw = [b"Content-Type: application/ms-tnef; name=winmail.dat\n\n".to_vec(), tnef::tests::winmail()]
        .concat();
    let mail = render(&raw);
    let [whole, text, binary] = mail.attachments.as_slice() else { panic!("{:?}", mail.attachments) };
    assert_eq!(whole.filename.as_deref(), Some("winmail.dat"));
    assert_eq!((text.filename.as_deref(), text.content_type.as_str()), (Some("Größe.txt"), "text/x-size"));
    assert_eq!(binary.container.as_deref(), Some(whole.sha256.as_str()));
    assert_eq!(attachment(&raw, &text.sha256).expect("a file inside").1, b"hello");
}

#[test]
fn lines_may_end_in_anything() {
    for end in ["\r", "\n", "\r\n"] {
        let raw =
            ["Subject: a", "Content-Type: multipart/mixed; boundary=b", "", "--b", "", "one", "two", "--b--"]
                .join(end);
        assert_eq!(of(raw.as_bytes()).subject, "a", "{end:?}");
        assert_eq!(render(raw.as_bytes()).text.as_deref(), Some("one\ntwo"), "{end:?}");
    }
}

#[test]
fn an_invitation_is_another_way_to_show_the_mail_or_an_attachment() {
    let calendar = "Content-Type: text/calendar; method=REQUEST; charset=utf-8\n";
    let mail = |kind: &str, extra: &str| {
        format!(
            "Content-Type: multipart/{kind}; boundary=b\n\n--b\n\nwords\n--b\n{calendar}{extra}\nBEGIN:VCALENDAR\n--b--"
        )
    };
    let shown = mail("alternative", "");
    assert!(!of(shown.as_bytes()).has_attachments);
    assert!(render(shown.as_bytes()).attachments[0].inline);
    let attached = mail("mixed", "Content-Disposition: attachment; filename=invite.ics\n");
    assert!(of(attached.as_bytes()).has_attachments);
    let file = &render(attached.as_bytes()).attachments[0];
    assert_eq!((file.filename.as_deref(), file.inline), (Some("invite.ics"), false));
}

#[test]
fn a_forwarded_mail_is_named_by_its_subject() {
    let name = |inner: &str| {
        let raw = format!("Content-Type: message/rfc822\n\n{inner}\n\nx");
        render(raw.as_bytes()).attachments[0].filename.clone()
    };
    assert_eq!(name("Subject: a/b =?utf-8?Q?=C3=A9?="), Some("a_b é.eml".into()));
    assert_eq!(name("From: a@b.c"), Some("message.eml".into()));
}

#[test]
fn dates_are_read_as_they_were_meant() {
    let date = |text: &str| render(format!("Date: {text}\n\n").as_bytes()).date.map(|date| date.to_string());
    let expected = Some("2002-09-21T08:18:08Z".to_owned());
    for text in [
        "Sat, 21 Sep 2002 10:18:08 +0200",
        "21 Sep 02 08:18:08 GMT",
        "Sat, 21 Sep 2002 08:18:08",
        "Sat Sep 21 08:18:08 2002",
        "Sat, 21 Sep 2002 04:18:08 -0400 (EDT)",
    ] {
        assert_eq!(date(text), expected, "{text}");
    }
    for text in ["", "yesterday", "Sat, 21 Sep 0102 08:18:08 +0000", "31 Feb"] {
        assert_eq!(date(text), None, "{text}");
    }
}

#[test]
fn a_quoted_local_part_stays_with_its_address() {
    let from = |text: &str| of(format!("From: {text}\n\n").as_bytes()).from.expect("a sender").email;
    assert_eq!(from("\"a b@c\"@example.com"), "\"a b@c\"@example.com");
    assert_eq!(from("=?utf-8?Q?121?=@example.com"), "121@example.com");
}

/// Pieces that steer a parser further than random bytes do.
fn piece() -> impl Strategy<Value = Vec<u8>> {
    let known = [
        "Content-Type: multipart/mixed; boundary=b\r\n",
        "Content-Type: message/rfc822\n",
        "Content-Type: text/html; charset=utf-7\n",
        "Content-Type: text/plain; charset=utf-16\n",
        "Content-Transfer-Encoding: base64\n",
        "Content-Transfer-Encoding: quoted-printable\n",
        "Content-Disposition: attachment; filename*0*=utf-8''%",
        "\r\n",
        "\n",
        "\n\n",
        "--b\n",
        "--b--\n",
        "--",
        "Subject: ",
        "From: ",
        "To: a <b@c>, ",
        "=?utf-8?B?",
        "=?iso-2022-jp?Q?=1b$B",
        "?=",
        "=\n",
        "=4",
        "Message-ID: <",
        "\"",
        "(",
        "<",
        ">",
        ";",
        "=",
        "*",
        "'",
    ];
    prop_oneof![
        4 => proptest::sample::select(known.to_vec()).prop_map(|text| text.as_bytes().to_vec()),
        1 => proptest::collection::vec(any::<u8>(), 0..20),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_bytes_panic(pieces in proptest::collection::vec(piece(), 0..60)) {
        let raw = pieces.concat();
        let mail = render(&raw);
        for attachment_of in &mail.attachments {
            let (_, bytes) = attachment(&raw, &attachment_of.sha256).expect("what was shown can be had");
            prop_assert_eq!(bytes.len() as u64, attachment_of.size);
        }
        let envelope = of(&raw);
        prop_assert!(!envelope.subject.chars().any(char::is_control));
    }

    #[test]
    fn no_random_bytes_panic(raw in proptest::collection::vec(any::<u8>(), 0..400)) {
        of(&raw);
        render(&raw);
    }
}
