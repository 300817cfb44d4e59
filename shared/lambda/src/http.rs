//! The edges over HTTP: the webhook, where a request becomes a push, and the measuring of what the API answers.

use std::{convert::Infallible, time::Instant};

use jiff::Timestamp;
use lambda_http::{Body, Request, RequestExt as _, Response, Service};
use sync_app::{
    metrics::{Measures, Metric},
    receive_push::{Push, PushReceiver, Received, receive_push},
};
use tracing::Instrument as _;

use crate::emf::Emf;

/// Answers one push. The body says what was wrong, for whoever sets the subscription up.
pub async fn answer_push(
    receiver: &PushReceiver,
    emf: &Emf,
    request: Request,
) -> Result<Response<Body>, lambda_http::Error> {
    let trace = trace_of(&request);
    let parameters = request.query_string_parameters();
    let bearer =
        request.headers().get("authorization").and_then(|value| value.to_str().ok()).and_then(bearer_of);
    let body: &[u8] = request.body().as_ref();
    let push = Push { bearer, url_token: parameters.first("token"), body, trace: &trace };
    let span = tracing::error_span!("push", trace);
    let answer = receive_push(receiver, push, Timestamp::now()).instrument(span).await;
    emf.write(&answer.measures());
    respond(&answer, &trace)
}

/// Answers one request of the API, and measures the answer. What the handler measured itself is in its extensions.
pub async fn measured<S, B>(mut service: S, emf: &Emf, request: Request) -> Result<Response<B>, Infallible>
where
    S: Service<Request, Response = Response<B>, Error = Infallible>,
{
    let began = Instant::now();
    let response = service.call(request).await?;
    let measures = Measures::one(Metric::ApiRequests)
        .count(Metric::ApiErrors, u64::from(response.status().is_server_error()))
        .with(Metric::ApiDuration, began.elapsed().as_secs_f64() * 1_000.0);
    emf.write(&measures);
    if let Some(measures) = response.extensions().get::<Measures>() {
        emf.write(measures);
    }
    Ok(response)
}

fn respond(received: &Received, trace: &str) -> Result<Response<Body>, lambda_http::Error> {
    let response = Response::builder().status(received.status()).header("x-correlation-id", trace);
    let (title, detail) = match received {
        Received::Queued(_) => return Ok(response.body(Body::Empty)?),
        Received::Forged(why) => ("the push was not accepted", (*why).to_owned()),
        Received::Malformed(what) => ("the push is malformed", what.clone()),
        Received::Unavailable(_) => ("try again", "the push could not be taken now".to_owned()),
    };
    let problem = serde_json::json!({"type": "about:blank", "title": title, "status": received.status(), "detail": detail});
    Ok(response.header("content-type", "application/problem+json").body(Body::Text(problem.to_string()))?)
}

/// The bearer token; the scheme's name has no case.
fn bearer_of(header: &str) -> Option<&str> {
    let (scheme, token) = header.trim().split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// The gateway's request id: the correlation id from here to the worker's log.
fn trace_of(request: &Request) -> String {
    let context = request.request_context_ref();
    let id = context.and_then(|context| match context {
        lambda_http::request::RequestContext::ApiGatewayV2(context) => context.request_id.clone(),
        _ => None,
    });
    id.unwrap_or_else(|| uuid::Uuid::now_v7().simple().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bearer_token_is_found_whatever_the_case_of_the_scheme() {
        assert_eq!(bearer_of("Bearer abc"), Some("abc"));
        assert_eq!(bearer_of("bearer  abc "), Some("abc"));
        assert_eq!(bearer_of("Basic abc"), None);
        assert_eq!(bearer_of("abc"), None);
    }
}
