//! Commits: the fence, conflicts, and what becomes of rows, owed items and jobs.

use aws_sdk_dynamodb::types::AttributeValue;
use sync_core::{
    HistoryId, MessageId,
    job::{Counts, JobError, JobKind, JobStatus, Trigger},
    message::{RowHead, RowState, Touched},
    owed::{Owed, OwedReason},
    state::{Errors, FetchList, Lag, Probe, Progress, Totals, Window, Work, WorkKind},
    sync::{Commit, Committed, JobClose, OwedWrite, RowWrite},
};
use sync_store::{NewRequest, StoreError};

use crate::fixture::{World, at, bury, commit, message, put, relabel};

pub fn owed(id: u64, due: i64) -> Owed {
    Owed {
        id: MessageId(id),
        reason: OwedReason::Failed { error: "it did not parse".to_owned() },
        at_least: HistoryId(u64::MAX),
        label_changes: vec![(HistoryId(7), "UNREAD".to_owned(), true), (HistoryId(8), "X".to_owned(), false)],
        tries: 3,
        since: at(0),
        missing_since: None,
        due_at: Some(at(due)),
        announce: true,
        epoch: 3,
    }
}

pub fn labels(names: &[&str]) -> sync_core::message::Labels {
    names.iter().map(ToString::to_string).collect()
}

async fn apply(world: &World, commit: &Commit) {
    world.apply(commit).await;
}

#[tokio::test]
async fn a_commit_is_applied_once() {
    let world = World::new().await;
    let mailbox = world.mailbox().await;
    let held = world.acquire(&mailbox).await;
    let first = commit(&held, vec![put(message(1, &["INBOX"]))], Vec::new());
    apply(&world, &first).await;
    let after = world.sync(&mailbox).await;
    assert_eq!(after.commit, held.commit + 1);
    assert_eq!(after.progress, first.progress);
    assert_eq!(after.totals, Totals { messages: 1, ..Totals::default() });
    let again = world.store.commit(&first).await.expect("answered");
    assert_eq!(again, Committed::Conflict, "the same generation, but another commit was the last");
    assert_eq!(world.sync(&mailbox).await, after, "nothing of the second was applied");
}

#[tokio::test]
async fn a_commit_of_a_former_holder_is_fenced_and_writes_nothing() {
    let world = World::new().await;
    let mailbox = world.mailbox().await;
    let old = world.acquire(&mailbox).await;
    world.store.acquire(&mailbox, "other", at(9_000), at(3_601)).await.expect("acquired");
    let late = commit(&old, vec![put(message(1, &[]))], vec![OwedWrite::Put(owed(2, 0))]);
    assert_eq!(world.store.commit(&late).await.expect("answered"), Committed::Fenced);
    assert_eq!(world.store.get_message(&mailbox, MessageId(1)).await.expect("read"), None);
    assert_eq!(world.store.read_owed_of(&mailbox, &[MessageId(2)]).await.expect("read"), []);
}

#[tokio::test]
async fn a_commit_without_the_lease_is_fenced() {
    let world = World::new().await;
    let mailbox = world.mailbox().await;
    let never_held = commit(&world.sync(&mailbox).await, Vec::new(), Vec::new());
    assert_eq!(world.store.commit(&never_held).await.expect("answered"), Committed::Fenced);
}

#[tokio::test]
async fn labels_of_a_row_that_is_gone_or_deleted_are_a_conflict() {
    let world = World::new().await;
    let mailbox = world.mailbox().await;
    let held = world.acquire(&mailbox).await;
    let change = relabel(1, &["A"], 2_000);
    let without_row = commit(&held, vec![change.clone()], Vec::new());
    assert_eq!(world.store.commit(&without_row).await.expect("answered"), Committed::Conflict);
    let tombstone = bury(1, 5);
    apply(&world, &commit(&held, vec![tombstone], Vec::new())).await;
    let on_tombstone = commit(&world.sync(&mailbox).await, vec![change], Vec::new());
    assert_eq!(world.store.commit(&on_tombstone).await.expect("answered"), Committed::Conflict);
}

