//! The lease, `asked`, `target`, release, unlock: what is about `SYNC` alone.

use sync_core::{
    HistoryId,
    state::{Content, Scope, Status},
    sync::{Acquired, Effect, Released, Seen},
};

use super::{Bench, Deed, Told, after, applied, apply, at, commit, hold, outside, same, see, sync};

/// The release of what was held, due in ten minutes.
fn release(of: &sync_core::state::Sync) -> Effect {
    Effect::Release { generation: of.generation, asked: of.asked, due_at: Some(at(600)), status: None }
}

pub async fn a_free_lease_is_taken_and_a_held_one_is_not<B: Bench>(bench: &mut B) -> Told {
    let before = sync(bench).await?;
    same("nobody holds a new mailbox", before.lease.as_ref().map(|lease| lease.until), None)?;
    let held = hold(bench, 0, 60).await?;
    same("the generation grows", held.generation, after(before.generation))?;
    same("when the lease lapses", held.lease.as_ref().map(|lease| lease.until), Some(at(60)))?;
    same("whose fence it is", held.lease.as_ref().map(|lease| lease.generation), Some(held.generation))?;
    same("a dead holder's mailbox is due", held.due_at, Some(at(60)))?;
    same("what acquire gives is what is stored", sync(bench).await?, held.clone())?;
    let again = |until| Effect::Acquire { until: at(until) };
    same("while it is held", see(bench, again(90), at(1)).await, Seen::Acquired(Acquired::Busy))?;
    same("at its last moment", see(bench, again(90), at(60)).await, Seen::Acquired(Acquired::Busy))?;
    let next = hold(bench, 61, 120).await?;
    same("a lapsed lease is taken over", next.generation, after(held.generation))
}

pub async fn asked_is_raised_only_while_the_lease_is_held<B: Bench>(bench: &mut B) -> Told {
    let before = sync(bench).await?;
    same("nobody holds it", see(bench, Effect::RaiseAsked, at(0)).await, Seen::Asked(false))?;
    hold(bench, 0, 60).await?;
    same("somebody holds it", see(bench, Effect::RaiseAsked, at(60)).await, Seen::Asked(true))?;
    same("it has lapsed", see(bench, Effect::RaiseAsked, at(61)).await, Seen::Asked(false))?;
    same("asked was raised once", sync(bench).await?.asked, before.asked + 1)
}

pub async fn the_target_only_rises_and_is_lowered_only_from_what_was_read<B: Bench>(bench: &mut B) -> Told {
    for (raised, expected) in [(999, 999), (1_000, 1_000), (999, 1_000), (u64::MAX, u64::MAX)] {
        see(bench, Effect::RaiseTarget(HistoryId(raised)), at(0)).await;
        same(format!("raised to {raised}"), sync(bench).await?.target, Some(HistoryId(expected)))?;
    }
    for (from, to, expected) in [(1_000, 5, u64::MAX), (u64::MAX, 5, 5)] {
        let lower = Effect::LowerTarget { from: HistoryId(from), to: HistoryId(to) };
        same("lowering is always done", see(bench, lower, at(0)).await, Seen::Done)?;
        same(format!("lowered from {from}"), sync(bench).await?.target, Some(HistoryId(expected)))?;
    }
    Ok(())
}

pub async fn a_lease_is_given_back_only_if_nobody_asked<B: Bench>(bench: &mut B) -> Told {
    let held = hold(bench, 0, 60).await?;
    see(bench, Effect::RaiseAsked, at(1)).await;
    same("somebody asked", see(bench, release(&held), at(2)).await, Seen::Released(Released::AskedAgain))?;
    let seen = sync(bench).await?;
    same("the lease stays", seen.lease.is_some(), true)?;
    same("so does the time", seen.due_at, Some(at(60)))?;
    let park = Effect::Release {
        generation: seen.generation,
        asked: seen.asked,
        due_at: None,
        status: Some(Status::NeedsAttention),
    };
    same("nobody asked since", see(bench, park, at(3)).await, Seen::Released(Released::Free))?;
    let free = sync(bench).await?;
    same("the lease is gone", free.lease.is_none(), true)?;
    same("nobody comes by himself", free.due_at, None)?;
    same("the status is written with it", free.status, Status::NeedsAttention)?;
    same("the fence stays where it is", free.generation, held.generation)
}

