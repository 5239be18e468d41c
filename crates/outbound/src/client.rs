//! Sends a request, hop by hop: check, look up, check again, connect, ask.
//!
//! Contract: the address dialled is one that the policy passed in the same hop. Nothing is spawned: a
//! dropped future closes what it opened.

use std::{
    fmt, io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use bytes::{Buf, BytesMut};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use rustls::RootCertStore;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, timeout},
};
use url::{Host, Url};

use crate::{
    BadHead, Failure, Phase, Policy, Request, Resolve, ResponseBody, SystemResolver,
    body::{Framing, Transport},
    connect,
    head::{self, Head},
    metrics::{Outcome, REQUEST_DURATION, REQUESTS},
    redirect,
    tls::Trust,
};

/// The guarded client. Clones share the resolver and the trusted roots.
#[derive(Clone)]
pub struct Client {
    policy: Arc<Policy>,
    user_agent: HeaderValue,
    resolver: Arc<dyn Resolve>,
    trust: Trust,
}

/// The answer of the last hop.
#[derive(Debug)]
#[non_exhaustive]
pub struct Response {
    /// The status.
    pub status: StatusCode,
    /// The reason phrase, often empty.
    pub reason: String,
    /// All headers; values may be any bytes.
    pub headers: HeaderMap,
    /// Where it came from after redirects, without credentials.
    pub url: Url,
    /// The address it came from.
    pub peer: SocketAddr,
    /// The body.
    pub body: ResponseBody,
}

impl Client {
    /// A client that checks by `policy` and introduces itself as `user_agent`.
    #[must_use]
    pub fn new(policy: Policy, user_agent: HeaderValue) -> Self {
        let resolver = Arc::new(SystemResolver::default());
        Self {
            policy: Arc::new(policy),
            user_agent,
            resolver,
            trust: Trust::machine(),
        }
    }

    /// The same client with other rules (after a reload, or for webhooks).
    #[must_use]
    pub fn with_policy(self, policy: Policy) -> Self {
        Self {
            policy: Arc::new(policy),
            ..self
        }
    }

    /// The same client with another resolver.
    #[must_use]
    pub fn with_resolver(self, resolver: Arc<dyn Resolve>) -> Self {
        Self { resolver, ..self }
    }

    /// The same client trusting `roots` instead of the machine's store.
    #[must_use]
    pub fn with_roots(self, roots: RootCertStore) -> Self {
        Self {
            trust: Trust::given(roots),
            ..self
        }
    }

    /// The rules it checks by.
    #[must_use]
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Sends `request`, follows redirects and yields the first other response, whatever its status.
    ///
    /// # Errors
    /// [`Failure`] says why there is none.
    pub async fn send(&self, request: Request) -> Result<Response, Failure> {
        let began = Instant::now();
        let outcome = self.answer(request).await;
        REQUESTS.of(Outcome::of(&outcome)).inc();
        REQUEST_DURATION.observe_duration(began.elapsed());
        outcome
    }

    async fn answer(&self, mut request: Request) -> Result<Response, Failure> {
        request.settle();
        let limits = request.limits;
        let deadline = limits.whole.map(|whole| Instant::now() + whole);
        let host = request.url.host_str().unwrap_or_default().to_owned();
        let exchange = Box::pin(self.follow(request));
        let mut response = match limits.whole {
            Some(whole) => within(whole, Phase::Whole, &host, exchange).await??,
            None => exchange.await?,
        };
        response.body.limit(limits.silence, deadline);
        Ok(response)
    }

    async fn follow(&self, mut request: Request) -> Result<Response, Failure> {
        let limit = request.limits.redirects;
        for _ in 0..=limit {
            let response = self.hop(&request).await?;
            match response.headers.get(header::LOCATION) {
                Some(location) if redirect::is_redirect(response.status) => {
                    redirect::follow(&mut request, response.status, location)?;
                }
                _ => return Ok(response),
            }
        }
        Err(Failure::TooManyRedirects { limit })
    }

    async fn hop(&self, request: &Request) -> Result<Response, Failure> {
        let Request { url, limits, .. } = request;
        self.policy.check_url(url)?;
        let host = url.host_str().unwrap_or_default();
        let addrs = self.addresses(url, limits.resolve).await?;
        let race = connect::race(connect::order(&addrs), |addr| async move {
            let stream = TcpStream::connect(addr).await?;
            stream.set_nodelay(true)?;
            Ok(stream)
        });
        let at = addrs
            .first()
            .map_or_else(|| host.to_owned(), SocketAddr::to_string);
        let (stream, peer) = within(limits.connect, Phase::Connect, &at, race)
            .await?
            .map_err(|(error, addr)| Failure::Connect { addr, error })?;
        match url.scheme() {
            "https" => {
                let stream = self.secure(request, stream, peer).await?;
                self.exchange(request, stream, peer).await
            }
            _ => self.exchange(request, Box::new(stream), peer).await,
        }
    }