#[tokio::test]
async fn a_row_lives_dies_and_is_revived_and_other_writers_attributes_stay() {
    let world = World::new().await;
    let mailbox = world.mailbox().await;
    let held = world.acquire(&mailbox).await;
    let one = message(1, &["INBOX", "UNREAD"]);
    apply(&world, &commit(&held, vec![put(one.clone())], Vec::new())).await;
    // A reference, written by somebody without the lease.
    let (pk, sk) = (format!("M#{mailbox}"), format!("MSG#{:016x}", 1));
    let update =
        world.dynamo.update_item().table_name(&world.config.table).update_expression("ADD refs :task");
    let update = update
        .key("pk", AttributeValue::S(pk))
        .key("sk", AttributeValue::S(sk))
        .expression_attribute_values(":task", AttributeValue::Ss(vec!["task:7".to_owned()]));
    update.send().await.expect("referenced");

    let write = relabel(1, &[], 2_000);
    apply(&world, &commit(&world.sync(&mailbox).await, vec![write], Vec::new())).await;
    let row = world.store.get_message(&mailbox, one.id).await.expect("read").expect("there");
    assert_eq!((row.labels.clone(), row.history_id), (labels(&[]), HistoryId(2_000)));
    assert_eq!(
        (row.envelope, row.snippet, row.thread_id),
        (one.envelope.clone(), one.snippet.clone(), Some(one.thread_id))
    );
    assert_eq!(row.received_at, Some(one.received_at));

    let write = bury(1, 3_000);
    apply(&world, &commit(&world.sync(&mailbox).await, vec![write], Vec::new())).await;
    let row = world.store.get_message(&mailbox, one.id).await.expect("read").expect("there");
    assert_eq!((row.deleted_at, row.references.clone()), (Some(at(10)), vec!["task:7".to_owned()]));
    assert_eq!(row.envelope, one.envelope, "a tombstone keeps the row");

    apply(&world, &commit(&world.sync(&mailbox).await, vec![put(one.clone())], Vec::new())).await;
    let row = world.store.get_message(&mailbox, one.id).await.expect("read").expect("there");
    assert!(!row.is_deleted() && row.labels == one.labels && row.history_id == one.history_id);
    assert_eq!(row.references, ["task:7"]);
}

#[tokio::test]
async fn a_message_never_stored_can_be_a_tombstone() {
    let world = World::new().await;
    let mailbox = world.mailbox().await;
    let held = world.acquire(&mailbox).await;
    let id = MessageId(u64::MAX);
    let write = bury(u64::MAX, u64::MAX);
    apply(&world, &commit(&held, vec![write], Vec::new())).await;
    let heads = world.store.read_rows(&mailbox, &[id, id, MessageId(4)]).await.expect("read");
    let tombstone = RowHead {
        history_id: HistoryId(u64::MAX),
        epoch: 0,
        labels: labels(&[]),
        state: RowState::Deleted,
        announced: false,
        touched: Touched::new(),
    };
    assert_eq!(heads, [(id, tombstone)], "an id asked for twice comes once, one not stored not at all");
    let row = world.store.get_message(&mailbox, id).await.expect("read").expect("there");
    assert_eq!((row.thread_id, row.received_at), (None, None));
}

#[tokio::test]
async fn what_is_owed_is_read_earliest_first_and_cleared_by_a_commit() {
    let world = World::new().await;
    let mailbox = world.mailbox().await;
    let held = world.acquire(&mailbox).await;
    let writes = [owed(1, 100), owed(2, 50), owed(3, 500)].map(OwedWrite::Put).to_vec();
    apply(&world, &commit(&held, Vec::new(), writes)).await;
    let first = world.store.read_owed(&mailbox, 2).await.expect("read");
    assert_eq!(first, [owed(2, 50), owed(1, 100)], "earliest first, whole");
    let clear = vec![OwedWrite::Clear(MessageId(2)), OwedWrite::Clear(MessageId(77))];
    apply(&world, &commit(&world.sync(&mailbox).await, Vec::new(), clear)).await;
    let page = world.store.list_owed(&mailbox, 1, None).await.expect("read");
    assert_eq!(page.items, [owed(3, 500)]);
    let rest = world.store.list_owed(&mailbox, 10, page.next.as_deref()).await.expect("read");
    assert_eq!((rest.items, rest.next), (vec![owed(1, 100)], None));
}

#[tokio::test]
async fn what_waits_for_a_person_is_never_due_and_debts_are_told_from_work() {
    let world = World::new().await;
    let mailbox = world.mailbox().await;
    let held = world.acquire(&mailbox).await;
    let stuck = Owed { due_at: None, ..owed(1, 0) };
    let waiting = Owed { reason: OwedReason::Waiting, ..owed(2, 70) };
    let writes = [stuck.clone(), waiting.clone(), owed(3, 90)].map(OwedWrite::Put).to_vec();
    world.apply(&commit(&held, Vec::new(), writes)).await;
    let all = world.store.read_owed(&mailbox, 10).await.expect("read");
    assert_eq!(all, [waiting, owed(3, 90)]);
    let debts = world.store.list_debts(&mailbox, 10, None).await.expect("read");
    assert_eq!((debts.items, debts.next), (vec![owed(3, 90), stuck], None));
}

