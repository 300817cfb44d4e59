//! A system of this machine that talks to Google itself, with the simulator where Google is.

use std::net::{Ipv4Addr, TcpListener};

use local::{Gmail, Options, Registration};
use reqwest::Method;

use crate::world::{World, mail};

const ALICE: &str = "alice@example.com";

/// A live system whose endpoints are the simulator's; `more` is set in its environment.
async fn live(more: &[(&str, &str)]) -> World {
    let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let port = free.local_addr().expect("an address").port();
    drop(free);
    let set = [[("GOOGLE_CLIENT_ID", "id"), ("GOOGLE_CLIENT_SECRET", "secret")].as_slice(), more].concat();
    let registration = Registration::from_lookup(|name| {
        set.iter().find(|(given, _)| *given == name).map(|(_, value)| (*value).to_owned())
    });
    let google = format!("http://127.0.0.1:{port}");
    let parameters = [
        ("GmailApiUrl", google.clone()),
        ("GoogleOauthUrl", google.clone()),
        ("GoogleCertsUrl", format!("{google}/oauth2/v3/certs")),
    ];
    let mut world = World::start(Options {
        gmail: Gmail::Live(registration.expect("whole")),
        simulator_port: port,
        parameters: parameters.map(|(name, value)| (name.to_owned(), value)).to_vec(),
        ..Options::default()
    })
    .await;
    world.system.simulator_mut().start_again().await.expect("where Google is");
    world.create(ALICE).await;
    world.deliver(ALICE, "INBOX", mail("hello")).await;
    world
}

#[tokio::test]
async fn live_mode_syncs_and_leaves_watches_and_grants_at_google_alone() {
    let world = live(&[]).await;
    world.connect_and_sync(ALICE).await;
    let gone = world.api(Method::DELETE, &format!("/api/integrations/{ALICE}"), None).await;
    assert_eq!(gone.status, 200, "{gone:?}");
    assert!(gone.body["warnings"][0].as_str().is_some_and(|text| text.contains("alone")), "{gone:?}");
    for method in ["watch", "stop"] {
        assert_eq!(world.calls(ALICE, method).await, 0, "{method}");
    }
    // The grant is as good as before.
    world.connect(ALICE).await;
}

#[tokio::test]
async fn live_mode_watches_when_it_is_told_to() {
    let world = live(&[("WATCH", "yes"), ("GOOGLE_CLOUD_PROJECT_ID", "project")]).await;
    world.connect_and_sync(ALICE).await;
    assert!(world.calls(ALICE, "watch").await >= 1);
    world.api(Method::DELETE, &format!("/api/integrations/{ALICE}"), None).await.ok("let go");
    assert_eq!(world.calls(ALICE, "stop").await, 1);
}
