//! Odd windows, odd answers: what is asked and what is made of it.

use super::*;

#[test]
fn windows_become_queries() {
    let now: Timestamp = "2026-08-27T10:00:00Z".parse().expect("a time");
    let path =
        |window, label, token| list_messages(&window, label, token, PAGE_MAX, now).expect("a request").path;
    let newest = path(Window::Newest(50), None, None);
    assert!(newest.contains("maxResults=50") && newest.contains("includeSpamTrash=true"), "{newest}");
    assert!(!newest.contains("&q="), "{newest}");
    let days = path(Window::Days(30), None, Some("a b&c"));
    assert!(days.contains("q=after%3A1785196800"), "{days}");
    assert!(days.contains("pageToken=a+b%26c") && days.contains("maxResults=500"), "{days}");
    assert!(path(Window::All, Some("Label_1"), None).contains("labelIds=Label_1"));
    assert!(path(Window::Newest(9_999), None, None).contains("maxResults=500"));
    assert!(path(Window::Days(u32::MAX), None, None).contains("q=after%3A0"));
}

#[test]
fn a_page_is_as_large_as_is_set_unless_its_window_says_how_much_is_wanted() {
    let now = Timestamp::UNIX_EPOCH;
    let path = |window| list_messages(&window, None, None, 20, now).expect("a request").path;
    for whole in [Window::All, Window::Days(3)] {
        assert!(path(whole.clone()).contains("maxResults=20"), "{whole:?}");
    }
    assert!(path(Window::Newest(50)).contains("maxResults=50"), "the newest so many are one page");
    assert!(list_history(HistoryId(7), None, 20).path.contains("maxResults=20"));
}

#[test]
fn a_window_of_days_asks_the_same_all_day() {
    let asked = |now: &str| {
        list_messages(&Window::Days(30), None, None, PAGE_MAX, now.parse().expect("a time"))
            .expect("a request")
            .path
    };
    assert_eq!(asked("2026-08-27T00:00:00Z"), asked("2026-08-27T23:59:59.9Z"));
    assert_ne!(asked("2026-08-27T23:59:59Z"), asked("2026-08-28T00:00:00Z"));
}

#[test]
fn a_stretch_of_time_is_asked_for_in_whole_seconds_outwards() {
    let between = Window::Between {
        after: Timestamp::from_millisecond(1_700_000_000_900).expect("a time"),
        before: Timestamp::from_millisecond(1_700_086_400_001).expect("a time"),
    };
    let path = list_messages(&between, None, None, PAGE_MAX, Timestamp::UNIX_EPOCH).expect("a request").path;
    assert!(path.contains("q=after%3A1700000000+before%3A1700086401"), "{path}");
    assert!(path.contains("maxResults=500"), "{path}");
}

#[test]
fn a_contact_is_searched_for_in_quotes_and_an_address_that_breaks_them_is_refused() {
    let asked = |address: &str| {
        let address = address.parse().expect("an address");
        let window = Window::Contact { address, limit: 100 };
        list_messages(&window, None, None, PAGE_MAX, Timestamp::UNIX_EPOCH)
    };
    let path = asked("o'brien+x@example.com").expect("a request").path;
    let search = "q=%7Bfrom%3A%22o%27brien%2Bx%40example.com%22+to%3A%22o%27brien%2Bx%40example.com%22%7D";
    assert!(path.contains(search) && path.contains("maxResults=100"), "{path}");
    for breaking in ["a\"b@example.com", "a}b@example.com", "(a@example.com", "a\\b@example.com"] {
        assert_eq!(asked(breaking), Err(GmailError::Unsendable), "{breaking}");
    }
    let body = br#"{"messages":[{"id":"1f"}],"nextPageToken":"x"}"#;
    let contact = Window::Contact { address: "a@example.com".parse().expect("an address"), limit: 1 };
    let page = read_message_list(body, &contact).expect("a page");
    assert_eq!(page.next_page_token, None, "the newest so many, and no more");
}

