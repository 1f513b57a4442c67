//! A client as cheap as can be, since it shares the machine with what it measures: one request at a time over a
//! connection that is kept.

use anyhow::{Context, bail};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// Whom requests are for.
pub(crate) const HOST: &str = "bench";

pub(crate) struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

pub(crate) struct Answer {
    pub(crate) status: u16,
    /// The `Link` header, or nothing.
    link: String,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// Its path.
    pub(crate) fn next_page(&self) -> Option<String> {
        let (next, _) = self.link.strip_prefix('<')?.split_once('>')?;
        Some(next.to_owned())
    }
}

impl Connection {
    pub(crate) async fn open(address: &str) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            buffer: Vec::new(),
        })
    }

    pub(crate) async fn send(
        &mut self,
        method: &str,
        path: &str,
        token: &str,
        body: &str,
    ) -> anyhow::Result<Answer> {
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {HOST}\r\nAuthorization: Bearer {token}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        self.stream.write_all(request.as_bytes()).await?;
        self.buffer.clear();
        loop {
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                bail!("the service closed the connection");
            }
            let mut headers = [httparse::EMPTY_HEADER; 32];
            let mut head = httparse::Response::new(&mut headers);
            let httparse::Status::Complete(length) = head.parse(&self.buffer)? else {
                continue;
            };
            let header = |name: &str| {
                let found = head
                    .headers
                    .iter()
                    .find(|header| header.name.eq_ignore_ascii_case(name));
                found.and_then(|header| std::str::from_utf8(header.value).ok())
            };
            let body_length: usize = header("content-length").context("no length")?.parse()?;
            let (status, link) = (
                head.code.unwrap_or_default(),
                header("link").unwrap_or_default().to_owned(),
            );
            let whole = length + body_length;
            while self.buffer.len() < whole {
                if self.stream.read_buf(&mut self.buffer).await? == 0 {
                    bail!("the service closed the connection");
                }
            }
            let body = self.buffer[length..whole].to_vec();
            return Ok(Answer { status, link, body });
        }
    }
}
