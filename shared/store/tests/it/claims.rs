//! Claims on tasks, and the secret that a clock sends.

use sync_store::{SharedSecret, StoreError, TaskClaim};

use crate::fixture::{World, at};

#[tokio::test]
async fn of_many_runs_at_once_one_gets_the_task_and_only_it_gives_it_back() {
    let world = World::new().await;
    let names: Vec<String> = (0..8).map(|run| format!("run-{run}")).collect();
    let claims = names.iter().map(|run| world.store.claim_task("fan-out", run, at(90), at(0)));
    let claims = futures::future::join_all(claims).await;
    let won: Vec<usize> = (0..8).filter(|index| matches!(claims[*index], Ok(TaskClaim::Ours))).collect();
    assert_eq!(won.len(), 1, "{claims:?}");
    let (winner, loser) = (&names[won[0]], &names[(won[0] + 1) % 8]);
    world.store.release_task("fan-out", loser).await.expect("not its own");
    let taken = world.store.claim_task("fan-out", loser, at(91), at(1)).await.expect("answered");
    assert_eq!(taken, TaskClaim::Taken(at(90)));
    // Another task is another claim.
    assert_eq!(
        world.store.claim_task("other", loser, at(91), at(1)).await.expect("answered"),
        TaskClaim::Ours
    );
    world.store.release_task("fan-out", winner).await.expect("its own");
    assert_eq!(
        world.store.claim_task("fan-out", loser, at(91), at(1)).await.expect("answered"),
        TaskClaim::Ours
    );
}

#[tokio::test]
async fn a_claim_lapses_and_its_late_owner_does_not_end_the_next() {
    let world = World::new().await;
    assert_eq!(
        world.store.claim_task("fan-out", "dead", at(90), at(0)).await.expect("answered"),
        TaskClaim::Ours
    );
    assert_eq!(
        world.store.claim_task("fan-out", "next", at(120), at(90)).await.expect("answered"),
        TaskClaim::Taken(at(90)),
        "not before its time is over"
    );
    assert_eq!(
        world.store.claim_task("fan-out", "next", at(181), at(91)).await.expect("answered"),
        TaskClaim::Ours
    );
    world.store.release_task("fan-out", "dead").await.expect("answered");
    assert_eq!(
        world.store.claim_task("fan-out", "third", at(190), at(100)).await.expect("answered"),
        TaskClaim::Taken(at(181))
    );
    // The first answer was lost, and the client asks again.
    assert_eq!(
        world.store.claim_task("fan-out", "next", at(181), at(92)).await.expect("answered"),
        TaskClaim::Ours
    );
}

#[tokio::test]
async fn a_shared_secret_fits_itself_alone_and_an_empty_one_fits_nobody() {
    let world = World::new().await;
    let secrets = aws_sdk_secretsmanager::Client::new(&world.sdk);
    let make = async |name: &str, text: &str| {
        secrets.create_secret().name(name).secret_string(text).send().await.expect("a secret");
        SharedSecret::new(&world.sdk, name)
    };
    let secret = make("shared", "sixteen and more characters").await;
    assert!(secret.is(&"sixteen and more characters".into()).await.expect("answered"));
    for wrong in
        ["", "sixteen and more character", "sixteen and more characters ", "Sixteen and more characters"]
    {
        assert!(!secret.is(&wrong.into()).await.expect("answered"), "{wrong:?}");
    }
    let short = make("short", " ").await;
    let error = short.is(&"".into()).await.expect_err("no secret");
    assert!(matches!(error, StoreError::Vault(_)), "{error}");
    let missing = SharedSecret::new(&world.sdk, "nobody-made-it");
    assert!(missing.is(&"".into()).await.is_err());
}