pub async fn a_former_holder_gives_nothing_back<B: Bench>(bench: &mut B) -> Told {
    let old = hold(bench, 0, 60).await?;
    let new = hold(bench, 61, 120).await?;
    same("it lost the lease", see(bench, release(&old), at(62)).await, Seen::Released(Released::Fenced))?;
    same("nothing changed", sync(bench).await?, new)
}

pub async fn an_old_grant_parks_nothing<B: Bench>(bench: &mut B) -> Told {
    let version = sync(bench).await?.credential_version;
    bench.use_grant(version);
    let held = hold(bench, 0, 60).await?;
    outside(bench, Deed::NewGrant, at(1)).await;
    let asked = sync(bench).await?.asked;
    let park = |asked| Effect::Release {
        generation: held.generation,
        asked,
        due_at: None,
        status: Some(Status::NeedsReauth),
    };
    same("the old grant failed", see(bench, park(asked), at(2)).await, Seen::Released(Released::AskedAgain))?;
    same("the mailbox stays", sync(bench).await?.status, Status::Active)?;
    bench.use_grant(version + 1);
    same("the new grant failed", see(bench, park(asked), at(3)).await, Seen::Released(Released::Free))?;
    same("the mailbox is parked", sync(bench).await?.status, Status::NeedsReauth)
}

pub async fn an_unlocked_mailbox_fences_its_holder<B: Bench>(bench: &mut B) -> Told {
    let held = hold(bench, 0, 60).await?;
    outside(bench, Deed::Unlock, at(5)).await;
    let free = sync(bench).await?;
    same("the lease is gone", free.lease.is_none(), true)?;
    same("the generation grows", free.generation, after(held.generation))?;
    same("asked is raised", free.asked, held.asked + 1)?;
    same("the mailbox is due", free.due_at, Some(at(5)))?;
    let late = applied(bench, &commit(&held, Vec::new())).await?;
    same("the holder writes nothing", late, sync_core::sync::Committed::Fenced)?;
    same("nor gives back", see(bench, release(&held), at(6)).await, Seen::Released(Released::Fenced))?;
    let next = hold(bench, 7, 60).await?;
    same("another one works", next.generation, after(free.generation))?;
    apply(bench, &commit(&next, Vec::new())).await
}

pub async fn work_from_outside_is_due_whatever_the_lease<B: Bench>(bench: &mut B) -> Told {
    let before = sync(bench).await?;
    outside(bench, Deed::Ask, at(0)).await;
    same("due while it is free", sync(bench).await?.due_at, Some(at(0)))?;
    let held = hold(bench, 1, 60).await?;
    outside(bench, Deed::Ask, at(2)).await;
    let seen = sync(bench).await?;
    same("due while it is held", seen.due_at, Some(at(2)))?;
    same("asked twice", seen.asked, before.asked + 2)?;
    same(
        "the holder must look",
        see(bench, release(&held), at(3)).await,
        Seen::Released(Released::AskedAgain),
    )
}

pub async fn a_scope_is_read_with_the_mailbox<B: Bench>(bench: &mut B) -> Told {
    let before = sync(bench).await?;
    same("everything at first", before.scope.is_everything(), true)?;
    let labels = |names: &[&str]| names.iter().map(ToString::to_string).collect();
    let scope = Scope { include: labels(&["INBOX", "a b#"]), exclude: labels(&["SPAM"]) };
    outside(bench, Deed::SetScope(scope.clone()), at(5)).await;
    let seen = sync(bench).await?;
    same("the scope", seen.scope, scope)?;
    same("whoever looks is asked", seen.asked > before.asked, true)
}

pub async fn content_is_chosen_without_any_work<B: Bench>(bench: &mut B) -> Told {
    let before = sync(bench).await?;
    same("raw at first", before.content, Content::Raw)?;
    let held = hold(bench, 1, 60).await?;
    for content in [Content::Full, Content::Metadata, Content::Raw] {
        outside(bench, Deed::SetContent(content), at(5)).await;
        let seen = sync(bench).await?;
        same("the content", seen.content, content)?;
        same("nobody is asked to look", seen.asked, held.asked)?;
    }
    apply(bench, &commit(&held, Vec::new())).await
}