#[tokio::test]
async fn a_row_remembers_its_epoch_its_kind_who_was_told_and_what_was_touched() {
    let world = World::new().await;
    let mailbox = world.mailbox().await;
    let held = world.acquire(&mailbox).await;
    let touched: Touched = [("INBOX".to_owned(), HistoryId(u64::MAX))].into();
    let whole =
        RowWrite::Put { message: Box::new(message(1, &["A"])), announced: true, touched: touched.clone() };
    let mut first = commit(&held, vec![whole, bury(2, 5)], Vec::new());
    first.progress.epoch = 4;
    world.apply(&first).await;
    let stored = |id| {
        let world = &world;
        let mailbox = &mailbox;
        async move {
            world.store.read_rows(mailbox, &[MessageId(id)]).await.expect("read").pop().expect("there").1
        }
    };
    let live = stored(1).await;
    assert!(live.is_live() && live.announced);
    assert_eq!((live.epoch, live.history_id, &live.touched), (4, HistoryId(1_001), &touched));

    let changed = RowWrite::Labels {
        id: MessageId(1),
        labels: labels(&["B"]),
        history_id: HistoryId(2_000),
        announced: true,
        touched: Touched::new(),
    };
    let out = RowWrite::Tombstone {
        id: MessageId(2),
        state: RowState::OutOfScope,
        history_id: HistoryId(6),
        labels: Some(labels(&["C"])),
        touched: Touched::new(),
    };
    world.apply(&commit(&world.sync(&mailbox).await, vec![changed, out], Vec::new())).await;
    let live = stored(1).await;
    assert_eq!((live.labels, live.touched), (labels(&["B"]), Touched::new()));
    let out = stored(2).await;
    assert_eq!((out.state, out.labels, out.history_id), (RowState::OutOfScope, labels(&["C"]), HistoryId(6)));

    let accepted = RowWrite::Tombstone {
        id: MessageId(1),
        state: RowState::Accepted,
        history_id: HistoryId(2_000),
        labels: None,
        touched: Touched::new(),
    };
    world.apply(&commit(&world.sync(&mailbox).await, vec![accepted], Vec::new())).await;
    let gone = stored(1).await;
    assert_eq!((gone.state, gone.labels, gone.announced), (RowState::Accepted, labels(&["B"]), true));
    let row = world.store.get_message(&mailbox, MessageId(1)).await.expect("read").expect("there");
    assert!(row.is_deleted() && row.deleted_at == Some(at(10)), "people see a tombstone");
}

#[tokio::test]
async fn the_whole_of_a_workers_progress_is_read_back() {
    let world = World::new().await;
    let mailbox = world.mailbox().await;
    let held = world.acquire(&mailbox).await;
    let work = |kind, list| Work {
        kind,
        request: Some("job_1".parse().expect("an id")),
        listing: Some("7-2.listing".to_owned()),
        list,
        max_results: Some(5_000),
        started_at: at(3),
        counts: Counts { listed: u64::MAX, ..Counts::default() },
    };
    let list = FetchList { key: "7-1".to_owned(), total: u64::MAX, position: 1, verify_from: 7 };
    let mut whole = commit(&held, Vec::new(), Vec::new());
    whole.progress = Progress {
        gap: Some(HistoryId(u64::MAX - 1)),
        epoch: 2,
        cursor: Some(HistoryId(u64::MAX)),
        first_cursor: Some(HistoryId(1 << 53 | 1)),
        lag: Some(Lag { target: HistoryId(9), tries: 4, next_at: Some(at(12)) }),
        work: vec![
            work(WorkKind::Initial { window: Window::Newest(50) }, None),
            work(WorkKind::Initial { window: Window::Days(30) }, Some(list.clone())),
            work(WorkKind::Initial { window: Window::All }, Some(list)),
            work(WorkKind::Backfill { window: Window::Between { after: at(1), before: at(2) } }, None),
            work(
                WorkKind::Backfill {
                    window: Window::Contact {
                        address: "a@example.com".parse().expect("an address"),
                        limit: 9,
                    },
                },
                None,
            ),
            work(
                WorkKind::Resync { baseline: HistoryId(u64::MAX), restarts: 1, accept_deletions: true },
                None,
            ),
        ],
        step: u64::MAX,
        owed_due_at: Some(at(5)),
        errors: Errors { consecutive: 5, last: Some("no".to_owned()), cooldown_until: Some(at(6)) },
        last_sync_at: Some(at(7)),
        marked_at: None,
        ended_grant: Some(3),
        marks: vec![HistoryId(8), HistoryId(u64::MAX)],
        accepted: 3,
        behind: 2,
        probe: Probe { at: Some(at(8)), drift: 9, ..Probe::default() },
    };
    whole.totals = Totals { messages: -1, deleted: 2, debts: -3, waiting: 4 };
    apply(&world, &whole).await;
    let sync = world.sync(&mailbox).await;
    assert_eq!((sync.progress, sync.totals), (whole.progress, whole.totals));
}

