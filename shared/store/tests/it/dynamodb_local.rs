//! The same tests against AWS's own DynamoDB Local, where it is present: a second opinion on conditional writes and
//! transactions.

use testkit::DynamoDbLocal;

/// This test itself, which would start another, and those of what is not in the table.
const LEFT_OUT: [&str; 2] = ["the_same_tests_pass", "objects::"];

#[test]
fn the_same_tests_pass_on_dynamodb_local() {
    if DynamoDbLocal::endpoint_under_test().is_some() {
        return;
    }
    match DynamoDbLocal::run_tests_again("", &LEFT_OUT).expect("started") {
        Ok(passed) => assert!(passed, "DynamoDB Local is of another opinion: see above"),
        Err(missing) => eprintln!("skipped: the store's tests on DynamoDB Local, because {missing}"),
    }
}
