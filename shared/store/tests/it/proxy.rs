//! A proxy in front of the emulator that loses answers and tells lies, call by call.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{Ipv4Addr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

/// What happens to one call.
#[derive(Clone)]
pub enum Fault {
    /// It goes through.
    None,
    /// It takes effect, and the answer is lost.
    LoseAnswer,
    /// It never arrives.
    LoseCall,
    /// It never arrives, and this is the answer, made of the call's body.
    Answer(u16, fn(&str) -> String),
}

/// Listens until the process ends. Calls of `operation` are counted from 0 and get the fault that `plan`
/// names; all others go through.
pub fn start(upstream: &str, operation: &'static str, plan: fn(usize) -> Fault) -> String {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let address = listener.local_addr().expect("an address");
    let upstream = upstream.trim_start_matches("http://").to_owned();
    let count = Arc::new(AtomicUsize::new(0));
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let (upstream, count) = (upstream.clone(), Arc::clone(&count));
            // A connection that breaks is what this is for.
            std::thread::spawn(move || serve(client, &upstream, operation, &count, plan).ok());
        }
    });
    format!("http://{address}")
}

/// One connection, one call.
fn serve(
    mut client: TcpStream,
    upstream: &str,
    operation: &str,
    count: &AtomicUsize,
    plan: fn(usize) -> Fault,
) -> std::io::Result<()> {
    let mut reader = BufReader::new(client.try_clone()?);
    let (mut head, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let lower = line.to_ascii_lowercase();
        if let Some(value) = lower.strip_prefix("content-length:") {
            length = value.trim().parse().unwrap_or(0);
        }
        if line == "\r\n" {
            head.push_str("Connection: close\r\n\r\n");
            break;
        }
        if !lower.starts_with("connection:") {
            head.push_str(&line);
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let fault =
        if head.contains(operation) { plan(count.fetch_add(1, Ordering::SeqCst)) } else { Fault::None };
    match fault {
        Fault::None => client.write_all(&forward(upstream, &head, &body)?),
        Fault::LoseAnswer => forward(upstream, &head, &body).map(|_| ()),
        Fault::LoseCall => Ok(()),
        Fault::Answer(status, answer) => {
            let answer = answer(&String::from_utf8_lossy(&body));
            let length = answer.len();
            let head = format!(
                "HTTP/1.1 {status} X\r\nContent-Type: application/x-amz-json-1.0\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
            );
            client.write_all((head + &answer).as_bytes())
        }
    }
}

fn forward(upstream: &str, head: &str, body: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut server = TcpStream::connect(upstream)?;
    server.write_all(head.as_bytes())?;
    server.write_all(body)?;
    let mut answer = Vec::new();
    server.read_to_end(&mut answer)?;
    Ok(answer)
}
