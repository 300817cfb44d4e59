//! The template's parameters here: only endpoints, credentials and sizes differ from a deployment.
//!
//! Invariant: a system of this machine that talks to Google itself sets no watch, stops none and revokes no grant
//! unless it was told to: the same mailboxes may be a deployed system's, and each of these is theirs too.

use anyhow::{Result, bail};
use secrecy::{ExposeSecret, SecretString};

/// What pushes are addressed to.
pub const PUSH_AUDIENCE: &str = "gmail-sync-local";
/// Who signs pushes.
pub const PUSH_SERVICE_ACCOUNT: &str = "gmail-push@gmail-sync-local.iam.gserviceaccount.com";

/// Whose Gmail a system talks to.
#[derive(Debug, Clone, Default)]
pub enum Gmail {
    /// The simulator.
    #[default]
    Simulated,
    /// Google's, with a registration there.
    Live(Registration),
}

/// Our registration at Google.
#[derive(Debug, Clone)]
pub struct Registration {
    /// OAuth client id.
    pub client_id: String,
    /// OAuth client secret.
    pub client_secret: SecretString,
    /// The Google Cloud project of the topic `gmail-notifications`, when watches are to be set.
    pub watch_in_project: Option<String>,
}

impl Registration {
    /// From the environment: `GOOGLE_CLIENT_ID`, `GOOGLE_CLIENT_SECRET`, and with `WATCH=yes`
    /// `GOOGLE_CLOUD_PROJECT_ID`. Errors name what is missing or wrong.
    pub fn from_lookup(lookup: impl Fn(&str) -> Option<String>) -> Result<Self> {
        let given =
            |name: &str| lookup(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty());
        let (Some(client_id), Some(client_secret)) =
            (given("GOOGLE_CLIENT_ID"), given("GOOGLE_CLIENT_SECRET"))
        else {
            bail!("GMAIL=live needs an OAuth client of yours: set GOOGLE_CLIENT_ID and GOOGLE_CLIENT_SECRET");
        };
        let watch_in_project = match given("WATCH").as_deref() {
            None | Some("no") => None,
            Some("yes") => match given("GOOGLE_CLOUD_PROJECT_ID") {
                Some(project) => Some(project),
                None => bail!("WATCH=yes needs GOOGLE_CLOUD_PROJECT_ID, the project of the Pub/Sub topic"),
            },
            Some(other) => bail!("WATCH: must be yes or no, is {other:?}"),
        };
        Ok(Self { client_id, client_secret: SecretString::from(client_secret), watch_in_project })
    }
}

/// All parameters of a system at `url` whose simulator, if it has one, is at `simulator` and was started with these
/// arguments; `given` wins.
pub fn parameters(
    gmail: &Gmail,
    simulator: &str,
    simulator_arguments: &[String],
    url: &str,
    given: &[(String, String)],
) -> Result<Vec<(String, String)>> {
    let architecture = match std::env::consts::ARCH {
        "aarch64" => "arm64",
        "x86_64" => "x86_64",
        other => bail!("Lambda has no processor like this machine's ({other})"),
    };
    let pages = Pages {
        api: simulator,
        auth: &format!("{simulator}/o/oauth2/v2/auth"),
        certs: &format!("{simulator}/oauth2/v3/certs"),
    };
    let mut parameters: Vec<(String, String)> = [
        ("Architecture", architecture),
        ("PushAudience", PUSH_AUDIENCE),
        ("PushServiceAccount", PUSH_SERVICE_ACCOUNT),
        ("AppBaseUrl", url),
        // A process each, on the few processors of one machine.
        ("SyncConcurrency", "8"),
        ("BackfillConcurrency", "4"),
        ("DeletionProtection", "false"),
    ]
    .into_iter()
    .chain(of_gmail(gmail, pages))
    .chain(of_quota(simulator_arguments))
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .collect();
    for (name, value) in given {
        parameters.retain(|(ours, _)| ours != name);
        parameters.push((name.clone(), value.clone()));
    }
    Ok(parameters)
}

/// Where the simulator has what is Google's.
#[derive(Clone, Copy)]
struct Pages<'a> {
    api: &'a str,
    auth: &'a str,
    certs: &'a str,
}

/// The functions reckon with what the simulator grants.
fn of_quota(simulator_arguments: &[String]) -> Vec<(&'static str, &'static str)> {
    const BOUNDLESS: &str = "100000000";
    let mut after = simulator_arguments.iter().skip_while(|argument| *argument != "--quota").skip(1);
    match after.next().map(String::as_str) {
        Some("off") => vec![
            ("QuotaUserMinute", BOUNDLESS),
            ("QuotaProjectMinute", BOUNDLESS),
            ("QuotaProjectDay", "100000000000"),
        ],
        Some("legacy") => vec![("QuotaRegime", "legacy")],
        _ => Vec::new(),
    }
}

