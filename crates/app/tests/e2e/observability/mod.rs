//! What the server says about itself, asked as an operator asks: with curl, Prometheus, `go tool pprof`, a browser.

mod collector;
mod faults;
mod metrics;
mod pages;
mod port;
mod profiles;
mod top;
