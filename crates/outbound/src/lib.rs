//! The one HTTP client of the server: relay pulls, directory reports, webhooks and downloads all go
//! out through it.
//!
//! Contract: no byte is sent to an address that [`Policy`] has not passed. Every address that a name
//! resolves to is checked, on every redirect hop, and the connection goes to one of those very
//! addresses without a second lookup, so a name that changes its answer in between gains nothing.
//!
//! It is written on plain sockets instead of on a general HTTP library for three reasons. Radio
//! upstreams answer in ways that such libraries refuse (`ICY 200 OK`, bare LF line ends, bodies
//! without length that never end). The check has to sit between the lookup and the connection, also
//! for hosts given as literal addresses, which never reach a library's resolver hook. And a
//! connection is used for one exchange only, so a pool would be of no use. Proxies named in the
//! environment are not used: they would dial unchecked.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use outbound::{Client, Limits, Policy, Request};
//!
//! let client = Client::new(Policy::new(&["192.168.1.0/24".parse()?]), "TinyIce/1.0".parse()?);
//! let request = Request::get("https://radio.example/live".parse()?, Limits::relay());
//! let mut response = client.send(request).await?;
//! let mut buf = vec![0; 16 * 1024];
//! while let n @ 1.. = response.body.next(&mut buf).await? {
//!     let _audio = &buf[..n];
//! }
//! # Ok(()) }
//! ```

mod address;
mod body;
mod chunked;
mod client;
mod connect;
mod failure;
mod head;
mod masked;
pub mod metrics;
mod policy;
mod redirect;
mod request;
mod resolve;
mod tls;

pub use body::{Excerpt, ResponseBody};
pub use client::{Client, Response};
pub use failure::{Failure, Phase};
pub use head::BadHead;
pub use masked::{Masked, masked};
pub use policy::{Allow, BadAllow, Policy, Refused};
pub use request::{Limits, Request, basic};
pub use resolve::{Resolve, Resolving, SystemResolver};
