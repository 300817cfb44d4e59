//! Message rows, tombstones, and the counters of their labels.

use std::collections::BTreeMap;

use sync_core::{
    HistoryId, MessageId, ThreadId,
    message::{Envelope, Labels, Message, RowHead, RowState, Touched},
    sync::{Effect, RowWrite, Seen},
};

use super::{Bench, Breach, Told, apply, at, commit, hold, same, see, sync, unexpected};

fn labels(names: &[&str]) -> Labels {
    names.iter().map(ToString::to_string).collect()
}

/// The write of a whole row that nobody was told of; its history id is a thousand and its own.
pub(super) fn put(id: u64, names: &[&str]) -> RowWrite {
    let message = Message {
        id: MessageId(id),
        thread_id: ThreadId(id),
        history_id: HistoryId(id.saturating_add(1_000)),
        labels: labels(names),
        received_at: at(0),
        size_estimate: 1,
        snippet: String::new(),
        envelope: Box::new(Envelope::default()),
        body: None,
    };
    RowWrite::Put { message: Box::new(message), announced: false, touched: Touched::new() }
}

fn bury(id: u64, state: RowState, history_id: u64, names: Option<&[&str]>) -> RowWrite {
    let labels = names.map(labels);
    RowWrite::Tombstone {
        id: MessageId(id),
        state,
        history_id: HistoryId(history_id),
        labels,
        touched: Touched::new(),
    }
}

async fn head<B: Bench>(bench: &mut B, id: u64) -> Result<Option<RowHead>, Breach> {
    match see(bench, Effect::ReadRows(vec![MessageId(id)]), at(10)).await {
        Seen::Rows(rows) => Ok(rows.into_iter().next().map(|(_, head)| head)),
        other => Err(unexpected("reading a row", &other)),
    }
}

async fn write<B: Bench>(bench: &mut B, write: RowWrite) -> Told {
    let next = commit(&sync(bench).await?, vec![write]);
    apply(bench, &next).await
}

pub async fn a_row_is_put_relabelled_buried_and_revived<B: Bench>(bench: &mut B) -> Told {
    hold(bench, 0, 60).await?;
    let touched: Touched = [("UNREAD".to_owned(), HistoryId(u64::MAX))].into();
    let RowWrite::Put { message, .. } = put(1, &["A", "b#: ."]) else { return Ok(()) };
    let whole = RowWrite::Put { message, announced: true, touched: touched.clone() };
    let mut first = commit(&sync(bench).await?, vec![whole]);
    first.progress.epoch = 3;
    apply(bench, &first).await?;
    let mut expected = RowHead {
        history_id: HistoryId(1_001),
        epoch: 3,
        labels: labels(&["A", "b#: ."]),
        state: RowState::Live,
        announced: true,
        touched,
    };
    same("put", head(bench, 1).await?, Some(expected.clone()))?;

    let relabel = RowWrite::Labels {
        id: MessageId(1),
        labels: labels(&[]),
        history_id: HistoryId(u64::MAX - 1),
        announced: true,
        touched: Touched::new(),
    };
    write(bench, relabel).await?;
    (expected.labels, expected.history_id) = (labels(&[]), HistoryId(u64::MAX - 1));
    expected.touched = Touched::new();
    same("relabelled", head(bench, 1).await?, Some(expected.clone()))?;

    let touched: Touched = [("SPAM".to_owned(), HistoryId(7))].into();
    let out = RowWrite::Tombstone {
        id: MessageId(1),
        state: RowState::OutOfScope,
        history_id: HistoryId(u64::MAX),
        labels: Some(labels(&["SPAM"])),
        touched: touched.clone(),
    };
    write(bench, out).await?;
    (expected.state, expected.labels, expected.history_id) =
        (RowState::OutOfScope, labels(&["SPAM"]), HistoryId(u64::MAX));
    expected.touched = touched;
    same("out of the scope", head(bench, 1).await?, Some(expected.clone()))?;
    write(bench, bury(1, RowState::Deleted, u64::MAX, None)).await?;
    (expected.state, expected.touched) = (RowState::Deleted, Touched::new());
    same("deleted, its labels kept", head(bench, 1).await?, Some(expected.clone()))?;
    write(bench, put(1, &["A"])).await?;
    let revived = head(bench, 1).await?.ok_or_else(|| unexpected("a revived row", &"nothing"))?;
    same(
        "revived",
        (revived.state, revived.labels, revived.announced),
        (RowState::Live, labels(&["A"]), false),
    )
}