fn of_gmail<'a>(gmail: &'a Gmail, simulator: Pages<'a>) -> Vec<(&'static str, &'a str)> {
    match gmail {
        Gmail::Simulated => vec![
            ("GoogleClientId", "local"),
            ("GoogleClientSecret", "local"),
            ("GoogleCloudProjectId", "gmail-sync-local"),
            ("GmailApiUrl", simulator.api),
            ("GoogleOauthUrl", simulator.api),
            ("GoogleAuthUrl", simulator.auth),
            ("GoogleCertsUrl", simulator.certs),
        ],
        // Endpoints as in the template: Google's.
        Gmail::Live(registration) => vec![
            ("GoogleClientId", &registration.client_id),
            ("GoogleClientSecret", registration.client_secret.expose_secret()),
            ("GoogleCloudProjectId", registration.watch_in_project.as_deref().unwrap_or_default()),
            ("Watch", if registration.watch_in_project.is_some() { "yes" } else { "no" }),
        ],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn registration(pairs: &[(&str, &str)]) -> Result<Registration> {
        Registration::from_lookup(|name| {
            pairs.iter().find(|(given, _)| *given == name).map(|(_, value)| (*value).to_owned())
        })
    }

    fn value(parameters: &[(String, String)], name: &str) -> Option<String> {
        parameters.iter().find(|(given, _)| given == name).map(|(_, value)| value.clone())
    }

    #[test]
    fn the_functions_reckon_with_the_simulators_quota() {
        let minute = |arguments: &[&str]| {
            let arguments: Vec<String> = arguments.iter().map(|&argument| argument.to_owned()).collect();
            let all =
                parameters(&Gmail::Simulated, "http://127.0.0.1:1", &arguments, "http://localhost:2", &[]);
            let all = all.expect("parameters");
            (value(&all, "QuotaUserMinute"), value(&all, "QuotaRegime"))
        };
        assert_eq!(minute(&["--seed", "1"]), (None, None), "as the template has it");
        assert_eq!(minute(&["--quota", "legacy"]).1.as_deref(), Some("legacy"));
        assert!(minute(&["--latency-ms", "60", "--quota", "off"]).0.is_some());
    }

    #[test]
    fn live_mode_goes_to_google_and_watches_nothing_unless_told() {
        let client = [("GOOGLE_CLIENT_ID", "id"), ("GOOGLE_CLIENT_SECRET", "secret")];
        let gmail = Gmail::Live(registration(&client).expect("whole"));
        let live =
            parameters(&gmail, "http://127.0.0.1:1", &[], "http://localhost:2", &[]).expect("parameters");
        assert_eq!(value(&live, "Watch").as_deref(), Some("no"));
        assert_eq!(value(&live, "GoogleCloudProjectId").as_deref(), Some(""));
        for endpoint in ["GmailApiUrl", "GoogleOauthUrl", "GoogleAuthUrl", "GoogleCertsUrl"] {
            assert_eq!(value(&live, endpoint), None, "the template's own, which is Google's");
        }
        let told = [client.as_slice(), &[("WATCH", "yes"), ("GOOGLE_CLOUD_PROJECT_ID", "p")]].concat();
        let gmail = Gmail::Live(registration(&told).expect("whole"));
        let live =
            parameters(&gmail, "http://127.0.0.1:1", &[], "http://localhost:2", &[]).expect("parameters");
        assert_eq!(value(&live, "Watch").as_deref(), Some("yes"));
        assert_eq!(value(&live, "GoogleCloudProjectId").as_deref(), Some("p"));
    }

    #[test]
    fn what_live_mode_lacks_is_named() {
        let complaint = |pairs: &[(&str, &str)]| registration(pairs).expect_err("refused").to_string();
        assert!(complaint(&[("GOOGLE_CLIENT_ID", "id")]).contains("GOOGLE_CLIENT_SECRET"));
        let client = [("GOOGLE_CLIENT_ID", "id"), ("GOOGLE_CLIENT_SECRET", "s")];
        assert!(
            complaint(&[client.as_slice(), &[("WATCH", "yes")]].concat()).contains("GOOGLE_CLOUD_PROJECT_ID")
        );
        assert!(complaint(&[client.as_slice(), &[("WATCH", "1")]].concat()).starts_with("WATCH: must be"));
    }
}
