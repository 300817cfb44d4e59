use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;
use reqwest::Method;
use serde_json::{Value, json};

use crate::{ALICE, World, read, reason};

fn raw(text: &str) -> Value {
    json!({"raw": URL_SAFE.encode(text)})
}

fn headers(message: &Value, name: &str) -> Vec<String> {
    let all = message["payload"]["headers"].as_array().unwrap();
    let named = all.iter().filter(|header| header["name"].as_str().unwrap().eq_ignore_ascii_case(name));
    named.map(|header| header["value"].as_str().unwrap().to_owned()).collect()
}

async fn ok(world: &World, method: Method, path: &str, body: Value) -> Value {
    let (status, answer) = world.api(method.clone(), path, body).await;
    assert!(status < 300, "{method} {path}: {status} {answer}");
    answer
}

async fn refused(world: &World, method: Method, path: &str, body: Value) -> (u16, String) {
    let (status, answer) = world.api(method, path, body).await;
    (status, reason(&answer))
}

#[tokio::test]
async fn a_saved_draft_is_another_message_under_the_same_id_in_the_same_thread() {
    let world = World::new().await;
    let start = world.history_id().await;
    let draft = |text: &str| json!({"message": raw(text)});
    let created =
        ok(&world, Method::POST, "drafts", draft("To: bob@example.com\r\nSubject: a\r\n\r\n1")).await;
    let id = created["id"].as_str().unwrap();
    assert_eq!(created["message"]["labelIds"], json!(["DRAFT"]));
    let path = format!("drafts/{id}");
    let mut messages = vec![created["message"]["id"].clone()];
    for number in 2..4 {
        let text = format!("To: bob@example.com\r\nSubject: a\r\n\r\n{number}");
        let saved = ok(&world, Method::PUT, &path, draft(&text)).await;
        assert_eq!(
            (&saved["id"], &saved["message"]["threadId"]),
            (&created["id"], &created["message"]["threadId"])
        );
        assert!(!messages.contains(&saved["message"]["id"]), "a new message each time");
        messages.push(saved["message"]["id"].clone());
    }
    let old = messages[0].as_str().unwrap();
    assert_eq!(
        refused(&world, Method::GET, &format!("messages/{old}"), Value::Null).await,
        (404, "notFound".into())
    );
    let page = world.get(&format!("history?startHistoryId={start}")).await;
    let count = |key: &str| {
        page["history"].as_array().unwrap().iter().filter(|record| !record[key].is_null()).count()
    };
    assert_eq!((count("messagesAdded"), count("messagesDeleted")), (3, 2));
    // Another subject is another conversation.
    let renamed = ok(&world, Method::PUT, &path, draft("To: bob@example.com\r\nSubject: b\r\n\r\n")).await;
    assert_ne!(renamed["message"]["threadId"], created["message"]["threadId"]);
    let got = world.get(&format!("{path}?format=full")).await;
    assert_eq!(headers(&got["message"], "Subject"), ["b"]);
    assert!(headers(&got["message"], "Message-ID").len() == 1 && headers(&got["message"], "Date").len() == 1);
    let listed = world.get("drafts").await;
    assert_eq!(
        listed["drafts"],
        json!([{"id": id, "message": {"id": got["message"]["id"], "threadId": got["message"]["threadId"]}}])
    );
    ok(&world, Method::DELETE, &path, Value::Null).await;
    assert_eq!(refused(&world, Method::GET, &path, Value::Null).await, (404, "notFound".into()));
    assert_eq!(world.get("profile").await["messagesTotal"], 0);
    for (method, path, status) in
        [(Method::GET, "drafts/x", 400), (Method::PUT, "drafts/r1", 404), (Method::DELETE, "drafts/r1", 404)]
    {
        assert_eq!(
            world.api(method.clone(), path, draft("Subject: x\r\n\r\n")).await.0,
            status,
            "{method} {path}"
        );
    }
}

