//! Requests: written with their ask, repeated by their key, read with all that was said.

use sync_core::{
    MailboxId, MessageId,
    job::{JobKind, RequestOptions, Trigger},
    state::{Content, Scope, Status, Window},
    sync::Committed,
};
use sync_store::{IdempotencyKey, NewRequest, StoreError};

use crate::{
    commits::labels,
    fixture::{World, at, commit},
};

#[tokio::test]
async fn a_repeated_request_is_the_same_request_for_a_day() {
    let world = World::new().await;
    let mailbox = world.mailbox().await;
    let key = IdempotencyKey {
        tenant: "ten_1".parse().expect("an id"),
        key: "k 1".to_owned(),
        request: "sync".to_owned(),
    };
    let request = |key: Option<&IdempotencyKey>, seconds| {
        let request =
            NewRequest { key: key.cloned(), ..NewRequest::new(JobKind::Incremental, Trigger::Manual) };
        let (world, mailbox) = (&world, &mailbox);
        async move { world.store.create_request(mailbox, &request, at(seconds)).await }
    };
    let first = request(Some(&key), 0).await.expect("requested");
    let again = request(Some(&key), 86_399).await.expect("requested");
    assert_eq!((&again.job, again.repeated, again.matches), (&first.job, true, true));
    let another = IdempotencyKey { request: "full".to_owned(), ..key.clone() };
    let another = request(Some(&another), 5).await.expect("answered");
    assert_eq!(
        (&another.job, another.matches),
        (&first.job, false),
        "a key that was used for something else"
    );
    assert_eq!(world.sync(&mailbox).await.asked, 1, "nothing new was written");
    let other = IdempotencyKey { tenant: "ten_2".parse().expect("an id"), ..key.clone() };
    assert!(!request(Some(&other), 1).await.expect("requested").repeated, "a key is its tenant's");
    assert!(!request(None, 2).await.expect("requested").repeated);
    assert!(!request(Some(&key), 86_401).await.expect("requested").repeated, "it has lapsed");
    let open = world.store.read_requests(&mailbox).await.expect("read");
    assert_eq!((open.len(), &open[0].id), (4, &first.job), "oldest first");
    let jobs = world.store.list_jobs(&mailbox, 3, None).await.expect("read");
    let rest = world.store.list_jobs(&mailbox, 3, jobs.next.as_deref()).await.expect("read");
    assert_eq!(rest.items.iter().map(|job| &job.id).collect::<Vec<_>>(), [&first.job], "newest first");
}

#[tokio::test]
async fn a_request_for_no_mailbox_writes_nothing() {
    let world = World::new().await;
    let nobody: MailboxId = "mbx_none".parse().expect("an id");
    let error =
        world.store.create_request(&nobody, &NewRequest::new(JobKind::Full, Trigger::Manual), at(0)).await;
    assert!(matches!(error, Err(StoreError::NotFound { what: "mailbox" })));
    assert_eq!(world.store.read_requests(&nobody).await.expect("read"), []);
}

#[tokio::test]
async fn requests_and_commits_at_once_all_go_through() {
    let world = World::new().await;
    let mailbox = world.mailbox().await;
    world.acquire(&mailbox).await;
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..10 {
        let (store, mailbox) = (world.store.clone(), mailbox.clone());
        tasks.spawn(async move {
            store
                .create_request(&mailbox, &NewRequest::new(JobKind::Incremental, Trigger::Manual), at(0))
                .await
        });
    }
    let mut applied = 0;
    for _ in 0..20 {
        let commit = commit(&world.sync(&mailbox).await, Vec::new(), Vec::new());
        match world.store.commit(&commit).await.expect("answered") {
            Committed::Applied => applied += 1,
            Committed::Conflict => {}
            Committed::Fenced => panic!("a request is no other holder"),
        }
    }
    assert!(applied > 0);
    for outcome in tasks.join_all().await {
        outcome.expect("requested");
    }
    let sync = world.sync(&mailbox).await;
    assert_eq!((sync.asked, sync.commit), (10, applied), "each of them once");
}

