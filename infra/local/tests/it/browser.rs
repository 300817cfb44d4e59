//! The dashboard in a real browser: `browser/dashboard.mjs` clicks, and says which claims hold.

use std::{process::Stdio, time::Duration};

use local::{Options, workspace_root};
use tokio::{process::Command, time::timeout};

use crate::world::World;

/// Whose mailbox the dashboard shows.
const EMAIL: &str = "browser@example.com";
/// Longest walk through all pages.
const WALK_MAX: Duration = Duration::from_mins(4);

#[tokio::test(flavor = "multi_thread")]
async fn the_dashboard_signs_in_once_syncs_on_a_click_and_shows_hostile_mail_safely() {
    let root = workspace_root();
    let driver = root.join("target/tools/browser");
    // Quick when all is there; else it installs what is missing, or says what to do.
    let installed = Command::new(root.join("infra/local/browser/install.sh"))
        .arg(&driver)
        .output()
        .await
        .expect("install.sh starts");
    assert!(installed.status.success(), "{}", String::from_utf8_lossy(&installed.stderr));

    let world = World::start(Options::default()).await;
    world.create(EMAIL).await;
    for (labels, subject) in [("INBOX", "The first of two"), ("INBOX,UNREAD,CATEGORY_UPDATES", "An invoice")]
    {
        let raw = format!(
            "From: Bob <bob@example.com>\r\nTo: {EMAIL}\r\nSubject: {subject}\r\n\r\nWhat it is about.\r\n"
        );
        world.deliver(EMAIL, labels, raw).await;
    }
    world.connect_and_sync(EMAIL).await;

    let walk = Command::new("node")
        .arg(root.join("infra/local/browser/dashboard.mjs"))
        .env("SIGNIN_LINK", world.system.sign_in_link())
        .env("SIMULATOR_URL", world.system.simulator().url())
        .env("EMAIL", EMAIL)
        .env("DRIVER", &driver)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let walk = timeout(WALK_MAX, walk).await.expect("the walk ends in time").expect("node starts");
    let claims = String::from_utf8_lossy(&walk.stdout);
    eprint!("{claims}");
    assert!(walk.status.success(), "after\n{claims}{}", String::from_utf8_lossy(&walk.stderr));
}
