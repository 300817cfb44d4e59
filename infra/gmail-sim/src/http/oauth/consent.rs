//! `/o/oauth2/v2/auth`: a page that asks, or with `sim_approve=1` the redirect at once.
//!
//! The user may leave scopes out (`sim_scope`, once for each that is granted), as Google's page allows. What Google
//! shows and this page does not: sign-in, warnings about unverified clients.

use std::sync::Arc;

use super::Form;
use crate::http::escape;
use crate::http::keys::secret;
use crate::http::serve::{Call, Reply};
use crate::http::state::{Shared, lock};
use crate::http::tokens::{CODE_MS, Code, Grant};

const REQUIRED: [&str; 4] = ["client_id", "redirect_uri", "response_type", "scope"];

fn page(status: u16, body: String) -> Reply {
    let headers = vec![("Content-Type".to_owned(), "text/html; charset=utf-8".to_owned())];
    Reply { status, headers, body: body.into() }
}

fn refused(error: &str, text: &str) -> Reply {
    page(400, format!("<h1>Error 400: {error}</h1><p>{}</p>", escape(text)))
}

/// Answers the browser.
pub(crate) fn answer(shared: &Arc<Shared>, call: &Call) -> Reply {
    let form = Form(call.query.clone());
    if let Some(missing) = REQUIRED.into_iter().find(|name| form.get(name).is_none()) {
        return refused("invalid_request", &format!("Missing required parameter: {missing}"));
    }
    if form.get("code_challenge_method").is_some_and(|method| !matches!(method, "S256" | "plain")) {
        return refused("invalid_request", "Invalid code_challenge_method");
    }
    let redirect = form.get("redirect_uri").and_then(|uri| url::Url::parse(uri).ok());
    let Some(mut redirect) = redirect.filter(|uri| matches!(uri.scheme(), "http" | "https")) else {
        return refused("redirect_uri_mismatch", "redirect_uri must be an http address");
    };
    let email = form.get("sim_user").or(form.get("login_hint")).map(str::to_owned);
    let email = email.or_else(|| shared.emails().into_iter().next());
    let account = email.and_then(|email| shared.account(&email));
    let granted = granted(&form);
    let pairs: Vec<(&str, String)> = if form.get("response_type") != Some("code") {
        vec![("error", "unsupported_response_type".to_owned())]
    } else if form.get("sim_deny").is_some() {
        vec![("error", "access_denied".to_owned())]
    } else if form.get("sim_approve") != Some("1") {
        return page(200, consent_page(shared, &form, call));
    } else if granted.is_empty() {
        vec![("error", "access_denied".to_owned())]
    } else {
        let Some(account) = account else {
            return page(400, "<h1>No such mailbox</h1><p>Name one with login_hint.</p>".to_owned());
        };
        match approve(shared, &form, &account.email, granted) {
            Ok((code, scopes)) => vec![("code", code), ("scope", scopes.join(" "))],
            Err(_) => vec![("error", "server_error".to_owned())],
        }
    };
    for (name, value) in pairs {
        redirect.query_pairs_mut().append_pair(name, &value);
    }
    if let Some(state) = form.get("state") {
        redirect.query_pairs_mut().append_pair("state", state);
    }
    let headers = vec![("Location".to_owned(), redirect.to_string())];
    Reply { status: 302, headers, body: bytes::Bytes::new() }
}

fn asked(form: &Form) -> Vec<String> {
    form.get("scope").unwrap_or_default().split_whitespace().map(str::to_owned).collect()
}

/// Everything that is asked for, or what of it the user left ticked.
fn granted(form: &Form) -> Vec<String> {
    let ticked: Vec<&str> = form
        .0
        .iter()
        .filter(|(name, _)| name == "sim_scope")
        .flat_map(|(_, value)| value.split_whitespace())
        .collect();
    let chosen = form.get("sim_chosen").is_some() || !ticked.is_empty();
    asked(form).into_iter().filter(|scope| !chosen || ticked.contains(&scope.as_str())).collect()
}

fn approve(
    shared: &Shared,
    form: &Form,
    email: &str,
    scopes: Vec<String>,
) -> anyhow::Result<(String, Vec<String>)> {
    let text = |name: &str| form.get(name).unwrap_or_default().to_owned();
    let mut grant = Grant { email: email.to_owned(), client: text("client_id"), scopes };
    let code = format!("4/0{}", secret()?);
    let mut tokens = lock(&shared.tokens);
    let all = tokens.consent(&grant);
    if form.get("include_granted_scopes") == Some("true") {
        grant.scopes = all;
    }
    let scopes = grant.scopes.clone();
    let asks_again = form.get("prompt").is_some_and(|prompt| prompt.split(' ').any(|p| p == "consent"))
        || form.get("approval_prompt") == Some("force");
    let entry = Code {
        grant,
        redirect_uri: text("redirect_uri"),
        challenge: form
            .get("code_challenge")
            .map(|challenge| (challenge.to_owned(), form.get("code_challenge_method") == Some("S256"))),
        offline: form.get("access_type") == Some("offline"),
        asks_again,
        nonce: form.get("nonce").map(str::to_owned),
        expires: shared.now() + CODE_MS,
    };
    tokens.codes.insert(code.clone(), entry);
    Ok((code, scopes))
}

fn consent_page(shared: &Shared, form: &Form, call: &Call) -> String {
    let kept: Vec<&(String, String)> =
        call.query.iter().filter(|(name, _)| !name.starts_with("sim_")).collect();
    let hidden: Vec<String> = kept
        .iter()
        .map(|(name, value)| {
            format!("<input type=hidden name=\"{}\" value=\"{}\">", escape(name), escape(value))
        })
        .collect();
    let scopes = asked(form);
    let boxes: Vec<String> = scopes.iter().map(|scope| checkbox(&escape(scope))).collect();
    let hint = form.get("login_hint");
    let buttons: Vec<String> = shared
        .emails()
        .iter()
        .filter(|email| hint.is_none_or(|hint| hint.eq_ignore_ascii_case(email)))
        .map(|email| escape(email))
        .map(|email| format!("<button name=sim_user value=\"{email}\">Allow as {email}</button> "))
        .collect();
    let (hidden, boxes, buttons) = (hidden.concat(), boxes.concat(), buttons.concat());
    let mut deny = url::form_urlencoded::Serializer::new(String::new());
    deny.extend_pairs(kept).append_pair("sim_deny", "1");
    let deny = escape(&format!("/o/oauth2/v2/auth?{}", deny.finish()));
    let client = escape(form.get("client_id").unwrap_or_default());
    format!(
        "<!doctype html><meta charset=utf-8><title>Sign in</title><h1>{client} wants access</h1>\
         <form action=\"/o/oauth2/v2/auth\">{hidden}<input type=hidden name=sim_approve value=1>\
         <input type=hidden name=sim_chosen value=1><ul>{boxes}</ul><p>{buttons}</p></form>\
         <p><a href=\"{deny}\">Cancel</a></p>"
    )
}

fn checkbox(scope: &str) -> String {
    format!("<li><label><input type=checkbox name=sim_scope value=\"{scope}\" checked> {scope}</label>")
}
