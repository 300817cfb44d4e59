//! `gmail-sync`: the command line.
//!
//! What can go over HTTP does, with a token; only what cannot needs AWS credentials. The first tenant and token are such
//! a thing, because every HTTP route asks for a token.

mod aws;
mod bootstrap;
mod operations;
mod rotate_key;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// Gmail mailboxes, synced by serverless functions.
#[derive(Parser)]
#[command(name = "gmail-sync", version, about)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// What needs AWS credentials.
    #[command(subcommand)]
    Admin(Admin),
    /// Jobs that failed for good.
    #[command(subcommand)]
    DeadLetters(operations::DeadLetters),
    /// Has the rows of a mailbox made again from its raw mail, without Gmail.
    Rebuild(operations::Rebuild),
}

#[derive(Subcommand)]
enum Admin {
    /// Makes the first tenant, an API token with every scope, and a link that signs a browser in, once.
    ///
    /// Running it again is safe: the tenant stays, the token and the link are new.
    Bootstrap(bootstrap::Options),
    /// Replaces the key that encrypts grants, while everything goes on.
    ///
    /// The first run adds a key and seals everything anew; a run 20 minutes later removes the old one. Every run may
    /// be repeated or broken off.
    RotateKey(rotate_key::Options),
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match run(Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&error);
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> Result<()> {
    match arguments.command {
        Command::Admin(Admin::Bootstrap(options)) => bootstrap::run(&options).await,
        Command::Admin(Admin::RotateKey(options)) => rotate_key::run(&options).await,
        Command::DeadLetters(command) => operations::dead_letters(&command).await,
        Command::Rebuild(command) => operations::rebuild(&command).await,
    }
}

#[expect(clippy::print_stderr, reason = "a command line complains here")]
fn complain(error: &anyhow::Error) {
    eprintln!("gmail-sync: {error:#}");
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Arguments::command().debug_assert();
    }
}
