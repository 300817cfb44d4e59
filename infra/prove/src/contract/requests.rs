//! Requests and what is owed: work that waits.

use sync_core::{
    HistoryId, MessageId,
    job::{Counts, JobKind, JobStatus, Request, RequestOptions},
    owed::{Owed, OwedReason},
    state::Window,
    sync::{Committed, Effect, JobClose, OwedWrite, Seen},
};

use super::{
    Bench, Breach, Deed, Told, applied, apply, at, commit, hold, outside, same, see, sync, unexpected,
};

/// A debt that is due then.
pub(super) fn owed(id: u64, due: Option<i64>) -> Owed {
    Owed {
        id: MessageId(id),
        reason: OwedReason::Failed { error: "it did not parse".to_owned() },
        at_least: HistoryId(u64::MAX),
        label_changes: vec![(HistoryId(7), "UNREAD".to_owned(), true), (HistoryId(8), "X".to_owned(), false)],
        tries: 3,
        since: at(0),
        missing_since: Some(at(1)),
        due_at: due.map(at),
        announce: true,
        epoch: 2,
    }
}

async fn open<B: Bench>(bench: &mut B) -> Result<Vec<Request>, Breach> {
    match see(bench, Effect::ReadRequests, at(10)).await {
        Seen::Requests(requests) => Ok(requests),
        other => Err(unexpected("reading requests", &other)),
    }
}

fn close(request: &Request) -> JobClose {
    JobClose {
        id: request.id.clone(),
        status: JobStatus::Success,
        counts: Counts::default(),
        errors: Vec::new(),
    }
}

/// Everything that a request can say.
fn options() -> RequestOptions {
    RequestOptions {
        window: Some(Window::Between { after: at(1), before: at(2) }),
        max_results: Some(5_000),
        accept_deletions: true,
        message: Some(MessageId(u64::MAX)),
    }
}

pub async fn requests_wait_in_order_until_a_commit_closes_them<B: Bench>(bench: &mut B) -> Told {
    let before = sync(bench).await?;
    same("none at first", open(bench).await?, Vec::new())?;
    outside(bench, Deed::Request(JobKind::Full, options()), at(1)).await;
    outside(bench, Deed::Request(JobKind::Probe, RequestOptions::default()), at(2)).await;
    let asked = sync(bench).await?;
    same("each of them asks", asked.asked, before.asked + 2)?;
    same("and is due at once", asked.due_at, Some(at(2)))?;
    let requests = open(bench).await?;
    let said: Vec<_> = requests.iter().map(|request| (request.kind, request.options.clone())).collect();
    same("in order", said, vec![(JobKind::Full, options()), (JobKind::Probe, RequestOptions::default())])?;
    let held = hold(bench, 3, 60).await?;
    let mut last = commit(&held, Vec::new());
    last.closed = requests.first().map(close).into_iter().collect();
    apply(bench, &last).await?;
    same("the other one waits still", open(bench).await?, requests.into_iter().skip(1).collect())
}

pub async fn a_fenced_commit_closes_nothing<B: Bench>(bench: &mut B) -> Told {
    outside(bench, Deed::Request(JobKind::Full, options()), at(1)).await;
    let requests = open(bench).await?;
    let old = hold(bench, 2, 5).await?;
    hold(bench, 6, 60).await?;
    let mut late = commit(&old, Vec::new());
    late.closed = requests.iter().map(close).collect();
    same("it lost the lease", applied(bench, &late).await?, Committed::Fenced)?;
    same("the request is open", open(bench).await?, requests)
}

pub async fn what_is_owed_is_read_earliest_first<B: Bench>(bench: &mut B) -> Told {
    let held = hold(bench, 0, 60).await?;
    let mut first = commit(&held, Vec::new());
    let debts = [owed(1, Some(100)), owed(2, Some(50)), owed(3, Some(500)), owed(4, None)];
    first.owed = debts.clone().map(OwedWrite::Put).to_vec();
    apply(bench, &first).await?;
    let [one, two, three, four] = debts;
    let two_first = Seen::Owed(vec![two, one.clone()]);
    same("the first two", see(bench, Effect::ReadOwed { limit: 2 }, at(10)).await, two_first)?;
    let mut second = commit(&sync(bench).await?, Vec::new());
    let later = Owed { due_at: Some(at(900)), tries: 4, ..one };
    let cleared = [2, 77].map(|id| OwedWrite::Clear(MessageId(id)));
    second.owed = [OwedWrite::Put(later.clone())].into_iter().chain(cleared).collect();
    apply(bench, &second).await?;
    let rest = Seen::Owed(vec![three, later]);
    same("what nobody must decide", see(bench, Effect::ReadOwed { limit: 9 }, at(10)).await, rest)?;
    let of = Effect::ReadOwedOf([4, 2, 77].map(MessageId).to_vec());
    same("by message", see(bench, of, at(10)).await, Seen::Owed(vec![four]))
}