    /// Puts TLS on a connection.
    async fn secure(
        &self,
        request: &Request,
        stream: impl Transport + 'static,
        peer: SocketAddr,
    ) -> Result<Box<dyn Transport>, Failure> {
        let host = request.url.host_str().unwrap_or_default();
        let handshake = self.trust.handshake(host, stream);
        match within(request.limits.tls, Phase::Tls, &peer, handshake).await? {
            Ok(stream) => Ok(Box::new(stream)),
            Err(reason) => Err(Failure::Tls {
                host: host.to_owned(),
                reason,
            }),
        }
    }

    /// The addresses of the host of `url`, each of them checked.
    async fn addresses(&self, url: &Url, limit: Duration) -> Result<Vec<SocketAddr>, Failure> {
        let port = url.port_or_known_default().unwrap_or(80);
        let name = match url.host() {
            Some(Host::Ipv4(addr)) => return Ok(vec![SocketAddr::new(IpAddr::V4(addr), port)]),
            Some(Host::Ipv6(addr)) => return Ok(vec![SocketAddr::new(IpAddr::V6(addr), port)]),
            Some(Host::Domain(name)) => name,
            None => return Err(crate::Refused::NoHost.into()),
        };
        let failed = |reason| Failure::Resolve {
            host: name.to_owned(),
            reason,
        };
        let found = within(limit, Phase::Resolve, name, self.resolver.resolve(name))
            .await?
            .map_err(|error| failed(crate::failure::plain(&error)))?;
        // One bad address spoils the name: a mixed answer is how rebinding is tried.
        for addr in &found {
            self.policy.check_socket(name, SocketAddr::new(*addr, port))?;
        }
        match found.is_empty() {
            true => Err(failed("it has no address".to_owned())),
            false => Ok(found
                .into_iter()
                .map(|addr| SocketAddr::new(addr, port))
                .collect()),
        }
    }

    /// Asks and reads the head of the answer.
    async fn exchange(
        &self,
        request: &Request,
        mut stream: Box<dyn Transport>,
        peer: SocketAddr,
    ) -> Result<Response, Failure> {
        let asked = ask(
            &mut stream,
            request.encode(&self.user_agent),
            request.limits.head_bytes,
        );
        let (head, held) = within(request.limits.head, Phase::Head, &peer, asked)
            .await?
            .map_err(|no_head| match no_head {
                NoHead::Broken(error) => Failure::Broken { addr: peer, error },
                NoHead::Bad(bad) => Failure::BadHead { addr: peer, bad },
            })?;
        let Head {
            status,
            reason,
            headers,
        } = head;
        let framing = Framing::of(&request.method, status, &headers)
            .map_err(|bad| Failure::BadHead { addr: peer, bad })?;
        let body = ResponseBody::new(stream, held, framing);
        Ok(Response {
            status,
            reason,
            headers,
            url: request.url.clone(),
            peer,
            body,
        })
    }
}

impl Response {
    /// The status in words: `401 Unauthorized`.
    #[must_use]
    pub fn status_text(&self) -> String {
        let reason = match self.reason.as_str() {
            "" => self.status.canonical_reason().unwrap_or_default(),
            reason => reason,
        };
        format!("{} {reason}", self.status.as_u16()).trim_end().to_owned()
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("policy", &self.policy)
            .finish_non_exhaustive()
    }
}

enum NoHead {
    Broken(io::Error),
    Bad(BadHead),
}

/// Writes a request and reads the head of the final response, with the bytes that came after it.
async fn ask(
    stream: &mut dyn Transport,
    request: Vec<u8>,
    longest: usize,
) -> Result<(Head, BytesMut), NoHead> {
    let mut written = stream.write_all(&request).await;
    if written.is_ok() {
        written = stream.flush().await;
    }
    let mut held = BytesMut::with_capacity(4096);
    let (mut seen, mut skipped) = (0, 0);
    loop {
        if let Some((head, len)) = head::read(&held, seen).map_err(NoHead::Bad)? {
            held.advance(len);
            // RFC 9110 section 15.2: interim responses come before the one that counts.
            if !head.status.is_informational() || head.status == StatusCode::SWITCHING_PROTOCOLS {
                return Ok((head, held));
            }
            (seen, skipped) = (0, skipped + len);
            continue;
        }
        seen = held.len();
        if skipped + seen >= longest {
            return Err(NoHead::Bad(BadHead::TooLong));
        }
        held.reserve(2048);
        // A server may refuse without reading the request to its end, so a failed write matters only
        // when there is no answer either.
        match stream.read_buf(&mut held).await {
            Ok(0) => {
                return Err(NoHead::Broken(
                    written.err().unwrap_or(io::ErrorKind::UnexpectedEof.into()),
                ));
            }
            Ok(_) => {}
            Err(error) => return Err(NoHead::Broken(written.err().unwrap_or(error))),
        }
    }
}

