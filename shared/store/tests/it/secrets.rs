//! Credentials, tenants, tokens: what is stored, and that no secret is in it.

use secrecy::{ExposeSecret, SecretString};
use sync_core::{Timestamp, state::Status};
use sync_store::{
    Claimed, Credential, CredentialKind, DUE_SHARDS, EncryptionKey, NewCredential, Scope, Store, StoreConfig,
    StoreError, TenantRow, TokenKind, TokenRow,
};

use crate::fixture::{World, at};

fn credential(refresh_token: &str) -> NewCredential {
    NewCredential {
        kind: CredentialKind::Oauth,
        secret: refresh_token.into(),
        access_token: Some("ya29.access".into()),
        expires_at: Some(at(3_600)),
        scopes: vec!["gmail.readonly".to_owned()],
    }
}

#[tokio::test]
async fn a_credential_is_read_back_and_the_table_holds_no_plaintext() {
    let world = World::new().await;
    let mailbox = world.mailbox().await;
    assert!(world.store.read_credential(&mailbox).await.expect("read").is_none());
    let version =
        world.store.save_credential(&mailbox, &credential("1//refresh"), at(1)).await.expect("saved");
    let read = world.store.read_credential(&mailbox).await.expect("read").expect("there");
    assert_eq!(read.secret.expose_secret(), "1//refresh");
    assert_eq!(read.access_token.expect("there").expose_secret(), "ya29.access");
    assert_eq!((read.version, read.expires_at, read.scopes.len()), (version, Some(at(3_600)), 1));
    assert_eq!(world.sync(&mailbox).await.credential_version, version);

    let raw = world.raw(&format!("M#{mailbox}"), "CRED").await.expect("there");
    let text = format!("{raw:?}");
    // `Debug` shows bytes as numbers, so look for those too.
    let bytes = format!("{:?}", b"1//refresh").trim_matches(['[', ']']).to_owned();
    assert!(!text.contains("1//refresh") && !text.contains("ya29") && !text.contains(&bytes), "{text}");
}

#[tokio::test]
async fn a_ciphertext_moved_to_another_mailbox_does_not_open() {
    let world = World::new().await;
    let alice = world.mailbox().await;
    let mallory = world.mailbox_named("mallory@example.com").await;
    world.store.save_credential(&alice, &credential("1//alice"), at(1)).await.expect("saved");
    let mut stolen = world.raw(&format!("M#{alice}"), "CRED").await.expect("there");
    stolen.insert("pk".to_owned(), aws_sdk_dynamodb::types::AttributeValue::S(format!("M#{mallory}")));
    let put = world.dynamo.put_item().table_name(&world.config.table).set_item(Some(stolen));
    put.send().await.expect("put");
    let error = world.store.read_credential(&mallory).await.err().expect("refused");
    assert!(matches!(error, StoreError::Vault(_)), "{error}");
}

#[tokio::test]
async fn an_access_token_of_an_old_grant_is_not_saved() {
    let world = World::new().await;
    let mailbox = world.mailbox().await;
    let old = world.store.save_credential(&mailbox, &credential("old"), at(1)).await.expect("saved");
    let new = world.store.save_credential(&mailbox, &credential("new"), at(2)).await.expect("saved");
    assert_eq!(new, old + 1);
    let token: SecretString = "fresh".into();
    let save = async |read: Credential| {
        world.store.save_access_token(&mailbox, &read, &token, at(9), at(3)).await.expect("answered")
    };
    let read = world.store.read_credential(&mailbox).await.expect("read").expect("there");
    assert!(!save(Credential { version: old, ..read.clone() }).await);
    assert!(!world.store.refuse_credential(&mailbox, old, at(3)).await.expect("answered"), "nor its refusal");
    assert!(save(read).await);
    let read = world.store.read_credential(&mailbox).await.expect("read").expect("there");
    assert_eq!(read.access_token.expect("there").expose_secret(), "fresh");
    assert_eq!((read.secret.expose_secret(), read.expires_at), ("new", Some(at(9))));
}

#[tokio::test]
async fn a_new_grant_wakes_a_mailbox_that_needed_it() {
    let world = World::new().await;
    let mailbox = world.mailbox().await;
    world.store.set_status(&mailbox, Status::NeedsReauth, at(1)).await.expect("set");
    world.store.save_credential(&mailbox, &credential("new"), at(2)).await.expect("saved");
    let sync = world.sync(&mailbox).await;
    assert_eq!((sync.status, sync.due_at, sync.asked), (Status::Active, Some(at(2)), 2));
}