#[tokio::test]
async fn what_a_request_says_reaches_the_worker_and_stays_on_its_job() {
    let world = World::new().await;
    let mailbox = world.mailbox().await;
    let options = RequestOptions {
        window: Some(Window::Between { after: at(1), before: at(2) }),
        max_results: Some(5_000),
        accept_deletions: true,
        message: Some(MessageId(u64::MAX)),
    };
    let contact = Window::Contact { address: "a@example.com".parse().expect("an address"), limit: 100 };
    for options in [options, RequestOptions { window: Some(contact), ..RequestOptions::default() }] {
        let request =
            NewRequest { options: options.clone(), ..NewRequest::new(JobKind::Full, Trigger::Manual) };
        let job = world.store.create_request(&mailbox, &request, at(5)).await.expect("requested").job;
        let open = world.store.read_requests(&mailbox).await.expect("read");
        assert_eq!(open.last().map(|request| &request.options), Some(&options));
        let row = world.store.read_job(&mailbox, &job).await.expect("read").expect("there");
        assert_eq!(row.options, options);
    }
}

#[tokio::test]
async fn a_scope_is_chosen_together_with_the_comparison_that_makes_it_so() {
    let world = World::new().await;
    let mailbox = world.mailbox().await;
    assert!(world.sync(&mailbox).await.scope.is_everything());
    let scope = Scope { include: labels(&["INBOX", "a b"]), exclude: labels(&["SPAM"]) };
    let requested =
        world.store.set_scope(&mailbox, &scope, Content::Full, Trigger::Manual, at(5)).await.expect("set");
    let sync = world.sync(&mailbox).await;
    assert_eq!((&sync.scope, sync.asked, sync.due_at), (&scope, 1, Some(at(5))));
    assert_eq!(sync.content, Content::Full);
    let open = world.store.read_requests(&mailbox).await.expect("read");
    assert_eq!(
        open.iter().map(|request| (&request.id, request.kind)).collect::<Vec<_>>(),
        [(&requested.job, JobKind::Full)]
    );
    let wide = Scope { include: (0..501).map(|n| n.to_string()).collect(), ..Scope::default() };
    let refused = world.store.set_scope(&mailbox, &wide, Content::Raw, Trigger::Manual, at(6)).await;
    assert!(matches!(refused, Err(StoreError::TooLarge { actual: 501, max: 500, .. })));
    let everything = Scope::default();
    world.store.set_scope(&mailbox, &everything, Content::Raw, Trigger::Manual, at(7)).await.expect("set");
    assert_eq!(world.sync(&mailbox).await.scope, everything);
}

#[tokio::test]
async fn a_request_may_take_a_mailbox_out_of_its_stop_and_out_of_nothing_else() {
    let world = World::new().await;
    let mailbox = world.mailbox().await;
    let request = NewRequest { reactivate: true, ..NewRequest::new(JobKind::Full, Trigger::Manual) };
    for status in [Status::NeedsAttention, Status::Active] {
        world.store.set_status(&mailbox, status, at(1)).await.expect("set");
        world.store.create_request(&mailbox, &request, at(2)).await.expect("requested");
        assert_eq!(world.sync(&mailbox).await.status, Status::Active);
    }
    for status in [Status::Paused, Status::NeedsReauth, Status::Deactivated] {
        world.store.set_status(&mailbox, status, at(3)).await.expect("set");
        let refused = world.store.create_request(&mailbox, &request, at(4)).await;
        assert!(matches!(refused, Err(StoreError::Busy { .. })), "{refused:?}");
        assert_eq!(world.sync(&mailbox).await.status, status);
    }
    assert_eq!(world.store.read_requests(&mailbox).await.expect("read").len(), 2);
}
