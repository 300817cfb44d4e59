//! Service accounts, against the simulator, which checks signatures, times and delegation.

use std::process::Command;

use gmail_sim::{Options, Server};
use jiff::{SignedDuration, Timestamp};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};
use sync_core::Disposition;
use sync_gmail::{Endpoint, GmailClient, GmailConfig, GmailError, KeyField, ServiceAccount};

const ROBOT: &str = "robot@project.iam.gserviceaccount.com";
const ALICE: &str = "alice@example.com";

struct World {
    sim: Server,
    client: GmailClient,
    file: Value,
}

impl World {
    async fn new() -> Self {
        let sim = Server::start(Options::default()).await.expect("the simulator");
        sim.create_mailbox(ALICE).expect("a mailbox");
        let file = sim.service_account(ROBOT).expect("a key file");
        let endpoint = Endpoint::parse(&sim.url()).expect("loopback");
        let client = GmailClient::new(GmailConfig::new(endpoint.clone(), endpoint)).expect("a client");
        Self { sim, client, file }
    }

    fn key(&self) -> String {
        self.file["private_key"].as_str().expect("a key").to_owned()
    }

    async fn assert(&self, account: &ServiceAccount) -> Result<String, GmailError> {
        let token = self.client.assert(account, Timestamp::now()).await?;
        assert!(token.reads_mail() && token.is_usable(Timestamp::now() + SignedDuration::from_mins(50)));
        Ok(self.client.profile(&token).await?.address.as_str().to_owned())
    }
}

fn parse(account: Option<&str>, key: &str, user: &str) -> Result<ServiceAccount, Vec<KeyField>> {
    let parsed = ServiceAccount::parse(account, Some(&SecretString::from(key)), Some(user));
    parsed.map_err(|problems| problems.into_iter().map(|problem| problem.field).collect())
}

/// The same key as PKCS#1, which older tools write.
fn as_pkcs1(pem: &str) -> String {
    let folder = std::env::temp_dir().join(format!("gmail-sync-key-{}", std::process::id()));
    std::fs::write(&folder, pem).expect("written");
    let made = Command::new("openssl").args(["rsa", "-traditional", "-in"]).arg(&folder).output();
    std::fs::remove_file(&folder).expect("removed");
    String::from_utf8(made.expect("openssl").stdout).expect("text")
}

#[tokio::test]
async fn a_key_in_any_of_its_forms_opens_the_users_mailbox() {
    let world = World::new().await;
    let key = world.key();
    let pkcs1 = as_pkcs1(&key);
    assert!(pkcs1.contains("BEGIN RSA PRIVATE KEY"), "openssl makes the other form");
    for (account, key) in [
        (Some(ROBOT), key.clone()),
        (Some(ROBOT), pkcs1),
        (Some(ROBOT), key.replace('\n', "\\n")),
        (None, world.file.to_string()),
        (Some(ROBOT), format!("\n{}\n", world.file)),
    ] {
        let account = parse(account, &key, ALICE).expect("a service account");
        assert_eq!(world.assert(&account).await.expect("a token"), ALICE);
        // As it comes back from the vault.
        let kept = ServiceAccount::from_secret(&account.to_secret()).expect("its own form");
        assert_eq!(world.assert(&kept).await.expect("a token"), ALICE);
    }
    assert!(ServiceAccount::from_secret(&"1//a-refresh-token".into()).is_none());
}

#[tokio::test]
async fn what_is_wrong_is_named_and_nothing_of_it_is_shown() {
    let world = World::new().await;
    let (key, file) = (world.key(), world.file.clone());
    let check = |account, key: &str, user, fields: &[KeyField]| {
        assert_eq!(parse(account, key, user).err().as_deref(), Some(fields), "{account:?} {user}");
    };
    let (account, user) = (Some(ROBOT), ALICE);
    for bad in ["", "nonsense", "-----BEGIN PRIVATE KEY-----", "{", "{}", "[]", "\u{0}", &"x".repeat(20_000)]
    {
        check(account, bad, user, &[KeyField::Key]);
    }
    check(account, &key.replacen("MII", "AAA", 1), user, &[KeyField::Key]);
    check(account, &key[..key.len() / 2], user, &[KeyField::Key]);
    check(account, &with(&file, "type", "authorized_user"), user, &[KeyField::Key]);
    check(account, &with(&file, "private_key", "nonsense"), user, &[KeyField::Key]);
    check(Some("other@project.iam.gserviceaccount.com"), &file.to_string(), user, &[KeyField::Account]);
    check(None, &key, user, &[KeyField::Account]);
    check(Some("robot"), &key, "alice", &[KeyField::User, KeyField::Account]);
    let nothing = ServiceAccount::parse(None, None, None).err().expect("refused");
    assert_eq!(nothing.len(), 3, "all at once");
}

fn with(file: &Value, name: &str, value: &str) -> String {
    let mut file = file.clone();
    file[name] = json!(value);
    file.to_string()
}

#[tokio::test]
async fn a_key_that_is_gone_needs_another_and_a_missing_delegation_an_administrator() {
    let world = World::new().await;
    let account = parse(None, &world.file.to_string(), ALICE).expect("a service account");
    // The simulator keeps an account's ten newest keys.
    for _ in 0..10 {
        world.sim.service_account(ROBOT).expect("another key");
    }
    let error = world.assert(&account).await.expect_err("its key is gone");
    assert_eq!((&error, error.disposition()), (&GmailError::KeyRefused, Disposition::NeedsReauth));
    let stranger = parse(None, &world.file.to_string(), "nobody@example.com").expect("a service account");
    assert_eq!(world.assert(&stranger).await, Err(GmailError::KeyRefused));

    let account = world.sim.service_account("new@project.iam.gserviceaccount.com").expect("a key file");
    let account = parse(None, &account.to_string(), ALICE).expect("a service account");
    assert!(world.assert(&account).await.is_ok());
    world.sim.revoke(ALICE);
    let error = world.assert(&account).await.expect_err("no delegation any more");
    assert_eq!((&error, error.disposition()), (&GmailError::DelegationRefused, Disposition::NeedsAttention));
    assert!(!error.to_string().contains("alice") && !account.to_secret().expose_secret().is_empty());
}