/// Waits for `future` as long as `phase` may take.
async fn within<F: Future>(
    after: Duration,
    phase: Phase,
    at: &(impl fmt::Display + ?Sized),
    future: F,
) -> Result<F::Output, Failure> {
    timeout(after, future).await.map_err(|_| Failure::Timeout {
        phase,
        after,
        at: at.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{DuplexStream, duplex},
        time::sleep,
    };

    use super::*;
    use crate::{Limits, Resolving};

    fn client() -> Client {
        Client::new(Policy::new(&[]), HeaderValue::from_static("test")).with_roots(RootCertStore::empty())
    }

    fn request() -> Request {
        Request::get("http://radio.example/".parse().unwrap(), Limits::relay())
    }

    const PEER: SocketAddr = SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::new(8, 8, 8, 8)), 80);

    /// What comes of an exchange with `peer`, as text, and after how many seconds.
    async fn exchanged<F: Future>(peer: impl FnOnce(DuplexStream) -> F) -> (String, u64) {
        let start = Instant::now();
        let (ours, theirs) = duplex(4096);
        let ours: Box<dyn Transport> = Box::new(ours);
        let client = client();
        let request = request();
        let told = tokio::select! {
            outcome = client.exchange(&request, ours, PEER) => match outcome {
                Ok(response) => response.status_text(),
                Err(failure) => failure.to_string(),
            },
            _ = async { (peer(theirs).await, std::future::pending::<()>().await) } => unreachable!(),
        };
        (told, start.elapsed().as_secs())
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_peer_is_given_up() {
        let outcome = exchanged(|peer| async { (sleep(Duration::from_secs(1000)).await, peer) }).await;
        assert_eq!(outcome, ("no answer within 15 s (8.8.8.8:80)".into(), 15));
    }

    #[tokio::test(start_paused = true)]
    async fn a_dripping_peer_is_given_up() {
        let outcome = exchanged(|mut peer| async move {
            peer.write_all(b"HTTP/1.1 200 OK\r\nA: ").await.unwrap();
            loop {
                sleep(Duration::from_secs(1)).await;
                peer.write_all(b"x").await.unwrap();
            }
        });
        assert_eq!(outcome.await, ("no answer within 15 s (8.8.8.8:80)".into(), 15));
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_without_end_is_given_up() {
        let outcome = exchanged(|mut peer| async move {
            peer.write_all(b"HTTP/1.1 200 OK\r\n").await.unwrap();
            while peer.write_all(b"A: b\r\n").await.is_ok() {}
        });
        assert_eq!(outcome.await, ("response head too long (8.8.8.8:80)".into(), 0));
    }

    #[tokio::test(start_paused = true)]
    async fn answers_of_odd_peers() {
        for (sent, expected) in [
            (
                &b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 \r\nA: b\r\n\r\nHTTP/1.1 401\r\n\r\n"[..],
                "401 Unauthorized",
            ),
            (
                b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
                "101 Switching Protocols",
            ),
            (b"ICY 401 Service Unavailable\r\n\r\n", "401 Service Unavailable"),
            (b"invalid password\r\n", "the answer is not HTTP (8.8.8.8:80)"),
            (
                b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
                "transfer coding not understood (8.8.8.8:80)",
            ),
            (
                b"HTTP/1.1 200 OK\r\n",
                "connection closed before an answer (8.8.8.8:80)",
            ),
            (b"", "connection closed before an answer (8.8.8.8:80)"),
        ] {
            let outcome = exchanged(|mut peer| async move {
                let mut head = vec![0; 1000];
                let n = peer.read(&mut head).await.unwrap();
                assert!(head[..n].ends_with(b"\r\n\r\n"));
                peer.write_all(sent).await.unwrap();
            });
            assert_eq!(outcome.await, (expected.into(), 0));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_before_the_end_of_the_request_counts() {
        let (ours, mut theirs) = duplex(64);
        let body = vec![0; 1000].into();
        let request = Request {
            body,
            method: http::Method::POST,
            ..request()
        };
        let client = client();
        let peer = async {
            theirs.write_all(b"HTTP/1.1 413 Too Large\r\n\r\n").await.unwrap();
            drop(theirs);
        };
        let (outcome, ()) = tokio::join!(client.exchange(&request, Box::new(ours), PEER), peer);
        assert_eq!(outcome.unwrap().status_text(), "413 Too Large");
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_handshake_is_given_up() {
        let (ours, _theirs) = duplex(4096);
        let start = Instant::now();
        let failure = client().secure(&request(), ours, PEER).await.err().unwrap();
        assert_eq!(
            failure.to_string(),
            "TLS handshake not finished within 10 s (8.8.8.8:80)"
        );
        assert_eq!(start.elapsed().as_secs(), 10);
    }

    /// A resolver that never answers.
    struct Mute;

    impl Resolve for Mute {
        fn resolve<'a>(&'a self, _host: &'a str) -> Resolving<'a> {
            Box::pin(std::future::pending())
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_resolver_is_given_up() {
        let client = client().with_resolver(Arc::new(Mute));
        let mut request = request();
        let failure = client.send(request.clone()).await.unwrap_err();
        assert_eq!(
            failure.to_string(),
            "name not looked up within 10 s (radio.example)"
        );
        request.limits.whole = Some(Duration::from_millis(1500));
        let failure = client.send(request).await.unwrap_err();
        assert_eq!(failure.to_string(), "not finished within 1.5 s (radio.example)");
    }
}
