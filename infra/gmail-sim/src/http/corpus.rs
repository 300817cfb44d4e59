//! Loading mail from disk: an mbox, a Maildir, or a folder of files.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;

use super::act;
use super::gmail::{author, header_date};
use super::state::{Account, Shared};
use crate::mime;
use crate::model::{Mailbox, Millis, NewMessage};

/// Loads everything under a path; answers how many messages that was.
pub(crate) fn load(shared: &Arc<Shared>, account: &Account, path: &Path) -> anyhow::Result<usize> {
    let now = shared.now();
    let mut mail: Vec<(Millis, Vec<u8>)> = Vec::new();
    for raw in read(path)? {
        let raw = on_the_wire(&raw);
        // What has no byte is no message: an empty file, an empty mbox.
        if !raw.is_empty() {
            mail.push((header_date(&raw, now).unwrap_or(now), raw));
        }
    }
    // Oldest first: an answer finds what it answers. The order of files decides between equal dates.
    mail.sort_by_key(|(date, _)| *date);
    let count = mail.len();
    account.change(shared, |mailbox| {
        for (date, raw) in mail {
            let names = labels(mailbox, &raw);
            let labels = names.iter().filter_map(|name| mailbox.label_or_new(name).ok()).collect();
            let new = NewMessage { raw: raw.into(), labels, internal_date: Some(date), thread: None };
            // A message without a named thread is never refused.
            let _ = act::take_in(mailbox, new, now);
        }
    });
    Ok(count)
}

/// The messages as the files have them: an mbox, a Maildir (whose flags say nothing here), or a message a file.
fn read(path: &Path) -> anyhow::Result<Vec<Vec<u8>>> {
    let bytes =
        |file: &Path| std::fs::read(file).with_context(|| format!("{} could not be read", file.display()));
    if !path.is_dir() {
        return Ok(mbox(&bytes(path)?));
    }
    let mut found = Vec::new();
    if path.join("cur").is_dir() {
        for folder in ["cur", "new"].map(|folder| path.join(folder)) {
            if folder.is_dir() {
                found.extend(files(&folder, false)?);
            }
        }
    } else {
        found = files(path, true)?;
    }
    found.iter().map(|file| bytes(file)).collect()
}

fn files(folder: &Path, below: bool) -> anyhow::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let entries =
        std::fs::read_dir(folder).with_context(|| format!("{} could not be read", folder.display()))?;
    for entry in entries {
        let path = entry?.path();
        let hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
        if path.is_file() && !hidden {
            found.push(path);
        } else if below && path.is_dir() && !hidden {
            found.extend(files(&path, true)?);
        }
    }
    found.sort();
    Ok(found)
}

/// Splits an mbox at its `From ` lines; quoted ones lose one `>`, as mboxrd (Takeout's form) wants.
fn mbox(bytes: &[u8]) -> Vec<Vec<u8>> {
    if !bytes.starts_with(b"From ") {
        return vec![bytes.to_vec()];
    }
    let mut messages: Vec<Vec<u8>> = Vec::new();
    let mut after_blank = true;
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        if after_blank && line.starts_with(b"From ") {
            // The blank line before a separator belongs to the separator.
            if let Some(last) = messages.last_mut() {
                let kept = last.strip_suffix(b"\n").map_or(last.len(), <[u8]>::len);
                last.truncate(kept);
                if last.ends_with(b"\r") {
                    last.pop();
                }
            }
            messages.push(Vec::new());
        } else if let Some(last) = messages.last_mut() {
            let quoted = line.iter().position(|byte| *byte != b'>').unwrap_or(0);
            let unquoted = if quoted > 0 && line[quoted..].starts_with(b"From ") { &line[1..] } else { line };
            last.extend_from_slice(unquoted);
        }
        after_blank = line.trim_ascii().is_empty();
    }
    messages
}

/// Without a leading `From ` line, and every line ended by CRLF.
fn on_the_wire(raw: &[u8]) -> Vec<u8> {
    let start = if raw.starts_with(b"From ") {
        raw.iter().position(|byte| *byte == b'\n').map_or(raw.len(), |at| at + 1)
    } else {
        0
    };
    let mut out = Vec::with_capacity(raw.len() + raw.len() / 30);
    for line in raw[start..].split_inclusive(|byte| *byte == b'\n') {
        match line.strip_suffix(b"\n") {
            Some(text) => {
                out.extend_from_slice(text.strip_suffix(b"\r").unwrap_or(text));
                out.extend_from_slice(b"\r\n");
            }
            None => out.extend_from_slice(line),
        }
    }
    out
}

/// The labels a message brings along, else the inbox, or sent when the owner wrote it.
fn labels(mailbox: &Mailbox, raw: &[u8]) -> Vec<String> {
    let headers = mime::parse_headers(raw);
    let brought = headers.iter().find(|header| header.name.eq_ignore_ascii_case("X-Gmail-Labels"));
    if let Some(brought) = brought {
        return listed(&brought.value).iter().filter_map(|name| takeout_label(name)).collect();
    }
    let own = author(raw).is_some_and(|author| author.eq_ignore_ascii_case(mailbox.address()));
    vec![if own { "SENT" } else { "INBOX" }.to_owned()]
}

/// The items between commas; an item in quotes may have commas of its own.
fn listed(text: &str) -> Vec<String> {
    let mut items = vec![String::new()];
    let mut quoted = false;
    for c in text.chars() {
        match c {
            '"' => quoted = !quoted,
            ',' if !quoted => items.push(String::new()),
            _ => {
                if let Some(item) = items.last_mut() {
                    item.push(c);
                }
            }
        }
    }
    items.iter().map(|item| item.trim().to_owned()).collect()
}

/// Takeout names the system's labels as the user sees them; what stands for no label is none.
fn takeout_label(name: &str) -> Option<String> {
    let label = match name.to_ascii_lowercase().as_str() {
        "" | "opened" | "archived" | "all mail" => return None,
        "inbox" => "INBOX",
        "sent" => "SENT",
        "unread" => "UNREAD",
        "starred" => "STARRED",
        "important" => "IMPORTANT",
        "spam" => "SPAM",
        "trash" | "bin" => "TRASH",
        "draft" | "drafts" => "DRAFT",
        "category personal" => "CATEGORY_PERSONAL",
        "category updates" => "CATEGORY_UPDATES",
        "category promotions" => "CATEGORY_PROMOTIONS",
        "category social" => "CATEGORY_SOCIAL",
        "category forums" => "CATEGORY_FORUMS",
        _ => name,
    };
    Some(label.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_mbox_is_split_at_its_separators_and_unquoted_once() {
        let mbox_text = b"From a Mon\nSubject: 1\n\n>From here\n>>From there\n\nFrom b Tue\nSubject: 2\n\nx From y\nFrom z\n";
        let found = mbox(mbox_text);
        assert_eq!(found[0], b"Subject: 1\n\nFrom here\n>From there\n");
        // A line that begins with `From ` separates only after a blank one.
        assert_eq!(found[1], b"Subject: 2\n\nx From y\nFrom z\n");
        assert_eq!(found.len(), 2);
        assert_eq!(mbox(b"Subject: no mbox\n\nFrom x\n").len(), 1);
    }

    #[test]
    fn labels_in_quotes_may_have_commas() {
        assert_eq!(listed("Inbox, \"a, b\",Unread"), ["Inbox", "a, b", "Unread"]);
    }
}
