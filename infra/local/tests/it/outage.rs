//! Gmail is down, and back.

use local::Options;
use reqwest::Method;
use testkit::TemporaryDirectory;

use crate::world::{SOON, World, mail};

const OWNER: &str = "outage@example.com";

#[tokio::test]
async fn an_outage_is_told_and_heals_without_help() {
    // Loaded by its arguments, so that the mailbox is the same after a restart.
    let folder = TemporaryDirectory::new("outage").expect("a directory");
    for index in 0..8 {
        let file = folder.path().join(format!("{index}.eml"));
        // Ids follow from dates: with one of its own, a mail is the same mail after a restart.
        let dated =
            format!("Date: Mon, 2 Mar 2026 10:00:{index:02} +0000\r\n{}", mail(&format!("before-{index}")));
        std::fs::write(file, dated).expect("it writes");
    }
    let load = format!("{OWNER}={}", folder.path().display());
    let options = Options { simulator_arguments: vec!["--load".to_owned(), load], ..Options::default() };
    let mut world = World::start(options).await;
    world.connect_and_sync(OWNER).await;

    refused_connections(&mut world).await;
    no_answers(&world).await;
}

/// The simulator is gone and comes back without watches and with no token that it once gave.
async fn refused_connections(world: &mut World) {
    world.system.simulator_mut().stop();
    ask(world).await;
    let status = world.until_status(OWNER, "failing", |status| status["consecutiveErrors"] != 0).await;
    assert!(status["lastError"].is_string(), "{status}");
    assert_eq!(status["status"], "active", "an outage is no reason to park: {status}");

    world.system.simulator_mut().start_again().await.expect("it starts");
    world.deliver(OWNER, "INBOX", mail("after-the-restart")).await;
    // No push and no request: the failed look is made good by itself.
    world.until_equal_within("a restart of Gmail", OWNER, 2 * SOON).await;
    let status = world.until_healthy(OWNER).await;
    assert_eq!(status["consecutiveErrors"], 0, "{status}");
    assert!(status["lastError"].is_null(), "{status}");
}

/// The simulator takes connections and says nothing.
async fn no_answers(world: &World) {
    world.deliver(OWNER, "INBOX", mail("before-the-silence")).await;
    world.system.simulator().pause();
    ask(world).await;
    let status = world.until_status(OWNER, "failing", |status| status["consecutiveErrors"] != 0).await;
    assert_eq!(status["status"], "active", "{status}");
    world.system.simulator().resume();
    world.until_equal_within("a silence of Gmail", OWNER, 2 * SOON).await;
    assert_eq!(world.until_healthy(OWNER).await["consecutiveErrors"], 0);
}

async fn ask(world: &World) {
    let asked = world.api(Method::POST, &format!("/api/sync/{OWNER}"), None).await;
    assert_eq!(asked.status, 202, "{asked:?}");
}