#[tokio::test]
async fn of_all_who_read_a_credential_one_may_refresh_it_and_none_who_read_it_before_the_last_refresh() {
    let world = World::new().await;
    let mailbox = world.mailbox().await;
    world.store.save_credential(&mailbox, &credential("1//one"), at(1)).await.expect("saved");
    let read = world.store.read_credential(&mailbox).await.expect("read").expect("there");
    let claim = async |read: &Credential, now| {
        world.store.claim_refresh(&mailbox, read, at(now + 10), at(now)).await.expect("answered")
    };
    let Claimed::Ours(first) = claim(&read, 2).await else { panic!("it is free") };
    assert_eq!(claim(&read, 3).await, Claimed::Held(at(12)));
    assert!(matches!(claim(&read, 13).await, Claimed::Ours(_)), "it has lapsed");
    world.store.release_refresh(&mailbox, &first).await.expect("answered");
    assert_eq!(claim(&read, 14).await, Claimed::Held(at(23)), "who came too late frees nobody else's");
    assert!(
        world
            .store
            .save_access_token(&mailbox, &read, &"fresh".into(), at(3_700), at(15))
            .await
            .expect("saved")
    );
    assert_eq!(claim(&read, 40).await, Claimed::Changed, "it was refreshed since");
    let read = world.store.read_credential(&mailbox).await.expect("read").expect("there");
    assert_eq!((read.refreshes, read.refreshed_at), (1, Some(at(15))));
    assert!(matches!(claim(&read, 40).await, Claimed::Ours(_)));
}

#[tokio::test]
async fn every_credential_is_in_the_index_by_when_its_token_lapses() {
    let world = World::new().await;
    let mailbox = world.mailbox().await;
    world.store.save_credential(&mailbox, &credential("1//one"), at(1)).await.expect("saved");
    let lapsing = async |until: Timestamp| {
        let mut found = Vec::new();
        for shard in 0..DUE_SHARDS {
            found.extend(world.store.lapsing(until, shard, None).await.expect("read").items);
        }
        found
    };
    assert!(lapsing(at(3_599)).await.is_empty());
    assert_eq!(lapsing(at(3_600)).await, std::slice::from_ref(&mailbox));
    for shard in 0..DUE_SHARDS {
        let due = world.store.due(at(9_999), shard, None).await.expect("read").items;
        assert!(due.is_empty(), "the fan-out does not take it for a mailbox that is due");
    }
    assert!(world.store.refuse_credential(&mailbox, 1, at(2)).await.expect("noted"));
    assert!(lapsing(at(9_999)).await.is_empty(), "nobody refreshes it");
    let far = Timestamp::from_millisecond(9_999_999_999_999).expect("a time");
    assert_eq!(lapsing(far).await, std::slice::from_ref(&mailbox), "a key rotation finds it");
    world.store.deactivate_mailbox(&mailbox, at(3)).await.expect("let go");
    assert!(lapsing(far).await.is_empty());
}

#[tokio::test]
async fn a_rotated_key_is_found_without_waiting_for_the_cache() {
    let world = World::new().await;
    let mailbox = world.mailbox().await;
    world.store.save_credential(&mailbox, &credential("1//one"), at(1)).await.expect("saved");
    let rotated = r#"{"current":"k2","k1":"0123456789abcdef0123456789abcdef","k2":"another text of a key"}"#;
    let secrets = aws_sdk_secretsmanager::Client::new(&world.sdk);
    let put = secrets.put_secret_value().secret_id(&world.config.encryption_secret_id).secret_string(rotated);
    put.send().await.expect("rotated");
    // Another instance, which has seen the rotation.
    let other = world.store_behind(&world.table_endpoint);
    other.save_credential(&mailbox, &credential("1//two"), at(2)).await.expect("saved");
    let read = world.store.read_credential(&mailbox).await.expect("read").expect("there");
    assert_eq!(read.secret.expose_secret(), "1//two");
    let config = StoreConfig { encryption_secret_id: "none".to_owned(), ..world.config.clone() };
    let keyless = Store::new(&world.sdk, config).with_dynamo(&world.dynamo);
    let error = keyless.read_credential(&mailbox).await.err().expect("no keys");
    assert!(error.to_string().contains("encryption keys"), "{error}");
}

