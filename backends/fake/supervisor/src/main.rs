//! The fake backend as a supervisor executable.

use std::io;

use microagent_fake::FakeBackend;
use microagent_plugin::serve;

#[tokio::main(flavor = "current_thread")]
async fn main() -> io::Result<()> {
    serve(&FakeBackend::new()).await
}
