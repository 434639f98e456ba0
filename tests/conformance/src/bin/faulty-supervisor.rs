//! The fake backend as a supervisor executable that has the fault which its argument names, for
//! the test `mutants`: `none`, `logs` (on standard output, whatever it is asked), or
//! `logs-when-killing`.

use std::io::{self, Read, Write};

use microagent_fake::FakeBackend;
use microagent_plugin::answer;

#[tokio::main(flavor = "current_thread")]
async fn main() -> io::Result<()> {
    let mut request = Vec::new();
    io::stdin().read_to_end(&mut request)?;
    let mut stdout = io::stdout();
    let kills = String::from_utf8_lossy(&request).contains(r#""op":"kill""#);
    let logs = match std::env::args().nth(1).as_deref() {
        Some("logs") => true,
        Some("logs-when-killing") => kills,
        _ => false,
    };
    if logs {
        writeln!(stdout, "asked for {} bytes", request.len())?;
    }
    stdout.write_all(&answer(&FakeBackend::new(), &request).await)
}