fn token(kind: TokenKind, expires_at: Option<Timestamp>) -> TokenRow {
    TokenRow {
        tenant: "ten_1".parse().expect("an id"),
        scopes: vec![Scope::Read, Scope::Admin],
        name: "test".to_owned(),
        kind,
        expires_at,
    }
}

#[tokio::test]
async fn a_token_is_found_by_itself_until_it_lapses_and_is_not_in_the_table() {
    let world = World::new().await;
    let row = token(TokenKind::Api, Some(at(100)));
    let raw = world.store.create_token(&row, at(0)).await.expect("made");
    assert!(raw.expose_secret().starts_with("gst_") && raw.expose_secret().len() == 47);
    assert_eq!(world.store.find_token(&raw, at(99)).await.expect("read"), Some(row));
    assert_eq!(world.store.find_token(&raw, at(100)).await.expect("read"), None);
    for wrong in ["", "gst_", "Bearer x", "gst_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"] {
        assert_eq!(world.store.find_token(&wrong.into(), at(0)).await.expect("read"), None);
    }
    let all = world.dynamo.scan().table_name(&world.config.table).send().await.expect("read");
    assert!(!format!("{all:?}").contains(&raw.expose_secret()[4..]), "only its hash is stored");
    world.store.delete_token(&raw).await.expect("deleted");
    assert_eq!(world.store.find_token(&raw, at(0)).await.expect("read"), None);
}

#[tokio::test]
async fn a_signin_code_works_once_and_is_no_token() {
    let world = World::new().await;
    let row = token(TokenKind::SigninCode, Some(at(100)));
    let code = world.store.create_token(&row, at(0)).await.expect("made");
    assert_eq!(world.store.find_token(&code, at(1)).await.expect("read"), None);
    let (one, two) = tokio::join!(
        world.store.consume_signin_code(&code, at(1)),
        world.store.consume_signin_code(&code, at(1)),
    );
    let given: Vec<TokenRow> = [one, two].into_iter().filter_map(|given| given.expect("answered")).collect();
    assert_eq!(given, std::slice::from_ref(&row));
    let late = world.store.create_token(&row, at(0)).await.expect("made");
    assert_eq!(world.store.consume_signin_code(&late, at(100)).await.expect("answered"), None, "lapsed");
    let api = world.store.create_token(&token(TokenKind::Api, None), at(0)).await.expect("made");
    assert_eq!(world.store.consume_signin_code(&api, at(1)).await.expect("answered"), None);
    assert!(world.store.find_token(&api, at(1)).await.expect("read").is_some(), "a token is not used up");
}

#[tokio::test]
async fn a_tenant_is_made_once() {
    let world = World::new().await;
    let tenant = TenantRow { id: "acme".parse().expect("an id"), name: "Acme".to_owned(), created_at: at(0) };
    assert!(world.store.create_tenant(&tenant).await.expect("answered"));
    let other = TenantRow { name: "Other".to_owned(), ..tenant.clone() };
    assert!(!world.store.create_tenant(&other).await.expect("answered"));
    assert_eq!(world.store.read_tenant(&tenant.id).await.expect("read"), Some(tenant));
}

#[tokio::test]
async fn with_a_key_that_is_given_no_secret_is_needed_and_no_other_key_opens_what_it_sealed() {
    let world = World::new().await;
    let mailbox = world.mailbox().await;
    let config = StoreConfig { encryption_secret_id: "there is none".to_owned(), ..world.config.clone() };
    let key = |text: &str| EncryptionKey::from_base64(text).expect("32 bytes");
    let with =
        |key| Store::new(&world.sdk, config.clone()).with_dynamo(&world.dynamo).with_encryption_key(key);
    let store = with(key("AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="));
    store.save_credential(&mailbox, &credential("1//local"), at(1)).await.expect("saved");
    let read = store.read_credential(&mailbox).await.expect("read").expect("there");
    assert_eq!(read.secret.expose_secret(), "1//local");
    assert!(store.health().await.iter().all(|check| check.result.is_ok()), "nothing is missing");
    let other = with(key("HwECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHgA="));
    assert!(matches!(other.read_credential(&mailbox).await, Err(StoreError::Vault(_))));
    assert!(matches!(world.store.read_credential(&mailbox).await, Err(StoreError::Vault(_))));
}
