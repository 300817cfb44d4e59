use std::fmt::Write as _;

use gmail_sim::Options;
use reqwest::Method;
use serde_json::Value;

use crate::World;

async fn post(world: &World, paths: &[String]) -> (u16, String) {
    let mut body = String::new();
    for (place, path) in paths.iter().enumerate() {
        write!(body,
            "--b\r\nContent-Type: application/http\r\nContent-ID: <item{place}>\r\n\r\nGET {path} HTTP/1.1\r\n\r\n\r\n"
        ).unwrap();
    }
    body += "--b--\r\n";
    let request = world.client.post(world.url("/batch/gmail/v1")).body(body);
    let request =
        request.header("Content-Type", "multipart/mixed; boundary=b").bearer_auth("sim:alice@example.com");
    let response = request.send().await.unwrap();
    (response.status().as_u16(), response.text().await.unwrap())
}

fn part<'a>(answer: &'a str, id: &str) -> &'a str {
    let at = answer.find(&format!("Content-ID: <response-{id}>")).unwrap();
    answer[at..].split("\r\n--batch").next().unwrap()
}

#[tokio::test]
async fn each_part_is_judged_for_itself() {
    let world = World::new().await;
    let id = world.deliver("batched").await;
    let paths = [
        format!("/gmail/v1/users/me/messages/{id}?format=minimal"),
        "/gmail/v1/users/me/messages/12".into(),
        "/token".into(),
    ];
    let (status, answer) = post(&world, &paths).await;
    assert_eq!(status, 200);
    assert!(part(&answer, "item0").contains("HTTP/1.1 200 OK") && part(&answer, "item0").contains(&id));
    assert!(part(&answer, "item1").contains("HTTP/1.1 404 Not Found"));
    assert!(part(&answer, "item2").contains("HTTP/1.1 404"));
}

#[tokio::test]
async fn a_hundred_parts_are_taken_and_more_are_refused() {
    let world =
        World::with(Options { quota: gmail_sim::Regime::Off, concurrency_max: 0, ..Options::default() })
            .await;
    let paths = vec!["/gmail/v1/users/me/profile".to_owned(); 101];
    assert_eq!(post(&world, &paths[..100]).await.0, 200);
    assert_eq!(post(&world, &paths).await.0, 400);
}

#[tokio::test]
async fn twenty_five_parts_pass_and_fifty_fail_in_part() {
    let world = World::new().await;
    let paths = vec!["/gmail/v1/users/me/profile".to_owned(); 50];
    assert!(!post(&world, &paths[..25]).await.1.contains("HTTP/1.1 429"));
    let (_, answer) = post(&world, &paths).await;
    assert_eq!(answer.matches("HTTP/1.1 200").count(), 40);
    assert_eq!(answer.matches("HTTP/1.1 429").count(), 10);
    let (_, stats) = world.sim(Method::GET, "stats", Value::Null).await;
    assert_eq!(stats["mostInFlight"], 40);
}

#[tokio::test]
async fn a_fault_leaves_a_part_out() {
    let world = World::new().await;
    world.fault(serde_json::json!({"kind": "missing batch part", "count": 1})).await;
    let (_, answer) = post(&world, &vec!["/gmail/v1/users/me/profile".to_owned(); 3]).await;
    assert_eq!(answer.matches("HTTP/1.1 200").count(), 2);
}

/// A batch whose parts stand as they are.
async fn raw(world: &World, content_type: &str, body: &str) -> (u16, String) {
    let request = world.client.post(world.url("/batch/gmail/v1")).body(body.to_owned());
    let request = request.header("Content-Type", content_type).bearer_auth("sim:alice@example.com");
    let response = request.send().await.unwrap();
    (response.status().as_u16(), response.text().await.unwrap())
}

