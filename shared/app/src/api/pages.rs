//! The dashboard's files, inside the binary: nothing is loaded from anywhere else.
//!
//! They hold no data, so they need no session; what they then ask of the API does.

use std::sync::{Arc, LazyLock};

use aws_lc_rs::digest;
use axum::{
    Router,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};

use super::ApiState;

struct Asset {
    path: &'static str,
    kind: &'static str,
    text: &'static str,
}

const HTML: &str = "text/html; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";

static ASSETS: [Asset; 12] = [
    Asset { path: "/", kind: HTML, text: include_str!("../dashboard/index.html") },
    Asset {
        path: "/assets/app.css",
        kind: "text/css; charset=utf-8",
        text: include_str!("../dashboard/app.css"),
    },
    Asset { path: "/assets/app.js", kind: SCRIPT, text: include_str!("../dashboard/app.js") },
    Asset { path: "/assets/activity.js", kind: SCRIPT, text: include_str!("../dashboard/activity.js") },
    Asset { path: "/assets/api.js", kind: SCRIPT, text: include_str!("../dashboard/api.js") },
    Asset { path: "/assets/connect.js", kind: SCRIPT, text: include_str!("../dashboard/connect.js") },
    Asset { path: "/assets/mail.js", kind: SCRIPT, text: include_str!("../dashboard/mail.js") },
    Asset { path: "/assets/mailbox.js", kind: SCRIPT, text: include_str!("../dashboard/mailbox.js") },
    Asset { path: "/assets/overview.js", kind: SCRIPT, text: include_str!("../dashboard/overview.js") },
    Asset { path: "/assets/operations.js", kind: SCRIPT, text: include_str!("../dashboard/operations.js") },
    Asset { path: "/assets/dom.js", kind: SCRIPT, text: include_str!("../dashboard/dom.js") },
    Asset { path: "/assets/icon.svg", kind: "image/svg+xml", text: include_str!("../dashboard/icon.svg") },
];

/// One tag for all files: they change together, with the build.
static TAG: LazyLock<String> = LazyLock::new(|| {
    let mut context = digest::Context::new(&digest::SHA256);
    for asset in &ASSETS {
        context.update(asset.text.as_bytes());
    }
    format!("\"{}\"", hex::encode(&context.finish().as_ref()[..12]))
});

/// The routes of all files.
pub(super) fn routes() -> Router<Arc<ApiState>> {
    let mut router = Router::new();
    for asset in &ASSETS {
        router =
            router.route(asset.path, get(move |headers: HeaderMap| async move { serve(asset, &headers) }));
    }
    router.route(
        "/favicon.ico",
        get(|| async { (StatusCode::PERMANENT_REDIRECT, [(header::LOCATION, "/assets/icon.svg")]) }),
    )
}

fn serve(asset: &'static Asset, headers: &HeaderMap) -> Response {
    // Asked for every time and answered with 304: a new build is seen at once.
    let common = [(header::CACHE_CONTROL, "no-cache"), (header::ETAG, TAG.as_str())];
    let known = headers.get(header::IF_NONE_MATCH).is_some_and(|tags| tags.as_bytes() == TAG.as_bytes());
    if known {
        return (StatusCode::NOT_MODIFIED, common).into_response();
    }
    (common, [(header::CONTENT_TYPE, asset.kind)], asset.text).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_run_no_inline_script_and_load_nothing_from_elsewhere() {
        for asset in &ASSETS {
            let text = asset.text;
            assert!(!text.contains("onclick=") && !text.contains("innerHTML"), "{}", asset.path);
            let elsewhere = text.replace("http://www.w3.org/2000/svg", "");
            assert!(
                !elsewhere.contains("src=\"http") && !elsewhere.contains("href=\"http"),
                "{}",
                asset.path
            );
            for import in text.split(" from \"").skip(1) {
                let file = import.split('"').next().unwrap_or_default().trim_start_matches('.');
                let served = ASSETS.iter().any(|one| one.path == format!("/assets{file}"));
                assert!(served || asset.kind != SCRIPT, "{} imports {file}", asset.path);
            }
            for script in text.split("<script").skip(1) {
                assert!(script.trim_start().starts_with("type=\"module\" src=\"/assets/"), "{}", asset.path);
            }
        }
    }
}