#[tokio::test]
async fn a_sent_draft_is_gone_its_mail_is_sent_and_arrives() {
    let world = World::new().await;
    world.sim(Method::POST, "mailboxes/bob@example.com", Value::Null).await;
    let message = json!({"message": raw("To: Bob <bob@example.com>\r\nBcc: carol@example.com\r\nSubject: hi\r\n\r\nx")});
    let draft = ok(&world, Method::POST, "drafts", message).await;
    let sent = ok(&world, Method::POST, "drafts/send", json!({"id": draft["id"]})).await;
    assert_eq!((&sent["labelIds"], &sent["threadId"]), (&json!(["SENT"]), &draft["message"]["threadId"]));
    assert_ne!(sent["id"], draft["message"]["id"]);
    assert_eq!(world.get("drafts").await, json!({"resultSizeEstimate": 0}));
    let bob = world.server.look("bob@example.com", |mailbox| {
        mailbox
            .messages()
            .map(|(_, message)| String::from_utf8(mailbox.raw(message).to_vec()).unwrap())
            .collect::<Vec<_>>()
    });
    let [copy] = bob.unwrap().try_into().unwrap();
    assert!(copy.contains("From: alice@example.com") && !copy.to_lowercase().contains("bcc"), "{copy}");
    // A last change on the way out, and one that has nobody to go to.
    let draft = ok(&world, Method::POST, "drafts", json!({"message": raw("Subject: y\r\n\r\n")})).await;
    let nobody = refused(&world, Method::POST, "drafts/send", json!({"id": draft["id"]})).await;
    assert_eq!(nobody, (400, "invalidArgument".into()));
    let changed = json!({"id": draft["id"], "message": raw("To: bob@example.com\r\nSubject: z\r\n\r\n")});
    let sent = ok(&world, Method::POST, "drafts/send", changed).await;
    let sent = world.get(&format!("messages/{}", sent["id"].as_str().unwrap())).await;
    assert_eq!(headers(&sent, "Subject"), ["z"]);
}

#[tokio::test]
async fn sent_mail_joins_the_thread_it_names_or_answers_and_no_other() {
    let world = World::new().await;
    let first = world
        .deliver_raw(b"From: bob@example.com\r\nMessage-ID: <one@x>\r\nSubject: Lunch\r\n\r\n?\r\n".to_vec())
        .await;
    let send = async |head: &str, thread: Option<&str>| {
        let mut body = raw(&format!("To: bob@example.com\r\n{head}\r\n\r\nyes"));
        if let Some(thread) = thread {
            body["threadId"] = json!(thread);
        }
        world.api(Method::POST, "messages/send", body).await
    };
    let reply = "In-Reply-To: <one@x>\r\nReferences: <one@x>\r\nSubject: Re: Lunch";
    for (head, thread) in
        [(reply, None), (reply, Some(first.as_str())), ("Subject: RE: lunch", Some(first.as_str()))]
    {
        let (status, answer) = send(head, thread).await;
        assert_eq!((status, &answer["threadId"]), (200, &json!(first)), "{head}");
    }
    for head in ["Subject: Lunch", "In-Reply-To: <one@x>\r\nSubject: Dinner"] {
        let (_, answer) = send(head, None).await;
        assert_eq!(answer["threadId"], answer["id"], "{head}");
    }
    assert_eq!(send("Subject: Dinner", Some(&first)).await.0, 400, "another subject");
    assert_eq!(send(reply, Some("12")).await.0, 404, "no such thread");
    assert_eq!(send(reply, Some("zz")).await.0, 400);
    let thread = world.get(&format!("threads/{first}?format=minimal")).await;
    assert_eq!(thread["messages"].as_array().unwrap().len(), 4);
    let (_, to_self) =
        world.api(Method::POST, "messages/send", raw("To: alice@example.com\r\nSubject: me\r\n\r\n")).await;
    assert_eq!(to_self["labelIds"], json!(["INBOX", "SENT", "UNREAD"]));
    let message = world.get(&format!("messages/{}", to_self["id"].as_str().unwrap())).await;
    assert_eq!(headers(&message, "From"), [ALICE]);
    for bad in [json!({}), json!({"raw": "%%%"}), json!({"raw": ""}), raw("Subject: to nobody\r\n\r\n")] {
        assert_eq!(
            refused(&world, Method::POST, "messages/send", bad.clone()).await,
            (400, "invalidArgument".into()),
            "{bad}"
        );
    }
}

#[tokio::test]
async fn attachments_are_got_by_the_ids_of_their_message_only() {
    let world = World::new().await;
    let payload: Vec<u8> = (0..=255).collect();
    let encoded = base64::engine::general_purpose::STANDARD.encode(&payload);
    let mail = format!(
        "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: text/plain\r\n\r\ntext\r\n\
         --b\r\nContent-Type: application/octet-stream\r\nContent-Transfer-Encoding: base64\r\n\
         Content-Disposition: attachment; filename=all.bin\r\n\r\n{encoded}\r\n--b--\r\n"
    );
    let id = world.deliver_raw(mail.into_bytes()).await;
    let other = world.deliver("other").await;
    let full = world.get(&format!("messages/{id}")).await;
    let part = &full["payload"]["parts"][1];
    assert_eq!((&part["filename"], &part["body"]["size"]), (&json!("all.bin"), &json!(256)));
    assert!(part["body"]["data"].is_null());
    let attachment = part["body"]["attachmentId"].as_str().unwrap();
    let got = world.get(&format!("messages/{id}/attachments/{attachment}")).await;
    assert_eq!(
        (got["size"].as_u64(), URL_SAFE.decode(got["data"].as_str().unwrap()).unwrap()),
        (Some(256), payload)
    );
    for (path, status) in [
        (format!("messages/{other}/attachments/{attachment}"), 400),
        (format!("messages/{id}/attachments/nonsense"), 400),
        (format!("messages/12/attachments/{attachment}"), 404),
    ] {
        assert_eq!(world.api(Method::GET, &path, Value::Null).await.0, status, "{path}");
    }
}

