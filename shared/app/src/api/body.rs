//! JSON bodies, with errors that name the field.

use axum::{
    body::Bytes,
    extract::{FromRequest, Request},
    http::{StatusCode, header},
};
use serde::de::DeserializeOwned;

use super::problem::Problem;

/// A JSON body.
pub struct JsonBody<T>(pub T);

/// A JSON body that may be left out.
pub struct MaybeJson<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for JsonBody<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let (is_json, bytes) = read(request, state).await?;
        if is_json { parse(&bytes).map(Self) } else { Err(not_json()) }
    }
}

impl<T: DeserializeOwned + Default, S: Send + Sync> FromRequest<S> for MaybeJson<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let (is_json, bytes) = read(request, state).await?;
        // No body has no type: clients name one of their own for it.
        if bytes.iter().all(u8::is_ascii_whitespace) {
            return Ok(Self(T::default()));
        }
        if is_json { parse(&bytes).map(Self) } else { Err(not_json()) }
    }
}

async fn read<S: Send + Sync>(request: Request, state: &S) -> Result<(bool, Bytes), Problem> {
    let content_type = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let is_json = content_type.is_none_or(|kind| kind.to_ascii_lowercase().starts_with("application/json"));
    let bytes = Bytes::from_request(request, state)
        .await
        .map_err(|rejection| Problem::of_status(rejection.status()))?;
    Ok((is_json, bytes))
}

fn not_json() -> Problem {
    Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "The body must be application/json.")
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let path = error.path().to_string();
        // serde quotes values in its messages, and a value may be a token: only the place goes back.
        if error.inner().is_data() && path != "." {
            Problem::field(path, "is not of the right type")
        } else {
            Problem::new(StatusCode::BAD_REQUEST, "The body is not a JSON object.")
        }
    })?;
    deserializer
        .end()
        .map_err(|_| Problem::new(StatusCode::BAD_REQUEST, "Something follows the JSON object."))?;
    Ok(value)
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    struct Outer {
        #[expect(dead_code, reason = "only its parsing is looked at")]
        keys: Inner,
    }
    #[derive(Debug, Deserialize)]
    struct Inner {
        #[expect(dead_code, reason = "only its parsing is looked at")]
        token: Option<String>,
    }

    #[test]
    fn a_value_of_the_wrong_type_is_named_by_its_path_and_not_repeated() {
        let problem = parse::<Outer>(br#"{"keys":{"token":123456}}"#).expect_err("a refusal");
        assert_eq!(problem.errors()[0].field, "keys.token");
        assert!(!format!("{problem:?}").contains("123456"));
    }

    #[test]
    fn what_is_no_json_object_is_400() {
        for bad in ["", "{", "[", "nonsense", "[]", "{\"keys\":{}} x", "\u{0}"] {
            let problem = parse::<Outer>(bad.as_bytes()).expect_err("a refusal");
            assert_eq!(problem.status(), StatusCode::BAD_REQUEST, "{bad:?}");
        }
    }
}
