//! Loading mail from disk: an mbox, a Maildir, or a folder of files.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;

use super::gmail::header_date;
use super::state::{Account, Shared};
use crate::mime;
use crate::model::{INBOX, Mailbox, Millis, NewMessage, SENT};

/// Loads everything under a path; answers how many messages that was.
pub(crate) fn load(shared: &Arc<Shared>, account: &Account, path: &Path) -> anyhow::Result<usize> {
    let now = shared.now();
    let mut mail: Vec<(Millis, Vec<u8>, Vec<String>)> = Vec::new();
    for (raw, flags) in read(path)? {
        let raw = on_the_wire(&raw);
        let date = header_date(&raw, now).unwrap_or(now);
        mail.push((date, raw, flags));
    }
    // Oldest first: an answer finds what it answers. The order of files decides between equal dates.
    mail.sort_by_key(|(date, ..)| *date);
    let count = mail.len();
    account.change(shared, |mailbox| {
        for (date, raw, flags) in mail {
            let names = if flags.is_empty() { labels(mailbox, &raw) } else { flags };
            let labels = names.iter().filter_map(|name| mailbox.label_or_new(name).ok()).collect();
            let new = NewMessage { raw: raw.into(), labels, internal_date: Some(date), thread: None };
            // A message without a named thread is never refused.
            let _ = mailbox.insert(new, now);
        }
    });
    Ok(count)
}

fn read(path: &Path) -> anyhow::Result<Vec<(Vec<u8>, Vec<String>)>> {
    if path.is_dir() {
        if path.join("cur").is_dir() {
            return maildir(path);
        }
        let mut found = Vec::new();
        for file in files(path, true)? {
            found.push((
                std::fs::read(&file).with_context(|| format!("{} could not be read", file.display()))?,
                vec![],
            ));
        }
        return Ok(found);
    }
    let bytes = std::fs::read(path).with_context(|| format!("{} could not be read", path.display()))?;
    Ok(mbox(&bytes).into_iter().map(|raw| (raw, vec![])).collect())
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

/// A Maildir's flags stand in the file names: `S` seen, `F` flagged, `T` trashed, `D` draft.
fn maildir(path: &Path) -> anyhow::Result<Vec<(Vec<u8>, Vec<String>)>> {
    let mut found = Vec::new();
    for folder in ["cur", "new"] {
        let folder = path.join(folder);
        if !folder.is_dir() {
            continue;
        }
        for file in files(&folder, false)? {
            let raw =
                std::fs::read(&file).with_context(|| format!("{} could not be read", file.display()))?;
            let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let flags = name.rsplit_once(":2,").map(|(_, flags)| flags.to_owned()).unwrap_or_default();
            let named =
                mime::parse_headers(&raw).iter().any(|h| h.name.eq_ignore_ascii_case("X-Gmail-Labels"));
            let labels = if named { vec![] } else { of_flags(&flags) };
            found.push((raw, labels));
        }
    }
    Ok(found)
}

fn of_flags(flags: &str) -> Vec<String> {
    if flags.is_empty() {
        return Vec::new();
    }
    let mut labels = Vec::new();
    labels.push(if flags.contains('T') {
        "TRASH"
    } else if flags.contains('D') {
        "DRAFT"
    } else {
        "INBOX"
    });
    if !flags.contains('S') {
        labels.push("UNREAD");
    }
    if flags.contains('F') {
        labels.push("STARRED");
    }
    labels.into_iter().map(str::to_owned).collect()
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
    let find =
        |name: &str| headers.iter().find(|h| h.name.eq_ignore_ascii_case(name)).map(|h| h.value.as_str());
    if let Some(brought) = find("X-Gmail-Labels") {
        return brought.split(',').filter_map(|name| takeout_label(name.trim().trim_matches('"'))).collect();
    }
    let own = find("From").is_some_and(|from| from.to_ascii_lowercase().contains(mailbox.address()));
    let index = if own { SENT } else { INBOX };
    mailbox.labels().nth(usize::from(index.0)).map(|label| vec![label.id.clone()]).unwrap_or_default()
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