#[tokio::test]
async fn batch_modify_and_delete_take_a_thousand_ids_and_pass_over_what_is_gone() {
    let world = World::new().await;
    let (one, two) = (world.deliver("one").await, world.deliver("two").await);
    let start = world.history_id().await;
    let ids = |count: usize| {
        let strange = (0..count - 2).map(|number| format!("{:x}", 0x1000 + number));
        strange.chain([one.clone(), two.clone()]).collect::<Vec<_>>()
    };
    for (path, extra) in
        [("messages/batchModify", json!({"addLabelIds": ["STARRED"]})), ("messages/batchDelete", json!({}))]
    {
        let order = |ids: Value| {
            let mut body = extra.clone();
            body["ids"] = ids;
            body
        };
        assert_eq!(
            refused(&world, Method::POST, path, order(json!(ids(1_001)))).await,
            (400, "invalidArgument".into())
        );
        assert_eq!(refused(&world, Method::POST, path, order(json!([]))).await.0, 400);
        assert_eq!(refused(&world, Method::POST, path, order(json!(["zz"]))).await.0, 400);
        assert_eq!(
            world.history_id().await == start,
            path.ends_with("batchModify"),
            "refused means untouched"
        );
        assert_eq!(world.api(Method::POST, path, order(json!(ids(1_000)))).await, (204, json!("")));
    }
    let page = world.get(&format!("history?startHistoryId={start}")).await;
    let records = page["history"].as_array().unwrap();
    assert_eq!(records.len(), 2, "one record touches many messages");
    assert_eq!(records[0]["labelsAdded"].as_array().unwrap().len(), 2);
    assert_eq!(records[1]["messagesDeleted"].as_array().unwrap().len(), 2);
    for body in
        [json!({"ids": [one], "addLabelIds": ["NONE"]}), json!({"ids": [one], "addLabelIds": ["SENT"]})]
    {
        assert_eq!(refused(&world, Method::POST, "messages/batchModify", body).await.0, 400);
    }
}

#[tokio::test]
async fn labels_are_listed_got_with_counts_updated_patched_and_deleted() {
    let world = World::new().await;
    let id = world.deliver("labelled").await;
    let order = json!({
        "name": "Work/Bills", "labelListVisibility": "labelShow", "messageListVisibility": "hide",
        "color": {"textColor": "#000000", "backgroundColor": "#ffffff"},
    });
    let made = ok(&world, Method::POST, "labels", order.clone()).await;
    let label = made["id"].as_str().unwrap();
    let path = format!("labels/{label}");
    let mut expected = order.clone();
    expected["id"] = json!(label);
    expected["type"] = json!("user");
    assert_eq!(made, expected);
    let listed = world.get("labels").await;
    let listed = listed["labels"].as_array().unwrap();
    assert!(listed.contains(&expected) && listed.iter().any(|l| l["id"] == "INBOX" && l["type"] == "system"));
    assert!(listed.iter().all(|l| l["messagesTotal"].is_null()), "counts come with a get only");
    ok(&world, Method::POST, &format!("messages/{id}/modify"), json!({"addLabelIds": [label]})).await;
    let counted = world.get(&path).await;
    for key in ["messagesTotal", "messagesUnread", "threadsTotal", "threadsUnread"] {
        assert_eq!(counted[key], 1, "{key}");
    }
    assert_eq!(world.get("labels/UNREAD").await["messagesTotal"], 1);
    let patched = ok(&world, Method::PATCH, &path, json!({"name": "Bills"})).await;
    assert_eq!((&patched["name"], &patched["messageListVisibility"]), (&json!("Bills"), &json!("hide")));
    let updated = ok(&world, Method::PUT, &path, json!({"id": label, "name": "Bills"})).await;
    assert!(updated["messageListVisibility"].is_null() && updated["color"].is_null());
    for (method, path, body, status) in [
        (Method::POST, "labels", json!({"name": "bills"}), 409),
        (Method::POST, "labels", json!({"name": ""}), 400),
        (Method::POST, "labels", json!({"name": "inbox"}), 400),
        (Method::POST, "labels", json!({"name": "x", "labelListVisibility": "odd"}), 400),
        (Method::POST, "labels", json!({"name": "x", "color": {"textColor": "red"}}), 400),
        (Method::PUT, path.as_str(), json!({}), 400),
        (Method::PATCH, "labels/INBOX", json!({"name": "x"}), 400),
        (Method::DELETE, "labels/INBOX", Value::Null, 400),
        (Method::GET, "labels/Label_99", Value::Null, 404),
        (Method::DELETE, "labels/Label_99", Value::Null, 404),
    ] {
        assert_eq!(world.api(method.clone(), path, body.clone()).await.0, status, "{method} {path} {body}");
    }
    let before = world.history_id().await;
    assert_eq!(world.api(Method::DELETE, &path, Value::Null).await, (204, json!("")));
    let page = world.get(&format!("history?startHistoryId={before}")).await;
    assert_eq!(page["history"][0]["labelsRemoved"][0]["labelIds"], json!([label]));
    assert_eq!(
        world.get(&format!("messages/{id}?format=minimal")).await["labelIds"],
        json!(["INBOX", "UNREAD"])
    );
}