pub async fn a_message_never_stored_can_be_buried<B: Bench>(bench: &mut B) -> Told {
    hold(bench, 0, 60).await?;
    for (id, state) in [(u64::MAX, RowState::Deleted), (5, RowState::Accepted), (6, RowState::OutOfScope)] {
        write(bench, bury(id, state, 7, None)).await?;
        let tombstone = RowHead {
            history_id: HistoryId(7),
            epoch: 0,
            labels: Labels::new(),
            state,
            announced: false,
            touched: Touched::new(),
        };
        same(format!("{state:?}"), head(bench, id).await?, Some(tombstone))?;
    }
    Ok(())
}

pub async fn rows_are_read_once_and_absent_ones_are_absent<B: Bench>(bench: &mut B) -> Told {
    let held = hold(bench, 0, 60).await?;
    apply(bench, &commit(&held, vec![put(1, &[]), put(u64::MAX, &[])])).await?;
    let asked = [u64::MAX, 2, 1].map(MessageId).to_vec();
    let Seen::Rows(rows) = see(bench, Effect::ReadRows(asked), at(10)).await else {
        return Err(unexpected("reading rows", &"something else"));
    };
    let mut found: Vec<u64> = rows.iter().map(|(id, _)| id.0).collect();
    found.sort_unstable();
    same("those that are stored", found, vec![1, u64::MAX])?;
    same("no rows", see(bench, Effect::ReadRows(Vec::new()), at(10)).await, Seen::Rows(Vec::new()))
}

pub async fn rows_are_scanned_in_the_order_of_their_ids<B: Bench>(bench: &mut B) -> Told {
    hold(bench, 0, 60).await?;
    // Of one, two and sixteen digits: as texts without padding they would come in another order.
    let ids: Vec<u64> = (1..=30).chain([0x1000, u64::MAX - 1, u64::MAX]).collect();
    for some in ids.chunks(20) {
        let rows = some.iter().rev().map(|id| put(*id, &["A"])).collect();
        let next = commit(&sync(bench).await?, rows);
        apply(bench, &next).await?;
    }
    write(bench, bury(15, RowState::Deleted, 2_000, None)).await?;
    let (mut found, mut after) = (Vec::new(), None);
    // Each page has a row at least: it cannot take more pages than there are rows.
    for _ in 0..=ids.len() {
        let Seen::RowPage(rows, more) = see(bench, Effect::ScanRows { after }, at(10)).await else {
            return Err(unexpected("scanning rows", &"something else"));
        };
        after = rows.last().map(|(id, _)| *id).or(after);
        found.extend(rows.into_iter().map(|(id, head)| (id.0, head.is_live())));
        if !more {
            break;
        }
    }
    same("every row once, in order", found, ids.iter().map(|id| (*id, *id != 15)).collect())?;
    let beyond = Effect::ScanRows { after: Some(MessageId(u64::MAX)) };
    same("nothing comes after the last", see(bench, beyond, at(10)).await, Seen::RowPage(Vec::new(), false))
}

pub async fn labels_are_counted<B: Bench>(bench: &mut B) -> Told {
    hold(bench, 0, 60).await?;
    let many: BTreeMap<String, i64> = (0..250).map(|n| (format!("Label_{n}"), 1)).collect();
    let none: BTreeMap<String, i64> = many.keys().map(|label| (label.clone(), -1)).collect();
    let of = |counts: &[(&str, i64)]| -> BTreeMap<String, i64> {
        counts.iter().map(|(label, count)| ((*label).to_owned(), *count)).collect()
    };
    let changes = [
        (of(&[("INBOX", 3), ("a b#:.", 1), ("pk", 2)]), of(&[("INBOX", 3), ("a b#:.", 1), ("pk", 2)])),
        (of(&[("INBOX", -1), ("pk", -2)]), of(&[("INBOX", 2), ("a b#:.", 1)])),
        (many.clone(), many.into_iter().chain(of(&[("INBOX", 2), ("a b#:.", 1)])).collect()),
        (none, of(&[("INBOX", 2), ("a b#:.", 1)])),
    ];
    for (change, expected) in changes {
        let mut next = commit(&sync(bench).await?, Vec::new());
        next.labels = change;
        apply(bench, &next).await?;
        let Seen::LabelCounts(counts) = see(bench, Effect::ReadLabelCounts, at(10)).await else {
            return Err(unexpected("reading counters", &"something else"));
        };
        let worn: BTreeMap<String, i64> = counts.into_iter().filter(|(_, count)| *count != 0).collect();
        same("the counters", worn, expected)?;
    }
    Ok(())
}
