//! Mail as nobody should send it.

use std::fmt::Write;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use rand::{RngCore as _, SeedableRng as _, rngs::StdRng};

/// Parts of a nest, and of a row.
const PARTS: usize = 10_000;
/// A body that is about as large as Gmail takes.
const LARGE_BYTES: usize = 30 << 20;

/// Each with what is wrong with it.
pub fn hostile_mails() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("nearly empty", b"\r\n".to_vec()),
        ("no headers", b"\r\nonly a body\r\n".to_vec()),
        ("no body and no end of headers", b"Subject: cut off".to_vec()),
        ("no CRLF", b"From: a@example.com\nSubject: bare line feeds\n\nbody\n".to_vec()),
        ("nothing but NUL", vec![0; 4_096]),
        ("random bytes", random(64 << 10)),
        ("random bytes after a head", [head("multipart/mixed; boundary=b"), random(256 << 10)].concat()),
        ("broken encodings", broken_encodings()),
        ("hostile names", hostile_names()),
        ("10,000 parts in each other", nest()),
        ("10,000 parts in a row", row()),
        ("10,000 mails in each other", mails_in_mails()),
        ("a header of 1 MB", [b"Subject: ".to_vec(), vec![b'x'; 1 << 20], b"\r\n\r\nbody".to_vec()].concat()),
        ("20,000 recipients", recipients()),
        ("20,000 references", references()),
        ("30 MB in base64", large_attachment()),
        ("30 MB in one line", [head("text/plain"), vec![b'a'; LARGE_BYTES]].concat()),
    ]
}

fn head(content_type: &str) -> Vec<u8> {
    format!(
        "From: Mallory <mallory@example.com>\r\nTo: alice@example.com\r\nSubject: hostile\r\n\
         MIME-Version: 1.0\r\nContent-Type: {content_type}\r\n\r\n"
    )
    .into_bytes()
}

fn random(bytes: usize) -> Vec<u8> {
    let mut random = vec![0; bytes];
    StdRng::seed_from_u64(7).fill_bytes(&mut random);
    random
}

/// Words, character sets and transfer encodings that do not hold what they promise.
fn broken_encodings() -> Vec<u8> {
    let mut mail =
        b"From: =?utf-8?B?/////w==?= <\xff\xfe@ex\xc3.com>\r\nTo: =?x?y?z?=, <<>>, ;;;, @\r\n".to_vec();
    mail.extend_from_slice(b"Subject: =?utf-8?B?!!!!?= =?utf-8?Q?=ZZ=?= =?klingon?B?QUJD?= \xe9\xe8\xff\r\n");
    mail.extend_from_slice(
        b"Date: Fri, 99 Foo 99999 99:99:99 +9999\r\nMessage-ID: <<<>\r\nMIME-Version: 9\r\n",
    );
    mail.extend_from_slice(
        b"Content-Type: multipart/mixed; boundary=\"\"; boundary*0*=utf-8''%ZZ\r\n\r\n--\r\n",
    );
    mail.extend_from_slice(b"Content-Type: text/html; charset=\"no-such-set\"\r\n");
    mail.extend_from_slice(b"Content-Transfer-Encoding: base64\r\n\r\n@@@@====\xff\xff\r\n--\r\n");
    mail.extend_from_slice(b"Content-Type: text/plain; charset=utf-7\r\n");
    mail.extend_from_slice(
        b"Content-Transfer-Encoding: quoted-printable\r\n\r\n=ZZ=\xf0\x28\x8c=\r\n----\r\n",
    );
    mail
}

/// Names that would like to be paths, markup or header lines.
fn hostile_names() -> Vec<u8> {
    let mut mail = head("multipart/mixed; boundary=b");
    let names =
        ["../../etc/passwd", "a\\\"b.txt", "<script>alert(1)</script>.html", "x%0d%0aSet-Cookie: a=b", ""];
    for name in names {
        mail.extend_from_slice(
            format!(
                "--b\r\nContent-Type: text/html\r\n\
                 Content-Disposition: attachment; filename=\"{name}\"\r\n\r\n<script>alert(1)</script>\r\n"
            )
            .as_bytes(),
        );
    }
    mail.extend_from_slice(b"--b--\r\n");
    mail
}

fn nest() -> Vec<u8> {
    let mut mail = String::from_utf8(head("multipart/mixed; boundary=b0")).expect("it is text");
    for level in 1..PARTS {
        let _ = write!(mail, "--b{}\r\nContent-Type: multipart/mixed; boundary=b{level}\r\n\r\n", level - 1);
    }
    let _ = write!(mail, "--b{}\r\n\r\ninnermost\r\n", PARTS - 1);
    for level in (0..PARTS).rev() {
        let _ = write!(mail, "--b{level}--\r\n");
    }
    mail.into_bytes()
}

fn row() -> Vec<u8> {
    let part = "--b\r\nContent-Type: application/pdf; name=a.pdf\r\n\
                Content-Disposition: attachment; filename=a.pdf\r\n\r\nx\r\n";
    [head("multipart/mixed; boundary=b"), part.repeat(PARTS).into_bytes(), b"--b--\r\n".to_vec()].concat()
}

fn mails_in_mails() -> Vec<u8> {
    let inner = "Content-Type: message/rfc822\r\n\r\n".repeat(PARTS);
    [head("message/rfc822"), inner.into_bytes(), b"Subject: innermost\r\n\r\nbody\r\n".to_vec()].concat()
}

fn recipients() -> Vec<u8> {
    let all: Vec<String> =
        (0..20_000).map(|index| format!("Somebody {index} <{index}@example.com>")).collect();
    format!("From: a@example.com\r\nTo: {}\r\nSubject: all of you\r\n\r\nbody\r\n", all.join(",\r\n "))
        .into_bytes()
}

fn references() -> Vec<u8> {
    let all: Vec<String> = (0..20_000).map(|index| format!("<{index}@example.com>")).collect();
    format!("From: a@example.com\r\nReferences: {}\r\nSubject: on and on\r\n\r\nbody\r\n", all.join("\r\n "))
        .into_bytes()
}

fn large_attachment() -> Vec<u8> {
    let mut mail = head("application/octet-stream\r\nContent-Transfer-Encoding: base64");
    // 57 bytes fill a line of 76.
    for chunk in random(LARGE_BYTES / 78 * 57).chunks(57) {
        mail.extend_from_slice(STANDARD.encode(chunk).as_bytes());
        mail.extend_from_slice(b"\r\n");
    }
    mail
}
