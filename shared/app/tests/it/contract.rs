//! The store's contract, told to the live world's own store side: DynamoDB and S3 as the emulator has them, and AWS's own
//! DynamoDB Local where it is present. The simulated store keeps the same one (`infra/prove/src/contract`).

use prove::contract::{Bench, Deed, tell_all};
use secrecy::SecretString;
use sync_app::live::store::StoreSide;
use sync_core::{
    MailboxId, Timestamp,
    job::Trigger,
    sync::{Effect, Event, Happened, Observed, Seen},
};
use sync_store::{CredentialKind, NewCredential, NewMailbox, NewRequest, Store};
use testkit::{DynamoDbLocal, MiniStack};

use crate::api::world::{self, tenant};

/// One mailbox, and one worker who visits it.
struct Live {
    store: Store,
    mailbox: MailboxId,
    side: StoreSide,
    credential: Option<u64>,
    now: Timestamp,
}

impl Live {
    async fn fresh(store: &Store) -> Self {
        let address = format!("{}@example.com", uuid::Uuid::new_v4().simple());
        let (address, now) = (address.parse().expect("an address"), Timestamp::UNIX_EPOCH);
        let new = NewMailbox { tenant: tenant("ten_a"), address, now };
        let mailbox = store.create_mailbox(&new).await.expect("created").mailbox().clone();
        let side = StoreSide::new(store.clone(), mailbox.clone(), "contract".to_owned());
        let live = Self { store: store.clone(), mailbox, side, credential: None, now };
        live.grant().await;
        live
    }

    async fn grant(&self) {
        let credential = NewCredential {
            kind: CredentialKind::Oauth,
            refresh_token: SecretString::from("refresh"),
            access_token: None,
            expires_at: None,
            scopes: Vec::new(),
        };
        self.store.save_credential(&self.mailbox, &credential, self.now).await.expect("saved");
    }
}

impl sync_core::sync::World for Live {
    async fn perform(&mut self, effect: Effect) -> Observed {
        let seen = self.side.carry_out(effect, self.credential, self.now).await;
        Observed { now: self.now, seen: seen.unwrap_or_else(Seen::Failed) }
    }
}

impl Bench for Live {
    fn set_time(&mut self, now: Timestamp) {
        self.now = now;
    }

    fn use_grant(&mut self, version: u64) {
        self.credential = Some(version);
    }

    async fn outside(&mut self, deed: Deed) {
        let (store, mailbox, now) = (&self.store, &self.mailbox, self.now);
        match deed {
            Deed::Ask => store.ask(mailbox, now).await.expect("asked"),
            Deed::Request(kind, options) => {
                let request = NewRequest { options, ..NewRequest::new(kind, Trigger::Manual) };
                store.create_request(mailbox, &request, now).await.expect("requested");
            }
            Deed::Unlock => store.unlock(mailbox, now).await.expect("unlocked"),
            Deed::NewGrant => self.grant().await,
            Deed::SetScope(scope) => {
                store.set_scope(mailbox, &scope, Trigger::Manual, now).await.expect("set");
            }
            Deed::Announce => {
                store.announce(mailbox, &Happened::NeedsReauth, now).await.expect("announced");
            }
        }
    }

    async fn events(&mut self, after: u64) -> Vec<Event> {
        let read = self.store.read_events(&self.mailbox, after, 500, self.now).await.expect("read");
        read.events.into_iter().map(|event| Event { seq: event.seq, what: event.what }).collect()
    }
}

/// The store of a fresh emulator, its table in DynamoDB Local when that is what this run is about.
async fn store(stack: &MiniStack) -> Store {
    let unique = uuid::Uuid::new_v4().simple().to_string();
    let store = world::store(&world::sdk(stack.endpoint()).await, &unique).await;
    let Some(endpoint) = DynamoDbLocal::endpoint_under_test() else { return store };
    let sdk = world::sdk(&endpoint).await;
    world::create_table(&sdk, &format!("table-{unique}")).await;
    store.with_dynamo(&aws_sdk_dynamodb::Client::new(&sdk))
}

#[tokio::test]
async fn the_store_of_production_keeps_the_contract() {
    let stack = MiniStack::start().expect("an emulator: run `make tools`");
    let store = store(&stack).await;
    let told = tell_all(|| Live::fresh(&store)).await;
    let broken: Vec<String> = told
        .iter()
        .filter_map(|(name, told)| told.as_ref().err().map(|breach| format!("{name}: {breach}")))
        .collect();
    assert!(broken.is_empty(), "{broken:#?}");
    assert!(told.len() > 20, "every story was told");
}

#[test]
fn the_store_of_production_keeps_the_contract_on_dynamodb_local() {
    if DynamoDbLocal::endpoint_under_test().is_some() {
        return;
    }
    match DynamoDbLocal::run_tests_again("the_store_of_production_keeps", &[]).expect("started") {
        Ok(passed) => assert!(passed, "DynamoDB Local is of another opinion: see above"),
        Err(missing) => eprintln!("skipped: the contract on DynamoDB Local, because {missing}"),
    }
}
