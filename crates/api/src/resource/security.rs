//! Who may come in: bans, exemptions, and who is locked out.

use std::{
    net::IpAddr,
    time::{Duration, Instant},
};

use auth::{Action, Locked, NewBan};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use store::AuditAction;

use super::forms::{back, fields};
use crate::{
    endpoint::{
        Answer, Call, Endpoint, Form, Json, NoQuery, Other, Refusal, Status, delete, get, group, post, status,
    },
    events::span,
};

type Back = Other<303>;

/// Where the forms of the old interface lead back to.
const TAB: &str = "/admin#tab-security";

pub(super) fn endpoints() -> Vec<Endpoint> {
    let mut endpoints = vec![
        get("/api/security/bans", Action::BansRead, bans)
            .says("The banned addresses and blocks")
            .details("With `details=true` each is an object that also says when it ends and why it was made."),
        post("/api/security/bans", Action::BanAdd, ban)
            .says("Ban an address or a block")
            .details("What is connected from there is disconnected. To ban it twice changes its end and comment only.")
            .fails(409, "It would hit the caller or a trusted proxy; `force` does it all the same"),
        delete("/api/security/bans", Action::BanRemove, unban)
            .says("Lift a ban")
            .fails(404, "It is not banned"),
        get("/api/security/whitelist", Action::WhitelistRead, whitelist)
            .says("The addresses and blocks that bans and lockouts do not touch"),
        post("/api/security/whitelist", Action::WhitelistAdd, exempt)
            .says("Exempt an address or a block from bans and lockouts")
            .details("It does not keep others out.")
            .fails(409, "The list is full"),
        delete("/api/security/whitelist", Action::WhitelistRemove, unexempt)
            .says("Take an exemption back")
            .fails(404, "It is not exempt"),
        get("/api/security/lockouts", Action::LockoutsRead, lockouts)
            .says("Who failed to sign in or asked for what is not there, and who is locked out for it"),
        delete("/api/security/lockouts", Action::LockoutClear, clear)
            .says("Lift a lockout and forget what led to it")
            .fails(404, "There is nothing on record for this address"),
        get("/admin/security-stats", Action::LockoutsRead, stats)
            .says("The same in the form of the old interface")
            .refuses_in_json(),
    ];
    endpoints.extend(forms().into_iter().map(Endpoint::deprecated));
    group("Security", endpoints)
}

fn forms() -> Vec<Endpoint> {
    vec![
        post("/admin/add-banned-ip", Action::BanAdd, form_ban)
            .says("Ban an address: `ip`")
            .fails(409, "It would hit the caller or a trusted proxy"),
        post("/admin/remove-banned-ip", Action::BanRemove, form_unban)
            .says("Lift a ban: `ip`")
            .fails(404, "It is not banned"),
        post("/admin/add-whitelisted-ip", Action::WhitelistAdd, form_exempt)
            .says("Exempt an address: `ip`")
            .refuses_in_json()
            .fails(409, "It is exempt already"),
        post(
            "/admin/remove-whitelisted-ip",
            Action::WhitelistRemove,
            form_unexempt,
        )
        .says("Take an exemption back: `ip`")
        .refuses_in_json()
        .fails(404, "It is not exempt"),
        post(
            "/admin/clear-auth-lockout",
            Action::LockoutClear,
            form_clear_failures,
        )
        .says("Lift a lockout for wrong passwords: `ip`"),
        post("/admin/clear-scan-lockout", Action::LockoutClear, form_clear_scan)
            .says("Lift a lockout for scanning: `ip`"),
    ]
}

/// How much to tell.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
struct Details {
    /// `true` for objects instead of texts.
    details: Option<String>,
}

/// Addresses and blocks, with or without what is known of them.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(untagged)]
enum Bans {
    Plain(Vec<String>),
    Detailed(Vec<Ban>),
}

/// A ban.
#[derive(Debug, Serialize, JsonSchema)]
struct Ban {
    ip: String,
    /// RFC 3339; empty is never.
    expires_at: String,
    comment: String,
}

async fn bans(call: Call, query: Details, (): ()) -> Answer<Json<Bans>> {
    let bans = auth::bans(&call.config()).into_iter();
    Ok(Json(
        if matches!(query.details.as_deref(), Some("true" | "1" | "yes")) {
            let detailed = bans.map(|ban| Ban {
                ip: ban.ip,
                expires_at: ban.expires_at,
                comment: ban.comment,
            });
            Bans::Detailed(detailed.collect())
        } else {
            Bans::Plain(bans.map(|ban| ban.ip).collect())
        },
    ))
}

/// An address or a block to ban.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
struct WantedBan {
    /// An address or a block such as `192.0.2.0/24`; required.
    ip: String,
    /// RFC 3339; for ever where nothing is said.
    expires_at: Option<String>,
    /// Why, at most 200 characters.
    comment: Option<String>,
    /// Whether it may hit the caller or a trusted proxy.
    force: bool,
}

/// An address or a block.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
struct Address {
    /// An address or a block such as `192.0.2.0/24`; required.
    ip: String,
}

