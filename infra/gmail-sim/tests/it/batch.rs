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
