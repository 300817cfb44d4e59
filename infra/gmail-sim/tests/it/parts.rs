//! Messages as their readers get them: part trees, attachments, snippets, sizes, dates.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;
use reqwest::Method;
use serde_json::{Value, json};

use crate::World;

const NESTED: &str = "From: ada@example.org\r\nSubject: nested\r\nMIME-Version: 1.0\r\n\
    Content-Type: multipart/mixed; boundary=\"a b\"\r\n\r\npreamble\r\n\
    --a b\r\nContent-Type: multipart/alternative; boundary=c\r\n\r\n\
    --c\r\nContent-Type: text/plain; charset=iso-8859-1\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\ncaf=E9\r\n\
    --c\r\nContent-Type: text/html; charset=utf-8\r\n\r\n<p>caf\u{e9}</p>\r\n--c--\r\n\
    --a b\r\nContent-Type: message/rfc822\r\n\r\nSubject: inner\r\nContent-Type: multipart/mixed; boundary=d\r\n\r\n\
    --d\r\n\r\ninner text\r\n--d--\r\n\
    --a b\r\nContent-Type: application/octet-stream; name=\"a.bin\"\r\nContent-Transfer-Encoding: base64\r\n\r\nAAECAw==\r\n\
    --a b\r\nContent-Type: text/plain\r\nContent-Disposition: attachment; filename*=utf-8''caf%C3%A9.txt\r\n\r\nfile\r\n\
    --a b--\r\nepilogue";

/// Part id, type, file name and either the text or the size behind an id, in document order.
fn outline(part: &Value, found: &mut Vec<(String, String, String, String)>) {
    let text = |key: &str| part[key].as_str().unwrap().to_owned();
    let body = &part["body"];
    let content = match (body["attachmentId"].as_str(), body["data"].as_str()) {
        (Some(_), None) => format!("attachment of {}", body["size"]),
        (None, Some(data)) => String::from_utf8(URL_SAFE.decode(data).unwrap()).unwrap(),
        (None, None) => format!("{}", body["size"]),
        (Some(_), Some(_)) => panic!("a body is in place or by id: {part}"),
    };
    found.push((text("partId"), text("mimeType"), text("filename"), content));
    for child in part["parts"].as_array().into_iter().flatten() {
        outline(child, found);
    }
}

#[tokio::test]
async fn parts_are_numbered_by_their_place_and_files_are_given_by_id() {
    let world = World::new().await;
    let id = world.deliver_raw(NESTED.as_bytes().to_vec()).await;
    let message = world.get(&format!("messages/{id}?format=full")).await;
    let mut found = Vec::new();
    outline(&message["payload"], &mut found);
    let found: Vec<(&str, &str, &str, &str)> =
        found.iter().map(|(id, kind, name, content)| (&**id, &**kind, &**name, &**content)).collect();
    assert_eq!(
        found,
        [
            ("", "multipart/mixed", "", "0"),
            ("0", "multipart/alternative", "", "0"),
            ("0.0", "text/plain", "", "caf\u{e9}"),
            ("0.1", "text/html", "", "<p>caf\u{e9}</p>"),
            ("1", "message/rfc822", "", "attachment of 85"),
            ("1.0", "multipart/mixed", "", "0"),
            ("1.0.0", "text/plain", "", "inner text"),
            ("2", "application/octet-stream", "a.bin", "attachment of 4"),
            ("3", "text/plain", "caf\u{e9}.txt", "attachment of 4"),
        ]
    );
    let attachment = message["payload"]["parts"][2]["body"]["attachmentId"].as_str().unwrap();
    assert!(attachment.starts_with("ANGjdJ") && attachment.len() > 100, "long, like Gmail's: {attachment}");
    let fetched = world.get(&format!("messages/{id}/attachments/{attachment}")).await;
    assert_eq!(fetched, json!({"size": 4, "data": "AAECAw=="}));
    let other = world.deliver("no file").await;
    let (status, _) =
        world.api(Method::GET, &format!("messages/{other}/attachments/{attachment}"), Value::Null).await;
    assert_eq!(status, 400, "an id is one message's");
}

#[tokio::test]
async fn snippets_are_the_first_words_on_one_line() {
    let world = World::new().await;
    let long = "word ".repeat(100);
    for (raw, expected) in [
        (
            "Subject: x\r\n\r\n  two\r\n\tlines & <more>  'now'\r\n",
            "two lines &amp; &lt;more&gt; &#39;now&#39;",
        ),
        (
            "Content-Type: text/html\r\n\r\n<head><title>no</title></head><style>p{}</style><p>caf&eacute; &#8212; yes</p>",
            "caf\u{e9} \u{2014} yes",
        ),
        ("Content-Type: application/pdf\r\n\r\nabc", ""),
        (
            "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: message/rfc822\r\n\r\n\r\ninner\r\n--b--",
            "",
        ),
        (&format!("Subject: x\r\n\r\n{long}"), long[..199].trim_end()),
    ] {
        let id = world.deliver_raw(raw.as_bytes().to_vec()).await;
        let message = world.get(&format!("messages/{id}?format=minimal")).await;
        assert_eq!(message["snippet"].as_str().unwrap(), expected, "{raw}");
    }
}

#[tokio::test]
async fn headers_are_unfolded_and_decoded_as_they_stand() {
    let world = World::new().await;
    let raw = "Received: by host;\r\n        Mon, 1 Jan 2024\r\nSubject: =?utf-8?Q?caf=C3=A9?= =?utf-8?B?IQ==?=\r\n\
        \x20 bar\r\nX-Twice: 1\r\nx-twice: 2\r\n\r\n";
    let id = world.deliver_raw(raw.as_bytes().to_vec()).await;
    let message = world.get(&format!("messages/{id}?format=metadata")).await;
    let headers: Vec<(&str, &str)> = message["payload"]["headers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|header| (header["name"].as_str().unwrap(), header["value"].as_str().unwrap()))
        .collect();
    assert_eq!(
        headers,
        [
            ("Received", "by host;        Mon, 1 Jan 2024"),
            ("Subject", "caf\u{e9}!  bar"),
            ("X-Twice", "1"),
            ("x-twice", "2"),
        ]
    );
    let one = world.get(&format!("messages/{id}?format=metadata&metadataHeaders=subject")).await;
    assert_eq!(one["payload"]["headers"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn sizes_are_those_of_the_raw_message_and_dates_its_own_when_it_is_imported() {
    let world = World::new().await;
    let raw = "Date: Mon, 01 Jan 2024 00:00:00 +0100\r\nSubject: old\r\n\r\nx\r\n";
    let body = json!({"raw": URL_SAFE.encode(raw)});
    let (_, imported) = world.api(Method::POST, "messages/import", body.clone()).await;
    let (_, inserted) = world.api(Method::POST, "messages", body).await;
    let get = async |answer: &Value| {
        world.get(&format!("messages/{}?format=raw", answer["id"].as_str().unwrap())).await
    };
    let (imported, inserted) = (get(&imported).await, get(&inserted).await);
    assert_eq!(imported["internalDate"], "1704063600000");
    assert!(inserted["internalDate"].as_str().unwrap().parse::<i64>().unwrap() > 1_704_063_600_000);
    for message in [&imported, &inserted] {
        assert_eq!(message["sizeEstimate"], raw.len());
        assert_eq!(message["raw"], json!(URL_SAFE.encode(raw)));
    }
}