/// What became of an address.
#[derive(Debug, Serialize, JsonSchema)]
struct Changed {
    status: &'static str,
    /// In the form in which it is stored.
    ip: String,
}

async fn ban(call: Call, _: NoQuery, Json(wanted): Json<WantedBan>) -> Answer<Json<Changed>> {
    let wanted = NewBan {
        ip: wanted.ip,
        expires_at: wanted.expires_at.unwrap_or_default(),
        comment: wanted.comment.unwrap_or_default(),
        force: wanted.force,
    };
    let ip = add_ban(&call, wanted).await?;
    Ok(Json(Changed { status: "added", ip }))
}

async fn add_ban(call: &Call, wanted: NewBan) -> Answer<String> {
    let (ip, comment) = (call.ip(), wanted.comment.clone());
    let listed = call
        .change(move |config| Ok(auth::add_ban(config, &wanted, ip, Timestamp::now())?))
        .await?;
    call.audit(AuditAction::IpBanned, "security", &listed.ip, &comment);
    Ok(listed.ip)
}

async fn unban(call: Call, query: Address, (): ()) -> Answer<Json<Changed>> {
    let ip = lift_ban(&call, query.ip).await?;
    Ok(Json(Changed {
        status: "removed",
        ip,
    }))
}

async fn lift_ban(call: &Call, ip: String) -> Answer<String> {
    let ip = call
        .change(move |config| Ok(auth::remove_ban(config, &ip)?))
        .await?;
    call.audit(AuditAction::IpUnbanned, "security", &ip, "");
    Ok(ip)
}

async fn whitelist(call: Call, _: NoQuery, (): ()) -> Answer<Json<Vec<String>>> {
    Ok(Json(
        call.config().whitelisted_ips.iter().map(auth::net_text).collect(),
    ))
}

async fn exempt(call: Call, _: NoQuery, Json(wanted): Json<Address>) -> Answer<Json<Changed>> {
    let listed = add_exemption(&call, wanted.ip, false).await?;
    Ok(Json(Changed {
        status: "added",
        ip: listed,
    }))
}

/// Exempts an address; with `once` it must not be exempt already.
async fn add_exemption(call: &Call, ip: String, once: bool) -> Answer<String> {
    let listed = call
        .change(move |config| {
            let listed = auth::add_whitelisted(config, &ip)?;
            if once && !listed.is_new {
                return Err(Refusal::conflict("IP address already in the whitelist"));
            }
            Ok(listed)
        })
        .await?;
    if listed.is_new {
        call.audit(AuditAction::IpWhitelisted, "security", &listed.ip, "");
    }
    Ok(listed.ip)
}

async fn unexempt(call: Call, query: Address, (): ()) -> Answer<Json<Changed>> {
    let ip = lift_exemption(&call, query.ip).await?;
    Ok(Json(Changed {
        status: "removed",
        ip,
    }))
}

async fn lift_exemption(call: &Call, ip: String) -> Answer<String> {
    let ip = call
        .change(move |config| Ok(auth::remove_whitelisted(config, &ip)?))
        .await?;
    call.audit(AuditAction::IpUnwhitelisted, "security", &ip, "");
    Ok(ip)
}

/// Why somebody is on record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Kind {
    /// Wrong passwords.
    Auth,
    /// Requests for many things that are not there.
    Scan,
}

