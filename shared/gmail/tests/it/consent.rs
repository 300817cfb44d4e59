//! Consent, against the simulator: its page answers at once when it is told to.

use gmail_sim::{Options, Server};
use jiff::Timestamp;
use secrecy::{ExposeSecret as _, SecretString};
use sync_gmail::{
    AccessToken, ClientCredentials, Consent, Consented, Endpoint, GmailClient, GmailConfig, GmailError,
};
use url::Url;

const REDIRECT: &str = "http://localhost:8080/gmail/auth/callback";
const ALICE: &str = "alice@example.com";

struct World {
    sim: Server,
    client: GmailClient,
    credentials: ClientCredentials,
    verifier: SecretString,
}

impl World {
    async fn new() -> Self {
        let sim = Server::start(Options::default()).await.expect("the simulator");
        sim.create_mailbox(ALICE).expect("a mailbox");
        let endpoint = Endpoint::parse(&sim.url()).expect("loopback");
        let client = GmailClient::new(GmailConfig::new(endpoint.clone(), endpoint)).expect("a client");
        let credentials =
            ClientCredentials { client_id: "id.example".into(), client_secret: "client-secret".into() };
        Self { sim, client, credentials, verifier: "v".repeat(43).into() }
    }

    fn consent(&self) -> Consent<'_> {
        Consent { redirect_uri: REDIRECT, verifier: &self.verifier }
    }

    fn url(&self, hint: Option<&str>) -> Url {
        let page = Endpoint::parse(&format!("{}/o/oauth2/v2/auth", self.sim.url())).expect("loopback");
        self.consent().url(&page, &self.credentials, &"the-state".into(), hint).expect("an address")
    }

    /// What a person's click sends the browser to.
    async fn click(&self, more: &str) -> Url {
        let browser = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .build()
            .expect("a browser");
        let page = format!("{}{more}", self.url(Some(ALICE)));
        let answer = browser.get(page).send().await.expect("an answer");
        let location = answer.headers()["location"].to_str().expect("text").to_owned();
        location.parse().expect("an address")
    }

    async fn redeem(&self, code: &str) -> Result<Consented, GmailError> {
        self.client.redeem(&code.into(), &self.consent(), &self.credentials, Timestamp::now()).await
    }
}

fn parameter(url: &Url, name: &str) -> Option<String> {
    url.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
}

#[tokio::test]
async fn the_page_is_asked_for_one_scope_offline_with_a_hashed_challenge_and_no_secret() {
    let world = World::new().await;
    let url = world.url(Some(ALICE));
    for (name, value) in [
        ("response_type", "code"),
        ("client_id", "id.example"),
        ("redirect_uri", REDIRECT),
        ("scope", "https://www.googleapis.com/auth/gmail.readonly"),
        ("state", "the-state"),
        ("access_type", "offline"),
        ("prompt", "consent"),
        ("code_challenge_method", "S256"),
        ("login_hint", ALICE),
    ] {
        assert_eq!(parameter(&url, name).as_deref(), Some(value), "{name}");
    }
    assert_eq!(parameter(&url, "include_granted_scopes"), None, "an earlier gmail.metadata would poison it");
    let text = url.as_str();
    assert!(!text.contains(world.verifier.expose_secret()) && !text.contains("client-secret"), "{text}");
}

#[tokio::test]
async fn a_code_becomes_a_grant_once_and_only_with_its_verifier() {
    let world = World::new().await;
    let back = world.click("&sim_approve=1").await;
    assert_eq!(parameter(&back, "state").as_deref(), Some("the-state"));
    let code = parameter(&back, "code").expect("a code");
    let consented = world.redeem(&code).await.expect("a grant");
    assert!(consented.access.reads_mail());
    let account = world.client.profile(&consented.access).await.expect("a profile");
    assert_eq!(account.address.as_str(), ALICE);
    let refresh_token = consented.refresh_token.expect("a refresh token");
    world.client.refresh(&refresh_token, &world.credentials, Timestamp::now()).await.expect("a token");

    assert_eq!(world.redeem(&code).await.err(), Some(GmailError::GrantRevoked), "used");
    let code = parameter(&world.click("&sim_approve=1").await, "code").expect("a code").into();
    let other: SecretString = "w".repeat(43).into();
    let consent = Consent { verifier: &other, ..world.consent() };
    let stolen = world.client.redeem(&code, &consent, &world.credentials, Timestamp::now());
    assert_eq!(stolen.await.err(), Some(GmailError::GrantRevoked), "whoever saw the code has no verifier");
}

#[tokio::test]
async fn no_is_an_error_in_the_address_and_no_code() {
    let world = World::new().await;
    let back = world.click("&sim_deny=1").await;
    assert_eq!(parameter(&back, "error").as_deref(), Some("access_denied"));
    assert_eq!(parameter(&back, "code"), None);
}

#[test]
fn what_lets_mail_be_read_is_told_from_what_does_not() {
    let reads = |scopes: Option<&[&str]>| {
        let scopes = scopes.map(|scopes| scopes.iter().map(|scope| (*scope).to_owned()).collect());
        AccessToken { token: "x".into(), expires_at: Timestamp::MAX, scopes }.reads_mail()
    };
    let gmail = "https://www.googleapis.com/auth/gmail";
    assert!(reads(None), "what was asked for is granted when nothing is said");
    for good in [format!("{gmail}.readonly"), format!("{gmail}.modify"), "https://mail.google.com/".into()] {
        assert!(reads(Some(&["openid", &good])), "{good}");
    }
    for bad in [format!("{gmail}.metadata"), format!("{gmail}.send"), format!("{gmail}.readonly2")] {
        assert!(!reads(Some(&[&bad])), "{bad}");
    }
    assert!(!reads(Some(&[])));
}