#[test]
fn a_label_of_any_name_is_counted_by_its_own_path() {
    let path = |id| count_label(id).expect("a request").path;
    assert!(path("INBOX").starts_with("/gmail/v1/users/me/labels/INBOX?fields="));
    assert!(path("a/b ?#ä").starts_with("/gmail/v1/users/me/labels/a%2Fb%20%3F%23%C3%A4?"));
    assert_eq!(count_label(".."), Err(GmailError::Unsendable));
    assert_eq!(read_label_count(br#"{"id":"INBOX","messagesTotal":"12"}"#), Ok(12));
    assert_eq!(read_label_count(br#"{"id":"INBOX"}"#), Ok(0));
}

#[test]
fn the_newest_so_many_are_one_page() {
    let body = br#"{"messages":[{"id":"1f","threadId":"1"}],"nextPageToken":"x"}"#;
    let page = read_message_list(body, &Window::Newest(1)).expect("a page");
    assert_eq!(
        page,
        ListPage { messages: vec![Listed::new(MessageId(0x1f), ThreadId(1))], next_page_token: None }
    );
    assert_eq!(read_message_list(body, &Window::All).expect("a page").next_page_token.as_deref(), Some("x"));
    for odd in [r#"{"messages":[{"id":"1f"}]}"#, r#"{"messages":[{"id":"1f","threadId":"?"}]}"#] {
        let page = read_message_list(odd.as_bytes(), &Window::All).expect("a page");
        assert_eq!(page.messages, [Listed::alone(MessageId(0x1f))], "got alone");
    }
    let nothing = read_message_list(br#"{"resultSizeEstimate":0}"#, &Window::All).expect("a page");
    assert!(nothing.messages.is_empty() && nothing.next_page_token.is_none());
}

#[test]
fn a_history_page_keeps_records_in_order_and_puts_deletions_last() {
    let body = br#"{"history":[
        {"id":"999","messages":[{"id":"77"}],"messagesAdded":[{"message":{"id":"a","threadId":"a","labelIds":["INBOX"]}}]},
        {"id":1000,"messagesDeleted":[{"message":{"id":"b"}}],
         "labelsAdded":[{"message":{"id":"b"},"labelIds":["TRASH"]}],"labelsRemoved":[{"message":{"id":"c"},"labelIds":["UNREAD","INBOX"]}]},
        {"id":"1001","messages":[{"id":"d"}]}],
        "historyId":"18446744073709551615","nextPageToken":"n"}"#;
    let page = read_history(body).expect("a page");
    assert_eq!(page.history_id, HistoryId(u64::MAX));
    assert_eq!(page.next_page_token.as_deref(), Some("n"));
    let changes = |index: usize| page.records[index].changes.clone();
    assert_eq!(changes(0), [(MessageId(0xa), RecordChange::Added)]);
    assert_eq!(
        changes(1),
        [
            (MessageId(0xb), RecordChange::LabelsAdded(vec!["TRASH".into()])),
            (MessageId(0xc), RecordChange::LabelsRemoved(vec!["UNREAD".into(), "INBOX".into()])),
            (MessageId(0xb), RecordChange::Deleted),
        ]
    );
    assert_eq!(changes(2), []);
}

#[test]
fn a_page_without_history_is_a_page() {
    let page = read_history(br#"{"historyId":"5","nextPageToken":"more"}"#).expect("a page");
    assert!(page.records.is_empty() && page.next_page_token.is_some());
}

#[test]
fn a_raw_message_is_read_in_every_form_gmail_uses() {
    for raw in ["_-8", "_-8=", "/+8="] {
        let body = format!(
            r#"{{"id":"1f","threadId":"1e","historyId":"7","internalDate":"1700000000123","snippet":"a &amp;lt; b &#39;c&#39; &unknown; &","raw":"{raw}"}}"#
        );
        let message = read_raw(body.as_bytes(), MessageId(0x1f)).expect(raw);
        assert_eq!(message.mail, [0xff, 0xef], "{raw}");
        assert_eq!(message.snippet, "a &lt; b 'c' &unknown; &");
        assert_eq!(message.received_at.as_millisecond(), 1_700_000_000_123);
        assert!(message.labels.is_empty());
    }
}

#[test]
fn a_message_that_is_not_the_one_asked_for_is_refused() {
    let body = br#"{"id":"1f","threadId":"1e","historyId":"7","raw":""}"#;
    assert!(read_raw(body, MessageId(0x20)).is_err());
    assert!(read_raw(br#"{"id":"1f","threadId":"1e","historyId":"7"}"#, MessageId(0x1f)).is_err());
}

#[test]
fn dates_that_rows_cannot_sort_are_clamped() {
    for (date, expected) in [("-5", 0), ("99999999999999999", RECEIVED_MS_MAX)] {
        let body = format!(r#"{{"id":"1","threadId":"1","historyId":1,"internalDate":"{date}","raw":""}}"#);
        let message = read_raw(body.as_bytes(), MessageId(1)).expect("a message");
        assert_eq!(message.received_at.as_millisecond(), expected);
    }
}

#[test]
fn a_watch_expires_as_a_string_or_a_number() {
    for expiration in ["\"1700000000000\"", "1700000000000"] {
        let body = format!(r#"{{"historyId":"9","expiration":{expiration}}}"#);
        let watch = read_watch(body.as_bytes()).expect("a watch");
        assert_eq!((watch.history_id, watch.expires_at.as_second()), (HistoryId(9), 1_700_000_000));
    }
}

#[test]
fn a_watch_is_due_a_day_before_it_lapses() {
    let now = Timestamp::UNIX_EPOCH;
    assert!(watch_due(None, now));
    assert!(watch_due(Some(now + SignedDuration::from_hours(24)), now));
    assert!(!watch_due(Some(now + SignedDuration::from_hours(25)), now));
}