/// Somebody on record.
#[derive(Debug, Serialize, JsonSchema)]
struct OnRecord {
    ip: String,
    kind: Kind,
    #[serde(flatten)]
    record: Record,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Record {
    /// Failures, or different paths that are not there.
    count: usize,
    locked: bool,
    /// `14m3s`, or `0s` where nobody is locked out.
    expires_in: String,
    /// RFC 3339, of the end of the lockout.
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<String>,
}

impl Record {
    fn of(locked: &Locked, now: Instant, time: Timestamp) -> Self {
        let left = locked.until.map(|until| until.saturating_duration_since(now));
        // The end is told in whole seconds, so that it does not move from one look to the next.
        let until = left.and_then(|left| time.checked_add(left).ok());
        Self {
            count: locked.count,
            locked: locked.until.is_some(),
            expires_in: span(left.unwrap_or(Duration::ZERO)),
            until: until.map(|until| until.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()),
        }
    }
}

/// The clock of lockouts, and the time.
fn clocks() -> (Instant, Timestamp) {
    (tokio::time::Instant::now().into_std(), Timestamp::now())
}

async fn lockouts(call: Call, _: NoQuery, (): ()) -> Answer<Json<Vec<OnRecord>>> {
    let (now, time) = clocks();
    let auth = &call.parts.auth;
    let of = |kind, all: Vec<Locked>| {
        all.into_iter().map(move |locked| OnRecord {
            ip: locked.ip.to_string(),
            kind,
            record: Record::of(&locked, now, time),
        })
    };
    Ok(Json(
        of(Kind::Auth, auth.lockouts())
            .chain(of(Kind::Scan, auth.scanners()))
            .collect(),
    ))
}

/// Whose lockout to lift.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
struct Clear {
    /// Required.
    ip: String,
    /// `auth` or `scan`; both where nothing is said.
    kind: Option<String>,
}

async fn clear(call: Call, query: Clear, (): ()) -> Answer<Json<Status>> {
    let kinds = match query.kind.as_deref() {
        None | Some("") => &[Kind::Auth, Kind::Scan][..],
        Some("auth") => &[Kind::Auth],
        Some("scan") => &[Kind::Scan],
        Some(_) => return Err(Refusal::bad("kind must be auth or scan")),
    };
    let ip = address(&query.ip)?;
    if !lift(&call, ip, kinds) {
        return Err(Refusal::missing("Nothing is on record for this address"));
    }
    Ok(status("cleared"))
}

fn address(text: &str) -> Answer<IpAddr> {
    match text.trim() {
        "" => Err(Refusal::bad("IP is required")),
        text => text.parse().map_err(|_| Refusal::bad("Invalid IP address")),
    }
}

fn lift(call: &Call, ip: IpAddr, kinds: &[Kind]) -> bool {
    let auth = &call.parts.auth;
    let mut lifted = false;
    for kind in kinds {
        let (cleared, detail) = match kind {
            Kind::Auth => (auth.clear_lockout(ip), "kind=auth"),
            Kind::Scan => (auth.clear_scan(ip), "kind=scan"),
        };
        if cleared {
            call.audit(AuditAction::LockoutCleared, "security", &ip.to_string(), detail);
        }
        lifted |= cleared;
    }
    lifted
}

/// Who is on record.
#[derive(Debug, Serialize, JsonSchema)]
struct Stats {
    /// Wrong passwords, the most first.
    auth_fails: Vec<Client>,
    /// Requests for what is not there, the most first.
    scanners: Vec<Client>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Client {
    ip: String,
    #[serde(flatten)]
    record: Record,
}

async fn stats(call: Call, _: NoQuery, (): ()) -> Answer<Json<Stats>> {
    let (now, time) = clocks();
    let clients = |all: Vec<Locked>| {
        let client = |locked: &Locked| Client {
            ip: locked.ip.to_string(),
            record: Record::of(locked, now, time),
        };
        all.iter().map(client).collect()
    };
    Ok(Json(Stats {
        auth_fails: clients(call.parts.auth.lockouts()),
        scanners: clients(call.parts.auth.scanners()),
    }))
}

async fn form_ban(call: Call, _: NoQuery, form: Form) -> Answer<Back> {
    let ip = fields(&call, form).text("ip").to_owned();
    add_ban(
        &call,
        NewBan {
            ip,
            ..NewBan::default()
        },
    )
    .await?;
    Ok(back(TAB))
}

async fn form_unban(call: Call, _: NoQuery, form: Form) -> Answer<Back> {
    let ip = fields(&call, form).text("ip").to_owned();
    lift_ban(&call, ip).await?;
    Ok(back(TAB))
}

async fn form_exempt(call: Call, _: NoQuery, form: Form) -> Answer<Json<Changed>> {
    let ip = add_exemption(&call, given(&call, form)?, true).await?;
    Ok(Json(Changed { status: "added", ip }))
}

async fn form_unexempt(call: Call, _: NoQuery, form: Form) -> Answer<Json<Changed>> {
    let ip = lift_exemption(&call, given(&call, form)?).await?;
    Ok(Json(Changed {
        status: "removed",
        ip,
    }))
}

/// The address of a form, in whose words it is missed.
fn given(call: &Call, form: Form) -> Answer<String> {
    match fields(call, form).text("ip") {
        "" => Err(Refusal::bad("IP address cannot be empty")),
        ip => Ok(ip.to_owned()),
    }
}

async fn form_clear_failures(call: Call, _: NoQuery, form: Form) -> Answer<Back> {
    let ip = address(fields(&call, form).text("ip"))?;
    lift(&call, ip, &[Kind::Auth]);
    Ok(back(TAB))
}

async fn form_clear_scan(call: Call, _: NoQuery, form: Form) -> Answer<Back> {
    let ip = address(fields(&call, form).text("ip"))?;
    lift(&call, ip, &[Kind::Scan]);
    Ok(back(TAB))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lockouts_say_how_long_and_until_when() {
        let now = Instant::now();
        let time: Timestamp = "2026-08-10T12:00:00.25Z".parse().unwrap();
        for (seconds, expires_in, until) in [
            (None, "0s", None),
            (Some(45), "45s", Some("2026-08-10T12:00:45Z")),
            (Some(843), "14m3s", Some("2026-08-10T12:14:03Z")),
        ] {
            let locked = Locked {
                ip: IpAddr::from([192, 0, 2, 1]),
                count: 5,
                until: seconds.map(|seconds| now + Duration::from_secs(seconds)),
            };
            let record = Record::of(&locked, now, time);
            assert_eq!(
                (record.locked, record.expires_in.as_str(), record.until.as_deref()),
                (seconds.is_some(), expires_in, until)
            );
        }
    }
}