#[tokio::test]
async fn a_batch_that_cannot_be_read_is_refused_as_a_whole() {
    let world = World::new().await;
    let parts =
        |count: usize| "--b\r\nContent-Type: application/http\r\n\r\nGET /x\r\n\r\n".repeat(count) + "--b--";
    for (content_type, body) in [
        ("multipart/mixed", parts(1)),
        ("multipart/mixed; boundary=", parts(1)),
        ("multipart/mixed; boundary=\"b", parts(1)),
        ("multipart/mixed; boundary=c", parts(1)),
        ("application/json; boundary=b", parts(1)),
        ("multipart/mixed; boundary=b", String::new()),
        ("multipart/mixed; boundary=b", parts(0)),
        ("multipart/mixed; boundary=b", parts(101)),
        ("multipart/mixed; boundary=b", "--b\r\n".repeat(1_000_000)),
    ] {
        let (status, answer) = raw(&world, content_type, &body).await;
        let answer: Value = serde_json::from_str(&answer).unwrap();
        assert_eq!((status, crate::reason(&answer).as_str()), (400, "invalidArgument"), "{content_type}");
    }
    let quoted =
        "--a; b\r\nContent-Type: application/http\r\n\r\nGET /gmail/v1/users/me/profile\r\n\r\n--a; b--";
    let (status, answer) = raw(&world, "multipart/mixed; x=\"boundary=no\"; boundary=\"a; b\"", quoted).await;
    assert!(status == 200 && answer.contains("HTTP/1.1 200 OK"), "{answer}");
}

#[tokio::test]
async fn a_part_that_cannot_be_read_is_refused_alone() {
    let world = World::new().await;
    let http = "Content-Type: application/http\r\n";
    let endless = "X: y\r\n".repeat(40_000);
    let good = "GET /gmail/v1/users/me/profile HTTP/1.1";
    for (number, (own, inner, status)) in [
        (http, good, 200),
        ("", good, 400),
        ("Content-Type: text/plain\r\n", good, 400),
        (&format!("{http}{endless}"), good, 400),
        (http, &format!("{good}\r\n{endless}"), 400),
        (http, "", 400),
        (http, "GET", 400),
        (http, "GET profile HTTP/1.1", 400),
        (http, "GET /gmail/v1/users/me/profile HTTP/1.1 and more", 400),
        (http, "G(T /gmail/v1/users/me/profile HTTP/1.1", 400),
        (
            http,
            "POST /batch/gmail/v1 HTTP/1.1\r\nContent-Type: multipart/mixed; boundary=c\r\n\r\n--c--",
            404,
        ),
        (http, "POST /upload/gmail/v1/users/me/messages HTTP/1.1\r\n\r\nx", 404),
        (http, "GET /sim/stats HTTP/1.1", 404),
        (http, "GET /gmail/v1/users/me/messages/xyz HTTP/1.1", 400),
        (http, &format!("{good}\r\nAuthorization: Bearer nonsense"), 401),
    ]
    .into_iter()
    .enumerate()
    {
        let body = format!(
            "--b\r\nContent-ID: <one>\r\n{own}\r\n{inner}\r\n\r\n--b\r\nContent-ID: <two>\r\n{http}\r\n{good}\r\n\r\n--b--"
        );
        let (outer, answer) = raw(&world, "multipart/mixed; boundary=b", &body).await;
        assert_eq!(outer, 200, "{number}");
        assert!(part(&answer, "two").contains("HTTP/1.1 200 OK"), "{number}: {answer}");
        // What has too many header lines has no id that could be told.
        let own_part =
            answer.split("--batch").find(|part| !part.contains("<response-two>") && part.contains("HTTP/"));
        assert!(own_part.unwrap().contains(&format!("HTTP/1.1 {status}")), "{number}: {answer}");
    }
}

#[tokio::test]
async fn parts_without_an_id_and_with_the_same_id_are_all_answered() {
    let world = World::new().await;
    let one = |id: &str| {
        format!(
            "--b\r\n{id}Content-Type: application/http\r\n\r\nGET /gmail/v1/users/me/profile HTTP/1.1\r\n\r\n"
        )
    };
    let same = one("Content-ID: <same>\r\n");
    let body = format!("{}{same}{same}--b--", one(""));
    let (_, answer) = raw(&world, "multipart/mixed; boundary=b", &body).await;
    assert_eq!(answer.matches("HTTP/1.1 200 OK").count(), 3);
    assert_eq!(answer.matches("Content-ID: <response-same>").count(), 2);
    assert_eq!(answer.matches("Content-ID:").count(), 2);
}