#[tokio::test]
async fn a_request_is_queued_with_its_ask_and_closed_by_the_commit_that_finishes_it() {
    let world = World::new().await;
    let mailbox = world.mailbox().await;
    let requested =
        world.store.create_request(&mailbox, &NewRequest::new(JobKind::Full, Trigger::Manual), at(5)).await;
    let job = requested.expect("requested").job;
    let sync = world.sync(&mailbox).await;
    assert_eq!((sync.asked, sync.due_at), (1, Some(at(5))));
    let open = world.store.read_requests(&mailbox).await.expect("read");
    assert_eq!(
        open.iter().map(|request| (&request.id, request.kind)).collect::<Vec<_>>(),
        [(&job, JobKind::Full)]
    );

    let held = world.acquire(&mailbox).await;
    world.store.mark_running(&mailbox, &job, at(6)).await.expect("marked");
    world.store.add_job_quota(&mailbox, &job, 25).await.expect("added");
    let row = world.store.read_job(&mailbox, &job).await.expect("read").expect("there");
    assert_eq!((row.status, row.started_at), (JobStatus::Running, Some(at(6))));
    let errors = vec![JobError { message_id: Some(MessageId(1)), error: "no".to_owned(), at: at(8) }];
    let counts = Counts { fetched: 3, ..Counts::default() };
    let mut last = commit(&held, Vec::new(), Vec::new());
    last.closed = vec![JobClose {
        id: job.clone(),
        status: JobStatus::Partial,
        counts: counts.clone(),
        errors: errors.clone(),
    }];
    apply(&world, &last).await;
    assert_eq!(world.store.read_requests(&mailbox).await.expect("read"), []);
    world.store.mark_running(&mailbox, &job, at(20)).await.expect("no effect on a finished job");
    let row = world.store.read_job(&mailbox, &job).await.expect("read").expect("there");
    assert_eq!((row.status, row.counts, row.errors), (JobStatus::Partial, counts, errors));
    assert_eq!((row.finished_at, row.quota_units, row.created_at), (Some(at(10)), 25, at(5)));
    let listed = world.store.list_jobs(&mailbox, 10, None).await.expect("read");
    assert_eq!(listed.items.iter().map(|job| &job.id).collect::<Vec<_>>(), [&job]);
}

#[tokio::test]
async fn a_full_commit_fits_and_more_is_refused_with_its_size() {
    let world = World::new().await;
    let mailbox = world.mailbox().await;
    let held = world.acquire(&mailbox).await;
    let full = u64::try_from(Commit::MESSAGES_MAX).expect("small");
    let rows = |count| (1..=count).map(|id| put(message(id, &["INBOX"]))).collect();
    let owed = (1..=full).map(|id| OwedWrite::Clear(MessageId(id))).collect();
    apply(&world, &commit(&held, rows(full), owed)).await;
    let too_many = commit(&world.sync(&mailbox).await, rows(100), Vec::new());
    let error = world.store.commit(&too_many).await.expect_err("102 items");
    assert!(matches!(error, StoreError::TooLarge { actual: 102, max: 100, .. }), "{error}");
    let mut scanned = Vec::new();
    let mut after = None;
    loop {
        let (heads, more) = world.store.scan_rows(&mailbox, after, 20).await.expect("read");
        after = heads.last().map(|(id, _)| *id);
        scanned.extend(heads.into_iter().map(|(id, _)| id.0));
        if !more {
            break;
        }
    }
    assert_eq!(scanned, (1..=full).collect::<Vec<_>>(), "every row once, in the order of the ids");
    let ids: Vec<MessageId> = (1..=300).map(MessageId).collect();
    assert_eq!(world.store.read_rows(&mailbox, &ids).await.expect("read").len(), Commit::MESSAGES_MAX);
}