#[tokio::test]
async fn the_owner_is_the_one_address_to_send_as() {
    let world = World::new().await;
    let list = world.get("settings/sendAs").await;
    let [only] = list["sendAs"].as_array().unwrap().as_slice() else { panic!("{list}") };
    assert_eq!(
        (&only["sendAsEmail"], &only["isPrimary"], &only["isDefault"]),
        (&json!(ALICE), &json!(true), &json!(true))
    );
}

#[tokio::test]
async fn aliases_stand_beside_the_owner_and_are_as_they_were_set_last() {
    let world = World::new().await;
    for aliases in [json!(["me@example.org", "sales@example.com"]), json!(["sales@example.com"])] {
        let (status, _) = world
            .sim(Method::POST, &format!("mailboxes/{ALICE}/aliases"), json!({"addresses": aliases}))
            .await;
        assert_eq!(status, 204);
        let list = world.get("settings/sendAs").await;
        let all = list["sendAs"].as_array().unwrap();
        let named: Vec<&Value> = all.iter().skip(1).map(|entry| &entry["sendAsEmail"]).collect();
        assert_eq!(named, aliases.as_array().unwrap().iter().collect::<Vec<_>>());
        assert_eq!((&all[1]["isPrimary"], &all[1]["treatAsAlias"]), (&json!(false), &json!(true)));
    }
    let (status, error) = world
        .sim(Method::POST, &format!("mailboxes/{ALICE}/aliases"), json!({"addresses": ["nobody"]}))
        .await;
    assert_eq!(status, 400, "{error}");
}

#[tokio::test]
async fn trashing_is_a_change_of_labels_and_untrashing_does_not_bring_the_inbox_back() {
    let world = World::new().await;
    let id = world.deliver("binned").await;
    let trashed = ok(&world, Method::POST, &format!("messages/{id}/trash"), Value::Null).await;
    assert_eq!(trashed["labelIds"], json!(["TRASH", "UNREAD"]));
    assert!(world.get("messages").await["messages"].is_null());
    assert_eq!(world.get("messages?includeSpamTrash=true").await["messages"].as_array().unwrap().len(), 1);
    assert_eq!(world.get("messages?labelIds=TRASH").await["messages"].as_array().unwrap().len(), 1);
    let back = ok(&world, Method::POST, &format!("threads/{id}/untrash"), Value::Null).await;
    assert_eq!(back["messages"][0]["labelIds"], json!(["UNREAD"]));
    assert_eq!(world.api(Method::DELETE, &format!("threads/{id}"), Value::Null).await, (204, json!("")));
    assert_eq!(
        refused(&world, Method::GET, &format!("threads/{id}"), Value::Null).await,
        (404, "notFound".into())
    );
}

#[tokio::test]
async fn inserted_mail_is_dated_by_receipt_and_imported_mail_by_its_header() {
    let world = World::new().await;
    let old = "Date: Thu, 1 Jan 2015 00:00:00 +0000\r\nSubject: old\r\n\r\n";
    for (path, by_header) in [
        ("messages", false),
        ("messages/import", true),
        ("messages?internalDateSource=dateHeader", true),
        ("messages/import?internalDateSource=receivedTime", false),
    ] {
        let mut body = raw(old);
        body["labelIds"] = json!(["INBOX"]);
        let made = ok(&world, Method::POST, path, body).await;
        assert_eq!(made["labelIds"], json!(["INBOX"]));
        let message = world.get(&format!("messages/{}?format=minimal", made["id"].as_str().unwrap())).await;
        assert_eq!(message["internalDate"] == "1420070400000", by_header, "{path}");
    }
    assert_eq!(refused(&world, Method::POST, "messages?internalDateSource=odd", raw(old)).await.0, 400);
    // The upload paths take the message as it is.
    let request = world.client.post(world.url("/upload/gmail/v1/users/me/messages?uploadType=media"));
    let request = request.header("Content-Type", "message/rfc822").body(old);
    assert_eq!(read(request.bearer_auth(format!("sim:{ALICE}")).send().await.unwrap()).await.0, 200);
}
